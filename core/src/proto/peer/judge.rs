//! Test: a strict listener beside a link, which reads both directions by itself and panics where one side breaks a rule
//! of BEP 3, 6, 10 or 54. It shares no code with what it judges.

use crate::base::PieceGrid;
use std::collections::BTreeSet;

/// Listens to one side: to what it sends, and to what it has been sent.
#[derive(Debug)]
pub(crate) struct Judge {
    grid: Option<PieceGrid>,
    sends: Ear,
    hears: Ear,
    /// What it is asked for and has not answered, and what it asks for and has not been answered.
    owes: Vec<Span>,
    asked: Vec<Span>,
    /// What it asked for and withdrew, or lost, and may be answered or not.
    withdrawn: Vec<Span>,
    /// Requests of the other side that it need not answer: they came while it choked, or were cancelled.
    answerable: Vec<Span>,
    /// Whether the other side can be believed to say plainly what it wants to be sent.
    plain: bool,
}

/// One direction: who speaks, what it said of itself, and how.
#[derive(Debug)]
struct Ear {
    bytes: Vec<u8>,
    /// How many of the bytes were looked at.
    read: usize,
    greeted: Option<Greeting>,
    messages: u64,
    choking: bool,
    interested: bool,
    has: BTreeSet<u32>,
    all: bool,
    /// Had, and not any more (BEP 54).
    lost: BTreeSet<u32>,
    allowed: BTreeSet<u32>,
    /// Names of extensions and the numbers by which it wants to be sent them.
    ids: [u8; 4],
    introduced: bool,
    request_queue: usize,
}

#[derive(Clone, Copy, Debug)]
struct Greeting {
    fast: bool,
    extended: bool,
    dht: bool,
}

type Span = (u32, u32, u32);

const NAMES: [&[u8]; 4] = [b"11:ut_metadata", b"6:ut_pex", b"11:lt_donthave", b"11:upload_only"];

impl Judge {
    /// Without a grid, everything that names a piece is wrong but a request that is refused.
    pub(crate) fn new(grid: Option<PieceGrid>) -> Self {
        Self {
            grid,
            sends: Ear::new(),
            hears: Ear::new(),
            owes: Vec::new(),
            asked: Vec::new(),
            withdrawn: Vec::new(),
            answerable: Vec::new(),
            plain: true,
        }
    }

    /// It got the metadata.
    pub(crate) fn set_pieces(&mut self, grid: PieceGrid) {
        self.grid = Some(grid);
    }

    /// It was sent these bytes, and has read them.
    pub(crate) fn hears(&mut self, bytes: &[u8]) {
        self.hears.add(bytes);
        while let Some((id, body)) = self.hears.next() {
            self.hears.note(id, &body);
            self.on_heard(id, &body);
        }
    }

    /// It sends these bytes.
    pub(crate) fn sends(&mut self, bytes: &[u8]) {
        self.sends.add(bytes);
        while let Some((id, body)) = self.sends.next() {
            self.judge(id, &body);
            self.sends.note(id, &body);
            self.forget_lost();
        }
        self.judge_choke();
    }

    /// Nothing is owed by either side (but withdrawn requests that the other side need not answer).
    #[cfg(test)]
    pub(crate) fn is_even(&self) -> bool {
        self.owes.is_empty() && self.asked.is_empty()
    }

    /// BEP 54: without the Fast extension, what was asked for of a piece that is gone is dropped silently.
    fn forget_lost(&mut self) {
        if !self.fast() {
            let (kept, gone): (Vec<Span>, Vec<Span>) =
                self.owes.iter().partition(|owed| !self.sends.lost.contains(&owed.0));
            self.owes = kept;
            self.answerable.extend(gone);
        }
    }

    fn fast(&self) -> bool {
        self.both(|greeting| greeting.fast)
    }

    fn both(&self, of: impl Fn(Greeting) -> bool) -> bool {
        [&self.sends, &self.hears].iter().all(|ear| ear.greeted.is_some_and(&of))
    }

    fn on_heard(&mut self, id: Option<u8>, body: &[u8]) {
        match id {
            Some(0) if !self.fast() => self.withdrawn.append(&mut self.asked),
            Some(6) => {
                let index = span(body).0;
                let refusable = self.sends.choking && !self.sends.allowed.contains(&index);
                if (refusable || !self.sends.has(index)) && !self.fast() {
                    self.answerable.push(span(body));
                } else {
                    self.owes.push(span(body));
                }
            }
            Some(7) => {
                let (index, begin, _) = span(&[&body[..8], &[0; 4]].concat());
                let span = (index, begin, body.len() as u32 - 8);
                let _ = take(&mut self.asked, span) || take(&mut self.withdrawn, span);
            }
            Some(8) if !self.fast() && take(&mut self.owes, span(body)) => self.answerable.push(span(body)),
            Some(16) => {
                let _ = take(&mut self.withdrawn, span(body)) || take(&mut self.asked, span(body));
            }
            Some(20) if body[0] == 3 && !self.fast() => {
                let index = number(&body[1..]);
                let (gone, left) = self.asked.iter().partition(|span| span.0 == index);
                self.asked = left;
                self.withdrawn.extend::<Vec<Span>>(gone);
            }
            _ => {}
        }
    }

    fn judge(&mut self, id: Option<u8>, body: &[u8]) {
        let Some(id) = id else { return };
        let first = self.sends.messages == 0;
        if self.fast() {
            assert_eq!(first, matches!(id, 5 | 14 | 15), "BEP 6: one of three at first, and not again: {id}");
        } else {
            assert!(first || id != 5, "BEP 3: a bit field is only ever sent as the first message");
            assert!(!matches!(id, 13..=17), "BEP 6: message {id} without the extension");
        }
        match id {
            0 => assert!(!self.sends.choking, "choked already"),
            1 => assert!(self.sends.choking, "unchoked already"),
            2 => assert!(!self.sends.interested, "interested already"),
            3 => assert!(self.sends.interested, "not interested already"),
            4 | 13 | 17 => self.judge_piece(number(body)),
            5 => self.judge_bitfield(body),
            6 => self.judge_request(span(body)),
            7 => self.judge_block(body),
            8 => {
                assert!(take(&mut self.asked, span(body)), "cancelled what was not asked for");
                self.withdrawn.push(span(body));
            }
            9 => assert!(self.both(|greeting| greeting.dht), "a port of no DHT"),
            14 | 15 => {}
            16 => {
                let owed = take(&mut self.owes, span(body)) || take(&mut self.answerable, span(body));
                assert!(owed, "BEP 6: rejected what was not asked for");
            }
            20 => self.judge_extended(body),
            _ => panic!("message {id} is nobody's"),
        }
    }

    fn judge_piece(&self, index: u32) {
        assert!(self.grid.is_some_and(|grid| index < grid.pieces()), "no piece {index}");
    }

    fn judge_bitfield(&self, bits: &[u8]) {
        let pieces = self.grid.expect("a bit field without metadata").pieces() as usize;
        assert_eq!(bits.len(), pieces.div_ceil(8), "a bit field of another torrent");
        let spare = (pieces..bits.len() * 8).any(|bit| bits[bit / 8] >> (7 - bit % 8) & 1 == 1);
        assert!(!spare && bits.iter().any(|byte| *byte != 0), "spare bits, or nothing to say");
    }

    fn judge_request(&mut self, asked: Span) {
        let (index, begin, len) = asked;
        self.judge_piece(index);
        let grid = self.grid.expect("a request without metadata");
        let left = grid.total() - u64::from(index) * u64::from(grid.piece_len());
        let piece_len = left.min(u64::from(grid.piece_len()));
        assert!(len > 0 && len <= 16 << 10 && u64::from(begin) + u64::from(len) <= piece_len, "{asked:?}");
        assert!(self.sends.interested, "asked without being interested");
        assert!(self.hears.has(index), "asked for what the other does not have");
        let allowed = !self.hears.choking || self.hears.allowed.contains(&index);
        assert!(allowed, "BEP 3: asked although choked");
        let few = !self.plain || self.asked.len() < self.hears.request_queue;
        assert!(few, "BEP 10: asked for more than the other keeps");
        self.asked.push(asked);
    }

    fn judge_block(&mut self, body: &[u8]) {
        let block = (number(body), number(&body[4..]), body.len() as u32 - 8);
        assert!(take(&mut self.owes, block), "a block that nobody waits for: {block:?}");
        let free = !self.sends.choking || self.sends.allowed.contains(&block.0);
        assert!(free, "gave a block although choking");
    }

    fn judge_extended(&self, body: &[u8]) {
        assert!(self.both(|greeting| greeting.extended), "BEP 10 was not agreed upon");
        let id = body[0];
        assert!(id == 0 || self.sends.introduced, "BEP 10: extended message {id} before the handshake");
        let wanted = id == 0 || !self.plain || self.hears.ids.contains(&id);
        assert!(wanted, "BEP 10: nobody wants extended message {id}");
    }

    /// BEP 6: what was asked for is rejected with the choke; BEP 3: it is forgotten.
    fn judge_choke(&mut self) {
        if !self.sends.choking || self.sends.read < self.sends.bytes.len() {
            return;
        }
        let given = self.sends.allowed.clone();
        let (kept, gone): (Vec<Span>, Vec<Span>) = self.owes.iter().partition(|owed| given.contains(&owed.0));
        if self.fast() {
            assert_eq!(gone, [], "BEP 6: choked without rejecting");
        }
        self.owes = kept;
    }
}

impl Ear {
    fn new() -> Self {
        Self {
            bytes: Vec::new(),
            read: 0,
            greeted: None,
            messages: 0,
            choking: true,
            interested: false,
            has: BTreeSet::new(),
            all: false,
            lost: BTreeSet::new(),
            allowed: BTreeSet::new(),
            ids: [0; 4],
            introduced: false,
            request_queue: 250,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..core::mem::take(&mut self.read));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, once all of it is there; the handshake is none.
    fn next(&mut self) -> Option<(Option<u8>, Vec<u8>)> {
        if self.greeted.is_none() {
            let head = self.bytes.get(..68)?;
            assert_eq!(&head[..20], b"\x13BitTorrent protocol");
            let bit = |byte: usize, bit: u8| head[byte] & bit != 0;
            self.greeted = Some(Greeting { fast: bit(27, 4), extended: bit(25, 16), dht: bit(27, 1) });
            self.read = 68;
        }
        let rest = &self.bytes[self.read..];
        let len = number(rest.get(..4)?) as usize;
        let message = rest.get(4..4 + len)?;
        self.read += 4 + len;
        Some((message.first().copied(), message.get(1..).unwrap_or_default().to_vec()))
    }

    fn note(&mut self, id: Option<u8>, body: &[u8]) {
        let Some(id) = id else { return };
        self.messages += 1;
        let fixed = match id {
            0..=3 | 14 | 15 => Some(0),
            4 | 13 | 17 => Some(4),
            6 | 8 | 16 => Some(12),
            9 => Some(2),
            _ => None,
        };
        assert!(fixed.is_none_or(|fixed| body.len() == fixed), "message {id} of {} bytes", body.len());
        match id {
            0 | 1 => self.choking = id == 0,
            2 | 3 => self.interested = id == 2,
            4 => {
                self.has.insert(number(body));
                self.lost.remove(&number(body));
            }
            5 => {
                let set = |bit: &u32| body[*bit as usize / 8] >> (7 - bit % 8) & 1 == 1;
                self.has.extend((0..body.len() as u32 * 8).filter(set));
            }
            14 => self.all = true,
            17 => drop(self.allowed.insert(number(body))),
            20 if body[0] == 0 => self.note_introduction(body),
            20 if body[0] == 3 && body.len() == 5 => drop(self.lost.insert(number(&body[1..]))),
            _ => {}
        }
    }

    fn has(&self, index: u32) -> bool {
        (self.all || self.has.contains(&index)) && !self.lost.contains(&index)
    }

    fn note_introduction(&mut self, body: &[u8]) {
        self.introduced = true;
        let at = |text: &[u8], key: &[u8]| text.windows(key.len()).position(|window| window == key);
        let after = |text: &[u8], key: &[u8]| {
            let rest = &text[at(text, key)? + key.len()..];
            let digits = rest.strip_prefix(b"i")?.split(|byte| *byte == b'e').next()?;
            core::str::from_utf8(digits).ok()?.parse::<usize>().ok()
        };
        // Of the names there are only numbers, so they end with the first `ee`.
        let names = at(body, b"1:md").map_or(&body[..0], |start| &body[start + 4..]);
        let names = if names.starts_with(b"e") { &names[..0] } else { names };
        let names = &names[..at(names, b"ee").unwrap_or(0)];
        for (id, name) in self.ids.iter_mut().zip(NAMES) {
            let said = after(names, name).and_then(|id| u8::try_from(id).ok());
            *id = said.unwrap_or(*id);
        }
        // Who says that it keeps none could never be asked, so one at a time is right.
        self.request_queue = after(body, b"4:reqq").map_or(self.request_queue, |queue| queue.max(1));
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn span(body: &[u8]) -> Span {
    (number(body), number(&body[4..]), number(&body[8..]))
}

/// Takes one of them out, if there is one.
fn take(from: &mut Vec<Span>, span: Span) -> bool {
    let at = from.iter().position(|other| *other == span);
    at.map(|at| from.remove(at)).is_some()
}
