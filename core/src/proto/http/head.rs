//! The bytes of a response's head as they arrive, up to the blank line.

use crate::wire::http::{DecodeError, ResponseHead};
use bytes::{Buf, BytesMut};

/// Collects one head. Every byte is looked at once before the whole is decoded, so a head that drips costs no more.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadBuffer {
    /// What came in earlier inputs; stays empty where one input holds the whole head.
    earlier: BytesMut,
    position: Position,
}

/// Where in a head the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// Before the status line, behind this many line end bytes.
    Before(u8),
    /// In the first bytes, which must be `HTTP/`.
    Magic(u8),
    /// Within a line.
    Line,
    /// At the start of a line.
    LineStart,
    /// Behind a carriage return at the start of a line.
    LineStartCr,
    /// Behind the blank line.
    End,
}

impl HeadBuffer {
    /// Takes bytes off the front of `input` up to the end of the head; `None` where more must come.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Option<ResponseHead>, DecodeError> {
        self.skip_line_ends(input)?;
        let room = ResponseHead::MAX_HEAD - self.earlier.len();
        let mut taken = 0;
        for &byte in input.iter() {
            if taken == room {
                return Err(DecodeError::HeadTooLong);
            }
            taken += 1;
            self.position = self.position.next(byte)?;
            if matches!(self.position, Position::End) {
                return self.finish(input, taken).map(Some);
            }
        }
        self.earlier.extend_from_slice(input);
        input.clear();
        Ok(None)
    }

    /// RFC 9112 2.2: line ends before the status line are skipped, for the sake of old servers.
    fn skip_line_ends(&mut self, input: &mut BytesMut) -> Result<(), DecodeError> {
        while let Position::Before(count) = self.position {
            match input.first() {
                None => return Ok(()),
                Some(b'\r' | b'\n') if count == MAX_LINE_ENDS => return Err(DecodeError::TooManyBlankLines),
                Some(b'\r' | b'\n') => {
                    input.advance(1);
                    self.position = Position::Before(count + 1);
                }
                Some(_) => self.position = Position::Magic(0),
            }
        }
        Ok(())
    }

    fn finish(&mut self, input: &mut BytesMut, len: usize) -> Result<ResponseHead, DecodeError> {
        let last = input.split_to(len);
        if self.earlier.is_empty() {
            return ResponseHead::decode(&last);
        }
        self.earlier.extend_from_slice(&last);
        ResponseHead::decode(&self.earlier)
    }
}

impl Position {
    fn next(self, byte: u8) -> Result<Self, DecodeError> {
        match (self, byte) {
            (Self::Magic(at), _) => after_magic(at, byte),
            (Self::LineStart, b'\r') => Ok(Self::LineStartCr),
            (Self::LineStart | Self::LineStartCr, b'\n') | (Self::End, _) => Ok(Self::End),
            (Self::Line, b'\n') => Ok(Self::LineStart),
            (Self::Before(_) | Self::Line | Self::LineStart | Self::LineStartCr, _) => Ok(Self::Line),
        }
    }
}

impl Default for Position {
    fn default() -> Self {
        Self::Before(0)
    }
}

/// A server of another protocol is recognised by its first bytes, not by the silence after them.
fn after_magic(at: u8, byte: u8) -> Result<Position, DecodeError> {
    match MAGIC.get(usize::from(at)) {
        Some(&expected) if byte != expected => Err(DecodeError::NotHttp),
        _ if usize::from(at) + 1 < MAGIC.len() => Ok(Position::Magic(at + 1)),
        _ => Ok(Position::Line),
    }
}

const MAGIC: &[u8] = b"HTTP/";

/// Two blank lines: the one that the standard tells clients to skip, and one more.
const MAX_LINE_ENDS: u8 = 4;
