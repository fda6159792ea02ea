//! The simulated world as one of those that the suite knows: the engine in virtual time, over each store.

use bytes::Bytes;
use gosh_dl_conformance::runtime::world::{Command, Manner, torrent_of};
use gosh_dl_conformance::store::Backend;
use gosh_dl_core::download::{DownloadId, DownloadOptions, ReadRequest};
use gosh_dl_core::engine::{Answer, DownloadEvent, DownloadStatus, EngineError};
use gosh_dl_sim::{Behaviour, Content, CrashMode, Cut, End, Resource, World};
use std::time::Duration;

/// A simulated world whose store is a real one.
pub(crate) struct Simulated<B> {
    world: World,
    backend: B,
    dir: tempfile::TempDir,
    body: Vec<u8>,
    manner: Manner,
}

impl<B: Backend> Simulated<B> {
    pub(crate) fn new(backend: B) -> Self {
        let mut world = World::new(4);
        // The one that every world begins with is not on the store yet.
        world.crash(CrashMode::Kill);
        let dir = tempfile::tempdir().unwrap();
        Self { world, backend, dir, body: Vec::new(), manner: Manner::Answers }
    }

    fn serve_at(&mut self, path: &str) -> String {
        let url = format!("http://{HOST}/{path}");
        let behaviour = match self.manner {
            Manner::Answers => Behaviour::default(),
            Manner::Hangs => Behaviour { delay: Duration::from_secs(1 << 20), ..Behaviour::default() },
            Manner::StopsHalfway => {
                let cut = Cut::always(self.body.len() as u64 / 2, End::Stall);
                Behaviour { cut: Some(cut), ..Behaviour::default() }
            }
            Manner::Dawdles => Behaviour { rate: Some(1 << 20), ..Behaviour::default() },
        };
        let content = Content::Literal(self.body.clone().into());
        self.world.serve(&url, Resource::new(content).behave(behaviour));
        url
    }

    fn after_the_end(&mut self) {
        self.world.store.close_real();
    }
}

impl<B: Backend> gosh_dl_conformance::runtime::world::World for Simulated<B> {
    fn serve(&mut self, body: &[u8], manner: Manner) {
        self.body = body.to_vec();
        self.manner = manner;
        self.world.host(HOST);
    }

    fn start(&mut self) {
        let store = self.backend.open(&self.dir.path().join("state")).unwrap();
        self.world.store.become_real(store).unwrap();
        self.world.events.clear();
        self.world.restart();
    }

    fn drop_engine(&mut self) {
        self.world.crash(CrashMode::Kill);
        self.after_the_end();
    }

    fn shut_down(&mut self) -> Duration {
        let began = self.world.now();
        assert!(self.world.shutdown(Duration::from_secs(60)), "it ends");
        self.after_the_end();
        self.world.now() - began
    }

    fn add(&mut self, path: &str, options: DownloadOptions) -> Result<DownloadId, EngineError> {
        let url = self.serve_at(path);
        let id = self.world.try_add(&url, options)?;
        assert!(self.world.run_until(|world| world.is_acknowledged(id), MINUTE), "it is not in the store");
        Ok(id)
    }

    fn add_torrent(&mut self, path: &str, options: DownloadOptions) -> Result<DownloadId, EngineError> {
        let url = self.serve_at(path);
        let metainfo = torrent_of(path, &self.body, url.clone());
        let id = self.world.add_torrent(metainfo, &[&url], options);
        assert!(self.world.run_until(|world| world.is_acknowledged(id), MINUTE), "it is not in the store");
        Ok(id)
    }

    fn read(&mut self, id: DownloadId, at: u64, max: u32) -> Result<Bytes, EngineError> {
        let token = self.world.read_begin(id, ReadRequest { reader: 0, file: 0, offset: at, len: max });
        match self.world.wait_reply(token)? {
            Answer::Data(bytes) => Ok(bytes),
            answer => panic!("{answer:?}"),
        }
    }

    fn command(&mut self, id: DownloadId, command: Command) -> Result<(), EngineError> {
        let token = match command {
            Command::Pause => self.world.pause(id),
            Command::Resume => self.world.resume(id),
            Command::Cancel => self.world.cancel(id, true),
        };
        self.world.wait_reply(token).map(drop)
    }

    fn list(&mut self) -> Vec<DownloadStatus> {
        self.world.list()
    }

    fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let end = self.world.now() + MINUTE;
        while !is_so(self) {
            assert!(self.world.now() < end && self.world.step(), "{what}: {}", self.world.report());
        }
    }

    fn told(&mut self) -> Vec<DownloadEvent> {
        self.world.events.drain(..).map(|(_, event)| event).collect()
    }

    fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        self.world.file(name)
    }

    fn files(&mut self) -> Vec<String> {
        self.world.disk.names(World::DIR)
    }

    fn open_files(&mut self) -> usize {
        self.world.disk.open_files()
    }

    fn requests(&mut self) -> usize {
        self.world.log(HOST).requests.len()
    }

    fn connections(&mut self) -> usize {
        self.world.log(HOST).open
    }
}

const HOST: &str = "origin.example";
const MINUTE: Duration = Duration::from_secs(60);
