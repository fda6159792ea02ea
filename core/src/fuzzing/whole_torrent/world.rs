//! What a torrent meets, and what must hold of it.

use crate::base::disk::{DirKey, DiskErrorKind, DiskOp};
use crate::base::link::LinkKey;
use crate::base::{Bitfield, Block, Instant, LinkError, LinkInput, LinkOutput, PeerId, ResolveError, Rng};
use crate::download::lease::{self, Lease};
use crate::download::reading::ReadDone;
use crate::download::torrent::files::DiskTag;
use crate::download::torrent::files::model::{ModelDisk, ModelTorrent, Resolved};
use crate::download::torrent::picker::Priority;
use crate::download::torrent::{
    Lane, Output, PeerKey, Phase, Torrent, TorrentPlan, TorrentSaved, TorrentStart,
};
use crate::download::{DownloadError, ReadRequest};
use crate::fuzzing::peers::encoded;
use crate::proto::http::{Connection, ConnectionConfig};
use crate::proto::peer::Arrival;
use crate::wire::peer::{Features, Handshake, Message, MessageDecoder, Span};
use bytes::{Bytes, BytesMut};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A torrent and all that is around it.
pub(super) struct World {
    pub(super) torrent: Torrent,
    pub(super) now: Instant,
    pub(super) ended: bool,
    model: ModelTorrent,
    disk: ModelDisk,
    operations: Vec<(DiskTag, DiskOp, Resolved)>,
    records: usize,
    lines: BTreeMap<LinkKey, Line>,
    next_link: u64,
    leases: Vec<Lane>,
    exchanges: BTreeMap<LinkKey, Exchange>,
    datagrams: Vec<(SocketAddr, Bytes)>,
    lookups: Vec<Lane>,
    reads: BTreeMap<u64, ReadRequest>,
    next_read: u64,
    wanted: [Priority; 5],
    /// Bytes of blocks and bodies that came.
    given: u64,
    /// Whether its files are being removed.
    vanishing: bool,
}

/// A link to a peer.
struct Line {
    peer: PeerKey,
    features: Features,
    open: bool,
    closing: bool,
    /// Bytes of its handshake that have not been seen.
    greeting: usize,
    decoder: MessageDecoder,
    asked: VecDeque<Block>,
}

/// A connection to a tracker or web seed, and what it was asked last.
struct Exchange {
    lane: Lane,
    asked: String,
}

impl World {
    pub(super) fn new(kind: u8) -> Self {
        let bit = |at: u8| kind >> at & 1 == 1;
        let files = [
            ("a/x", 100 << 10, false),
            ("b", 60 << 10, false),
            ("e", 0, false),
            (".p", 3 << 10, true),
            ("z", TOTAL as usize - (163 << 10), false),
        ];
        let model = ModelTorrent::new(32 << 10, &files);
        let now = Instant::from_nanos(1);
        let plan = TorrentPlan {
            info_hash: model.metainfo.info_hash(),
            peer_id: PeerId([1; 20]),
            user_agent: "fuzz".into(),
            port: bit(0).then_some(6881),
            dir_path: "/d".into(),
            allocation: Default::default(),
            overwrite: false,
            max_peers: MAX_PEERS,
            upload_slots: bit(1).then_some(2),
            upload_limit: None,
            pex: bit(2),
            offline: kind == 255,
            sequential: bit(3),
            super_seeding: bit(4),
            selected: None,
            file_priorities: BTreeMap::new(),
            trackers: vec![vec!["http://t.example/announce".into(), "udp://192.0.2.50:6969/".into()]],
            web_seeds: if bit(5) { vec!["http://w.example/".into()] } else { Vec::new() },
            known_peers: vec![([192, 0, 2, 1], 6881).into(), ([192, 0, 2, 2], 6881).into()],
            magnet_peers: Vec::new(),
            bind: None,
            goal: Default::default(),
            peer_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(20),
        };
        let start = TorrentStart {
            // Without it a peer has to send the metainfo, which few scripts do.
            metainfo: (!bit(6) || !bit(7)).then(|| Arc::clone(&model.metainfo)),
            saved: TorrentSaved::default(),
            keys: 1 << 20,
            rng: Rng::from_seed([4; 32]),
        };
        let mut world = Self {
            torrent: Torrent::new(now, Arc::new(plan), start),
            now,
            ended: false,
            model,
            disk: ModelDisk::default(),
            operations: Vec::new(),
            records: 0,
            lines: BTreeMap::new(),
            next_link: 0,
            leases: Vec::new(),
            exchanges: BTreeMap::new(),
            datagrams: Vec::new(),
            lookups: Vec::new(),
            reads: BTreeMap::new(),
            next_read: 0,
            wanted: [Priority::Normal; 5],
            given: 0,
            vanishing: false,
        };
        world.disk.open_root(DirKey(0));
        world.torrent.dir_ready(now, Ok(DirKey(0)));
        world.drain();
        world
    }

    // ----- peers -----------------------------------------------------------------------------------------------------

    fn line(&self, at: u8) -> Option<LinkKey> {
        self.lines.keys().nth(usize::from(at) % self.lines.len().max(1)).copied()
    }

    pub(super) fn open(&mut self, at: u8) {
        let Some(link) = self.line(at) else { return };
        let Some(line) = self.lines.get_mut(&link).filter(|line| !line.open && !line.closing) else { return };
        line.open = true;
        line.features = Features { extended: at & 1 == 0, fast: at & 2 == 0, dht: false };
        let lane = Lane::Peer(line.peer);
        let theirs = self.handshake(line_features(at), link);
        self.torrent.handle_link(self.now, lane, LinkInput::Opened);
        self.drain();
        self.hear(link, BytesMut::from(&theirs.encode()[..]));
    }

    pub(super) fn arrive(&mut self, bits: u8) {
        let link = self.new_link();
        let features = line_features(bits);
        let arrival =
            Arrival { handshake: self.handshake(features, link), rest: BytesMut::new(), credit: 1 << 20 };
        let from = ([198, 51, 100, bits], 50_000).into();
        let Some(peer) = self.torrent.accept(self.now, link, from, arrival) else { return };
        self.lines.insert(link, Line { open: true, features, ..Line::new(peer) });
    }

    fn handshake(&self, features: Features, link: LinkKey) -> Handshake {
        let mut id = [2; 20];
        id[..8].copy_from_slice(&link.as_u64().to_be_bytes());
        Handshake { features, info_hash: self.model.metainfo.info_hash(), peer_id: PeerId(id) }
    }

    fn new_link(&mut self) -> LinkKey {
        self.next_link += 1;
        LinkKey::from_u64(self.next_link)
    }

    fn hear(&mut self, link: LinkKey, bytes: BytesMut) {
        let Some(line) = self.lines.get(&link).filter(|line| line.open && !line.closing) else { return };
        self.torrent.handle_link(self.now, Lane::Peer(line.peer), LinkInput::Data(bytes));
    }

    pub(super) fn say(&mut self, at: u8, message: &Message) {
        let Some(link) = self.line(at) else { return };
        if let Message::Piece { data, .. } = message {
            self.given += data.len() as u64;
        }
        self.hear(link, encoded(message));
    }

    pub(super) fn be_seed(&mut self, at: u8) {
        let Some(link) = self.line(at) else { return };
        let Some(line) = self.lines.get(&link) else { return };
        let all = Bitfield::full(self.model.layout.grid().pieces());
        let bits = Message::Bitfield(Bytes::copy_from_slice(all.as_bytes()));
        let has = if line.features.fast { Message::HaveAll } else { bits };
        self.hear(link, encoded(&has));
        self.drain();
        self.hear(link, encoded(&Message::Unchoke));
    }

    pub(super) fn give(&mut self, at: u8, right: bool) {
        let Some(link) = self.line(at) else { return };
        let Some(block) = self.lines.get_mut(&link).and_then(|line| line.asked.pop_front()) else { return };
        let mut data = self.model.data(block).into_bytes().to_vec();
        data[0] ^= u8::from(!right);
        self.given += data.len() as u64;
        let Block { piece, begin, .. } = block;
        let message = Message::Piece { index: piece.get(), begin, data: Bytes::from(data).into() };
        self.hear(link, encoded(&message));
    }

    pub(super) fn sent(&mut self, at: u8, bytes: u32) {
        let Some(link) = self.line(at) else { return };
        let peer = self.lines[&link].peer;
        self.torrent.handle_link(self.now, Lane::Peer(peer), LinkInput::Sent(bytes));
    }

    pub(super) fn lose(&mut self, at: u8, error: LinkError) {
        let Some(link) = self.line(at) else { return };
        let peer = self.lines[&link].peer;
        self.torrent.handle_link(self.now, Lane::Peer(peer), LinkInput::Closed(error));
    }

    // ----- disk and store --------------------------------------------------------------------------------------------

    pub(super) fn end_operation(&mut self, at: u8, fails: Option<DiskErrorKind>) {
        if self.operations.is_empty() {
            return;
        }
        let (tag, op, resolved) = self.operations.remove(usize::from(at) % self.operations.len());
        let result = fails.map_or_else(|| self.disk.perform(op, resolved), |kind| Err(kind.into()));
        self.torrent.handle_disk(self.now, tag, result);
    }

    pub(super) fn record(&mut self) {
        if self.records > 0 {
            self.records -= 1;
            self.torrent.recorded(self.now);
        }
    }

    // ----- trackers and web seeds ------------------------------------------------------------------------------------

    pub(super) fn lease(&mut self, at: u8, there: bool) {
        if self.leases.is_empty() {
            return;
        }
        let lane = self.leases.remove(usize::from(at) % self.leases.len());
        if !there {
            return self.torrent.lease_failed(self.now, lane, DownloadError::Deadline { seconds: 1 });
        }
        let link = self.new_link();
        self.exchanges.insert(link, Exchange { lane, asked: String::new() });
        let time = Duration::from_secs(30);
        let config = ConnectionConfig { read_timeout: time, keep_alive: time };
        let connection = Box::new(Connection::new(self.now, config));
        let lease = Lease { link, connection, reused: false, local: false, other_family: None };
        self.torrent.leased(self.now, lane, lease);
    }

    pub(super) fn answer(&mut self, at: u8, how: u8) {
        let place = usize::from(at) % self.exchanges.len().max(1);
        let Some((lane, asked)) = self.exchanges.values().nth(place).map(|it| (it.lane, it.asked.clone()))
        else {
            return;
        };
        let input = match how % 8 {
            0 => LinkInput::Closed(LinkError::Eof),
            1 => LinkInput::Data(BytesMut::from(&b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..])),
            _ => LinkInput::Data(self.answer_to(lane, &asked, how & 8 == 0)),
        };
        self.torrent.handle_link(self.now, lane, input);
    }

    fn answer_to(&mut self, lane: Lane, asked: &str, right: bool) -> BytesMut {
        if let Lane::Tracker(_) = lane {
            let body = "d8:intervali1800e5:peers12:\u{1}\u{2}\u{3}\u{4}\u{1a}\u{29}\u{5}\u{6}\u{7}\u{8}\u{1a}\u{29}e";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            return BytesMut::from(head.as_bytes());
        }
        let path = asked.split(' ').nth(1).unwrap_or_default();
        let range = asked.split("bytes=").nth(1).and_then(|text| text.split("\r\n").next());
        let (first, last) = range.and_then(|range| range.split_once('-')).unwrap_or_default();
        let file = (0..5).find(|file| path.ends_with(&self.model.path(*file))).unwrap_or(0);
        let whole = self.model.file(file);
        let (first, last) = (first.parse().unwrap_or(0), last.parse().unwrap_or(whole.len().max(1) - 1));
        let mut bytes = whole.get(first..=last).unwrap_or_default().to_vec();
        bytes.first_mut().into_iter().for_each(|byte| *byte ^= u8::from(!right));
        self.given += bytes.len() as u64;
        let (count, total) = (bytes.len(), whole.len());
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\nContent-Length: {count}\r\n\r\n"
        );
        BytesMut::from(&[head.as_bytes(), &bytes].concat()[..])
    }

    pub(super) fn answer_datagram(&mut self, kind: u8, rest: &[u8]) {
        let Some((from, question)) = self.datagrams.pop() else { return };
        let packet = [&[0, 0, 0, kind % 4][..], question.get(12..16).unwrap_or_default(), rest].concat();
        self.torrent.handle_datagram(self.now, from, &packet);
    }

    pub(super) fn resolve(&mut self, found: Result<Vec<IpAddr>, ResolveError>) {
        if let Some(lane) = self.lookups.pop() {
            self.torrent.resolved(self.now, lane, found);
        }
    }

    // ----- users -----------------------------------------------------------------------------------------------------

    pub(super) fn read(&mut self, request: ReadRequest) {
        self.next_read += 1;
        self.reads.insert(self.next_read, request);
        self.torrent.read(self.now, request, self.next_read);
    }

    pub(super) fn want(&mut self, file: u32, level: Priority) {
        self.wanted[file as usize] = level;
        self.torrent.set_file_priorities(self.now, &[(file, level)].into());
    }

    pub(super) fn discard(&mut self) {
        self.vanishing = true;
        self.torrent.discard(self.now);
    }

    /// Every link may read enough.
    pub(super) fn feed(&mut self) {
        while let Some((lane, credit, _)) = self.torrent.next_hungry() {
            if credit < 1 << 19 {
                self.torrent.grant(self.now, lane, 1 << 20);
            }
        }
        self.torrent.settle_grants(self.now);
    }

    // ----- what comes out --------------------------------------------------------------------------------------------

    pub(super) fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.torrent.poll_output() {
            assert!(!self.ended, "{output:?} after the end (I4)");
            count += 1;
            self.on_output(output);
        }
        assert!(count <= MAX_OUTPUTS, "{count} outputs at once");
    }

    fn on_output(&mut self, output: Output) {
        match output {
            Output::Dial { peer, .. } if self.lines.len() >= MAX_LINES => {
                self.torrent.not_dialled(self.now, peer)
            }
            Output::Dial { peer, .. } => {
                let link = self.new_link();
                self.lines.insert(link, Line::new(peer));
                self.torrent.dialled(peer, link);
            }
            Output::Gone(link) => assert!(self.lines.remove(&link).is_some(), "it is gone already"),
            Output::Lease(output) => self.on_lease(output),
            Output::Link(link, output) => self.on_link(link, output),
            Output::Resolve { lane, .. } => self.lookups.push(lane),
            Output::Datagram { to, bytes } => {
                assert!(to.port() != 0 && bytes.len() >= 16);
                self.datagrams.push((to, bytes));
            }
            Output::Disk(tag, op) => {
                let resolved = self.disk.resolve(&op);
                if op.completes() {
                    self.operations.push((tag, op, resolved));
                }
            }
            Output::Record => self.records += 1,
            Output::ReadDone(done) => self.on_read(done),
            Output::Completed => self.check_completed(),
            Output::Ended(_) => self.ended = true,
            Output::Durable | Output::Metainfo | Output::Message(_) | Output::Checked { .. } => {}
        }
    }

    fn on_lease(&mut self, output: lease::Output<Lane>) {
        match output {
            lease::Output::Lease { slot, .. } => self.leases.push(slot),
            lease::Output::Unlease { slot, .. } => {
                let place = self.leases.iter().position(|lane| *lane == slot);
                assert!(place.map(|place| self.leases.remove(place)).is_some(), "it waits for none");
            }
            lease::Output::Release(lease) => {
                assert!(self.exchanges.remove(&lease.link).is_some(), "it has none");
            }
            lease::Output::Link(link, LinkOutput::Send(bytes)) => {
                let exchange = self.exchanges.get_mut(&link).expect("it has it on loan");
                exchange.asked = String::from_utf8_lossy(&bytes).into_owned();
            }
            lease::Output::Link(link, _) => assert!(self.exchanges.contains_key(&link), "it has none"),
        }
    }

    /// What is sent to a peer is read as the peer would.
    fn on_link(&mut self, link: LinkKey, output: LinkOutput) {
        let line = self.lines.get_mut(&link).expect("a link that is there");
        let bytes = match output {
            LinkOutput::Send(bytes) => bytes,
            LinkOutput::SendFile { file, offset, len } => {
                Bytes::copy_from_slice(self.disk.part(file, offset, len).expect("a part of an open file"))
            }
            LinkOutput::Close => {
                line.closing = true;
                return;
            }
            LinkOutput::Credit(_) => return,
        };
        let greeting = line.greeting.min(bytes.len());
        line.greeting -= greeting;
        let mut bytes = bytes.slice(greeting..);
        let mut said = Vec::new();
        while let Some(message) = line.decoder.decode(&mut bytes).expect("what this side says can be read") {
            said.push(message);
        }
        said.into_iter().for_each(|message| self.on_said(link, message));
    }

    fn on_said(&mut self, link: LinkKey, message: Message) {
        let grid = self.model.layout.grid();
        let line = self.lines.get_mut(&link).expect("it has just said something");
        match message {
            Message::Request(Span { index, begin, len }) => {
                let block = grid.span(index, begin, len).expect("a block that there is");
                // Whether it may ask again is for the judge of `peer_talk` to say.
                if !line.asked.contains(&block) {
                    line.asked.push_back(block);
                }
            }
            Message::Cancel(Span { index, begin, len }) => {
                line.asked.retain(|block| Some(*block) != grid.span(index, begin, len));
            }
            Message::Have(index) => self.check_right(index),
            Message::HaveAll => (0..grid.pieces()).for_each(|index| self.check_right(index)),
            Message::Bitfield(bits) => {
                let bits = Bitfield::from_bytes(&bits, grid.pieces()).expect("as many as there are");
                bits.ones().for_each(|index| self.check_right(index));
            }
            Message::Piece { index, begin, data } => {
                let block = grid.span(index, begin, data.len() as u32).expect("a block that there is");
                assert_eq!(data.into_bytes(), self.model.data(block).into_bytes(), "{block:?} is wrong");
            }
            _ => {}
        }
    }

    fn on_read(&mut self, ReadDone { reply, result, .. }: ReadDone) {
        let request = self.reads.remove(&reply).expect("an answer that was waited for");
        let Ok(bytes) = result else { return };
        let file = self.model.file(request.file as u32);
        let (start, end) = (request.offset as usize, request.offset as usize + bytes.len());
        let right = file.get(start..end).unwrap_or_default();
        assert_eq!(right, &bytes[..], "{request:?}");
        assert!(bytes.len() <= request.len as usize);
        assert!(!bytes.is_empty() || request.len == 0 || start >= file.len(), "nothing is no answer");
    }

    // ----- what must hold --------------------------------------------------------------------------------------------

    fn check_right(&self, index: u32) {
        assert!(self.model.is_right(&self.disk, index, false), "piece {index} is not here, or not right");
    }

    pub(super) fn check(&self) {
        assert!(self.lines.len() <= MAX_LINES + 1);
        assert!(self.torrent.backlog() <= MAX_BACKLOG, "{} bytes wait for the disk", self.torrent.backlog());
        let saved = self.torrent.saved(self.now);
        assert!(saved.downloaded <= self.given, "{} of {}", saved.downloaded, self.given);
        let Some(have) = self.torrent.have().filter(|_| !self.ended && !self.vanishing) else { return };
        have.ones().for_each(|index| self.check_right(index));
        if matches!(self.torrent.phase(), Phase::Checking | Phase::Stopping) {
            // Until it is seen what there is, what an earlier life counted is said.
            return;
        }
        let grid = self.model.layout.grid();
        let layout = &self.model.layout;
        let wanted =
            (0..5).filter(|file| self.wanted[*file as usize] != Priority::Skip && !layout.is_pad(*file));
        let spans = wanted.flat_map(|file| {
            let range = layout.range(file);
            layout.pieces_of(file).filter(|piece| have.has(*piece)).map(move |piece| {
                let piece = grid.piece_range(piece);
                piece.end.min(range.end) - piece.start.max(range.start)
            })
        });
        assert_eq!(saved.completed, spans.sum::<u64>(), "no byte counts twice");
    }

    fn check_completed(&self) {
        for file in (0..5).filter(|file| self.wanted[*file as usize] != Priority::Skip) {
            if !self.model.layout.is_pad(file) {
                let there = self.disk.content(&self.model.path(file));
                assert_eq!(there, Some(self.model.file(file)), "file {file} is said to be complete");
            }
        }
    }

    pub(super) fn check_end(&self) {
        assert_eq!(self.disk.open_count(), 0, "everything is closed");
        assert!(self.operations.is_empty(), "{:?} are under way", self.operations);
        assert!(self.lines.is_empty() && self.exchanges.is_empty() && self.leases.is_empty());
        assert!(self.reads.is_empty(), "{:?} wait for ever", self.reads);
        assert_eq!((self.torrent.poll_timeout(), self.torrent.backlog()), (None, 0));
    }
}

impl Line {
    fn new(peer: PeerKey) -> Self {
        Self {
            peer,
            features: Features::default(),
            open: false,
            closing: false,
            greeting: Handshake::LEN,
            decoder: MessageDecoder::default(),
            asked: VecDeque::new(),
        }
    }
}

fn line_features(bits: u8) -> Features {
    Features { extended: bits & 1 == 0, fast: bits & 2 == 0, dht: false }
}

/// Ten pieces of 32 KiB, the last of which is shorter: what `Said` speaks of.
const TOTAL: u64 = 10 * (32 << 10) - 20_000;
const MAX_PEERS: usize = 5;
/// Those that are looked for, and those that may connect beside them.
const MAX_LINES: usize = MAX_PEERS + 10;
/// Every block once, and what is being hashed.
const MAX_BACKLOG: u64 = 2 * TOTAL;
/// All requests of all peers, and what goes with them.
const MAX_OUTPUTS: usize = 5000;
