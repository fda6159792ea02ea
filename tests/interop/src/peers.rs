//! Other BitTorrent programs: what they need to seed and to download.

use crate::lab::skip;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Somebody else's program under way; killed when dropped.
#[derive(Debug)]
pub struct Other {
    child: Child,
}

impl Other {
    fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { child: child.expect("the program runs") }
    }

    /// Starts it and waits until it prints a line that begins with `word`; little may follow.
    fn start_until(command: &mut Command, word: &str) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut other = Self { child: child.expect("the program runs") };
        let stdout = other.child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with(word)), "it never said {word:?}");
        other
    }

    /// Waits for its end, which must be a good one.
    pub fn succeed(mut self) {
        let status = self.child.wait().expect("it is ours");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port of this machine.
pub fn free_address(host: &str) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// libtorrent through its Python bindings, those of the distribution.
#[derive(Debug)]
pub struct Libtorrent {
    script: PathBuf,
}

impl Libtorrent {
    /// Its script in `dir`, or `None` (and a message) where it is not installed and this is not CI.
    pub fn new(dir: &Path) -> Option<Self> {
        let probe = Command::new(PYTHON).args(["-c", "import libtorrent"]).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            skip("python3-libtorrent not installed");
            return None;
        }
        let script = dir.join("libtorrent_peer.py");
        fs::write(&script, include_str!("libtorrent_peer.py")).expect("room for the script");
        Some(Self { script })
    }

    /// Seeds what lies in `dir`; back once it does.
    pub fn seed(&self, torrent: &str, dir: &Path, listen: SocketAddr) -> Other {
        let mut command = self.command("seed", torrent, dir, listen, "-");
        Other::start_until(&mut command, "seeding")
    }

    /// Downloads from `peer` to `dir`.
    pub fn get(&self, torrent: &str, dir: &Path, peer: SocketAddr) -> Other {
        let host = if peer.is_ipv6() { "::1" } else { "127.0.0.1" };
        Other::start(&mut self.command("get", torrent, dir, free_address(host), &peer.to_string()))
    }

    fn command(&self, mode: &str, torrent: &str, dir: &Path, listen: SocketAddr, peer: &str) -> Command {
        let mut command = Command::new(PYTHON);
        command.arg(&self.script).args([mode, torrent]).arg(dir);
        command.args([&listen.to_string(), peer, "60"]);
        command
    }
}

/// aria2, or `None` (and a message) where it is not installed and this is not CI.
pub fn aria2() -> Option<()> {
    if !Command::new("aria2c").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        skip("aria2 not installed");
        return None;
    }
    Some(())
}

/// aria2 serves a torrent that it has.
pub fn aria2_seed(torrent: &Path, dir: &Path, port: u16) -> Other {
    aria2_run(torrent, dir, port, "--seed-ratio=0.0")
}

/// aria2 downloads a torrent from whom its tracker names; over HTTP, because without a DHT node it asks no other.
pub fn aria2_get(torrent: &Path, dir: &Path, port: u16) -> Other {
    aria2_run(torrent, dir, port, "--seed-time=0")
}

fn aria2_run(torrent: &Path, dir: &Path, port: u16, goal: &str) -> Other {
    let mut command = Command::new("aria2c");
    command.args(["--enable-dht=false", "--bt-enable-lpd=false", "--check-integrity=true", "--no-conf=true"]);
    command.args(["--bt-min-crypto-level=plain", "--file-allocation=none", "--bt-hash-check-seed=true"]);
    command.arg(format!("--listen-port={port}")).arg("-d").arg(dir);
    command.arg(goal).arg(torrent);
    Other::start(&mut command)
}

/// opentracker, serving over HTTP and UDP at one port.
#[derive(Debug)]
pub struct Opentracker {
    _running: Other,
    address: SocketAddr,
}

impl Opentracker {
    /// A tracker of these torrents, or `None` (and a message) where it is not installed and this is not CI.
    pub fn start(dir: &Path, info_hashes: &[String]) -> Option<Self> {
        let program =
            ["/usr/bin/opentracker", "/usr/sbin/opentracker"].into_iter().find(|p| Path::new(p).is_file());
        let Some(program) = program else {
            skip("opentracker not installed");
            return None;
        };
        let list = dir.join("whitelist");
        fs::write(&list, info_hashes.join("\n") + "\n").expect("room for the list");
        let address = free_address("127.0.0.1");
        let port = address.port().to_string();
        let mut command = Command::new(program);
        command
            .args(["-i", "127.0.0.1", "-p", &port, "-P", &port])
            .arg("-d")
            .arg(dir)
            .args(["-w", "whitelist"]);
        let running = Other::start(&mut command);
        for _ in 0..500 {
            if std::net::TcpStream::connect(address).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Some(Self { _running: running, address })
    }

    /// Its announce URL over HTTP.
    pub fn http(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// Its announce URL over UDP.
    pub fn udp(&self) -> String {
        format!("udp://{}/announce", self.address)
    }
}

/// The distribution's Python, which is the one that its bindings are for.
const PYTHON: &str = "/usr/bin/python3";
