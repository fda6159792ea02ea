//! The two streams. A reader of standard output that went away (a closed pipe) is not an error: the downloads matter more.
//! Whatever else keeps results from being written is one, and is told once.

use crate::failure::{Failure, io_message};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// One line of results, on standard output.
pub(crate) fn result(line: &str) {
    // One write, as with notes.
    raw(format!("{line}\n").as_bytes());
}

/// Text as it is, on standard output.
pub(crate) fn raw(text: &[u8]) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.flush());
    drop(stdout);
    if let Err(failed) = written
        && failed.kind() != io::ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        error(&format!("cannot write to standard output: {}", io_message(&failed)));
    }
}

/// Whether some of the results could not be written, though somebody wanted them.
pub(crate) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// One line about errors or progress, on standard error.
pub(crate) fn note(line: &str) {
    // One write, so that lines of two processes on one terminal do not mix.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// One line about an error or a warning, with the program's name before it.
pub(crate) fn error(line: &str) {
    note(&format!("gosh-dl: {line}"));
}

/// The line of a failure.
pub(crate) fn failure(Failure(line): &Failure) {
    error(line);
}

static LOST: AtomicBool = AtomicBool::new(false);
