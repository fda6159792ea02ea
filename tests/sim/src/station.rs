//! Machine: a whole engine as an actor: with a disk and a store of its own, so that many can meet in one world.

use crate::actor::Actor;
use crate::agenda::Agenda;
use crate::disk::Disk;
use crate::image::CrashMode;
use crate::invariants::{Checked, Invariants};
use crate::store::Store;
use crate::swarm_rules::SwarmRules;
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng, WallClock};
use gosh_dl_core::engine::{
    Answer, BatchKey, DownloadEvent, Engine, EngineConfig, EngineError, EngineStart, Input, LinkKey, Output,
    Token,
};
use std::collections::{BTreeMap, VecDeque};

/// An engine, its disk and its store.
#[derive(Debug)]
pub struct Station {
    /// The disk.
    pub disk: Disk,
    /// The store.
    pub store: Store,
    /// The settings of the next engine that is started.
    pub config: EngineConfig,
    /// Every event with its time, through all lives of the engine.
    pub events: Vec<(Instant, DownloadEvent)>,
    /// What has to hold at every step.
    pub rules: Option<SwarmRules>,
    replies: BTreeMap<Token, Result<Answer, EngineError>>,
    invariants: Invariants,
    rng: Rng,
    wall: WallClock,
    engine: Option<Engine>,
    /// When this life of the engine began: its own clock starts there.
    born: Instant,
    now: Instant,
    life: u32,
    boot: u64,
    next_token: u64,
    agenda: Agenda<(u32, Due)>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum Due {
    Disk(u64),
    Store(BatchKey),
    Closed(LinkKey),
}

impl Station {
    /// A station whose engine is not started yet; downloads go to [`World::DIR`](crate::World::DIR) on its own disk.
    pub fn new(mut rng: Rng, wall: WallClock, config: EngineConfig) -> Self {
        Self {
            disk: Disk::new(rng.fork()),
            store: Store::new(rng.fork()),
            config: config.download_dir(crate::World::DIR).database_path(Some("/state/gosh.db".into())),
            events: Vec::new(),
            rules: None,
            replies: BTreeMap::new(),
            invariants: Invariants::new(),
            rng,
            wall,
            engine: None,
            born: Instant::ZERO,
            now: Instant::ZERO,
            life: 0,
            boot: 0,
            next_token: 0,
            agenda: Agenda::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Starts an engine on what the store holds.
    ///
    /// # Errors
    ///
    /// What the engine says.
    ///
    /// # Panics
    ///
    /// Where one runs already.
    pub fn start(&mut self, now: Instant) -> Result<(), EngineError> {
        assert!(self.engine.is_none(), "an engine runs already");
        self.life += 1;
        (self.born, self.now) = (now, now);
        self.replies.clear();
        self.invariants.restart(&self.config.download_dir);
        self.rules.iter_mut().for_each(SwarmRules::restart);
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&self.boot.to_le_bytes());
        let start = EngineStart {
            config: self.config.clone(),
            seed: self.rng.bytes(),
            unix_millis: self.wall.unix_millis(now),
            boot_id: Some(boot_id),
            records: self.store.load(),
            note: self.store.load_note(),
        };
        self.engine = Some(Engine::new(Instant::ZERO, start)?);
        self.turn();
        Ok(())
    }

    /// The engine is gone from one moment to the next. Whoever owns the network must
    /// [`abort`](crate::actor::Actors::abort) it there.
    pub fn crash(&mut self, mode: CrashMode) {
        self.engine = None;
        self.life += 1;
        self.boot += u64::from(mode != CrashMode::Kill);
        self.outputs.clear();
        self.disk.crash(mode);
        self.store.crash(mode);
    }

    /// The user names another directory.
    pub fn allow(&mut self, dir: &str) {
        self.invariants.allow(dir.into());
    }

    /// Gives the engine a command, with a token for the answer.
    ///
    /// # Panics
    ///
    /// Where no engine runs.
    pub fn command<T>(
        &mut self,
        now: Instant,
        command: impl FnOnce(&mut Engine, Instant, Token) -> T,
    ) -> (Token, T) {
        self.now = now;
        self.next_token += 1;
        let (token, at) = (Token(self.next_token), self.engine_now());
        self.invariants.on_command();
        let result = command(self.engine.as_mut().expect("no engine runs"), at, token);
        self.turn();
        (token, result)
    }

    /// Looks at the engine, where one runs.
    pub fn view<T>(&mut self, now: Instant, look: impl FnOnce(&mut Engine, Instant) -> T) -> Option<T> {
        self.now = now;
        let at = self.engine_now();
        self.engine.as_mut().map(|engine| look(engine, at))
    }

    /// The answer to a command, if there is one.
    pub fn reply(&self, token: Token) -> Option<&Result<Answer, EngineError>> {
        self.replies.get(&token)
    }

    /// Whether an engine runs.
    pub const fn is_running(&self) -> bool {
        self.engine.is_some()
    }

    fn engine_now(&self) -> Instant {
        Instant::ZERO + (self.now - self.born)
    }

    fn feed(&mut self, input: Input) {
        if let Some(rules) = &mut self.rules {
            held(rules.on_input(self.now, &input));
        }
        let at = self.engine_now();
        if let Some(engine) = &mut self.engine {
            held(self.invariants.on_input(&input));
            engine.handle_input(at, input);
        }
    }

    /// What is due in the engine, then every output.
    fn turn(&mut self) {
        let at = self.engine_now();
        let Some(engine) = &mut self.engine else { return };
        if engine.poll_timeout().is_some_and(|due| due <= at) {
            engine.handle_timeout(at);
            held(self.invariants.on_timeout(at, engine.poll_timeout()));
        }
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll_output) {
            self.perform(output);
        }
        held(self.rules.as_ref().map_or(Ok(()), SwarmRules::on_turn));
    }

    fn perform(&mut self, output: Output) {
        held(self.invariants.on_output(&output));
        match output {
            Output::Disk { key, op } => {
                held(self.invariants.on_rename(&op, &self.disk));
                if let Some((took, ticket)) = self.disk.submit(key, op) {
                    self.plan(took, Due::Disk(ticket));
                }
            }
            Output::Store { batch, ops } => {
                held(self.invariants.on_store(&ops, &self.disk));
                let took = self.store.submit(batch, ops);
                self.plan(took, Due::Store(batch));
            }
            Output::Note(note) => self.store.save_note(note),
            Output::Event(event) => self.events.push((self.now, event)),
            Output::Reply { token, result } => {
                self.replies.insert(token, result);
            }
            Output::Closed => {
                self.engine = None;
                self.disk.close_all();
            }
            Output::Link { link, output: LinkOutput::SendFile { file, offset, len } } => {
                match self.disk.read_open(file, offset, len) {
                    Some(bytes) => self.send(Output::Link { link, output: LinkOutput::Send(bytes) }),
                    None => {
                        self.send(Output::Link { link, output: LinkOutput::Close });
                        self.plan(Duration::ZERO, Due::Closed(link));
                    }
                }
            }
            network => self.send(network),
        }
    }

    fn send(&mut self, output: Output) {
        if let Some(rules) = &mut self.rules {
            held(rules.on_output(self.now, &output, &self.disk));
        }
        self.outputs.push_back(output);
    }

    fn plan(&mut self, after: Duration, due: Due) {
        self.agenda.plan(self.now + after, (self.life, due));
    }

    fn happen(&mut self, due: Due) -> Option<Input> {
        Some(match due {
            Due::Disk(ticket) => {
                let (key, result) = self.disk.complete(ticket)?;
                Input::Disk { key, result }
            }
            Due::Store(batch) => Input::Stored { batch, result: self.store.complete(batch)? },
            Due::Closed(link) => Input::Link { link, input: LinkInput::Closed(LinkError::Io) },
        })
    }
}

/// A rule that an engine breaks ends the test, as in a [`World`](crate::World).
fn held(checked: Checked) {
    checked.unwrap_or_else(|violation| panic!("broken rule: {violation}"));
}

impl Actor for Station {
    fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = now;
        self.feed(input);
        self.turn();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        while let Some((life, due)) = self.agenda.pop_due(now) {
            if life == self.life
                && let Some(input) = self.happen(due)
            {
                self.feed(input);
            }
        }
        self.turn();
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due = self.engine.as_ref().and_then(Engine::poll_timeout);
        let due = due.map(|at| self.born + (at - Instant::ZERO));
        self.agenda.next().into_iter().chain(due).min()
    }
}
