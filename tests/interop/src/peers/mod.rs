//! Other BitTorrent programs: what they need to seed and to download.

mod aria2;
mod libtorrent;
mod opentracker;
mod transmission;

pub use aria2::Aria2;
pub use libtorrent::Libtorrent;
pub use opentracker::Opentracker;
pub use transmission::{Transmission, mktorrent, transmission_create};

use crate::lab::skip;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

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
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return assert!(status.success(), "{status}");
            }
            assert!(Instant::now() < until, "it has not ended after {PATIENCE:?}");
            sleep(LOOK_AGAIN);
        }
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

/// Waits until `is_so`, which must come about.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not after {PATIENCE:?}");
        sleep(LOOK_AGAIN);
    }
}

/// Whether a program of this name runs; `None` (and a message) where it is not installed and this is not CI.
fn installed(program: &str, version: &str) -> Option<()> {
    let mut command = Command::new(program);
    let probe =
        command.arg(version).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if probe.is_err() {
        skip(&format!("{program} not installed"));
        return None;
    }
    Some(())
}

/// How long others may take for what takes them seconds; Transmission looks every ten whom it serves.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
