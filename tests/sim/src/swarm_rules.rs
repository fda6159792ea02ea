//! Policy: what must hold at every step of an engine in a swarm, by name. It reads both directions of every conversation
//! by itself, and looks at the disk.

use crate::disk::Disk;
use crate::invariants::{Checked, broken};
use crate::speed::Budget;
use crate::world::World;
use bytes::{Bytes, BytesMut};
use core::ops::Range;
use core::time::Duration;
use gosh_dl_core::base::{BLOCK_LEN, InfoHash, Instant, LinkInput, LinkOutput, PieceGrid};
use gosh_dl_core::engine::{ArrivalKey, Input, LinkKey, Output};
use gosh_dl_core::wire::peer::{Extension, ExtensionHandshake, Handshake, Message, MessageDecoder, Span};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// The torrent that everybody in the swarm has or wants.
#[derive(Debug)]
pub struct Truth {
    /// Its name.
    pub info_hash: InfoHash,
    /// Its pieces.
    pub grid: PieceGrid,
    /// All bytes of it.
    pub content: Arc<[u8]>,
    /// Its files: the directory, the name in it, and which bytes it holds.
    pub files: Vec<(PathBuf, String, Range<usize>)>,
    /// Whether only trackers may name peers (BEP 27).
    pub private: bool,
    /// Where trackers are.
    pub trackers: BTreeSet<IpAddr>,
    /// Whom the user and trackers may have named.
    pub named: BTreeSet<IpAddr>,
}

/// What is remembered of one life of an engine that has one torrent.
#[derive(Debug)]
pub struct SwarmRules {
    truth: Arc<Truth>,
    /// How many peers may download at once, where that is set.
    slots: Option<usize>,
    upload: Option<Budget>,
    /// Files that are not wanted.
    skips: BTreeSet<usize>,
    arrivals: BTreeMap<ArrivalKey, SocketAddr>,
    links: BTreeMap<LinkKey, Conversation>,
    gathered: BTreeMap<u32, BTreeMap<u32, (IpAddr, bool)>>,
    /// How many wrong pieces came from one peer alone, and when enough of them had come.
    failed: BTreeMap<IpAddr, (u32, Instant)>,
    /// Bytes of blocks that were asked for and came.
    useful: u64,
    /// What was downloaded before this life.
    base: Option<u64>,
}

#[derive(Debug)]
struct Conversation {
    peer: SocketAddr,
    sends: Ear,
    hears: Ear,
    /// Requests that the other side may answer.
    asked: Vec<Span>,
    /// Requests that were cancelled and not answered yet, where there is the Fast extension.
    withdrawn: Vec<Span>,
    /// Requests of the other side that may be answered.
    owed: Vec<Span>,
}

/// One direction: what its speaker said of itself.
#[derive(Debug, Default)]
struct Ear {
    beginning: BytesMut,
    greeting: Option<Handshake>,
    decoder: MessageDecoder,
    /// It has broken the protocol, and what follows means nothing.
    babble: bool,
    unchoked: bool,
    interested: bool,
    has: BTreeSet<u32>,
    allowed: BTreeSet<u32>,
    /// By which number it wants to be sent peer exchange.
    pex: Option<u8>,
}

impl Ear {
    fn listen(&mut self, mut bytes: Bytes) -> Vec<Message> {
        if self.greeting.is_none() {
            let missing = bytes.len().min(Handshake::LEN - self.beginning.len());
            self.beginning.extend_from_slice(&bytes.split_to(missing));
            let Ok(head) = <&[u8; Handshake::LEN]>::try_from(&self.beginning[..]) else { return Vec::new() };
            self.greeting = Handshake::decode(head);
            self.babble |= self.greeting.is_none();
        }
        let mut messages = Vec::new();
        while !self.babble {
            match self.decoder.decode(&mut bytes) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => self.babble = true,
            }
        }
        messages
    }

    fn note(&mut self, message: &Message, grid: PieceGrid) {
        match message {
            Message::Choke => self.unchoked = false,
            Message::Unchoke => self.unchoked = true,
            Message::Interested => self.interested = true,
            Message::NotInterested => self.interested = false,
            Message::AllowedFast(piece) => drop(self.allowed.insert(*piece)),
            Message::Extended { id: 0, payload } => {
                let ids = ExtensionHandshake::decode(payload).map(|handshake| handshake.ids);
                self.pex = ids.ok().and_then(|ids| ids[Extension::Pex.index()]).or(self.pex);
            }
            claim => self.has.extend(claimed(claim, grid)),
        }
    }
}

impl SwarmRules {
    /// The rules for an engine with these settings; `upload` is its limit in bytes per second.
    pub fn new(truth: Arc<Truth>, slots: Option<usize>, upload: Option<u64>, skips: BTreeSet<usize>) -> Self {
        let budget = |rate: u64| Budget::new(Instant::ZERO, rate, rate / 4 + AT_ONCE);
        Self {
            truth,
            slots,
            upload: upload.map(budget),
            skips,
            arrivals: BTreeMap::new(),
            links: BTreeMap::new(),
            gathered: BTreeMap::new(),
            failed: BTreeMap::new(),
            useful: 0,
            base: None,
        }
    }

    /// The engine has gone, and a new one knows nothing of its peers.
    pub fn restart(&mut self) {
        self.arrivals.clear();
        self.links.clear();
        self.gathered.clear();
        self.failed.clear();
        (self.useful, self.base) = (0, None);
    }

    /// The torrent is paused: it forgets its peers, and whom it banned.
    pub fn pause(&mut self) {
        self.gathered.clear();
        self.failed.clear();
    }

    /// Which files are not wanted any more.
    pub fn skip(&mut self, skips: BTreeSet<usize>) {
        self.skips = skips;
    }

    /// The engine says how many bytes it has downloaded in all its lives.
    pub fn on_downloaded(&mut self, downloaded: u64) -> Checked {
        let base = *self.base.get_or_insert(downloaded - self.useful.min(downloaded));
        if downloaded == base + self.useful {
            return Ok(());
        }
        let detail = format!("{downloaded} with {base} before and {} asked for and come", self.useful);
        Err(broken("no byte is counted twice", &detail))
    }

    /// Before the engine is given something.
    pub fn on_input(&mut self, now: Instant, input: &Input) -> Checked {
        match input {
            Input::Accepted { arrival, from, .. } => drop(self.arrivals.insert(*arrival, *from)),
            Input::Link { link, input: LinkInput::Data(bytes) } => {
                self.on_heard(now, *link, Bytes::copy_from_slice(bytes));
            }
            Input::Link { link, input: LinkInput::Closed(_) } => drop(self.links.remove(link)),
            _ => {}
        }
        Ok(())
    }

    /// Before something that the engine put out is done; what it sends of a file is bytes here.
    pub fn on_output(&mut self, now: Instant, output: &Output, disk: &Disk) -> Checked {
        match output {
            Output::Connect { link, to, .. } => {
                self.may_reach(to.ip())?;
                if !self.truth.trackers.contains(&to.ip()) {
                    self.links.insert(*link, Conversation::with(*to));
                }
                Ok(())
            }
            Output::Adopt { arrival, link } => {
                if let Some(from) = self.arrivals.remove(arrival) {
                    self.links.insert(*link, Conversation::with(from));
                }
                Ok(())
            }
            Output::Link { link, output: LinkOutput::Send(bytes) } => {
                self.on_sent(now, *link, bytes.clone(), disk)
            }
            Output::Link { link, output: LinkOutput::Close } => {
                self.links.remove(link);
                Ok(())
            }
            Output::Datagram { to, .. } if !self.truth.trackers.contains(&to.ip()) => {
                Err(broken("datagrams go to trackers", &format!("one to {to}")))
            }
            _ => Ok(()),
        }
    }

    /// After the engine has put out everything.
    pub fn on_turn(&self) -> Checked {
        let served = self.links.values().filter(|link| link.sends.unchoked).count();
        match self.slots.filter(|slots| served > *slots) {
            None => Ok(()),
            Some(slots) => Err(broken("upload slots are kept", &format!("{served} of {slots}"))),
        }
    }

    fn may_reach(&self, to: IpAddr) -> Checked {
        let known = self.truth.trackers.contains(&to) || self.truth.named.contains(&to);
        if self.truth.private && !known {
            return Err(broken("private torrents are silent", &format!("a connection to {to}")));
        }
        Ok(())
    }

    // ----- what it hears ---------------------------------------------------------------------------------------------

    fn on_heard(&mut self, now: Instant, link: LinkKey, bytes: Bytes) {
        let Some(mut talk) = self.links.remove(&link) else { return };
        for message in talk.hears.listen(bytes) {
            talk.hears.note(&message, self.truth.grid);
            match message {
                Message::Choke if !talk.fast() => talk.asked.clear(),
                Message::Reject(span) => {
                    let _ = take(&mut talk.withdrawn, span) || take(&mut talk.asked, span);
                }
                Message::Request(span) => talk.owed.push(span),
                Message::Piece { index, begin, data } => {
                    let span = Span { index, begin, len: u32::try_from(data.len()).unwrap_or(u32::MAX) };
                    if take(&mut talk.asked, span) {
                        self.useful += u64::from(span.len);
                        let right = self.is_right(span, &data.into_bytes());
                        self.gather(now, talk.peer.ip(), span, right);
                    } else {
                        take(&mut talk.withdrawn, span);
                    }
                }
                _ => {}
            }
        }
        self.links.insert(link, talk);
    }

    fn is_right(&self, span: Span, data: &[u8]) -> bool {
        let start = span.index as usize * self.truth.grid.piece_len() as usize + span.begin as usize;
        self.truth.content.get(start..start + data.len()) == Some(data)
    }

    /// Keeps who gave which block of a piece, and once it is whole, who alone spoilt it.
    fn gather(&mut self, now: Instant, from: IpAddr, span: Span, right: bool) {
        let Some(piece) = self.truth.grid.piece(span.index) else { return };
        let blocks = self.gathered.entry(span.index).or_default();
        blocks.entry(span.begin / BLOCK_LEN).or_insert((from, right));
        if blocks.len() < self.truth.grid.blocks_in(piece) as usize {
            return;
        }
        let blocks = self.gathered.remove(&span.index).unwrap_or_default();
        let alone = blocks.values().all(|(sender, _)| *sender == from);
        if alone && blocks.values().any(|(_, right)| !right) {
            let (count, at) = self.failed.entry(from).or_insert((0, now));
            *count += 1;
            // Else whoever lies all the time would never be late.
            if *count <= MAX_FAILED {
                *at = now;
            }
        }
    }

    // ----- what it sends ---------------------------------------------------------------------------------------------

    fn on_sent(&mut self, now: Instant, link: LinkKey, bytes: Bytes, disk: &Disk) -> Checked {
        let Some(mut talk) = self.links.remove(&link) else { return Ok(()) };
        for message in talk.sends.listen(bytes) {
            self.judge(now, &mut talk, &message, disk)?;
            talk.sends.note(&message, self.truth.grid);
        }
        let greeted = talk.sends.greeting.as_ref().is_none_or(|own| own.info_hash == self.truth.info_hash);
        if talk.sends.babble || !greeted {
            return Err(broken("the protocol is kept", &format!("to {}: {talk:?}", talk.peer)));
        }
        self.links.insert(link, talk);
        Ok(())
    }

    fn judge(&mut self, now: Instant, talk: &mut Conversation, message: &Message, disk: &Disk) -> Checked {
        match message {
            Message::Request(span) => {
                self.judge_request(now, talk, *span)?;
                talk.asked.push(*span);
            }
            // BEP 6: it is still answered, by the block or a rejection.
            Message::Cancel(span) if take(&mut talk.asked, *span) && talk.fast() => {
                talk.withdrawn.push(*span)
            }
            Message::Piece { index, begin, data } => {
                let span = Span { index: *index, begin: *begin, len: data.len() as u32 };
                self.judge_block(now, talk, span, &data.clone().into_bytes())?;
            }
            Message::Extended { id, payload } if self.truth.private => {
                let own = ExtensionHandshake::decode(payload).ok().filter(|_| *id == 0);
                // 0 takes an offer back.
                let offers = own.and_then(|own| own.ids[Extension::Pex.index()]).is_some_and(|id| id != 0);
                if offers || (*id != 0 && talk.hears.pex == Some(*id)) {
                    let detail = format!("peer exchange to {}", talk.peer);
                    return Err(broken("private torrents are silent", &detail));
                }
            }
            claim => {
                for piece in claimed(claim, self.truth.grid) {
                    self.judge_claim(piece, disk)?;
                }
            }
        }
        Ok(())
    }

    fn judge_request(&self, now: Instant, talk: &Conversation, span: Span) -> Checked {
        let detail = || format!("{span:?} of {} at {now:?}", talk.peer);
        let hears = &talk.hears;
        if !hears.unchoked && !hears.allowed.contains(&span.index) {
            return Err(broken("nothing is asked of who chokes", &detail()));
        }
        if !hears.has.contains(&span.index) {
            return Err(broken("only what the other has is asked for", &detail()));
        }
        let banned = self.failed.get(&talk.peer.ip()).filter(|(count, _)| *count >= MAX_FAILED);
        if banned.is_some_and(|(_, at)| now > *at + GRACE) {
            return Err(broken("liars are banned", &detail()));
        }
        let len = self.truth.grid.piece(span.index).map_or(0, |piece| self.truth.grid.len_of(piece));
        let within = u64::from(span.begin) + u64::from(span.len) <= u64::from(len);
        if !talk.sends.interested || span.len == 0 || span.len > BLOCK_LEN || !within {
            return Err(broken("the protocol is kept", &detail()));
        }
        Ok(())
    }

    fn judge_block(&mut self, now: Instant, talk: &mut Conversation, span: Span, data: &[u8]) -> Checked {
        let detail = || format!("{span:?} to {} at {now:?}", talk.peer);
        if !self.is_right(span, data) {
            return Err(broken("only right bytes are given", &detail()));
        }
        if !talk.owed.contains(&span) {
            return Err(broken("only what was asked for is given", &detail()));
        }
        let paid = self.upload.as_mut().is_none_or(|budget| budget.take(now, u64::from(span.len)));
        if !paid {
            return Err(broken("uploads keep to their limit", &detail()));
        }
        take(&mut talk.owed, span);
        Ok(())
    }

    fn judge_claim(&self, index: u32, disk: &Disk) -> Checked {
        let start = index as usize * self.truth.grid.piece_len() as usize;
        let end = (start + self.truth.grid.piece_len() as usize).min(self.truth.content.len());
        for (place, (dir, name, file)) in self.truth.files.iter().enumerate() {
            let part = start.max(file.start)..end.min(file.end);
            if part.is_empty() || self.skips.contains(&place) {
                continue;
            }
            let within = (part.start - file.start) as u64..(part.end - file.start) as u64;
            let file = disk.find(dir, name).or_else(|| disk.find(dir, &format!("{name}.part")));
            let here = file.map(|file| file.current().read(within));
            if here.as_deref() != Some(&self.truth.content[part]) {
                return Err(broken(
                    "no have without a right hash on the disk",
                    &format!("piece {index} of {name}"),
                ));
            }
        }
        Ok(())
    }
}

impl Conversation {
    fn with(peer: SocketAddr) -> Self {
        Self {
            peer,
            sends: Ear::default(),
            hears: Ear::default(),
            asked: Vec::new(),
            withdrawn: Vec::new(),
            owed: Vec::new(),
        }
    }

    fn fast(&self) -> bool {
        let fast = |ear: &Ear| ear.greeting.as_ref().is_some_and(|greeting| greeting.features.fast);
        fast(&self.sends) && fast(&self.hears)
    }
}

/// The pieces that a message claims.
fn claimed(message: &Message, grid: PieceGrid) -> Vec<u32> {
    let set = |bits: &Bytes, piece: u32| {
        bits.get(piece as usize / 8).is_some_and(|byte| byte << (piece % 8) & 0x80 != 0)
    };
    match message {
        Message::Have(piece) => vec![*piece],
        Message::HaveAll => (0..grid.pieces()).collect(),
        Message::Bitfield(bits) => (0..grid.pieces()).filter(|piece| set(bits, *piece)).collect(),
        _ => Vec::new(),
    }
}

/// Takes one of them out, if there is one.
fn take(from: &mut Vec<Span>, span: Span) -> bool {
    let at = from.iter().position(|other| *other == span);
    at.map(|at| from.remove(at)).is_some()
}

impl Truth {
    /// Where a torrent of one file, or of several in a folder, lies in [`World::DIR`].
    pub fn places(name: &str, lens: &[u64]) -> Vec<(PathBuf, String, Range<usize>)> {
        let mut at = 0;
        let single = lens.len() == 1;
        let place = |(number, len): (usize, &u64)| {
            let range = at..at + *len as usize;
            at = range.end;
            match single {
                true => (PathBuf::from(World::DIR), name.to_owned(), range),
                false => (PathBuf::from(World::DIR).join(name), format!("f{number}"), range),
            }
        };
        lens.iter().enumerate().map(place).collect()
    }
}

/// Blocks that were paid for while they were read leave together.
const AT_ONCE: u64 = 256 << 10;
/// After so many wrong pieces from it alone a peer is asked for nothing more.
const MAX_FAILED: u32 = 2;
/// How long it may take until a piece is hashed, written and judged.
const GRACE: Duration = Duration::from_secs(2);
