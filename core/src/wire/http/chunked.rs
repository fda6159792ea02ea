//! Codec: the chunked transfer coding (RFC 9112 section 7.1), incrementally and without copying.

use super::DecodeError;
use super::request::is_token_byte;
use bytes::{Buf, Bytes, BytesMut};

/// Takes a chunked body apart as it arrives. Where the input is cut makes no difference.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use gosh_dl_core::wire::http::{Chunked, ChunkedDecoder};
///
/// let mut decoder = ChunkedDecoder::new();
/// let mut input = BytesMut::from("4\r\nWiki\r\n0\r\n\r\nnext");
/// assert_eq!(decoder.decode(&mut input), Ok(Some(Chunked::Data(Bytes::from("Wiki")))));
/// assert_eq!(decoder.decode(&mut input), Ok(Some(Chunked::End)));
/// assert_eq!(input, "next");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkedDecoder {
    state: State,
}

/// What a [`ChunkedDecoder`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunked {
    /// A part of the body, never empty.
    Data(Bytes),
    /// The body is complete.
    End,
}

impl ChunkedDecoder {
    /// The longest chunk extension in bytes. They carry signatures at best; nothing reads them here.
    pub const MAX_EXTENSION: u16 = 4096;
    /// The most bytes of trailers together. They carry a digest at best; nothing reads them here.
    pub const MAX_TRAILERS: u16 = 16 * 1024;

    /// A decoder before the first chunk.
    pub const fn new() -> Self {
        Self { state: State::Size { value: 0, digits: 0 } }
    }

    /// Takes what it can off the front of `input`: the next part of the body, or its end.
    ///
    /// `None` means that all of `input` is consumed and more is needed; after [`Chunked::End`], that nothing is taken.
    /// After an error the position is lost, and the connection with it.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Chunked>, DecodeError> {
        loop {
            if let State::Data { left } = self.state {
                return Ok(self.take_data(left, input).map(Chunked::Data));
            }
            if self.state == State::Done {
                return Ok(None);
            }
            let mut taken = 0;
            for &byte in input.iter() {
                taken += 1;
                self.state = self.state.next(byte)?;
                if matches!(self.state, State::Data { .. } | State::Done) {
                    break;
                }
            }
            input.advance(taken);
            match self.state {
                State::Done => return Ok(Some(Chunked::End)),
                State::Data { .. } => {}
                _ => return Ok(None),
            }
        }
    }

    /// How many of the next bytes belong to the body for certain.
    pub const fn ahead(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    fn take_data(&mut self, left: u64, input: &mut BytesMut) -> Option<Bytes> {
        if input.is_empty() {
            return None;
        }
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let left = left - len as u64;
        self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        Some(input.split_to(len).freeze())
    }
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of the chunk size, or what ends it.
    Size {
        value: u64,
        digits: u8,
    },
    /// White space between the size and an extension or the line's end.
    Padding {
        value: u64,
        len: u16,
    },
    /// The extension or the line's end.
    Extension {
        value: u64,
        len: u16,
    },
    /// The line feed behind the size.
    SizeLf {
        value: u64,
    },
    /// Bytes of the body, `left` of them and at least one.
    Data {
        left: u64,
    },
    /// The line end behind a chunk.
    DataCr,
    DataLf,
    /// The first byte of a trailer, or the last line's end. `len` counts all trailers.
    TrailerStart {
        len: u16,
    },
    TrailerName {
        len: u16,
    },
    TrailerValue {
        len: u16,
    },
    TrailerLf {
        len: u16,
    },
    EndLf,
    Done,
}

impl State {
    fn next(self, byte: u8) -> Result<Self, DecodeError> {
        match self {
            Self::Size { value, digits } => in_size(value, digits, byte),
            Self::Padding { value, len } => after_size(value, len, byte),
            Self::Extension { value, len } => in_extension(value, len, byte),
            Self::SizeLf { value } => expect_lf(byte, DecodeError::ChunkLineEnd, Self::after_line(value)),
            Self::DataCr if byte == b'\r' => Ok(Self::DataLf),
            Self::DataCr => Err(DecodeError::ChunkLineEnd),
            Self::DataLf => expect_lf(byte, DecodeError::ChunkLineEnd, Self::Size { value: 0, digits: 0 }),
            Self::TrailerStart { len } => at_trailer(len, byte),
            Self::TrailerName { len } => in_trailer_name(len, byte),
            Self::TrailerValue { len } => in_trailer_value(len, byte),
            Self::TrailerLf { len } => expect_lf(byte, DecodeError::Trailer, Self::TrailerStart { len }),
            Self::EndLf => expect_lf(byte, DecodeError::Trailer, Self::Done),
            Self::Data { .. } | Self::Done => Ok(self),
        }
    }

    const fn after_line(size: u64) -> Self {
        if size == 0 { Self::TrailerStart { len: 0 } } else { Self::Data { left: size } }
    }
}

fn in_size(value: u64, digits: u8, byte: u8) -> Result<State, DecodeError> {
    let Some(digit) = char::from(byte).to_digit(16) else {
        return if digits == 0 { Err(DecodeError::ChunkSize) } else { after_size(value, 0, byte) };
    };
    if digits == MAX_SIZE_DIGITS {
        return Err(DecodeError::ChunkSizeTooLarge);
    }
    Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
}

fn after_size(value: u64, len: u16, byte: u8) -> Result<State, DecodeError> {
    match byte {
        b'\r' => Ok(State::SizeLf { value }),
        // Some servers pad the size with spaces; before an extension the standard allows it.
        b' ' | b'\t' => Ok(State::Padding { value, len: extension_len(len)? }),
        b';' => Ok(State::Extension { value, len: extension_len(len)? }),
        b'\n' => Err(DecodeError::ChunkLineEnd),
        _ => Err(DecodeError::ChunkSize),
    }
}

fn in_extension(value: u64, len: u16, byte: u8) -> Result<State, DecodeError> {
    match byte {
        b'\r' => Ok(State::SizeLf { value }),
        _ if is_text(byte) => Ok(State::Extension { value, len: extension_len(len)? }),
        _ => Err(DecodeError::ChunkExtension),
    }
}

fn extension_len(len: u16) -> Result<u16, DecodeError> {
    if len < ChunkedDecoder::MAX_EXTENSION { Ok(len + 1) } else { Err(DecodeError::ChunkExtensionTooLong) }
}

fn at_trailer(len: u16, byte: u8) -> Result<State, DecodeError> {
    match byte {
        b'\r' => Ok(State::EndLf),
        _ if is_token_byte(byte) => Ok(State::TrailerName { len: trailers_len(len)? }),
        _ => Err(DecodeError::Trailer),
    }
}

fn in_trailer_name(len: u16, byte: u8) -> Result<State, DecodeError> {
    match byte {
        b':' => Ok(State::TrailerValue { len: trailers_len(len)? }),
        _ if is_token_byte(byte) => Ok(State::TrailerName { len: trailers_len(len)? }),
        _ => Err(DecodeError::Trailer),
    }
}

fn in_trailer_value(len: u16, byte: u8) -> Result<State, DecodeError> {
    match byte {
        b'\r' => Ok(State::TrailerLf { len }),
        _ if is_text(byte) => Ok(State::TrailerValue { len: trailers_len(len)? }),
        _ => Err(DecodeError::Trailer),
    }
}

fn trailers_len(len: u16) -> Result<u16, DecodeError> {
    if len < ChunkedDecoder::MAX_TRAILERS { Ok(len + 1) } else { Err(DecodeError::TrailersTooLong) }
}

fn expect_lf(byte: u8, otherwise: DecodeError, next: State) -> Result<State, DecodeError> {
    if byte == b'\n' { Ok(next) } else { Err(otherwise) }
}

/// Whether a byte may stand in a value (RFC 9110 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// So many hexadecimal digits fit 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The body, whether it ended, and what is left of the input.
    type Decoded = (Vec<u8>, bool, Vec<u8>);

    /// Feeds `wire` in pieces that end at `cuts`.
    fn decode_cut(wire: &[u8], cuts: &[usize]) -> Result<Decoded, DecodeError> {
        let mut decoder = ChunkedDecoder::new();
        let (mut body, mut input, mut start) = (Vec::new(), BytesMut::new(), 0);
        let mut ends: Vec<usize> =
            cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([wire.len()]).collect();
        ends.sort_unstable();
        for end in ends {
            input.extend_from_slice(&wire[start..end]);
            start = end;
            while let Some(found) = decoder.decode(&mut input)? {
                match found {
                    Chunked::Data(data) => body.extend_from_slice(&data),
                    Chunked::End => {
                        input.extend_from_slice(&wire[start..]);
                        return Ok((body, true, input.to_vec()));
                    }
                }
            }
            assert!(input.is_empty(), "a decoder that waits has taken everything");
        }
        Ok((body, false, Vec::new()))
    }

    fn decode(wire: &str) -> Result<Decoded, DecodeError> {
        decode_cut(wire.as_bytes(), &[])
    }

    #[test]
    fn sizes_extensions_and_trailers_are_understood() {
        let wire =
            "5\r\nhello\r\n00A ; a=\"b;c\"\r\n, world!!!\r\n1  \r\nx\r\n0;x\r\nA: b\r\nC:\r\n\r\nHTTP/1.1";
        assert_eq!(decode(wire), Ok((b"hello, world!!!x".to_vec(), true, b"HTTP/1.1".to_vec())));
    }

    #[test]
    fn data_is_split_off_and_not_copied() {
        let mut input = BytesMut::from("5\r\nhello\r\n");
        let at = input[3..].as_ptr();
        let Ok(Some(Chunked::Data(data))) = ChunkedDecoder::new().decode(&mut input) else {
            panic!("there is a chunk");
        };
        assert_eq!(data.as_ptr(), at);
    }

    #[test]
    fn each_rule_has_its_error() {
        let vectors = [
            ("\r\n", DecodeError::ChunkSize),
            ("+5\r\n", DecodeError::ChunkSize),
            ("-1\r\n", DecodeError::ChunkSize),
            ("0x5\r\n", DecodeError::ChunkSize),
            (" 5\r\n", DecodeError::ChunkSize),
            ("5 5\r\n", DecodeError::ChunkSize),
            (";a\r\n", DecodeError::ChunkSize),
            ("00000000000000005\r\n", DecodeError::ChunkSizeTooLarge),
            ("10000000000000000\r\n", DecodeError::ChunkSizeTooLarge),
            ("5\nhello", DecodeError::ChunkLineEnd),
            ("5\rX", DecodeError::ChunkLineEnd),
            ("5\r\nhelloX", DecodeError::ChunkLineEnd),
            ("5\r\nhello\n", DecodeError::ChunkLineEnd),
            ("5\r\nhello\rX", DecodeError::ChunkLineEnd),
            ("5;a\n", DecodeError::ChunkExtension),
            ("5;a\0", DecodeError::ChunkExtension),
            ("5;a\rb", DecodeError::ChunkLineEnd),
            ("0\r\n\n", DecodeError::Trailer),
            ("0\r\n\rX", DecodeError::Trailer),
            ("0\r\n: b", DecodeError::Trailer),
            ("0\r\nA\r\n", DecodeError::Trailer),
            ("0\r\nA: b\n", DecodeError::Trailer),
            ("0\r\nA: b\rX", DecodeError::Trailer),
            ("0\r\nA: b\r\n c", DecodeError::Trailer),
        ];
        for (wire, error) in vectors {
            assert_eq!(decode(wire), Err(error), "{wire:?}");
        }
    }

    #[test]
    fn largest_size_is_taken() {
        assert_eq!(decode("ffffffffffffffff\r\nabc"), Ok((b"abc".to_vec(), false, vec![])));
    }

    #[test]
    fn extensions_and_trailers_have_limits() {
        let extension = |len: u16| decode(&format!("0;{}\r\n\r\n", "a".repeat(usize::from(len) - 1)));
        assert!(extension(ChunkedDecoder::MAX_EXTENSION).is_ok());
        assert_eq!(extension(ChunkedDecoder::MAX_EXTENSION + 1), Err(DecodeError::ChunkExtensionTooLong));
        let padding = " ".repeat(usize::from(ChunkedDecoder::MAX_EXTENSION) + 1);
        assert_eq!(decode(&format!("0{padding}")), Err(DecodeError::ChunkExtensionTooLong));

        let trailers = |count: u16| decode(&format!("0\r\n{}\r\n", "abc:\r\n".repeat(usize::from(count))));
        assert!(trailers(ChunkedDecoder::MAX_TRAILERS / 4).is_ok());
        assert_eq!(trailers(ChunkedDecoder::MAX_TRAILERS / 4 + 1), Err(DecodeError::TrailersTooLong));
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let mut decoder = ChunkedDecoder::new();
        assert_eq!(decoder.decode(&mut BytesMut::from("0\r\n\r\n")), Ok(Some(Chunked::End)));
        let mut input = BytesMut::from("5\r\n");
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert_eq!(input, "5\r\n");
    }

    fn encode(chunks: &[(Vec<u8>, String)], trailers: &[(String, String)]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (data, extension) in chunks {
            wire.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
            wire.extend_from_slice(data);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            wire.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        wire.extend_from_slice(b"\r\n");
        wire
    }

    proptest! {
        #[test]
        fn what_a_reference_encoder_writes_is_read_back_however_it_is_cut(
            chunks in vec((vec(any::<u8>(), 1..40), "( ?; ?[a-z]{1,3}(=[a-z]{1,3})?){0,2}"), 0..6),
            trailers in vec(("[A-Za-z-]{1,6}", "[a-z ,\"]{0,6}"), 0..3),
            behind in vec(any::<u8>(), 0..8),
            cuts in vec(any::<usize>(), 0..12),
        ) {
            let mut wire = encode(&chunks, &trailers);
            wire.extend_from_slice(&behind);
            let body: Vec<u8> = chunks.into_iter().flat_map(|(data, _)| data).collect();
            prop_assert_eq!(decode_cut(&wire, &cuts), Ok((body, true, behind)));
        }

        #[test]
        fn cutting_garbage_changes_nothing(
            wire in "([0-9a-f]{0,3}[;: ]?(\r\n|\r|\n|[a-z]){0,3}){0,6}",
            cuts in vec(any::<usize>(), 0..12),
        ) {
            prop_assert_eq!(decode_cut(wire.as_bytes(), &cuts), decode(&wire));
        }
    }
}
