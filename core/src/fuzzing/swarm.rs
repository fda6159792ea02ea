//! Fuzzing: the policies of a torrent that other people's words reach: whom to connect to and whom to tell of it, who may
//! download, what is asked for, what readers need, where the metadata comes from; and the queue of downloads.

use super::machines::each;
use crate::base::{Bitfield, Instant, PieceGrid, Rng};
use crate::download::DownloadPriority;
use crate::download::readers::{MAX_READERS, MAX_URGENT, Readers};
use crate::download::torrent::candidates::pex::{PexCursor, PexJournal};
use crate::download::torrent::candidates::{BAN, Candidates, Source};
use crate::download::torrent::choker::{ChokePeer, Choker};
use crate::download::torrent::metadata::MetadataFetch;
use crate::download::torrent::pipeline::Pipeline;
use crate::engine::queue::Queue;
use crate::wire::peer::METADATA_PIECE_LEN;
use arbitrary::Arbitrary;
use bytes::Bytes;
use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

fn rng() -> Rng {
    Rng::from_seed([5; 32])
}

fn later(now: &mut Instant, tenths: u16) {
    *now += Duration::from_millis(100 * u64::from(tenths));
}

/// What happens to a list of addresses.
#[derive(Arbitrary, Debug)]
enum Rumour {
    Add([u8; 4], u16, u8),
    AddV6([u8; 16], u16, u8),
    AddMany([u8; 2], u16),
    Next,
    Outcome(u8, u8),
    Ban(u8),
    IsSelf(u8),
    Private,
    Later(u16),
}

/// Nobody is tried twice at once or while banned, nobody whom only peers named in a private torrent, and strangers at low
/// ports seldom; there are never too many.
pub fn candidates(data: &[u8]) {
    let mut talk = Rumours {
        list: Candidates::new(rng()),
        now: Instant::from_nanos(1),
        trying: Vec::new(),
        banned: BTreeMap::new(),
        named: BTreeSet::new(),
        low_at: None,
        private: false,
    };
    each(data, |step: Rumour| talk.step(step));
}

struct Rumours {
    list: Candidates,
    now: Instant,
    trying: Vec<SocketAddr>,
    banned: BTreeMap<IpAddr, Instant>,
    /// By the user.
    named: BTreeSet<SocketAddr>,
    low_at: Option<Instant>,
    private: bool,
}

impl Rumours {
    fn step(&mut self, step: Rumour) {
        match step {
            Rumour::Add(ip, port, source) => self.add((ip, port).into(), source),
            Rumour::AddV6(ip, port, source) => self.add((ip, port).into(), source),
            Rumour::AddMany([a, b], port) => {
                for number in 0..=255 {
                    let address = ([a, b, number, 7], port.wrapping_add(number.into())).into();
                    self.list.add(self.now, address, Source::Pex);
                }
            }
            Rumour::Next => self.next(),
            Rumour::Outcome(at, how) => self.end(at, how),
            Rumour::Ban(at) => {
                if let Some(ip) = self.trying.get(usize::from(at)).map(SocketAddr::ip) {
                    self.list.ban(self.now, ip);
                    self.banned.insert(ip, self.now + BAN);
                    self.trying.retain(|address| address.ip() != ip);
                    assert!(!self.list.may_connect(self.now, (ip, 9999).into(), core::iter::empty()));
                }
            }
            Rumour::IsSelf(at) if usize::from(at) < self.trying.len() => {
                self.list.is_self(self.trying.swap_remove(at.into()));
            }
            Rumour::IsSelf(_) => {}
            Rumour::Private => {
                self.list.go_private();
                self.private = true;
                // Whoever is forgotten may be named again by a tracker.
                self.trying.clear();
            }
            Rumour::Later(tenths) => later(&mut self.now, tenths),
        }
        assert!(self.list.len() <= MAX_KNOWN);
        let stranger = ([198, 51, 100, 1], 6881).into();
        assert!(!self.private || !self.list.add(self.now, stranger, Source::Pex), "private (BEP 27)");
    }

    fn add(&mut self, address: SocketAddr, source: u8) {
        const SOURCES: [Source; 5] =
            [Source::User, Source::Tracker, Source::Incoming, Source::Dht, Source::Pex];
        let source = SOURCES[usize::from(source) % 5];
        self.list.add(self.now, address, source);
        if source == Source::User {
            self.named.insert(SocketAddr::new(address.ip().to_canonical(), address.port()));
        }
    }

    fn next(&mut self) {
        let Some(address) = self.list.next(self.now) else { return };
        let ip = address.ip();
        assert!(!self.trying.contains(&address), "{address} is tried already");
        assert!(self.banned.get(&ip).is_none_or(|until| *until <= self.now), "{address} is banned");
        assert!(address.port() != 0 && !ip.is_multicast() && !ip.is_unspecified(), "{address}");
        if address.port() < 1024 && !self.named.contains(&address) {
            assert!(self.low_at.is_none_or(|at| self.now - at >= LOW_PORT_EVERY), "{address} so soon");
            self.low_at = Some(self.now);
        }
        self.trying.push(address);
    }

    fn end(&mut self, at: u8, how: u8) {
        if usize::from(at) >= self.trying.len() {
            return;
        }
        let address = self.trying.swap_remove(at.into());
        match how % 4 {
            0 => self.list.failed(self.now, address),
            1 => self.list.put_back(address),
            useful => {
                self.list.connected(self.now, address);
                self.list.disconnected(self.now, address, useful == 2);
            }
        }
    }
}

/// What happens to the journal of who is connected.
#[derive(Arbitrary, Debug)]
enum Visit {
    Come(u8, u8),
    Go(u8),
    Tell(u8),
    Later(u8),
}

/// Nobody hears of itself, nor more often than once a minute, nor too much at once; and who has heard all knows who is
/// there, where not more came and went than is kept.
pub fn pex_journal(data: &[u8]) {
    let address = |number: u8| SocketAddr::from(([192, 0, 2, number], 6881));
    let mut journal = PexJournal::new();
    let mut now = Instant::ZERO;
    let mut there: BTreeSet<SocketAddr> = BTreeSet::new();
    let mut ears: BTreeMap<u8, (PexCursor, BTreeSet<SocketAddr>, Instant)> = BTreeMap::new();
    each(data, |step: Visit| match step {
        Visit::Come(number, flags) => {
            journal.connected(address(number), flags);
            there.insert(address(number));
        }
        Visit::Go(number) => {
            journal.dropped(address(number));
            there.remove(&address(number));
        }
        Visit::Later(seconds) => now += Duration::from_secs(seconds.into()),
        Visit::Tell(number) => {
            let number = number % 4;
            let (cursor, known, next_at) = ears.entry(number).or_default();
            let Some(news) = journal.news(now, cursor, address(number)) else { return };
            assert!(now >= *next_at, "twice within a minute");
            *next_at = now + Duration::from_secs(60);
            assert!(news.added.len() <= 50 && news.dropped.len() <= 50, "BEP 11");
            let told: Vec<SocketAddr> =
                news.added.iter().map(|(at, _)| *at).chain(news.dropped.iter().copied()).collect();
            assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len(), "nobody is named twice");
            assert!(!told.contains(&address(number)), "it hears of itself");
            assert!(news.added.iter().all(|(at, _)| there.contains(at)));
            assert!(news.dropped.iter().all(|at| !there.contains(at)));
            known.extend(news.added.iter().map(|(at, _)| *at));
            news.dropped.iter().for_each(|at| _ = known.remove(at));
        }
    });
}

/// What happens between two decisions on who may download.
#[derive(Arbitrary, Debug)]
enum Choke {
    Peers(Vec<(u8, u8, u16, u16)>),
    Slots(Option<u8>),
    Limit(Option<u16>),
    Left(u8),
    Round(bool),
    Later(u8),
}

/// Only those who want something are unchoked, each once, within the slots, and no slot is empty while somebody waits.
pub fn choker(data: &[u8]) {
    let (mut choker, mut rng, mut now) = (Choker::new(None, None), rng(), Instant::from_nanos(1));
    let (mut peers, mut slots): (Vec<ChokePeer<u8>>, Option<usize>) = (Vec::new(), None);
    each(data, |step: Choke| match step {
        Choke::Peers(said) => {
            let unique: BTreeMap<u8, _> = said.into_iter().map(|peer| (peer.0, peer)).collect();
            peers = unique.into_values().map(|said| choke_peer(now, said)).collect();
        }
        Choke::Slots(count) => {
            slots = count.map(usize::from);
            choker.set_slots(slots);
        }
        Choke::Limit(limit) => _ = choker.set_limit(limit.map(|limit| u64::from(limit) << 8)),
        Choke::Left(peer) => {
            choker.left(peer);
            peers.retain(|other| other.key != peer);
        }
        Choke::Later(tenths) => later(&mut now, tenths.into()),
        Choke::Round(seeding) => {
            let chosen = choker.round(now, &peers, seeding, &mut rng);
            assert!(chosen.is_sorted_by(|one, next| one < next), "each once, and in order");
            let waits = |peer: &&ChokePeer<u8>| peer.interested && !peer.upload_only;
            let waiting: BTreeSet<u8> = peers.iter().filter(waits).map(|peer| peer.key).collect();
            assert!(chosen.iter().all(|peer| waiting.contains(peer)));
            if let Some(slots) = slots {
                let slots = slots.clamp(1, MAX_SLOTS);
                assert!(chosen.len() <= slots);
                assert_eq!(choker.has_free_slot(), chosen.len() < slots);
                let snubbed = peers.iter().filter(|peer| peer.snubbed).count();
                assert!(chosen.len() + snubbed >= slots.min(waiting.len()), "a slot is empty");
            }
            peers.iter_mut().for_each(|peer| peer.unchoked = chosen.contains(&peer.key));
        }
    });
}

fn choke_peer(now: Instant, (key, bits, down, up): (u8, u8, u16, u16)) -> ChokePeer<u8> {
    ChokePeer {
        key,
        interested: bits & 1 != 0,
        unchoked: bits & 2 != 0,
        rate_down: down.into(),
        rate_up: up.into(),
        snubbed: bits & 4 != 0,
        since: now,
        upload_only: bits & 8 != 0,
    }
}

/// What happens to the requests of a peer.
#[derive(Arbitrary, Debug)]
enum Flow {
    Received(u32),
    Unchoked,
    Snubbed,
    Later(u16),
    Look(u64, u32, Option<u16>),
}

/// At least one request, never more than the peer takes; patience is bounded.
pub fn pipeline(data: &[u8]) {
    let mut now = Instant::from_nanos(1);
    let mut pipeline = Pipeline::new(now);
    each(data, |step: Flow| match step {
        Flow::Received(bytes) => pipeline.received(now, bytes.into()),
        Flow::Unchoked => pipeline.unchoked(now),
        Flow::Snubbed => {
            pipeline.snubbed(now);
            assert!(pipeline.is_snubbed() && pipeline.window(u64::MAX, 500) == 1);
        }
        Flow::Later(tenths) => later(&mut now, tenths),
        Flow::Look(rate, limit, round_trip) => {
            let window = pipeline.window(rate, limit);
            assert!((1..=limit.clamp(1, 2000) as usize).contains(&window), "{window} of {limit}");
            let patience = pipeline.patience(round_trip.map(|millis| Duration::from_millis(millis.into())));
            assert!((10..=60).contains(&patience.as_secs()), "{patience:?}");
        }
    });
}

/// What those do who read while it loads.
#[derive(Arbitrary, Debug)]
enum Read {
    Open(u32, u32),
    Seek(u8, u64),
    Consume(u8, u32),
    Close(u8),
    Have(u8),
    Later(u16),
}

/// Positions and windows stay within what was opened; urgent pieces are missing ones of windows, each once.
pub fn readers(data: &[u8]) {
    let grid = PieceGrid::new(1 << 20, 200 << 20).expect("it is one");
    let (mut readers, mut now) = (Readers::new(), Instant::from_nanos(1));
    let (mut open, mut have) = (Vec::new(), Bitfield::new(grid.pieces()));
    each(data, |step: Read| {
        let which = |number: u8| open.get(usize::from(number)).map(|(key, _)| *key);
        match step {
            Read::Open(start, len) => {
                let start = u64::from(start) % grid.total();
                let range = start..start.saturating_add(len.into()).min(grid.total());
                let key = readers.open(now, range.clone());
                assert_eq!(key.is_some(), open.len() < MAX_READERS);
                open.extend(key.map(|key| (key, range)));
            }
            Read::Seek(number, at) => which(number).into_iter().for_each(|key| readers.seek(now, key, at)),
            Read::Consume(number, bytes) => {
                which(number).into_iter().for_each(|key| readers.consumed(now, key, bytes.into()));
            }
            Read::Close(number) if usize::from(number) < open.len() => {
                assert!(readers.close(open.swap_remove(number.into()).0));
            }
            Read::Close(_) => {}
            Read::Have(piece) => {
                grid.piece(piece.into()).into_iter().for_each(|piece| _ = have.insert(piece));
            }
            Read::Later(tenths) => later(&mut now, tenths),
        }
        let windows = readers.windows(now, 0);
        assert_eq!(windows.len(), open.len());
        for (key, range) in &open {
            let at = readers.position(*key).expect("it is open");
            assert!((range.start..=range.end).contains(&at) && readers.rest(*key) == Some(at..range.end));
            assert!(windows.iter().any(|window| window.start == at && window.end <= range.end));
        }
        let urgent = readers.urgent(now, &grid, |piece| !have.has(piece));
        assert!(urgent.len() <= MAX_URGENT && urgent.iter().collect::<BTreeSet<_>>().len() == urgent.len());
        let touches = |piece| windows.iter().any(|window| grid.pieces_in(window.clone()).any(|p| p == piece));
        assert!(urgent.into_iter().all(|piece| !have.has(piece) && touches(piece)));
    });
}

/// What peers do that have the metadata, or say so.
#[derive(Arbitrary, Debug)]
enum Fetch {
    Ask(u8, u16),
    Give(u8, u8, u16),
    GiveRight(u8, u8),
    Lost(u8),
    Later(u16),
    Refused(u8),
}

/// A part counts only from whom it was asked, at its length; the whole has the length that was said, and a peer that was
/// alone is known by its work.
pub fn metadata_fetch(data: &[u8]) {
    let (mut fetch, mut now) = (MetadataFetch::new(), Instant::from_nanos(1));
    let mut asked: BTreeSet<(u8, u32, usize)> = BTreeSet::new();
    each(data, |step: Fetch| {
        let (peer, part, len) = match step {
            Fetch::Ask(peer, said) => {
                let said = 1 + u32::from(said % 6) * 10_000;
                if let Some(part) = fetch.next(now, peer, said) {
                    assert!(part * METADATA_PIECE_LEN < said);
                    asked.insert((peer, part, said as usize));
                }
                return assert!(
                    fetch.poll_timeout().is_none_or(|at| at > now),
                    "it would be due at once again"
                );
            }
            Fetch::Give(peer, part, len) => (peer, u32::from(part % 4), usize::from(len)),
            Fetch::GiveRight(peer, part) => {
                let (part, piece) = (u32::from(part % 4), METADATA_PIECE_LEN as usize);
                let said = asked.iter().rev().find(|(who, which, _)| (*who, *which) == (peer, part));
                (peer, part, said.map_or(0, |(.., whole)| (whole - part as usize * piece).min(piece)))
            }
            Fetch::Lost(peer) => return fetch.lost(peer),
            Fetch::Refused(peer) => return fetch.refused(now, peer),
            Fetch::Later(tenths) => return later(&mut now, tenths),
        };
        if let Some(whole) = fetch.received(peer, part, Bytes::from(vec![peer; len])) {
            let parts = whole.chunks(METADATA_PIECE_LEN as usize).enumerate();
            for (number, part) in parts {
                assert!(part.iter().all(|byte| *byte == part[0]));
                let known = asked.contains(&(part[0], number as u32, whole.len()));
                assert!(known, "it was not asked of {}", part[0]);
            }
            let sole = whole.iter().all(|byte| *byte == whole[0]).then_some(whole[0]);
            assert_eq!(fetch.wrong(), sole);
        }
    });
}

/// What happens to the queue of downloads.
#[derive(Arbitrary, Debug)]
enum Turn {
    Push(u8, u8),
    Priority(u8, u8),
    Remove(u8),
    Pop,
    Finish(u8),
    Seed(u8),
    Unfinish(u8),
    Slots(u8),
}

/// Higher priority first, then first come, first served; no more run than there are slots when one is given.
pub fn queue(data: &[u8]) {
    let mut model = QueueModel { slots: 2, ..QueueModel::default() };
    let mut queue = Queue::new(model.slots);
    each(data, |step: Turn| {
        model.step(&mut queue, step);
        assert_eq!(queue.waiting_count(), model.waiting.len());
        let held = &(&model.running | &model.finishing) | &model.seeding;
        assert_eq!((queue.running_count(), queue.running().collect::<BTreeSet<u8>>()), (held.len(), held));
    });
}

/// A queue as three sets and a list that is searched.
#[derive(Default)]
struct QueueModel {
    slots: usize,
    age: u64,
    waiting: BTreeMap<u8, (DownloadPriority, u64)>,
    running: BTreeSet<u8>,
    finishing: BTreeSet<u8>,
    seeding: BTreeSet<u8>,
}

impl QueueModel {
    fn step(&mut self, queue: &mut Queue<u8>, step: Turn) {
        match step {
            Turn::Push(key, number) => {
                queue.push(key, priority(number));
                self.forget(key);
                self.age += 1;
                self.waiting.insert(key, (priority(number), self.age));
            }
            Turn::Priority(key, number) => {
                queue.set_priority(key, priority(number));
                self.waiting.entry(key).and_modify(|place| place.0 = priority(number));
            }
            Turn::Remove(key) => {
                queue.remove(key);
                self.forget(key);
            }
            Turn::Pop => self.pop(queue),
            Turn::Finish(key) => {
                queue.finish(key);
                if self.finishing.len() < MAX_FINISHING && self.running.remove(&key) {
                    self.finishing.insert(key);
                }
            }
            Turn::Seed(key) => {
                queue.seed(key);
                if self.running.remove(&key) || self.finishing.remove(&key) {
                    self.seeding.insert(key);
                }
            }
            Turn::Unfinish(key) => {
                queue.unfinish(key);
                if self.finishing.remove(&key) || self.seeding.remove(&key) {
                    self.running.insert(key);
                }
            }
            Turn::Slots(count) => {
                self.slots = usize::from(count % 20);
                queue.set_max_running(self.slots);
            }
        }
    }

    fn pop(&mut self, queue: &mut Queue<u8>) {
        let best = self.waiting.iter().min_by_key(|(_, (priority, age))| (Reverse(*priority), *age));
        let next = best.map(|(key, _)| *key).filter(|_| self.running.len() < self.slots);
        assert_eq!(queue.pop(), next);
        if let Some(key) = next {
            self.waiting.remove(&key);
            self.running.insert(key);
        }
    }

    fn forget(&mut self, key: u8) {
        self.waiting.remove(&key);
        for held in [&mut self.running, &mut self.finishing, &mut self.seeding] {
            held.remove(&key);
        }
    }
}

fn priority(number: u8) -> DownloadPriority {
    [DownloadPriority::Low, DownloadPriority::Normal, DownloadPriority::High, DownloadPriority::Critical]
        [usize::from(number % 4)]
}

/// More addresses than this are not kept.
const MAX_KNOWN: usize = 3000;
/// One low port in this time.
const LOW_PORT_EVERY: Duration = Duration::from_secs(5);
/// More are not unchoked, whatever is set.
const MAX_SLOTS: usize = 200;
/// Those that wait for disk and store and hold no slot.
const MAX_FINISHING: usize = 128;
