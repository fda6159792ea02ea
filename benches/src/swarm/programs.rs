//! Who downloads and seeds, each as a user of it would start it.

use crate::plan::Plan;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A BitTorrent program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The program under test.
    Gosh,
    /// libtorrent, set for throughput.
    Tuned,
    /// libtorrent as it comes.
    Default,
    /// aria2c.
    Aria2,
    /// The loops in [`bare`](super::bare).
    Bare,
}

/// What is fetched, served or checked.
pub(crate) struct Subject {
    /// The `.torrent` file, without a tracker.
    pub(crate) torrent: PathBuf,
    /// The same with a tracker that names the peers.
    pub(crate) tracked: PathBuf,
    /// libtorrent's script.
    pub(crate) script: PathBuf,
    /// Whom to fetch from.
    pub(crate) peers: Vec<SocketAddrV4>,
}

impl Program {
    /// Its name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gosh => "gosh-dl",
            Self::Tuned => "libtorrent, tuned",
            Self::Default => "libtorrent",
            Self::Aria2 => "aria2c",
            Self::Bare => "bare loop",
        }
    }

    /// Whether it is installed.
    pub(crate) fn is_here(self) -> bool {
        let mut probe = match self {
            Self::Gosh | Self::Bare => return true,
            Self::Tuned | Self::Default => Command::new(PYTHON),
            Self::Aria2 => Command::new("aria2c"),
        };
        match self {
            Self::Aria2 => probe.arg("--version"),
            _ => probe.args(["-c", "import libtorrent"]),
        };
        probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// The command that fetches to `dir` and then ends; what it keeps besides goes to `home`.
    pub(crate) fn get(self, plan: &Plan, subject: &Subject, dir: &Path, home: &Path) -> Command {
        let listen = free_address();
        match self {
            Self::Gosh => {
                let mut command = Command::new(&plan.program);
                command.args(["get", "-q", "--listen", &listen.to_string()]).arg("-d").arg(dir);
                command.arg("--state").arg(home.join("state.redb"));
                command.args(subject.peers.iter().flat_map(|peer| ["--peer".to_owned(), peer.to_string()]));
                command.arg(&subject.torrent);
                command
            }
            Self::Tuned | Self::Default => {
                let mut command = self.libtorrent("get", subject, dir, listen);
                command.args(subject.peers.iter().map(ToString::to_string));
                command
            }
            Self::Aria2 => {
                let mut command = aria2(dir, listen);
                command.args(["--seed-time=0", "--bt-remove-unselected-file=false"]).arg(&subject.tracked);
                command
            }
            Self::Bare => {
                let mut command = itself("bare-leech");
                command.arg(&subject.torrent).arg(subject.peers[0].to_string()).arg(dir.join("big"));
                command
            }
        }
    }

    /// The command that serves what lies in `dir` at an address.
    pub(crate) fn seed(self, plan: &Plan, subject: &Subject, dir: &Path, listen: SocketAddr) -> Command {
        match self {
            Self::Gosh => {
                let mut command = Command::new(&plan.program);
                command
                    .args(["seed", "--listen", &listen.to_string()])
                    .arg("-d")
                    .arg(dir)
                    .arg(&subject.torrent);
                command
            }
            Self::Tuned | Self::Default => self.libtorrent("seed", subject, dir, listen),
            Self::Aria2 => {
                let mut command = aria2(dir, listen);
                command.args(["--seed-ratio=0.0", "--bt-seed-unverified=true"]).arg(&subject.torrent);
                command
            }
            Self::Bare => bare_seed(subject, &dir.join("big"), listen, 1),
        }
    }

    /// The command that compares what lies in `dir` with the torrent.
    pub(crate) fn check(self, plan: &Plan, subject: &Subject, dir: &Path) -> Command {
        match self {
            Self::Gosh => {
                let mut command = Command::new(&plan.program);
                command.arg("verify").arg(&subject.torrent).arg("-d").arg(dir);
                command
            }
            Self::Tuned | Self::Default => self.libtorrent("check", subject, dir, free_address()),
            Self::Aria2 => {
                let mut command = aria2(dir, free_address());
                command.args(["--check-integrity=true", "--hash-check-only=true"]).arg(&subject.torrent);
                command
            }
            Self::Bare => {
                let mut command = Command::new("sh");
                let script = "openssl dgst -sha1 $0/a & one=$!; openssl dgst -sha1 $0/b && wait $one";
                command.args(["-c", script]).arg(dir.join("two"));
                command
            }
        }
    }

    fn libtorrent(self, mode: &str, subject: &Subject, dir: &Path, listen: SocketAddr) -> Command {
        let mut command = Command::new(PYTHON);
        let style = if self == Self::Tuned { "tuned" } else { "default" };
        command.arg(&subject.script).args([mode, style]).arg(&subject.torrent).arg(dir);
        command.arg(listen.to_string());
        command
    }
}

/// The command of a bare seeder at an address and as many after it as are asked for.
pub(crate) fn bare_seed(subject: &Subject, file: &Path, listen: SocketAddr, count: usize) -> Command {
    let mut command = itself("bare-seed");
    command.arg(&subject.torrent).arg(file).args([listen.to_string(), count.to_string()]);
    command
}

/// libtorrent's script, for [`Subject::script`].
pub(crate) const SCRIPT: &str = include_str!("libtorrent_bench.py");

/// An address of this machine that nobody has.
pub(crate) fn free_address() -> SocketAddr {
    gosh_dl_interop::peers::free_address("127.0.0.1")
}

/// This program as another.
pub(crate) fn itself(word: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
    command.arg(word);
    command
}

fn aria2(dir: &Path, listen: SocketAddr) -> Command {
    let mut command = Command::new("aria2c");
    command.args([
        "-q",
        "--no-conf",
        "--enable-dht=false",
        "--bt-enable-lpd=false",
        "--file-allocation=none",
    ]);
    command.args(["--enable-peer-exchange=false", "--allow-overwrite=true", "--follow-torrent=mem"]);
    command.arg(format!("--listen-port={}", listen.port())).arg("-d").arg(dir);
    command
}

/// The distribution's Python, which is the one that its bindings are for.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
