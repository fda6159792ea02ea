//! What a link has yet to send: bytes, and parts of files.

use crate::disk::LentFile;
use bytes::{Buf as _, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// What is queued, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    parts: VecDeque<Part>,
}

/// One thing to send; never an empty one.
#[derive(Debug)]
pub(crate) enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file.
    File(FilePart),
}

/// A part of a file that is yet to be sent.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    /// The file; `None` where it was not open.
    pub(crate) file: Option<LentFile>,
    /// Where, in bytes.
    pub(crate) offset: u64,
    /// How many bytes.
    pub(crate) len: u32,
}

impl Outgoing {
    /// Queues something.
    pub(crate) fn push(&mut self, part: Part) {
        if !part.is_empty() {
            self.parts.push_back(part);
        }
    }

    /// Queues all that `other` holds.
    pub(crate) fn append(&mut self, other: &mut Self) {
        self.parts.append(&mut other.parts);
    }

    /// The bytes that come next, up to a file.
    pub(crate) fn slices(&self) -> Vec<IoSlice<'_>> {
        let bytes = self.parts.iter().map_while(|part| match part {
            Part::Bytes(bytes) => Some(IoSlice::new(bytes)),
            Part::File(_) => None,
        });
        bytes.take(MAX_SLICES).collect()
    }

    /// Whether a file follows behind so many parts.
    pub(crate) fn is_file_at(&self, place: usize) -> bool {
        matches!(self.parts.get(place), Some(Part::File(_)))
    }

    /// Takes the bytes that come next, up to a file.
    pub(crate) fn pop_bytes(&mut self) -> Option<Bytes> {
        match self.parts.pop_front()? {
            Part::Bytes(bytes) => Some(bytes),
            file => {
                self.parts.push_front(file);
                None
            }
        }
    }

    /// The file that comes next.
    pub(crate) fn file(&self) -> Option<&FilePart> {
        match self.parts.front()? {
            Part::Bytes(_) => None,
            Part::File(file) => Some(file),
        }
    }

    /// So many bytes have left.
    pub(crate) fn advance(&mut self, mut sent: usize) {
        while let Some(first) = self.parts.front_mut() {
            sent = first.advance(sent);
            if !first.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
    }

    /// The first bytes of the file that comes next are these; they are yet to be sent.
    pub(crate) fn read(&mut self, bytes: Bytes) {
        self.advance(bytes.len());
        if !bytes.is_empty() {
            self.parts.push_front(Part::Bytes(bytes));
        }
    }
}

impl Part {
    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File(file) => file.len == 0,
        }
    }

    /// Takes up to `count` bytes away; returns how many of those are beyond it.
    fn advance(&mut self, count: usize) -> usize {
        match self {
            Self::Bytes(bytes) => {
                let taken = count.min(bytes.len());
                bytes.advance(taken);
                count - taken
            }
            Self::File(file) => {
                let taken = u32::try_from(count).unwrap_or(u32::MAX).min(file.len);
                file.offset += u64::from(taken);
                file.len -= taken;
                count - taken as usize
            }
        }
    }
}

impl FilePart {
    /// How many bytes of it are sent at once.
    pub(crate) fn step(&self, most: usize) -> usize {
        most.min(self.len as usize)
    }
}

/// How many queued pieces are written at once.
const MAX_SLICES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(offset: u64, len: u32) -> Part {
        Part::File(FilePart { file: None, offset, len })
    }

    fn queue() -> Outgoing {
        let mut queue = Outgoing::default();
        queue.push(Part::Bytes(Bytes::from_static(b"head")));
        queue.push(Part::Bytes(Bytes::new()));
        queue.push(Part::Bytes(Bytes::from_static(b"er")));
        queue.push(file(100, 10));
        queue.push(file(0, 0));
        queue.push(Part::Bytes(Bytes::from_static(b"tail")));
        queue
    }

    #[test]
    fn bytes_before_a_file_go_together_and_those_behind_it_wait() {
        let mut queue = queue();
        let lens: Vec<usize> = queue.slices().iter().map(|slice| slice.len()).collect();
        assert_eq!((lens, queue.file().is_some()), (vec![4, 2], false));
        assert!(queue.is_file_at(2) && !queue.is_file_at(1) && !queue.is_file_at(9));
        queue.advance(5);
        assert_eq!(queue.slices()[0].as_ref(), b"r");
        queue.advance(1);
        assert_eq!((queue.slices().len(), queue.pop_bytes()), (0, None));
        assert_eq!(queue.file().map(|file| (file.offset, file.len)), Some((100, 10)));
    }

    #[test]
    fn a_file_is_sent_in_steps_or_read_in_steps() {
        let mut queue = queue();
        queue.advance(6 + 3);
        assert_eq!(queue.file().map(|file| (file.offset, file.len, file.step(4))), Some((103, 7, 4)));
        queue.read(Bytes::from_static(b"0123"));
        assert_eq!(queue.pop_bytes().as_deref(), Some(&b"0123"[..]));
        assert_eq!(queue.file().map(|file| (file.offset, file.len)), Some((107, 3)));
        queue.read(Bytes::from_static(b"456"));
        let rest = [queue.pop_bytes(), queue.pop_bytes(), queue.pop_bytes()];
        assert_eq!(rest, [Some(Bytes::from_static(b"456")), Some(Bytes::from_static(b"tail")), None]);
    }
}
