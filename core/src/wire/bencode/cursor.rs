//! Codec: reading front to back without keeping anything, for values too large to decode into a tape.

use super::{DecodeError, MAX_DEPTH};

/// A place in bencoded bytes, read as [`Mode::Lax`](super::Mode::Lax) reads them.
///
/// ```
/// use gosh_dl_core::wire::bencode::Cursor;
///
/// let mut cursor = Cursor::new(b"d4:infod6:lengthi42ee4:name1:ae");
/// let mut info = None;
/// cursor.dict(|key, value| match key {
///     b"info" => Ok(info = Some(value.skip()?)),
///     _ => value.skip().map(drop),
/// })?;
/// assert_eq!(info, Some(&b"d6:lengthi42ee"[..]));
/// # Ok::<(), gosh_dl_core::wire::bencode::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A number.
    Integer,
    /// Any bytes.
    String,
    /// Values.
    List,
    /// Keys with values.
    Dict,
}

impl<'a> Cursor<'a> {
    /// Before the first byte.
    pub const fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    /// Before the byte of that number.
    pub const fn at(input: &'a [u8], at: usize) -> Self {
        Self { input, at }
    }

    /// The number of the byte that is read next.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes there are from here on.
    pub const fn remaining(&self) -> usize {
        self.input.len().saturating_sub(self.at)
    }

    /// What stands here, going by its first byte.
    pub fn kind(&self) -> Result<ValueKind, DecodeError> {
        match self.peek()? {
            b'0'..=b'9' => Ok(ValueKind::String),
            b'i' => Ok(ValueKind::Integer),
            b'l' => Ok(ValueKind::List),
            b'd' => Ok(ValueKind::Dict),
            _ => Err(DecodeError::Unexpected(self.at)),
        }
    }

    /// Reads a string.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let mut length = 0u64;
        while let digit @ b'0'..=b'9' = self.peek()? {
            length = length * 10 + u64::from(digit - b'0');
            if length > u64::from(u32::MAX) {
                return Err(DecodeError::LengthOverflow(start));
            }
            self.at += 1;
        }
        if self.at == start {
            return Err(DecodeError::Unexpected(start));
        }
        if self.input[self.at] != b':' {
            return Err(DecodeError::MalformedLength(self.at));
        }
        self.at += 1;
        let rest = &self.input[self.at..];
        let content = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let content = content.ok_or(DecodeError::Truncated(self.input.len()))?;
        self.at += content.len();
        Ok(content)
    }

    /// Reads an integer.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let start = self.at;
        if self.peek()? != b'i' {
            return Err(DecodeError::Unexpected(start));
        }
        self.at += 1;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let digits = self.at;
        let mut value = 0i64;
        while let digit @ b'0'..=b'9' = self.peek()? {
            let digit = i64::from(digit - b'0');
            let signed = if negative { -digit } else { digit };
            let longer = value.checked_mul(10).and_then(|tens| tens.checked_add(signed));
            value = longer.ok_or(DecodeError::IntegerOverflow(start))?;
            self.at += 1;
        }
        if self.input[self.at] != b'e' || self.at == digits {
            return Err(DecodeError::MalformedInteger(self.at));
        }
        self.at += 1;
        Ok(value)
    }

    /// Reads a dictionary: `entry` is called with each key and must read its value, and nothing more. A key that stands
    /// twice is no error here; whoever reads it has to see that.
    pub fn dict<E: From<DecodeError>>(
        &mut self,
        mut entry: impl FnMut(&'a [u8], &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'd')?;
        while !self.close()? {
            if !self.peek()?.is_ascii_digit() {
                return Err(DecodeError::KeyNotString(self.at).into());
            }
            let key = self.bytes()?;
            if self.peek()? == b'e' {
                return Err(DecodeError::MissingValue(self.at).into());
            }
            entry(key, self)?;
        }
        Ok(())
    }

    /// Reads a list: `item` is called before each value and must read it, and nothing more.
    pub fn list<E: From<DecodeError>>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'l')?;
        while !self.close()? {
            item(self)?;
        }
        Ok(())
    }

    /// Reads past one value with all that is in it, and gives its bytes.
    pub fn skip(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.at;
        let mut open = Nesting::default();
        loop {
            let byte = self.peek()?;
            let is_key = open.turn == Turn::Key;
            match byte {
                b'0'..=b'9' => {
                    self.bytes()?;
                    if is_key {
                        open.turn = Turn::Value;
                        continue;
                    }
                }
                b'e' => {
                    open.pop(self.at)?;
                    self.at += 1;
                }
                _ if is_key => return Err(DecodeError::KeyNotString(self.at)),
                b'i' => _ = self.int()?,
                b'l' | b'd' => {
                    open.push(byte == b'd', self.at)?;
                    self.at += 1;
                    continue;
                }
                _ => return Err(DecodeError::Unexpected(self.at)),
            }
            if open.depth == 0 {
                return Ok(&self.input[start..self.at]);
            }
            open.value_done();
        }
    }

    fn open(&mut self, first: u8) -> Result<(), DecodeError> {
        if self.peek()? != first {
            return Err(DecodeError::Unexpected(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<bool, DecodeError> {
        let ends = self.peek()? == b'e';
        self.at += usize::from(ends);
        Ok(ends)
    }

    fn peek(&self) -> Result<u8, DecodeError> {
        self.input.get(self.at).copied().ok_or(DecodeError::Truncated(self.at))
    }
}

/// The containers that are open. Every dictionary but the innermost has a key whose value is being read.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// Which of them are dictionaries, one bit each, the innermost lowest.
    dicts: u64,
    /// What the innermost takes next.
    turn: Turn,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Turn {
    #[default]
    Element,
    Key,
    Value,
}

const _: () = assert!(MAX_DEPTH <= u64::BITS as usize);

impl Nesting {
    fn push(&mut self, is_dict: bool, at: usize) -> Result<(), DecodeError> {
        if self.depth == MAX_DEPTH {
            return Err(DecodeError::TooDeep(at));
        }
        self.depth += 1;
        self.dicts = self.dicts << 1 | u64::from(is_dict);
        self.value_done();
        Ok(())
    }

    fn pop(&mut self, at: usize) -> Result<(), DecodeError> {
        if self.turn == Turn::Value {
            return Err(DecodeError::MissingValue(at));
        }
        self.depth = self.depth.checked_sub(1).ok_or(DecodeError::Unexpected(at))?;
        self.dicts >>= 1;
        Ok(())
    }

    fn value_done(&mut self) {
        self.turn = if self.dicts & 1 == 0 { Turn::Element } else { Turn::Key };
    }
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_value_is_told_with_its_place() {
        let error = |input: &[u8]| Cursor::new(input).skip().unwrap_err();
        assert_eq!(error(b"li1e"), DecodeError::Truncated(4));
        assert_eq!(error(b"e"), DecodeError::Unexpected(0));
        assert_eq!(error(b"d1:ae"), DecodeError::MissingValue(4));
        assert_eq!(error(b"di1e1:ae"), DecodeError::KeyNotString(1));
        assert_eq!(error(b"i-e"), DecodeError::MalformedInteger(2));
        assert_eq!(error(b"99999999999:"), DecodeError::LengthOverflow(0));
        assert_eq!(error(&b"l".repeat(1000)), DecodeError::TooDeep(MAX_DEPTH));
    }

    #[test]
    fn the_deepest_that_is_allowed_is_read() {
        let deep = [b"l".repeat(MAX_DEPTH), b"e".repeat(MAX_DEPTH)].concat();
        assert_eq!(Cursor::new(&deep).skip(), Ok(&deep[..]));
    }

    fn tokens() -> impl Strategy<Value = Vec<u8>> {
        let token =
            prop::sample::select(vec!["d", "l", "e", "i1e", "i-7e", "1:a", "2:bc", "0:", "i", "5:", "i00e"]);
        prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn takes_as_much_as_the_tape_does(input in tokens()) {
            let skipped = Cursor::new(&input).skip();
            match Document::decode_prefix(&input, super::super::Mode::Lax) {
                Ok((document, _)) => prop_assert_eq!(skipped, Ok(document.root().raw())),
                // The tape looks at keys twice; the cursor leaves that to its reader.
                Err(DecodeError::DuplicateKey(_)) => {}
                Err(error) => prop_assert_eq!(skipped, Err(error)),
            }
        }
    }
}
