//! Codec: bencoding (BEP 3), zero-copy and without recursion.
//!
//! [`Document`] decodes into a tape of nodes that point into the input; [`Value`] is a light view of one of them, and
//! [`Value::raw`] its exact bytes, which an info-hash is computed from. [`Cursor`] reads what is too large for a tape.
//! [`encode`] writes canonical bencode.

mod cursor;
mod encoder;
mod tape;

pub use cursor::{Cursor, ValueKind};
pub use encoder::{DictEncoder, Encoder, ListEncoder, Written, encode};

use core::fmt;
use tape::{Kind, Node, Parser};

/// A decoded value with everything in it.
///
/// ```
/// use gosh_dl_core::wire::bencode::Document;
///
/// let document = Document::decode(b"d4:infod6:lengthi42eee")?;
/// let info = document.root().get(b"info").unwrap();
/// assert_eq!(info.raw(), b"d6:lengthi42ee");
/// assert_eq!(info.get(b"length").and_then(|length| length.as_int()), Some(42));
/// # Ok::<(), gosh_dl_core::wire::bencode::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Document<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    canonical: bool,
}

impl<'a> Document<'a> {
    /// Decodes exactly one canonical value: what is read as one value has one spelling only.
    pub fn decode(input: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_all(input, Mode::Strict)
    }

    /// Decodes exactly one value as peers really write them; see [`Mode::Lax`].
    pub fn decode_lax(input: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode_all(input, Mode::Lax)
    }

    /// Decodes the value that `input` starts with, and says how many bytes it takes. Whatever follows is not looked at
    /// (BEP 9: a metadata message is a dictionary with a piece behind it).
    pub fn decode_prefix(input: &'a [u8], mode: Mode) -> Result<(Self, usize), DecodeError> {
        let (nodes, canonical) = Parser::new(input, mode)?.run()?;
        let consumed = nodes[0].end as usize;
        Ok((Self { input, nodes, canonical }, consumed))
    }

    /// The value itself.
    pub fn root(&self) -> Value<'_> {
        Value { input: self.input, nodes: &self.nodes, index: 0 }
    }

    /// Whether there is no other way to write this value. Always true of what was decoded in [`Mode::Strict`].
    pub fn canonical(&self) -> bool {
        self.canonical
    }

    /// How many values there are, keys included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    fn decode_all(input: &'a [u8], mode: Mode) -> Result<Self, DecodeError> {
        let (document, consumed) = Self::decode_prefix(input, mode)?;
        if consumed < input.len() {
            return Err(DecodeError::TrailingBytes(consumed));
        }
        Ok(document)
    }
}

/// How strictly to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only canonical bencode: keys strictly ascending, no leading zeros, no `-0`.
    Strict,
    /// Keys in any order, leading zeros and `-0` are accepted, and [`Document::canonical`] tells. A key that stands
    /// twice is an error even here: two readers could take it for different values.
    Lax,
}

/// A view of one value in a [`Document`]. Asking a value for what it is not gives `None`.
#[derive(Clone, Copy)]
pub struct Value<'d> {
    input: &'d [u8],
    nodes: &'d [Node],
    index: usize,
}

impl<'d> Value<'d> {
    /// The value of an integer.
    pub fn as_int(self) -> Option<i64> {
        let node = self.node();
        (node.kind == Kind::Integer)
            .then(|| tape::integer_value(&self.input[node.body as usize..node.end as usize]))
    }

    /// The value of an integer that is not negative.
    pub fn as_uint(self) -> Option<u64> {
        self.as_int().and_then(|value| u64::try_from(value).ok())
    }

    /// The content of a string; any bytes.
    pub fn as_bytes(self) -> Option<&'d [u8]> {
        let node = self.node();
        (node.kind == Kind::String).then(|| &self.input[node.body as usize..node.end as usize])
    }

    /// The content of a string that is UTF-8.
    pub fn as_str(self) -> Option<&'d str> {
        self.as_bytes().and_then(|bytes| core::str::from_utf8(bytes).ok())
    }

    /// The values in a list.
    pub fn list(self) -> Option<impl Iterator<Item = Value<'d>>> {
        (self.node().kind == Kind::List).then(|| self.children())
    }

    /// The keys and values in a dictionary, in the order of the input.
    pub fn entries(self) -> Option<impl Iterator<Item = (&'d [u8], Value<'d>)>> {
        let mut children = (self.node().kind == Kind::Dict).then(|| self.children())?;
        Some(core::iter::from_fn(move || {
            let key = children.next()?.as_bytes()?;
            Some((key, children.next()?))
        }))
    }

    /// The value of `key` in a dictionary.
    pub fn get(self, key: &[u8]) -> Option<Value<'d>> {
        self.entries()?.find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The bytes of the value exactly as they came.
    pub fn raw(self) -> &'d [u8] {
        let node = self.node();
        &self.input[node.start as usize..node.end as usize]
    }

    fn node(self) -> &'d Node {
        &self.nodes[self.index]
    }

    fn children(self) -> impl Iterator<Item = Value<'d>> {
        let end = self.node().next as usize;
        let mut index = self.index + 1;
        core::iter::from_fn(move || {
            let child = (index < end).then_some(Value { index, ..self })?;
            index = child.node().next as usize;
            Some(child)
        })
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(\"{}\")", self.raw().escape_ascii())
    }
}

/// Which rule the input breaks, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends within the value.
    #[error("the bencoding is cut off at byte {0}")]
    Truncated(usize),
    /// No value starts with this byte.
    #[error("no bencoded value starts at byte {0}")]
    Unexpected(usize),
    /// An integer is not `i`, an optional `-`, digits, `e`.
    #[error("malformed integer at byte {0}")]
    MalformedInteger(usize),
    /// An integer does not fit in 64 bits with a sign.
    #[error("integer out of range at byte {0}")]
    IntegerOverflow(usize),
    /// A string's length is not digits followed by `:`.
    #[error("malformed string length at byte {0}")]
    MalformedLength(usize),
    /// A string's length does not fit in 32 bits.
    #[error("string length out of range at byte {0}")]
    LengthOverflow(usize),
    /// A number is written with zeros before it. Not in [`Mode::Lax`].
    #[error("number with leading zeros at byte {0}")]
    LeadingZero(usize),
    /// Zero is written as `-0`. Not in [`Mode::Lax`].
    #[error("negative zero at byte {0}")]
    NegativeZero(usize),
    /// A key is not a string.
    #[error("dictionary key that is not a string at byte {0}")]
    KeyNotString(usize),
    /// A dictionary ends after a key.
    #[error("dictionary key without a value at byte {0}")]
    MissingValue(usize),
    /// A key comes after a greater one. Not in [`Mode::Lax`].
    #[error("unsorted dictionary key at byte {0}")]
    UnsortedKey(usize),
    /// A key stands twice in one dictionary.
    #[error("repeated dictionary key at byte {0}")]
    DuplicateKey(usize),
    /// More than [`MAX_DEPTH`] lists and dictionaries within each other.
    #[error("nested too deeply at byte {0}")]
    TooDeep(usize),
    /// More than [`MAX_NODES`] values.
    #[error("too many values at byte {0}")]
    TooManyNodes(usize),
    /// Something follows the value.
    #[error("bytes after the value, at byte {0}")]
    TrailingBytes(usize),
    /// The input has this many bytes, which 32-bit offsets cannot address.
    #[error("{0} bytes are too long to decode")]
    TooLong(usize),
}

/// The most lists and dictionaries within each other. A torrent nests 5 deep, and a v2 file tree one more for each
/// folder; no file system takes much deeper ones.
pub const MAX_DEPTH: usize = 64;

/// The most values in one document, keys included: 20 MiB of nodes. A torrent of 50,000 files has 400,000.
pub const MAX_NODES: usize = 1 << 20;

#[cfg(test)]
mod tests;
