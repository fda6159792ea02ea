//! What `-v` shows: log lines on standard error, in which nothing from outside can drive the terminal.

use crate::text;
use std::io::{self, Write};
use tracing_subscriber::filter::LevelFilter;

/// Begins to log; once is info, twice debug, thrice trace. Does nothing for 0, so that nobody pays who does not ask.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(|| Escaping).init();
}

/// Standard error behind an escape. Each write is one whole line.
struct Escaping;

impl Write for Escaping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        let mut safe = text::escape(line.trim_end_matches('\n')).into_owned();
        safe.push('\n');
        io::stderr().lock().write_all(safe.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
