//! Codec: the encoder; what it writes is always canonical.

use core::ops::Range;

/// Writes one value.
///
/// ```
/// use gosh_dl_core::wire::bencode::encode;
///
/// let ping = encode(|value| {
///     value.dict(|message| {
///         message.entry(b"y", |value| value.bytes(b"q"));
///         message.entry(b"q", |value| value.bytes(b"ping"));
///         message.entry(b"a", |value| value.dict(|a| a.entry(b"port", |value| value.int(6881u16))));
///     })
/// });
/// assert_eq!(ping, b"d1:ad4:porti6881ee1:q4:ping1:y1:qe");
/// ```
pub fn encode(write: impl FnOnce(Encoder<'_>) -> Written) -> Vec<u8> {
    let mut out = Vec::new();
    let Written(()) = write(Encoder::new(&mut out));
    out
}

/// The place of one value; each method fills it.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
}

/// The proof that a value was written.
#[derive(Debug)]
#[must_use = "a closure that writes a value returns this"]
pub struct Written(());

impl<'a> Encoder<'a> {
    /// A place at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// An integer. Bencoded integers are read as `i64`, so a `u64` must be converted first, where its range is known.
    pub fn int(self, value: impl Into<i64>) -> Written {
        self.out.push(b'i');
        push_decimal(self.out, value.into());
        self.out.push(b'e');
        Written(())
    }

    /// A string of any bytes.
    pub fn bytes(self, value: &[u8]) -> Written {
        push_string(self.out, value);
        Written(())
    }

    /// A string of text.
    pub fn str(self, value: &str) -> Written {
        self.bytes(value.as_bytes())
    }

    /// A value that is bencoded already, as [`Value::raw`](super::Value::raw) gives it. It is not checked.
    pub fn raw(self, bencoded: &[u8]) -> Written {
        self.out.extend_from_slice(bencoded);
        Written(())
    }

    /// A list.
    pub fn list(self, write: impl FnOnce(&mut ListEncoder<'_>)) -> Written {
        self.out.push(b'l');
        write(&mut ListEncoder { out: self.out });
        self.out.push(b'e');
        Written(())
    }

    /// A dictionary.
    pub fn dict(self, write: impl FnOnce(&mut DictEncoder<'_>)) -> Written {
        self.out.push(b'd');
        let mut dict = DictEncoder { out: self.out, entries: Vec::new() };
        write(&mut dict);
        dict.sort();
        self.out.push(b'e');
        Written(())
    }
}

/// The places in a list.
#[derive(Debug)]
pub struct ListEncoder<'a> {
    out: &'a mut Vec<u8>,
}

impl ListEncoder<'_> {
    /// Adds a value.
    pub fn item(&mut self, write: impl FnOnce(Encoder<'_>) -> Written) {
        let Written(()) = write(Encoder { out: self.out });
    }
}

/// The places in a dictionary. Keys may be given in any order, and are written sorted; of one given twice the last
/// value stays.
#[derive(Debug)]
pub struct DictEncoder<'a> {
    out: &'a mut Vec<u8>,
    entries: Vec<Entry>,
}

/// Where an entry stands in the output.
#[derive(Clone, Debug)]
struct Entry {
    key: Range<usize>,
    whole: Range<usize>,
}

impl DictEncoder<'_> {
    /// Adds a key with its value.
    pub fn entry(&mut self, key: &[u8], write: impl FnOnce(Encoder<'_>) -> Written) {
        let start = self.out.len();
        push_string(self.out, key);
        let key = self.out.len() - key.len()..self.out.len();
        let Written(()) = write(Encoder { out: self.out });
        self.entries.push(Entry { key, whole: start..self.out.len() });
    }

    fn sort(&mut self) {
        let key = |entry: &Entry| &self.out[entry.key.clone()];
        if self.entries.is_sorted_by(|a, b| key(a) < key(b)) {
            return;
        }
        let start = self.entries.first().map_or(self.out.len(), |first| first.whole.start);
        let mut entries = self.entries.clone();
        entries.sort_by(|a, b| key(a).cmp(key(b)).then(b.whole.start.cmp(&a.whole.start)));
        entries.dedup_by(|b, a| key(a) == key(b));
        let sorted: Vec<u8> =
            entries.iter().flat_map(|entry| &self.out[entry.whole.clone()]).copied().collect();
        self.out.truncate(start);
        self.out.extend_from_slice(&sorted);
    }
}

fn push_string(out: &mut Vec<u8>, content: &[u8]) {
    push_decimal(out, content.len());
    out.push(b':');
    out.extend_from_slice(content);
}

fn push_decimal(out: &mut Vec<u8>, number: impl core::fmt::Display) {
    use std::io::Write as _;
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number}");
}
