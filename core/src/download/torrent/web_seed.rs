//! Machine: a web server that has the files of a torrent (BEP 17, 19).
//!
//! The torrent asks it for runs of pieces ([`WebSeed::fetch`]) and gets blocks, in order. One exchange is under way at a
//! time, over a connection that is leased from above for it. Whether what comes is right, hashes tell; a server that lies
//! is [condemned](WebSeed::condemn).

mod error;
mod exchange;
pub mod requests;

pub use self::error::WebSeedError;
pub use self::requests::Kind;

use self::exchange::Exchange;
use self::requests::{Part, next_part};
use super::layout::Layout;
use crate::base::{BLOCK_LEN, Bitfield, Block, BlockData, Instant, Key, LinkInput, Rng, Slab};
use crate::download::backoff::Backoff;
use crate::download::error::DownloadError;
use crate::download::lease::{self, Lease};
use crate::wire::http::HttpUrl;
use crate::wire::torrent::Metainfo;
use bytes::Bytes;
use core::ops::Range;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

/// Names one exchange with a web seed: a request and its answer.
pub type SlotKey = Key<Slot>;

/// What a [`SlotKey`] names.
#[derive(Debug)]
pub struct Slot(Exchange);

/// What a web seed is for.
#[derive(Clone, Debug)]
pub struct WebSeedPlan {
    /// What it has.
    pub kind: Kind,
    /// Where it is.
    pub url: HttpUrl,
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    /// Where the torrent's files lie.
    pub layout: Arc<Layout>,
    /// How this program calls itself.
    pub user_agent: String,
}

/// What a web seed asks for, or has.
#[derive(Debug)]
pub enum Output {
    /// A connection for an exchange, or what is done with one; [`WebSeed::leased`] or [`WebSeed::lease_failed`] answers.
    Lease(lease::Output<SlotKey>),
    /// A block of a run that was asked for.
    Block(Block, BlockData),
    /// All runs that were asked for are there.
    Idle,
    /// What was asked for and is not there does not come. [`WebSeed::has`] may have become less.
    Failed {
        /// Why.
        error: WebSeedError,
        /// When [`Output::Ready`] follows; never, if there is no such time.
        until: Option<Instant>,
    },
    /// It may be asked again.
    Ready,
}

/// One web seed of a torrent.
#[derive(Debug)]
pub struct WebSeed {
    plan: WebSeedPlan,
    rng: Rng,
    backoff: Backoff,
    state: State,
    has: Bitfield,
    /// What is to come, as ranges of the whole; the first begins at the next byte.
    runs: VecDeque<Range<u64>>,
    /// The beginning of the next block.
    block: BlockData,
    slots: Slab<Slot>,
    current: Option<SlotKey>,
    /// How many exchanges in a row brought nothing because their connection was gone.
    stale: usize,
    received: u64,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Resting { until: Instant },
    Gone,
}

impl WebSeed {
    /// A web seed that is taken to have everything.
    pub fn new(plan: WebSeedPlan, rng: Rng) -> Self {
        let has = Bitfield::full(plan.layout.grid().pieces());
        Self {
            plan,
            rng,
            backoff: Backoff::new(FIRST_REST, LONGEST_REST),
            state: State::Ready,
            has,
            runs: VecDeque::new(),
            block: BlockData::new(),
            slots: Slab::new(),
            current: None,
            stale: 0,
            received: 0,
            outputs: VecDeque::new(),
        }
    }

    /// Asks for the bytes of `run`, whole blocks of the torrent, after what was asked for before. Says whether that was
    /// taken: not while it rests, and no more than [`MAX_RUNS`] at once.
    pub fn fetch(&mut self, now: Instant, run: Range<u64>) -> bool {
        if !self.wants() || run.is_empty() || run.end > self.plan.layout.grid().total() {
            return false;
        }
        self.runs.push_back(run);
        self.settle(now);
        true
    }

    /// Forgets all that was asked for; of a block under way nothing comes.
    pub fn cancel(&mut self, now: Instant) {
        self.runs.clear();
        self.block = BlockData::new();
        self.close_current(now);
    }

    /// What it sent was wrong (BEP 19: the URL is discarded). Nothing comes any more.
    pub fn condemn(&mut self, now: Instant) {
        self.fail(now, WebSeedError::Lied);
    }

    /// The connection that an exchange waits for. `reused` tells that it has served before.
    pub fn leased(&mut self, now: Instant, slot: SlotKey, lease: Lease) {
        self.on_leased(now, slot, lease);
        self.settle(now);
    }

    /// There is no connection for an exchange.
    pub fn lease_failed(&mut self, now: Instant, slot: SlotKey, error: DownloadError) {
        let waits = self.slots.get(slot).is_some_and(|slot| slot.0.is_leasing());
        if waits && self.current == Some(slot) {
            self.on_lease_failed(now, error);
        }
    }

    /// Something happened on the link of an exchange.
    pub fn handle_link(&mut self, now: Instant, slot: SlotKey, input: LinkInput) {
        self.with_connection(now, slot, |connection| connection.handle_input(now, input));
        self.settle(now);
    }

    /// Lets the link of an exchange read `bytes` more.
    pub fn grant(&mut self, now: Instant, slot: SlotKey, bytes: u32) {
        self.with_connection(now, slot, |connection| connection.grant(now, bytes));
        self.settle(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.state, State::Resting { until } if until <= now) {
            self.state = State::Ready;
            self.outputs.push_back(Output::Ready);
        }
        if let Some(slot) = self.current {
            self.with_connection(now, slot, |connection| connection.handle_timeout(now));
        }
        self.settle(now);
    }

    /// The next thing that is asked for or there; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Resting { until } => Some(until),
            _ => self.current.and_then(|slot| self.slots.get(slot)?.0.poll_timeout()),
        }
    }

    // ----- views -----------------------------------------------------------------------------------------------------

    /// Whether [`fetch`](Self::fetch) would take another run. True before the last has come, so that there is no pause.
    pub fn wants(&self) -> bool {
        self.state == State::Ready && self.runs.len() < MAX_RUNS
    }

    /// Which pieces it may have: all, but those of files that it turned out not to have.
    pub fn has(&self) -> &Bitfield {
        &self.has
    }

    /// Whether it will not be asked any more.
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Where it is. Safe to show: without a password.
    pub fn url(&self) -> &HttpUrl {
        &self.plan.url
    }

    /// The exchange that is under way.
    pub fn exchange(&self) -> Option<SlotKey> {
        self.current
    }

    /// How many bytes of the torrent came from it.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How much more the link of an exchange may read.
    pub fn credit(&self, slot: SlotKey) -> Option<u64> {
        self.slots.get(slot)?.0.credit()
    }

    /// Which of `data`, were it to arrive for an exchange now, nothing looks at: in order, without touching. For one that
    /// is over, all of it.
    pub fn payload(&self, slot: SlotKey, data: &[u8]) -> Vec<Range<usize>> {
        let known = self.slots.get(slot).and_then(|slot| slot.0.payload(data));
        known.unwrap_or_else(|| vec![0..data.len()])
    }

    // ----- within ----------------------------------------------------------------------------------------------------

    /// Begins the next exchange if there is something to ask for and nothing under way.
    fn settle(&mut self, now: Instant) {
        while self.state == State::Ready && self.current.is_none() {
            let Some(run) = self.runs.front().cloned() else { return };
            let Some(part) = next_part(self.plan.kind, &self.plan.layout, run) else {
                self.runs.pop_front();
                continue;
            };
            match part {
                Part::Zeros(len) => self.deliver_zeros(len),
                part => self.begin(now, part),
            }
        }
    }

    fn deliver_zeros(&mut self, mut len: u64) {
        static ZEROS: [u8; BLOCK_LEN as usize] = [0; BLOCK_LEN as usize];
        while len > 0 {
            let zeros = &ZEROS[..usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len())];
            len -= zeros.len() as u64;
            self.deliver(Bytes::from_static(zeros));
        }
    }

    /// Takes the next bytes of the first run.
    fn deliver(&mut self, mut bytes: Bytes) {
        let grid = self.plan.layout.grid();
        while let Some(run) = self.runs.front_mut().filter(|_| !bytes.is_empty()) {
            let piece = grid.pieces_in(run.start..run.end).next();
            let number = |piece| (run.start - grid.piece_range(piece).start) / u64::from(BLOCK_LEN);
            let block = piece.and_then(|piece| grid.block(piece, u32::try_from(number(piece)).ok()?));
            let Some(block) = block else { return };
            let left = grid.block_range(block).end - run.start;
            let part = bytes.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            run.start += part.len() as u64;
            let (is_whole, is_last) = (part.len() as u64 == left, run.start >= run.end);
            self.block.push(part);
            if is_whole {
                self.outputs.push_back(Output::Block(block, core::mem::take(&mut self.block)));
            }
            if is_last {
                self.runs.pop_front();
                if self.runs.is_empty() {
                    self.outputs.push_back(Output::Idle);
                }
            }
        }
    }

    /// Gives up what was asked for. Whether it is asked again, and for what, depends on whose fault it is.
    fn fail(&mut self, now: Instant, error: WebSeedError) {
        self.fail_for(now, self.current_file(), error);
    }

    fn fail_for(&mut self, now: Instant, file: Option<u32>, error: WebSeedError) {
        if self.state == State::Gone {
            return;
        }
        let missing = file.filter(|_| error.is_about_the_file());
        for piece in missing.into_iter().flat_map(|file| self.plan.layout.pieces_of(file)) {
            self.has.remove(piece);
        }
        let rest = error.rest(self.plan.kind);
        self.cancel(now);
        self.state = match rest {
            _ if error.is_final() || self.has.count() == 0 => State::Gone,
            None => State::Resting { until: now + BETWEEN_FILES },
            Some(least) => {
                let until = now + self.backoff.next(&mut self.rng).max(least.min(LONGEST_REST));
                State::Resting { until }
            }
        };
        let until = if let State::Resting { until } = self.state { Some(until) } else { None };
        self.outputs.push_back(Output::Failed { error, until });
    }

    fn current_file(&self) -> Option<u32> {
        self.slots.get(self.current?)?.0.part().file()
    }
}

/// The most runs that are asked for at once: one that comes and one behind it.
pub const MAX_RUNS: usize = 2;

/// How long it rests after the first failure; BEP 17 has the same.
const FIRST_REST: Duration = Duration::from_secs(30);

/// How long it rests after it turned out not to have one of the files: a server that has none is not asked in a storm.
const BETWEEN_FILES: Duration = Duration::from_millis(100);

/// How long it rests at most.
const LONGEST_REST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
