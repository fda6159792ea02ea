//! Who runs: gosh-dl, its peers and the limit, each as the command line that a user of it would write.

use crate::embedder::Runtime;
use crate::plan::Plan;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The program under test.
    Gosh,
    /// The program under test, its engine driven by smol.
    Smol,
    /// The least program around the engine on this runtime.
    Embedder(Runtime),
    /// curl.
    Curl,
    /// aria2c.
    Aria2,
    /// wget2.
    Wget2,
    /// The loop in [`limit`](crate::limit).
    Limit,
}

/// One download to do.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What to fetch.
    pub(crate) url: String,
    /// An empty directory to fetch it to, as `out`.
    pub(crate) dir: PathBuf,
    /// Connections, where the program can choose.
    pub(crate) connections: usize,
    /// An authority to trust.
    pub(crate) authority: Option<PathBuf>,
    /// A SHA-256 to check.
    pub(crate) sha256: Option<String>,
}

impl Who {
    /// Its name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gosh => "gosh-dl",
            Self::Smol => "gosh-dl on smol",
            Self::Embedder(runtime) => runtime.name(),
            Self::Curl => "curl",
            Self::Aria2 => "aria2c",
            Self::Wget2 => "wget2",
            Self::Limit => "limit",
        }
    }

    /// Whether it is installed.
    pub(crate) fn is_here(self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        matches!(self, Self::Gosh | Self::Smol | Self::Embedder(_) | Self::Limit)
            || std::env::split_paths(&path).any(|dir| dir.join(self.name()).is_file())
    }

    /// The command for one file. It goes on where an earlier run of it in the same directory stopped.
    pub(crate) fn fetch(self, plan: &Plan, job: &Job) -> Command {
        let out = job.dir.join("out");
        let n = job.connections.to_string();
        match self {
            Self::Gosh => {
                let mut command = gosh(plan, &job.dir);
                command.args(["-x", &n, "-o", "out"]).arg(&job.url);
                with(&mut command, "--ca-certificate", job.authority.as_deref());
                with(
                    &mut command,
                    "--checksum",
                    job.sha256.as_ref().map(|hex| format!("sha-256={hex}")).as_deref().map(Path::new),
                );
                command
            }
            Self::Smol => {
                let mut command = Self::Gosh.fetch(plan, job);
                command.args(["--runtime", "smol"]);
                command
            }
            Self::Embedder(runtime) => {
                let mut command = own("embedder");
                command.args([runtime.name(), &job.url, &n]).arg(&job.dir);
                command
            }
            Self::Curl => {
                let mut command = Command::new("curl");
                command.args(["-s", "-S", "-f", "-C", "-", "-o"]).arg(out).arg(&job.url);
                with(&mut command, "--cacert", job.authority.as_deref());
                command
            }
            Self::Aria2 => {
                let mut command = aria2(&job.dir);
                command.args(["-c", "-x", &n, "-s", &n, "-k", "1M", "-o", "out"]).arg(&job.url);
                if let Some(authority) = &job.authority {
                    command.arg(format!("--ca-certificate={}", authority.display()));
                }
                command
            }
            Self::Wget2 => {
                let mut command = Command::new("wget2");
                command.args(["-q", "--no-config", "-O"]).arg(out).arg(&job.url);
                command
            }
            Self::Limit => {
                let mut command = own("limit");
                command.args([&job.url, &n]).arg(out);
                command
            }
        }
    }

    /// The command for every file `{base}/f-1` to `f-{count}`, sixteen at a time; `list` names them one to a line.
    pub(crate) fn fetch_all(self, plan: &Plan, dir: &Path, base: &str, count: usize, list: &Path) -> Command {
        match self {
            Self::Gosh | Self::Smol => {
                let mut command = gosh(plan, dir);
                command.args(["-j", "16", "-i"]).arg(list);
                command
            }
            Self::Curl => {
                let mut command = Command::new("curl");
                command
                    .args(["-s", "-S", "-f", "--parallel", "--parallel-max", "16", "--output-dir"])
                    .arg(dir);
                command.args(["-o", "f-#1"]).arg(format!("{base}/f-[1-{count}]"));
                command
            }
            Self::Aria2 => {
                let mut command = aria2(dir);
                command.args(["-j", "16", "-i"]).arg(list);
                command
            }
            Self::Wget2 => {
                let mut command = Command::new("wget2");
                command.args(["-q", "--no-config", "--max-threads=16", "-P"]).arg(dir).arg("-i").arg(list);
                command
            }
            Self::Limit | Self::Embedder(_) => unreachable!("they fetch one file"),
        }
    }
}

fn gosh(plan: &Plan, dir: &Path) -> Command {
    let mut command = Command::new(&plan.program);
    command.args(["get", "-q", "-d"]).arg(dir).arg("--state").arg(dir.join("state.redb"));
    command
}

/// This program, doing something else.
fn own(word: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
    command.arg(word);
    command
}

fn aria2(dir: &Path) -> Command {
    let mut command = Command::new("aria2c");
    command.args(["-q", "--no-conf", "--file-allocation=none", "--allow-overwrite=true", "-d"]).arg(dir);
    command
}

fn with(command: &mut Command, option: &str, value: Option<&Path>) {
    if let Some(value) = value {
        command.arg(option).arg(value);
    }
}
