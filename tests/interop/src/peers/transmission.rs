//! Transmission's daemon, and the programs that make torrents.

use super::{Other, free_address, installed, wait_until};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// transmission-daemon with a configuration of its own.
///
/// It takes no address that begins with 127 from a tracker, from peer exchange or from a magnet link, and keeps one
/// connection to each address: peers on the loopback must connect to it, each from an address of its own.
#[derive(Debug)]
pub struct Transmission {
    _running: Other,
    rpc: String,
    listen: SocketAddr,
}

impl Transmission {
    /// A daemon with its configuration in `dir`, or `None` (and a message) where it is not installed and this is not CI.
    pub fn start(dir: &Path, listen: SocketAddr) -> Option<Self> {
        installed("transmission-daemon", "--version")?;
        installed("transmission-remote", "--version")?;
        fs::create_dir_all(dir).expect("a directory");
        let rpc = free_address("127.0.0.1");
        fs::write(dir.join("settings.json"), settings(listen, rpc)).expect("room for its settings");
        let mut command = Command::new("transmission-daemon");
        command.args(["--foreground", "--config-dir"]).arg(dir).env("HOME", dir);
        let running = Self { _running: Other::start(&mut command), rpc: rpc.to_string(), listen };
        wait_until("transmission-daemon answers", || running.remote(&["--session-info"]).is_some());
        Some(running)
    }

    /// Where it may be connected to.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Adds a torrent, by file or magnet link; what lies in `dir` is looked at first.
    pub fn add(&self, torrent: &str, dir: &Path) {
        fs::create_dir_all(dir).expect("a directory");
        let dir = dir.to_str().expect("it is UTF-8");
        self.remote(&["--add", torrent, "--download-dir", dir]).expect("it takes the torrent");
    }

    /// Waits until its only torrent is whole and nothing is hashed any more.
    pub fn wait_whole(&self) {
        wait_until("transmission-daemon has everything", || {
            let info = self.remote(&["--torrent", "all", "--info"]).unwrap_or_default();
            let line = |key: &str| info.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
            line("Percent Done:") == Some("100%") && matches!(line("State:"), Some("Idle" | "Seeding"))
        });
    }

    fn remote(&self, args: &[&str]) -> Option<String> {
        let mut command = Command::new("transmission-remote");
        let output = command.arg(&self.rpc).args(args).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Nothing of it reaches beyond this machine, and what it has is on the disk at once.
fn settings(listen: SocketAddr, rpc: SocketAddr) -> String {
    let (host, port, rpc_host, rpc_port) = (listen.ip(), listen.port(), rpc.ip(), rpc.port());
    format!(
        r#"{{
"bind-address-ipv4": "{host}", "peer-port": {port}, "peer-port-random-on-start": false,
"rpc-enabled": true, "rpc-bind-address": "{rpc_host}", "rpc-port": {rpc_port},
"rpc-authentication-required": false, "rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false,
"dht-enabled": false, "lpd-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false,
"blocklist-enabled": false, "encryption": 0, "pex-enabled": true, "ratio-limit-enabled": false,
"incomplete-dir-enabled": false, "rename-partial-files": false, "preallocation": 0, "cache-size-mb": 0,
"start-added-torrents": true
}}
"#
    )
}

/// Makes a torrent with Transmission; private where there is a tracker, which it then wants.
pub fn transmission_create(content: &Path, torrent: &Path, private_to: Option<&str>) -> Option<()> {
    installed("transmission-create", "--version")?;
    let mut command = Command::new("transmission-create");
    command.args(private_to.iter().flat_map(|tracker| ["--private", "--tracker", tracker]));
    make(command.arg("--outfile"), torrent, content);
    Some(())
}

/// Makes a torrent with mktorrent, with pieces of 2 to the power of `exponent`.
pub fn mktorrent(content: &Path, torrent: &Path, exponent: u32, is_private: bool) -> Option<()> {
    installed("mktorrent", "--help")?;
    let mut command = Command::new("mktorrent");
    command.arg(format!("--piece-length={exponent}")).args(is_private.then_some("--private"));
    make(command.arg("--output"), torrent, content);
    Some(())
}

/// Neither writes over a file that is there.
fn make(command: &mut Command, torrent: &Path, content: &Path) {
    let _ = fs::remove_file(torrent);
    command.arg(torrent).arg(content);
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
