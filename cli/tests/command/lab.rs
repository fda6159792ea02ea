//! An HTTP origin in a thread, and a home of its own for the program under test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Directories for one test: the program saves in one and keeps its state in another.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// Empty.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("files")).unwrap();
        Self { dir }
    }

    /// A path within the directory that the program runs in.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("files").join(name)
    }

    /// The content of a file in that directory.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name))
            .unwrap_or_else(|error| panic!("{name}: {error}; there are {:?}", self.names()))
    }

    /// The names of the files in that directory, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.dir.path().join("files"))
    }

    /// The names of the state files that are left, in order.
    pub(crate) fn states(&self) -> Vec<String> {
        names(&self.dir.path().join("state").join("gosh-dl"))
    }

    /// The program, ready to run in this home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gosh-dl"));
        command
            .args(arguments)
            .current_dir(self.dir.path().join("files"))
            .env_clear()
            .env("HOME", self.dir.path())
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Running::new(self.command(arguments)).end()
    }

    /// Runs the program on a terminal, to its end; what it wrote there is the standard output.
    pub(crate) fn run_on_terminal(&self, arguments: &[&str]) -> Ended {
        let program = self.command(arguments);
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
        let line: Vec<_> =
            std::iter::once(program.get_program()).chain(program.get_args()).map(quoted).collect();
        let mut script = Command::new("script");
        script
            .args(["-qefc", &line.join(" "), "/dev/null"])
            .current_dir(program.get_current_dir().unwrap())
            .envs(program.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .env("TERM", "xterm")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::new(script).end()
    }

    /// Runs the program to its end with `input` on its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut running = Running::new(command);
        let mut stdin = running.child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        running.end()
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::new(self.command(arguments))
    }
}

/// The program while it runs. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    seen: String,
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// All of its standard output.
    pub(crate) stdout: String,
    /// All of its standard error.
    pub(crate) stderr: String,
}

impl Running {
    fn new(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, seen: String::new() }
    }

    /// Reads lines of standard output until one satisfies `is_it`.
    pub(crate) fn wait_for(&mut self, mut is_it: impl FnMut(&str) -> bool) {
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).unwrap();
            self.seen.push_str(&line);
            if read == 0 {
                let stderr = self.rest_of_stderr();
                panic!("the line never came:\n{}\n{stderr}", self.seen);
            }
            if is_it(line.trim_end()) {
                return;
            }
        }
    }

    fn rest_of_stderr(&mut self) -> String {
        let mut text = Vec::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_end(&mut text).unwrap();
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads JSON lines until one says that at least `bytes` of a download are there, and returns how many are.
    pub(crate) fn wait_for_bytes(&mut self, bytes: u64) -> u64 {
        let mut seen = 0;
        self.wait_for(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            seen = value["completed"].as_u64().unwrap_or(0);
            seen >= bytes
        });
        seen
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + LIMIT;
        let mut stderr = self.child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap()
        });
        let id = self.child.id().to_string();
        let (over, watch) = std::sync::mpsc::channel::<()>();
        // Reading the output to its end would hang with a program that hangs.
        let watchdog = std::thread::spawn(move || {
            let left = deadline.saturating_duration_since(Instant::now());
            if watch.recv_timeout(left) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-s", "KILL", &id]).status();
            }
        });
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        drop(over);
        watchdog.join().unwrap();
        let stdout = std::mem::take(&mut self.seen) + &String::from_utf8_lossy(&rest);
        Ended { code: status.code(), stdout, stderr: reader.join().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The lines of standard output as JSON.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Fails the test if anything that was written could drive a terminal.
    #[track_caller]
    pub(crate) fn expect_harmless(&self) {
        for text in [&self.stdout, &self.stderr] {
            let bad = |c: char| {
                c != '\n' && c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            };
            assert!(!text.contains(bad), "{text:?}");
        }
    }
}

/// Bytes that are nowhere alike, so that no mix-up of parts goes unseen.
pub(crate) fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 24).to_le_bytes()[..5]);
    }
    bytes.truncate(len);
    bytes
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Far more than any test needs; only a hang gets here.
const LIMIT: Duration = Duration::from_secs(60);
