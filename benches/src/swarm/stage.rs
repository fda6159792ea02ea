//! Where a torrent is fetched, served and checked: its files, and the programs under way.

use super::programs::{Program, SCRIPT, Subject};
use super::tracker::Tracker;
use crate::measure::{self, Cost};
use crate::plan::Plan;
use bytes::Bytes;
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_interop::lab::noise;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Content is made in blocks of this size, each with bytes of its own.
const BLOCK: usize = 64 << 20;

/// A place in memory with something to serve.
pub(crate) struct Stage<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) subject: Subject,
    /// How many bytes the torrent has.
    pub(crate) len: usize,
    dir: TempDir,
}

impl<'a> Stage<'a> {
    /// A place with a torrent of one file of `len` bytes.
    pub(crate) fn new(plan: &'a Plan, len: usize) -> Self {
        let stage = Self::bare(plan, len);
        fill(&stage.source(), "", len);
        stage.make_torrent(&stage.source());
        stage
    }

    /// A place without content.
    pub(crate) fn bare(plan: &'a Plan, len: usize) -> Self {
        let dir = measure::memory_dir();
        fs::create_dir(dir.path().join("www")).expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let subject = Subject {
            torrent: path("plain.torrent"),
            tracked: path("tracked.torrent"),
            script: path("with_libtorrent.py"),
            peers: Vec::new(),
        };
        fs::write(&subject.script, SCRIPT).expect("room for the script");
        Self { plan, subject, len, dir }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The file that is served.
    pub(crate) fn source(&self) -> PathBuf {
        self.path("www/big")
    }

    /// Makes the torrent of a file or folder.
    pub(crate) fn make_torrent(&self, content: &Path) {
        // `create` writes over nothing.
        let _ = fs::remove_file(&self.subject.torrent);
        let mut command = Command::new(&self.plan.program);
        command.arg("create").arg(content).arg("-o").arg(&self.subject.torrent);
        assert!(command.output().expect("the program runs").status.success(), "{command:?}");
    }

    /// From now on everybody knows these peers.
    pub(crate) fn know(&mut self, peers: Vec<SocketAddrV4>) {
        let torrent = fs::read(&self.subject.torrent).expect("it was made");
        fs::write(&self.subject.tracked, Tracker::start(&peers).within(&torrent)).expect("room");
        self.subject.peers = peers;
    }

    /// A program fetches the torrent to an empty directory; returns when the first data reached the disk, too.
    pub(crate) fn fetch(&self, program: Program) -> (Cost, Duration) {
        let [to, home] = ["to", "home"].map(|name| {
            let dir = self.path(name);
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).expect("a directory");
            dir
        });
        let command = program.get(self.plan, &self.subject, &to, &home);
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| first_data(&to, &ended));
            let cost = measure::run(&command);
            ended.store(true, Ordering::Relaxed);
            (cost, watch.join().expect("it does not panic"))
        })
    }

    /// Whether what was fetched is what is served.
    pub(crate) fn is_same(&self) -> bool {
        let mut command = Command::new("cmp");
        command.arg("-s").arg(self.source()).arg(self.path("to/big"));
        command.status().is_ok_and(|status| status.success())
    }
}

/// Waits until a file in `dir` has a block on the disk.
fn first_data(dir: &Path, ended: &AtomicBool) -> Duration {
    let began = Instant::now();
    let has_data = || {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).any(|meta| meta.is_file() && meta.blocks() > 0)
    };
    while !has_data() && !ended.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(2));
    }
    began.elapsed()
}

/// Writes a file of `len` bytes that follow from its name.
pub(crate) fn fill(path: &Path, name: &str, len: usize) {
    let mut file = File::create(path).expect("room in memory");
    for (i, at) in (0..len).step_by(BLOCK).enumerate() {
        file.write_all(&noise(&format!("{name}{i}"), BLOCK.min(len - at))).expect("room in memory");
    }
}

/// A program that serves; killed when dropped.
pub(crate) struct Serving {
    child: Child,
}

impl Serving {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")) }
    }

    /// Waits for a line that begins with `word`; little may follow.
    pub(crate) fn until_it_says(mut self, word: &str) -> Self {
        let stdout = self.child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with(word)), "it never said {word:?}");
        self
    }

    /// Waits until it answers a handshake.
    pub(crate) fn until_it_greets(self, address: SocketAddr, subject: &Subject) -> Self {
        let raw = fs::read(&subject.torrent).expect("it was made");
        let info_hash = Metainfo::decode(Bytes::from(raw)).expect("it is a torrent").info_hash();
        let hello = [b"\x13BitTorrent protocol".as_slice(), &[0; 8], &info_hash.0, &[b'x'; 20]].concat();
        let greets = || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(&hello)?;
            stream.read_exact(&mut [0; 68])
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while greets().is_err() {
            assert!(Instant::now() < deadline, "it does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        self
    }

    /// The processor time it has taken.
    pub(crate) fn cpu(&self) -> Duration {
        measure::cpu_of(self.child.id())
    }

    /// The largest resident set that it had, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        measure::status_of(self.child.id(), "VmHWM") * 1024
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
