//! Machine: the world around one engine, in virtual time, driven by the loop that drivers drive.

use crate::actor::{Actors, OUTSIDE};
use crate::agenda::Agenda;
use crate::content::Content;
use crate::disk::Disk;
use crate::host::Host;
use crate::invariants::{Checked, Invariants, broken};
use crate::manners::Manners;
use crate::names::Names;
use crate::network::{Moment, Network};
use crate::speed::Speed;
use crate::store::Store;
use crate::trace::Trace;
use core::time::Duration;
use gosh_dl_core::base::disk::DiskOp;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng, WallClock};
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::recording::RecordedEngine;
use gosh_dl_core::engine::{
    Answer, BatchKey, DownloadEvent, EngineConfig, EngineError, Input, Output, Token,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One engine, and everything it touches.
#[derive(Debug)]
pub struct World {
    /// The disk.
    pub disk: Disk,
    /// The store.
    pub store: Store,
    /// The name servers.
    pub names: Names,
    /// The hosts and the connections to them.
    pub network: Network,
    /// Everybody else who has an address.
    pub actors: Actors,
    /// The settings of the next engine that is started.
    pub config: EngineConfig,
    /// Every event with its time, through all lives of the engine.
    pub events: Vec<(Instant, DownloadEvent)>,
    /// When the engine was given how many bytes.
    pub received: Vec<(Instant, u64)>,
    /// The hash and the last actions.
    pub trace: Trace,
    /// Every output of the engine from when a test puts an empty list here.
    pub outputs: Option<Vec<Output>>,
    /// What this life of the engine was given, where [`EngineConfig::record`] asks for it. A crash cuts it off.
    pub recording: Vec<u8>,
    pub(crate) seed: u64,
    pub(crate) now: Instant,
    pub(crate) wall: WallClock,
    pub(crate) rng: Rng,
    pub(crate) engine: Option<RecordedEngine>,
    /// When this life of the engine began: its own clock starts there.
    pub(crate) born: Instant,
    pub(crate) life: u32,
    pub(crate) boot: u64,
    pub(crate) agenda: Agenda<Event>,
    pub(crate) invariants: Invariants,
    pub(crate) manners: Manners,
    pub(crate) speed: Speed,
    pub(crate) replies: BTreeMap<Token, Result<Answer, EngineError>>,
    pub(crate) next_token: u64,
    pub(crate) truth: BTreeMap<DownloadId, Truth>,
    pub(crate) added: BTreeMap<DownloadId, Token>,
    pub(crate) has_closed: bool,
    steps: u64,
    reported: bool,
}

/// Something planned. What is for the engine dies with the life of the engine that asked for it.
#[derive(Debug)]
pub(crate) enum Event {
    Wire(u64),
    Input(u32, Input),
    Disk(u32, u64),
    Store(u32, BatchKey),
}

/// What a complete file must hold.
#[derive(Clone, Debug)]
pub(crate) enum Truth {
    /// One version of what one of these URLs leads to.
    Urls(Vec<String>),
    /// One of these.
    Contents(Vec<Content>),
    /// The test looks itself.
    Anything,
}

impl World {
    /// A world with an engine of default settings that saves to [`World::DIR`].
    pub fn new(seed: u64) -> Self {
        Self::with_config(seed, EngineConfig::new())
    }

    /// A world with an engine of these settings; downloads go to [`World::DIR`] and the state to the store.
    pub fn with_config(seed: u64, config: EngineConfig) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Rng::from_seed(bytes);
        let mut world = Self {
            disk: Disk::new(rng.fork()),
            store: Store::new(rng.fork()),
            names: Names::new(),
            network: Network::new(rng.fork()),
            actors: Actors::new(Rng::from_seed(bytes.map(|byte| !byte)), &Self::ADDRESSES),
            config: config.download_dir(Self::DIR).database_path(Some("/state/gosh.db".into())),
            events: Vec::new(),
            received: Vec::new(),
            trace: Trace::new(),
            outputs: None,
            recording: Vec::new(),
            seed,
            now: Instant::ZERO,
            wall: WallClock::new(Instant::ZERO, Self::EPOCH_MILLIS),
            rng,
            engine: None,
            born: Instant::ZERO,
            life: 0,
            boot: 0,
            agenda: Agenda::new(),
            invariants: Invariants::new(),
            manners: Manners::new(),
            speed: Speed::new(),
            replies: BTreeMap::new(),
            next_token: 0,
            truth: BTreeMap::new(),
            added: BTreeMap::new(),
            has_closed: false,
            steps: 0,
            reported: false,
        };
        world.restart();
        world
    }

    /// The addresses of the world's engine.
    pub const ADDRESSES: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
    ];

    /// Where downloads go.
    pub const DIR: &'static str = "/downloads";

    /// What the wall clock shows at the beginning: 2025-01-01, in milliseconds since the Unix epoch.
    pub const EPOCH_MILLIS: u64 = 1_735_689_600_000;

    /// The virtual clock.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How many steps were made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash of everything that went in and out; equal in two runs of the same script with the same seed.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash() ^ self.actors.trace_hash()
    }

    /// The host of this name; made, with an address of its own, where there is none.
    pub fn host(&mut self, name: &str) -> &mut Host {
        if self.network.host(name).is_none() {
            let number = u16::try_from(self.network.host_count() + 1).unwrap_or(u16::MAX);
            let [high, low] = number.to_be_bytes();
            let address = IpAddr::V4(Ipv4Addr::new(198, 18, high, low));
            self.names.set(name, Ok(vec![address]));
            self.network.add_host(name, &[address]);
        }
        let known = self.network.host(name).map(|host| host.name.clone()).unwrap_or_default();
        self.network.host_mut(&known).expect("the host was just found")
    }

    /// Lets the host of this name listen on, and its name resolve to, exactly these addresses, in this order.
    pub fn addresses(&mut self, name: &str, addresses: &[IpAddr]) -> &mut Host {
        self.names.set(name, Ok(addresses.to_vec()));
        self.network.add_host(name, addresses)
    }

    /// Ends every connection to a host.
    pub fn end_connections(&mut self, host: &str, end: LinkError) {
        let at = self.moment();
        self.network.end_all(at, Some(host), end);
        self.plan_network();
    }

    /// Does the next thing: one event, or what is due in the engine; `false` where nothing is planned.
    ///
    /// # Panics
    ///
    /// Where an invariant is broken.
    pub fn step(&mut self) -> bool {
        let Some(at) = self.next_at() else { return false };
        self.now = self.now.max(at);
        self.steps += 1;
        let event = self.agenda.pop_due(self.now);
        if let Some(input) = event.and_then(|event| self.happen(event)) {
            self.feed(input);
        }
        if self.actors.poll_timeout().is_some_and(|at| at <= self.now) {
            self.actors.handle_timeout(self.now);
        }
        self.turn();
        self.plan_network();
        true
    }

    /// When the next step is.
    pub fn next_at(&self) -> Option<Instant> {
        let due = self.engine.as_ref().and_then(|engine| engine.poll_timeout()).map(|at| self.world_time(at));
        self.agenda.next().into_iter().chain(due).chain(self.actors.poll_timeout()).min()
    }

    /// Steps until `condition` holds or `limit` has passed; whether it holds.
    pub fn run_until(&mut self, mut condition: impl FnMut(&mut Self) -> bool, limit: Duration) -> bool {
        let end = self.now + limit;
        loop {
            if condition(self) {
                return true;
            }
            match self.next_at() {
                Some(at) if at <= end => self.step(),
                _ => {
                    self.now = end;
                    return condition(self);
                }
            };
        }
    }

    /// Steps for `length`.
    pub fn run_for(&mut self, length: Duration) {
        self.run_until(|_| false, length);
    }

    /// Makes at most `count` steps.
    pub fn run_steps(&mut self, count: u64) {
        for _ in 0..count {
            if !self.step() {
                return;
            }
        }
    }

    /// The wall clock jumps by this many milliseconds.
    pub fn jump_wall_clock(&mut self, millis: i64) {
        let shown = self.wall.unix_millis(self.now).saturating_add_signed(millis);
        self.wall = WallClock::new(self.now, shown);
        self.plan_input(Duration::ZERO, Input::WallClock { unix_millis: shown });
    }

    /// The machine sleeps for `length`, and its connections do not outlive that. Whether the clock that the engine goes
    /// by has stood still meanwhile depends on the system; the clock on the wall has not.
    pub fn suspend(&mut self, length: Duration, clock_stands: bool) {
        self.trace.note(self.now, format_args!("** asleep for {length:?}"));
        if clock_stands {
            self.jump_wall_clock(i64::try_from(length.as_millis()).unwrap_or(i64::MAX));
        } else {
            self.now += length;
        }
        let at = self.moment();
        self.network.end_all(at, None, LinkError::TimedOut);
        self.actors.internet.fail_all(self.now, OUTSIDE, LinkError::TimedOut);
        self.plan_network();
    }

    pub(crate) fn moment(&self) -> Moment {
        Moment { now: self.now, wall: self.wall }
    }

    /// The engine's own clock.
    pub(crate) fn engine_now(&self) -> Instant {
        Instant::ZERO + (self.now - self.born)
    }

    fn world_time(&self, at: Instant) -> Instant {
        self.born + (at - Instant::ZERO)
    }

    fn happen(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Wire(id) => {
                let at = self.moment();
                self.network.handle_wake(at, id);
                None
            }
            Event::Input(life, input) => (life == self.life).then_some(input),
            Event::Disk(life, ticket) if life == self.life => {
                let (key, result) = self.disk.complete(ticket)?;
                Some(Input::Disk { key, result })
            }
            Event::Store(life, batch) if life == self.life => {
                let result = self.store.complete(batch)?;
                Some(Input::Stored { batch, result })
            }
            Event::Disk(..) | Event::Store(..) => None,
        }
    }

    fn feed(&mut self, input: Input) {
        if self.engine.is_none() {
            return;
        }
        if let Input::Link { input: LinkInput::Data(bytes), .. } = &input {
            self.received.push((self.now, bytes.len() as u64));
        }
        if let Input::Link { link, input } = &input {
            let checked = self.manners.on_input(self.now, *link, input, self.config.http.retry_delay);
            self.check(checked);
        }
        if let Input::WallClock { unix_millis } = &input {
            self.manners.set_wall(WallClock::new(self.now, *unix_millis));
        }
        let checked = self.invariants.on_input(&input);
        self.check(checked);
        self.trace.input(self.now, &input);
        let now = self.engine_now();
        if let Some(engine) = &mut self.engine {
            engine.handle_input(now, input);
        }
    }

    /// The rest of a driver's loop: what is due, then every output.
    pub(crate) fn turn(&mut self) {
        let now = self.engine_now();
        let Some(engine) = &mut self.engine else { return };
        if engine.poll_timeout().is_some_and(|at| at <= now) {
            engine.handle_timeout(now);
            let next = engine.poll_timeout();
            let checked = self.invariants.on_timeout(now, next);
            self.check(checked);
        }
        let mut count = 0;
        while let Some(output) = self.engine.as_mut().and_then(RecordedEngine::poll_output) {
            count += 1;
            let bounded =
                if count > MAX_OUTPUTS { Err(broken("outputs bounded", "too many")) } else { Ok(()) };
            self.check(bounded);
            self.trace.output(self.now, &output);
            if let Some(outputs) = &mut self.outputs {
                outputs.push(output.clone());
            }
            let checked = self.invariants.on_output(&output);
            self.check(checked);
            let checked = self.look_at(&output);
            self.check(checked);
            self.perform(output);
        }
        if let Some(engine) = &mut self.engine {
            self.recording.extend(engine.take_recording());
        }
        if self.has_closed {
            let (files, links) = (self.disk.open_files(), self.network.links());
            let links = links + self.actors.internet.links_of(OUTSIDE);
            let detail = format!("{files} files, {links} links");
            self.check(if files + links > 0 {
                Err(broken("nothing is held after the end", &detail))
            } else {
                Ok(())
            });
            self.engine = None;
            self.disk.close_all();
            self.store.finish();
        }
    }

    /// What the engine owes the hosts and whoever set a limit.
    fn look_at(&mut self, output: &Output) -> Checked {
        match output {
            Output::Connect { link, to, .. } => {
                let Some(host) = self.network.name_of(to.ip()) else { return Ok(()) };
                self.manners.on_connect(*link, host, to.port());
                self.invariants.on_connect(*link, host, *to, &self.config)
            }
            Output::Link { link, output } => {
                if let LinkOutput::Credit(bytes) = output {
                    self.speed.on_credit(self.now, u64::from(*bytes))?;
                }
                self.manners.on_output(self.now, *link, output)
            }
            Output::Event(DownloadEvent::Started { id }) => {
                self.manners.start_over();
                self.speed.start_over(*id);
                Ok(())
            }
            Output::Event(DownloadEvent::Progress { id, progress }) => {
                self.speed.on_progress(self.now, *id, progress.completed_size)
            }
            _ => Ok(()),
        }
    }

    fn perform(&mut self, output: Output) {
        let at = self.moment();
        let Some(output) = self.read_file(output) else { return };
        let Some(output) = self.actors.handle_output(self.now, output) else { return };
        match output {
            Output::Resolve { query, host } => {
                let (took, result) = self.names.look_up(&host, &mut self.rng);
                self.plan_input(took, Input::Resolved { query, result });
            }
            Output::Connect { link, to, tls, .. } => self.network.connect(at, link, to, tls.as_ref()),
            Output::Link { link, output } => self.network.handle_output(at, link, output),
            Output::Disk { key, op } => {
                let checked = self.invariants.on_rename(&op, &self.disk);
                self.check(checked);
                self.submit(key, op);
            }
            Output::Store { batch, ops } => {
                let checked = self.invariants.on_store(&ops, &self.disk);
                self.check(checked);
                let took = self.store.submit(batch, ops);
                self.agenda.plan(self.now + took, Event::Store(self.life, batch));
            }
            Output::Note(note) => self.store.save_note(note),
            Output::Event(event) => self.notice(event),
            Output::Reply { token, result } => {
                self.replies.insert(token, result);
            }
            Output::Closed => self.has_closed = true,
            other => panic!("the simulated world does not know {other:?}"),
        }
    }

    /// A part of a file that is to be sent becomes bytes; where it cannot be read, its link ends.
    fn read_file(&mut self, output: Output) -> Option<Output> {
        let Output::Link { link, output: LinkOutput::SendFile { file, offset, len } } = output else {
            return Some(output);
        };
        let Some(bytes) = self.disk.read_open(file, offset, len) else {
            self.actors.internet.fail(self.now, OUTSIDE, link, LinkError::Io);
            return None;
        };
        Some(Output::Link { link, output: LinkOutput::Send(bytes) })
    }

    fn submit(&mut self, key: gosh_dl_core::engine::DiskKey, op: DiskOp) {
        if let Some((took, ticket)) = self.disk.submit(key, op) {
            self.agenda.plan(self.now + took, Event::Disk(self.life, ticket));
        }
        let checked = self.invariants.on_disk(&self.disk, &self.config);
        self.check(checked);
    }

    fn notice(&mut self, event: DownloadEvent) {
        if let DownloadEvent::Completed { id } = event {
            let checked = self.check_complete(id);
            self.check(checked);
        }
        self.events.push((self.now, event));
    }

    pub(crate) fn plan_input(&mut self, after: Duration, input: Input) {
        self.agenda.plan(self.now + after, Event::Input(self.life, input));
    }

    pub(crate) fn plan_network(&mut self) {
        while let Some((link, input)) = self.network.poll_arrival() {
            self.plan_input(Duration::ZERO, Input::Link { link, input });
        }
        while let Some((at, id)) = self.network.poll_wake() {
            self.agenda.plan(at, Event::Wire(id));
        }
        while let Some((node, query, host)) = self.actors.poll_look_up() {
            let (took, result) = self.names.look_up(&host, &mut self.rng);
            self.actors.answer(self.now, node, took, Input::Resolved { query, result });
        }
        while let Some(input) = self.actors.poll_input() {
            self.plan_input(Duration::ZERO, input);
        }
    }

    /// Turns a broken rule into a panic that tells how to come back here.
    pub(crate) fn check(&mut self, checked: Checked) {
        if let Err(violation) = checked {
            self.reported = true;
            panic!("broken rule: {violation}\n{}", self.report());
        }
    }

    /// Where the world stands: seed, step, time and the last actions.
    pub fn report(&self) -> String {
        let last: Vec<&str> = self.trace.last().collect();
        let (seed, steps, now) = (self.seed, self.steps, self.now);
        format!("seed {seed}, step {steps}, time {now:?}; the last actions:\n{}", last.join("\n"))
    }
}

impl Drop for World {
    /// A panic anywhere in the engine or the world, or a failed assertion of a test, tells how to come back here.
    #[expect(clippy::print_stderr, reason = "a failing test tells its seed there")]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.reported {
            eprintln!("the simulated world stood at {}", self.report());
        }
    }
}

/// More outputs than this for one input are a loop.
const MAX_OUTPUTS: u64 = 100_000;
