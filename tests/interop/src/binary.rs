//! The program under test, run as a user runs it.

use crate::signal;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// How long a run may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(180);

/// A command line to be.
#[derive(Debug)]
pub struct Gosh {
    command: Command,
    dir: PathBuf,
}

/// A run under way; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    dir: PathBuf,
    began: Instant,
}

/// A run that ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said besides.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Gosh {
    /// A command line whose home is `dir/home`.
    pub fn new(dir: &Path) -> Self {
        Self::wrapped(dir, Command::new(program()))
    }

    /// The same through another program, which gets ours as its next argument.
    pub fn within(dir: &Path, wrapper: &[&str]) -> Self {
        let mut command = Command::new(wrapper[0]);
        command.args(&wrapper[1..]).arg(program());
        Self::wrapped(dir, command)
    }

    fn wrapped(dir: &Path, mut command: Command) -> Self {
        command
            .env("HOME", dir.join("home"))
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME");
        command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR").current_dir(dir);
        Self { command, dir: dir.to_path_buf() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Running {
        let file = |name: &str| File::create(self.dir.join(name)).expect("room for its words");
        self.command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let child = self.command.spawn().expect("the program runs");
        Running { child, dir: self.dir, began: Instant::now() }
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.spawn().wait()
    }

    /// Runs it to its end, which must be a good one.
    pub fn succeed(self) -> Done {
        let done = self.run();
        assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
        done
    }

    /// Runs it to its end, which must be a failure of the download; it must say why.
    pub fn fail(self) -> Done {
        let done = self.run();
        assert_eq!(done.code, Some(1), "{}{}", done.stdout, done.stderr);
        assert!(!done.stderr.trim().is_empty(), "a failure without a word");
        done
    }
}

impl Running {
    /// Waits for its end.
    pub fn wait(mut self) -> Done {
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                let read = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
                return Done {
                    code: status.code(),
                    stdout: read("stdout"),
                    stderr: read("stderr"),
                    took: self.began.elapsed(),
                };
            }
            assert!(self.began.elapsed() < PATIENCE, "it has not ended after {PATIENCE:?}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// Lets it run for a while, or to its end if that comes first.
    pub fn run_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.ended() {
            sleep(Duration::from_millis(5));
        }
    }

    /// Ctrl-C, and what comes of it.
    pub fn interrupt(mut self) -> Done {
        assert!(!self.ended(), "it ended before it could be interrupted");
        signal::interrupt(&self.child);
        self.wait()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        assert!(!self.ended(), "it ended before it could be killed");
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it is ours");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program: `$GOSH_DL`, or the one that lies beside this test, built where it is missing or older than its sources.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("GOSH_DL") {
            return given.into();
        }
        let test = std::env::current_exe().expect("this test is a file");
        let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let program = profile.join("gosh-dl");
        let built = fs::metadata(&program).and_then(|meta| meta.modified()).ok();
        if built.is_none_or(|built| built < newest_source()) {
            build(profile);
        }
        program
    })
}

fn build(profile: &Path) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "-q", "-p", "gosh-dl"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.current_dir(workspace()).status().expect("cargo runs");
    assert!(status.success(), "gosh-dl does not build");
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate lies two directories down")
}

fn newest_source() -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut pending: Vec<PathBuf> = ["core", "runtime", "runtime-tokio", "storage-redb", "cli"]
        .iter()
        .map(|name| workspace().join(name))
        .collect();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending
                .extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "toml") {
            newest = newest.max(fs::metadata(&path).and_then(|meta| meta.modified()).expect("it has a time"));
        }
    }
    newest
}
