//! The note: two slots in a small file, written in turn, so that one is whole whenever the process dies.
//!
//! A slot is: sequence number (8 bytes, big-endian), length (4), checksum of both and the content (8), content.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

#[derive(Debug)]
pub(crate) struct NoteFile {
    file: File,
    sequence: u64,
}

impl NoteFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        // Records may hold passwords, headers and cookies, so what lies beside them is for its owner only too.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let mut note = Self { file, sequence: 0 };
        note.load()?;
        Ok(note)
    }

    /// The content of the newest whole slot.
    pub(crate) fn load(&mut self) -> io::Result<Option<Vec<u8>>> {
        let slots = [self.read(0)?, self.read(SLOT)?];
        let newest = slots.into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
        self.sequence = newest.as_ref().map_or(0, |(sequence, _)| *sequence);
        Ok(newest.map(|(_, content)| content))
    }

    /// Writes over the older slot. What does not fit is not kept, and a longer note is not an error.
    pub(crate) fn save(&mut self, content: &[u8]) -> io::Result<()> {
        let len = u32::try_from(content.len()).unwrap_or(u32::MAX);
        if u64::from(len) + HEADER as u64 > SLOT {
            return Ok(());
        }
        self.sequence += 1;
        let mut slot = Vec::with_capacity(HEADER + content.len());
        slot.extend_from_slice(&self.sequence.to_be_bytes());
        slot.extend_from_slice(&len.to_be_bytes());
        slot.extend_from_slice(&checksum(self.sequence, content).to_be_bytes());
        slot.extend_from_slice(content);
        self.file.seek(SeekFrom::Start((self.sequence % 2) * SLOT))?;
        self.file.write_all(&slot)
    }

    fn read(&mut self, at: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        self.file.seek(SeekFrom::Start(at))?;
        let mut header = [0; HEADER];
        if read_up_to(&mut self.file, &mut header)? < HEADER {
            return Ok(None);
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
        let (sequence, len, sum) = (number(&header[..8]), number(&header[8..12]), number(&header[12..]));
        if len + HEADER as u64 > SLOT {
            return Ok(None);
        }
        let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
        let whole = read_up_to(&mut self.file, &mut content)? == content.len();
        Ok((whole && checksum(sequence, &content) == sum).then_some((sequence, content)))
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// FNV-1a over sequence number and content: guards against torn writes, not against an attacker.
fn checksum(sequence: u64, content: &[u8]) -> u64 {
    let bytes = sequence.to_be_bytes().into_iter().chain(content.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

const HEADER: usize = 20;
/// Room for one note: thousands of ranges. A note that is longer is not written.
const SLOT: u64 = 1 << 20;
