//! aria2.

use super::{Other, installed};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// aria2.
#[derive(Clone, Copy, Debug)]
pub struct Aria2(());

impl Aria2 {
    /// It, or `None` (and a message) where it is not installed and this is not CI.
    pub fn new() -> Option<Self> {
        installed("aria2c", "--version").map(Self)
    }

    /// Serves a torrent that it has, until it is dropped.
    pub fn seed(self, torrent: &Path, dir: &Path, listen: SocketAddr) -> Other {
        self.run(torrent, dir, listen, "--seed-ratio=0.0")
    }

    /// Downloads a torrent, by file or magnet link, from whom its tracker names, and ends; over HTTP, because without a
    /// DHT node it asks no other.
    pub fn get(self, torrent: impl AsRef<OsStr>, dir: &Path, listen: SocketAddr) -> Other {
        self.run(torrent, dir, listen, "--seed-time=0")
    }

    fn run(self, torrent: impl AsRef<OsStr>, dir: &Path, listen: SocketAddr, goal: &str) -> Other {
        let mut command = Command::new("aria2c");
        command.args([
            "--enable-dht=false",
            "--bt-enable-lpd=false",
            "--check-integrity=true",
            "--no-conf=true",
        ]);
        command.args(["--bt-min-crypto-level=plain", "--file-allocation=none", "--bt-hash-check-seed=true"]);
        command.arg(format!("--listen-port={}", listen.port())).arg(format!("--interface={}", listen.ip()));
        command.arg("-d").arg(dir).arg(goal).arg(torrent);
        Other::start(&mut command)
    }
}
