//! Policy: what happened, as a hash of everything and as text of the last actions.

use bytes::Bytes;
use core::fmt::{self, Write as _};
use gosh_dl_core::base::disk::{DiskOk, DiskOp, HashInput};
use gosh_dl_core::base::{Instant, LinkInput, LinkOutput};
use gosh_dl_core::engine::{Input, Output};
use std::collections::VecDeque;

/// A running hash (64 bits, rotate and multiply) and the last actions.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    last: VecDeque<String>,
    /// How many actions are kept as text; [`Trace::KEPT`] unless a test wants to see more.
    pub kept: usize,
    line: String,
}

impl Trace {
    /// How many actions are kept as text.
    pub const KEPT: usize = 30;

    /// Nothing happened yet.
    pub const fn new() -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, last: VecDeque::new(), kept: Self::KEPT, line: String::new() }
    }

    /// The hash of everything so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The last actions, oldest first.
    pub fn last(&self) -> impl Iterator<Item = &str> {
        self.last.iter().map(String::as_str)
    }

    /// The engine is given an input.
    pub fn input(&mut self, now: Instant, input: &Input) {
        match input {
            Input::Link { link, input: LinkInput::Data(bytes) } => {
                self.fold(bytes);
                self.note(now, format_args!("<- link {link:?} data, {} bytes", bytes.len()));
            }
            Input::Datagram { socket, from, bytes } => {
                self.fold(bytes);
                self.note(now, format_args!("<- udp {} from {from}, {} bytes", socket.0, bytes.len()));
            }
            Input::Disk { key, result: Ok(DiskOk::Data(bytes)) } => {
                self.fold(bytes);
                self.note(now, format_args!("<- disk {} data, {} bytes", key.0, bytes.len()));
            }
            other => self.note(now, format_args!("<- {other:?}")),
        }
    }

    /// The engine puts something out.
    pub fn output(&mut self, now: Instant, output: &Output) {
        match output {
            Output::Disk { key, op: DiskOp::Write { file, offset, data } } => {
                let len = self.fold_all(data);
                self.note(now, format_args!("-> disk {} write {} at {offset}, {len} bytes", key.0, file.0));
            }
            Output::Disk { key, op: DiskOp::WriteHashed { file, offset, data, hash, finish, .. } } => {
                let len = self.fold_all(data);
                let (key, file) = (key.0, file.0);
                let what = format_args!(
                    "-> disk {key} write {file} at {offset}, {len} bytes, {hash:?}, finish {finish}"
                );
                self.note(now, what);
            }
            Output::Disk { key, op: DiskOp::Hash { hash, input: HashInput::Memory(data), finish, .. } } => {
                let len = self.fold_all(data);
                self.note(now, format_args!("-> disk {} {hash:?}, {len} bytes, finish {finish}", key.0));
            }
            Output::Datagram { socket, to, bytes } => {
                self.fold(bytes);
                self.note(now, format_args!("-> udp {} to {to}, {} bytes", socket.0, bytes.len()));
            }
            Output::Link { link, output: LinkOutput::Send(bytes) } => {
                self.fold(bytes);
                let text = String::from_utf8_lossy(bytes);
                let first = text.lines().next().unwrap_or_default();
                self.note(now, format_args!("-> link {link:?} send {first:?}, {} bytes", bytes.len()));
            }
            other => self.note(now, format_args!("-> {other:?}")),
        }
    }

    /// Something else that matters happens.
    pub fn note(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        let mut line = core::mem::take(&mut self.line);
        line.clear();
        // Writing to a string cannot fail.
        let _ = write!(line, "{now:?} {what}");
        self.fold(line.as_bytes());
        self.last.push_back(line);
        if self.last.len() > self.kept
            && let Some(oldest) = self.last.pop_front()
        {
            self.line = oldest;
        }
    }

    fn fold_all(&mut self, parts: &[Bytes]) -> usize {
        parts.iter().for_each(|part| self.fold(part));
        parts.iter().map(Bytes::len).sum()
    }

    /// Eight bytes at a time, since payload is most of what there is.
    fn fold(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte));
        }
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// Odd, with bits everywhere: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_content_change_the_hash() {
        let hash = |notes: &[&str]| {
            let mut trace = Trace::new();
            notes.iter().for_each(|note| trace.note(Instant::ZERO, format_args!("{note}")));
            trace.hash()
        };
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_ne!(hash(&["a", "b"]), hash(&["b", "a"]));
    }

    #[test]
    fn only_the_last_actions_are_kept_as_text() {
        let mut trace = Trace::new();
        (0..100).for_each(|number| trace.note(Instant::ZERO, format_args!("{number}")));
        assert_eq!(trace.last().count(), Trace::KEPT);
        assert_eq!(trace.last().last(), Some("0ns 99"));
    }
}
