//! One run of one program: wall time, processor time, peak memory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What one run cost, the programs it started included.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// From start to end.
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// The largest resident set, in bytes.
    pub(crate) memory: u64,
    /// Whether it ended well.
    pub(crate) good: bool,
}

/// Runs a command to its end, through a small process of its own ([`here`]).
///
/// The kernel counts what a process held before it turned into another program as that one's peak, so whoever
/// measures memory must have little himself.
pub(crate) fn run(command: &Command) -> Cost {
    let mut through = Command::new(std::env::current_exe().expect("this program is a file"));
    through.arg("measure").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    let output = through.stderr(Stdio::null()).output().expect("this program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall, cpu, memory, good] = figures.as_slice() else { panic!("{command:?}: {text}") };
    Cost {
        wall: Duration::from_nanos(*wall),
        cpu: Duration::from_nanos(*cpu),
        memory: *memory,
        good: *good == 1,
    }
}

/// Runs a command to its end and returns its cost as the words that [`run`] reads.
pub(crate) fn here(words: &[String]) -> String {
    let began = Instant::now();
    let child = spawn(Command::new(&words[0]).args(&words[1..]));
    let mut cost = wait(child);
    cost.wall = began.elapsed();
    format!("{} {} {} {}", cost.wall.as_nanos(), cost.cpu.as_nanos(), cost.memory, u8::from(cost.good))
}

/// Starts a command without input and output.
pub(crate) fn spawn(command: &mut Command) -> Child {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The medians of several runs, each figure for itself.
pub(crate) fn median(costs: &[Cost]) -> Cost {
    fn middle<T: Ord + Copy>(costs: &[Cost], figure: impl Fn(&Cost) -> T) -> T {
        let mut figures: Vec<T> = costs.iter().map(figure).collect();
        figures.sort();
        figures[figures.len() / 2]
    }
    Cost {
        wall: middle(costs, |cost| cost.wall),
        cpu: middle(costs, |cost| cost.cpu),
        memory: middle(costs, |cost| cost.memory),
        good: costs.iter().all(|cost| cost.good),
    }
}

/// A directory in memory, where there is such a place.
pub(crate) fn memory_dir() -> TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    TempDir::with_prefix_in("gosh-dl-benches-", place).expect("a directory in memory")
}

/// The processor time that a process under way has taken, its ended threads included.
pub(crate) fn cpu_of(process: u32) -> Duration {
    let pid = libc::pid_t::try_from(process).expect("process ids fit");
    let mut clock = 0;
    // SAFETY: the pointer leads to a local of the right type.
    let found = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    assert_eq!(found, 0, "the process is under way");
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer leads to a local of the right type.
    let read = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(read, 0, "the process is under way");
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

/// A number that the kernel tells of a process, in the kernel's unit.
pub(crate) fn status_of(process: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn wait(child: Child) -> Cost {
    let pid = libc::pid_t::try_from(child.id()).expect("process ids fit");
    let mut status = 0;
    // SAFETY: all-zero is a valid `rusage`, a struct of numbers.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: both pointers lead to locals of the right types that outlive the call.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!(waited, pid, "the child is ours to wait for");
    Cost {
        wall: Duration::ZERO,
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        memory: u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024,
        good: libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or_default())
}
