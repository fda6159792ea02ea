//! libtorrent through its Python bindings, those of the distribution.

use super::{Other, free_address};
use crate::lab::skip;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// libtorrent.
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
        Other::start_until(&mut self.command("seed", torrent, dir, listen), "seeding")
    }

    /// Seeds what lies in `dir` with at most so many bytes per second, and keeps the number of bytes sent in a file.
    pub fn seed_slowly(
        &self,
        torrent: &str,
        dir: &Path,
        listen: SocketAddr,
        rate: u64,
        sent: &Path,
    ) -> Other {
        let mut command = self.command("seed", torrent, dir, listen);
        Other::start_until(
            command.arg("--upload-limit").arg(rate.to_string()).arg("--sent").arg(sent),
            "seeding",
        )
    }

    /// Downloads from `peer` to `dir`.
    pub fn get(&self, torrent: &str, dir: &Path, peer: SocketAddr) -> Other {
        let host = if peer.is_ipv6() { "::1" } else { "127.0.0.1" };
        let mut command = self.command("get", torrent, dir, free_address(host));
        Other::start(command.arg("--peer").arg(peer.to_string()))
    }

    /// Downloads to `dir` from those that its trackers name.
    pub fn join(&self, torrent: &str, dir: &Path, listen: SocketAddr) -> Other {
        Other::start(&mut self.command("get", torrent, dir, listen))
    }

    fn command(&self, mode: &str, torrent: &str, dir: &Path, listen: SocketAddr) -> Command {
        let mut command = Command::new(PYTHON);
        command.arg(&self.script).args([mode, torrent]).arg(dir).arg(listen.to_string());
        command
    }
}

/// The distribution's Python, which is the one that its bindings are for.
const PYTHON: &str = "/usr/bin/python3";
