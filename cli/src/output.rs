//! The two streams. What cannot be written (a closed pipe) is not an error: the downloads matter more.

use crate::failure::Failure;
use std::io::Write as _;

/// One line of results, on standard output.
pub(crate) fn result(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Text as it is, on standard output.
pub(crate) fn raw(text: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text).and_then(|()| stdout.flush());
}

/// One line about errors or progress, on standard error.
pub(crate) fn note(line: &str) {
    // One write, so that lines of two processes on one terminal do not mix.
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// One line about an error or a warning, with the program's name before it.
pub(crate) fn error(line: &str) {
    note(&format!("gosh-dl: {line}"));
}

/// The line of a failure.
pub(crate) fn failure(Failure(line): &Failure) {
    error(line);
}
