//! How a torrent fetches from web servers that have its files (BEP 17, 19): runs of whole pieces, long ones of fast servers.

use super::layout::Layout;
use super::picker::Speed;
use super::web_seed::{self, Kind, SlotKey, WebSeed, WebSeedPlan};
use super::{Child, Content, Lane, Output, Phase, Sender, Timer, Torrent};
use crate::base::{Instant, Key, RateMeter};
use crate::wire::http::HttpUrl;
use crate::wire::torrent::Metainfo;
use std::sync::Arc;

/// Names a web seed of a torrent.
pub type SeedKey = Key<SeedSlot>;

/// One web seed and what the torrent keeps of it.
#[derive(Debug)]
pub struct SeedSlot {
    pub(super) machine: WebSeed,
    down: RateMeter,
    /// Bytes whose arrival has been counted.
    received: u64,
    /// Credit of its link that is counted in the torrent's.
    credit: u64,
    touched: bool,
    hungry: bool,
    /// Whether nothing was left for it when it last looked.
    starved: bool,
    /// Whether the user knows of its trouble.
    told: bool,
}

/// A web seed as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSeedView {
    /// Where it is; without a password.
    pub url: String,
    /// Bytes of the torrent that came from it.
    pub received: u64,
    /// Bytes per second from it.
    pub download_speed: u64,
    /// Whether it will not be asked any more: it lied, or has nothing of the torrent.
    pub is_gone: bool,
}

impl Torrent {
    /// The web seeds that the metainfo and the link name, each once.
    pub(super) fn meet_web_seeds(&mut self, now: Instant) {
        let Some(content) = self.content.as_ref().filter(|_| self.seeds.is_empty()) else { return };
        let (metainfo, layout) = (Arc::clone(&content.metainfo), Arc::clone(content.files.layout()));
        for (kind, url) in addresses(&metainfo, &self.plan.web_seeds) {
            let known = self.seeds.iter().any(|(_, slot)| *slot.machine.url() == url);
            if known || self.seeds.len() >= MAX_WEB_SEEDS {
                continue;
            }
            let (metainfo, layout) = (Arc::clone(&metainfo), Arc::<Layout>::clone(&layout));
            let plan = WebSeedPlan { kind, url, metainfo, layout, user_agent: self.plan.user_agent.clone() };
            let seed = self.seeds.insert(SeedSlot {
                machine: WebSeed::new(plan, self.rng.fork()),
                down: RateMeter::new(now),
                received: 0,
                credit: 0,
                touched: false,
                hungry: false,
                starved: false,
                told: false,
            });
            self.touch_seed(seed);
        }
    }

    /// Does something with a web seed, if it is there.
    pub(super) fn with_seed(&mut self, seed: SeedKey, act: impl FnOnce(&mut WebSeed)) {
        if let Some(slot) = self.seeds.get_mut(seed) {
            act(&mut slot.machine);
            self.touch_seed(seed);
        }
    }

    fn touch_seed(&mut self, seed: SeedKey) {
        if let Some(slot) = self.seeds.get_mut(seed)
            && !core::mem::replace(&mut slot.touched, true)
        {
            self.touched.push_back(Child::WebSeed(seed));
        }
    }

    /// Something was given back, or is wanted again: web seeds look whether there is something for them.
    pub(super) fn wake_seeds(&mut self) {
        for seed in self.seeds.keys() {
            if let Some(slot) = self.seeds.get_mut(seed) {
                slot.starved = false;
                self.touch_seed(seed);
            }
        }
    }

    /// Web seeds leave what they are at, for what is waited for.
    pub(super) fn hurry_seeds(&mut self, now: Instant) {
        self.rest_seeds(now);
        self.wake_seeds();
    }

    /// Nothing more is wanted of web seeds: what they were asked for can be asked of others.
    pub(super) fn rest_seeds(&mut self, now: Instant) {
        for seed in self.seeds.keys() {
            if let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) {
                picker.released_all(Sender::WebSeed(seed));
            }
            self.with_seed(seed, |machine| machine.cancel(now));
        }
    }

    /// Reads what a web seed has, and asks it for more.
    pub(super) fn drain_seed(&mut self, now: Instant, seed: SeedKey) {
        loop {
            while let Some(output) = self.seeds.get_mut(seed).and_then(|slot| slot.machine.poll_output()) {
                self.on_seed(now, seed, output);
            }
            if !self.ask_seed(now, seed) {
                break;
            }
        }
        let Some(slot) = self.seeds.get_mut(seed) else { return };
        slot.touched = false;
        let more = slot.machine.received() - slot.received;
        slot.received += more;
        if more > 0 {
            slot.told = false;
            slot.down.add(now, more);
            self.down.add(now, more);
            self.downloaded += more;
        }
        let exchange = slot.machine.exchange();
        let credit = exchange.and_then(|exchange| slot.machine.credit(exchange));
        self.credit = self.credit.saturating_sub(slot.credit) + credit.unwrap_or(0);
        slot.credit = credit.unwrap_or(0);
        if let (Some(exchange), Some(_)) = (exchange, credit)
            && !core::mem::replace(&mut slot.hungry, true)
        {
            self.hungry.push_back(Lane::WebSeed(seed, exchange));
        }
        self.deadlines.set(Timer::WebSeed(seed), slot.machine.poll_timeout());
    }

    fn on_seed(&mut self, now: Instant, seed: SeedKey, output: web_seed::Output) {
        match output {
            web_seed::Output::Lease(lease) => {
                let lease = lease.map(|slot| Lane::WebSeed(seed, slot));
                self.outputs.push_back(Output::Lease(lease));
            }
            web_seed::Output::Block(block, data) => self.on_block(now, Sender::WebSeed(seed), block, data),
            web_seed::Output::Failed { error, .. } => {
                tracing::debug!(%error, "web seed failed");
                self.on_seed_failed(seed, &error);
            }
            web_seed::Output::Idle | web_seed::Output::Ready => {}
        }
    }

    /// What it was asked for does not come: others are asked.
    fn on_seed_failed(&mut self, seed: SeedKey, error: &web_seed::WebSeedError) {
        if let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) {
            picker.released_all(Sender::WebSeed(seed));
            self.blocks_freed = true;
        }
        if let Some(slot) = self.seeds.get_mut(seed)
            && !core::mem::replace(&mut slot.told, true)
        {
            let message = format!("web seed {}: {error}", slot.machine.url());
            self.outputs.push_back(Output::Message(message));
        }
    }

    /// Asks a web seed for one more run of pieces; says whether there was one.
    fn ask_seed(&mut self, now: Instant, seed: SeedKey) -> bool {
        let may = self.stop.is_none() && matches!(self.phase, Phase::Connecting | Phase::Downloading);
        let Some(slot) = self.seeds.get_mut(seed).filter(|slot| may && !slot.starved) else { return false };
        let Some(Content { metainfo, picker: Some(picker), .. }) = &mut self.content else { return false };
        if !slot.machine.wants() {
            return false;
        }
        let (who, has, rate) = (Sender::WebSeed(seed), slot.machine.has(), slot.down.rate(now));
        let run = picker.pick_rest(who, has).or_else(|| {
            let (grid, mut pieces) = (metainfo.grid(), Vec::new());
            picker.pick_run(who, has, run_len(rate, grid.piece_len()), speed_of(rate), &mut pieces);
            Some(grid.piece_range(*pieces.first()?).start..grid.piece_range(*pieces.last()?).end)
        });
        slot.starved = !run.is_some_and(|run| slot.machine.fetch(now, run));
        !slot.starved
    }

    /// The web seeds, as users see them.
    pub fn web_seeds(&self, now: Instant) -> Vec<WebSeedView> {
        let view = |slot: &SeedSlot| WebSeedView {
            url: slot.machine.url().to_string(),
            received: slot.machine.received(),
            download_speed: slot.down.rate(now),
            is_gone: slot.machine.is_gone(),
        };
        self.seeds.iter().map(|(_, slot)| view(slot)).collect()
    }

    // ----- credit ----------------------------------------------------------------------------------------------------

    /// The credit of the link of an exchange that was hungry.
    pub(super) fn seed_credit(&mut self, seed: SeedKey, exchange: SlotKey) -> Option<u64> {
        let slot = self.seeds.get_mut(seed)?;
        slot.hungry = false;
        slot.machine.credit(exchange)
    }

    /// The link of an exchange got nothing.
    pub(super) fn seed_hungry(&mut self, seed: SeedKey, exchange: SlotKey) {
        if let Some(slot) = self.seeds.get_mut(seed).filter(|slot| !slot.hungry) {
            slot.hungry = true;
            self.hungry.push_back(Lane::WebSeed(seed, exchange));
        }
    }
}

/// Where web seeds are; what is no address of a web server is left out.
fn addresses(metainfo: &Metainfo, more: &[String]) -> Vec<(Kind, HttpUrl)> {
    let files = metainfo.web_seeds().iter().chain(more).map(|url| (Kind::Files, url));
    let scripts = metainfo.http_seeds().iter().map(|url| (Kind::Script, url));
    files.chain(scripts).filter_map(|(kind, url)| Some((kind, HttpUrl::parse(url).ok()?))).collect()
}

/// How many pieces a server is asked for at once: what it sends in a few seconds.
fn run_len(rate: u64, piece_len: u32) -> u32 {
    let bytes = (rate * RUN_SECONDS).clamp(SHORTEST_RUN, LONGEST_RUN);
    u32::try_from(bytes / u64::from(piece_len)).unwrap_or(u32::MAX).max(1)
}

/// Peers that are faster may take over in the end what a server was asked for.
fn speed_of(rate: u64) -> Speed {
    if rate < SLOW { Speed::Slow } else { Speed::Fast }
}

/// Servers that one torrent asks: more are mirrors of the same that only cost connections.
pub const MAX_WEB_SEEDS: usize = 32;
/// How long a run lasts: long beside a round trip, short enough that nobody waits for its end.
const RUN_SECONDS: u64 = 4;
/// The bytes of the first run, and of those of slow servers.
const SHORTEST_RUN: u64 = 256 << 10;
/// The bytes of the longest run, so that several servers have something to do.
const LONGEST_RUN: u64 = 16 << 20;
/// Bytes per second of a slow server.
const SLOW: u64 = 256 << 10;
