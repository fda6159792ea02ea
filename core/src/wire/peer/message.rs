//! Codec: messages between peers (BEP 3, 5, 6, 10), and how they are cut out of a stream without copying blocks.

use crate::base::BlockData;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One message. Numbers are as they came: whether they name something is for those to say who know the torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// No message at all, but a sign of life.
    KeepAlive,
    /// Requests are not answered any more.
    Choke,
    /// Requests are answered.
    Unchoke,
    /// The sender wants pieces.
    Interested,
    /// The sender wants no pieces.
    NotInterested,
    /// The sender has this piece.
    Have(u32),
    /// The sender has these pieces.
    Bitfield(Bytes),
    /// The sender wants these bytes.
    Request(Span),
    /// The bytes of a request.
    Piece {
        /// The number of the piece.
        index: u32,
        /// Where they begin in the piece.
        begin: u32,
        /// The bytes; never none.
        data: BlockData,
    },
    /// The sender does not want these bytes any more.
    Cancel(Span),
    /// The sender's DHT node listens on this port (BEP 5).
    Port(u16),
    /// The sender would rather give this piece (BEP 6).
    Suggest(u32),
    /// The sender has every piece (BEP 6).
    HaveAll,
    /// The sender has no piece (BEP 6).
    HaveNone,
    /// A request will not be answered (BEP 6).
    Reject(Span),
    /// The sender gives this piece even while it chokes (BEP 6).
    AllowedFast(u32),
    /// Something of the extension protocol (BEP 10).
    Extended {
        /// Which extension: a number that the receiver chose, or 0 for the handshake.
        id: u8,
        /// What it says.
        payload: Bytes,
    },
    /// A message of a kind that is not known here. What it says was skipped.
    Unknown(u8),
}

/// Some bytes of a piece, as a message names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The number of the piece.
    pub index: u32,
    /// Where they begin in the piece.
    pub begin: u32,
    /// How many they are.
    pub len: u32,
}

impl Message {
    /// Writes the message with the length before it.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::KeepAlive => out.put_u32(0),
            Self::Choke => put_head(out, CHOKE, 0),
            Self::Unchoke => put_head(out, UNCHOKE, 0),
            Self::Interested => put_head(out, INTERESTED, 0),
            Self::NotInterested => put_head(out, NOT_INTERESTED, 0),
            Self::Have(index) => put_number(out, HAVE, *index),
            Self::Bitfield(bits) => put_bytes(out, BITFIELD, bits),
            Self::Request(span) => put_span(out, REQUEST, *span),
            Self::Piece { index, begin, data } => {
                let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
                Self::encode_piece_head(out, Span { index: *index, begin: *begin, len });
                data.parts().for_each(|part| out.put_slice(part));
            }
            Self::Cancel(span) => put_span(out, CANCEL, *span),
            Self::Port(port) => {
                put_head(out, PORT, 2);
                out.put_u16(*port);
            }
            Self::Suggest(index) => put_number(out, SUGGEST, *index),
            Self::HaveAll => put_head(out, HAVE_ALL, 0),
            Self::HaveNone => put_head(out, HAVE_NONE, 0),
            Self::Reject(span) => put_span(out, REJECT, *span),
            Self::AllowedFast(index) => put_number(out, ALLOWED_FAST, *index),
            Self::Extended { id, payload } => Self::encode_extended(out, *id, &[payload]),
            Self::Unknown(id) => put_head(out, *id, 0),
        }
    }

    /// Writes a `piece` message up to its bytes, which follow.
    pub fn encode_piece_head(out: &mut BytesMut, span: Span) {
        put_head(out, PIECE, span.len.saturating_add(8));
        out.put_u32(span.index);
        out.put_u32(span.begin);
    }

    /// Writes an extended message, whose payload may lie in several parts.
    pub fn encode_extended(out: &mut BytesMut, id: u8, payload: &[&[u8]]) {
        let len: usize = payload.iter().map(|part| part.len()).sum();
        put_head(out, EXTENDED, u32::try_from(len + 1).unwrap_or(u32::MAX));
        out.put_u8(id);
        payload.iter().for_each(|part| out.put_slice(part));
    }
}

/// Cuts a stream into messages. Where the stream is cut itself makes no difference.
///
/// ```
/// use bytes::{Bytes, BytesMut};
/// use gosh_dl_core::wire::peer::{Message, MessageDecoder};
///
/// let mut decoder = MessageDecoder::default();
/// let mut first = Bytes::from_static(b"\0\0\0\x01\x01\0\0\0\x05\x04\0");
/// assert_eq!(decoder.decode(&mut first), Ok(Some(Message::Unchoke)));
/// assert_eq!(decoder.decode(&mut first), Ok(None));
/// let mut second = Bytes::from_static(b"\0\0\x07");
/// assert_eq!(decoder.decode(&mut second), Ok(Some(Message::Have(7))));
/// ```
#[derive(Debug)]
pub struct MessageDecoder(State);

#[derive(Debug)]
enum State {
    /// The length, the kind and the numbers of a message; as much as came.
    Head { bytes: [u8; MAX_HEAD], have: u8 },
    /// The bytes that follow them.
    Body(Box<Body>),
    /// The rest of a message that is not known.
    Skip { id: u8, left: usize },
}

#[derive(Debug)]
struct Body {
    head: BodyHead,
    left: usize,
    data: BlockData,
    /// Small parts in a row, copied together.
    gathered: BytesMut,
}

#[derive(Clone, Copy, Debug)]
enum BodyHead {
    Bitfield,
    Piece { index: u32, begin: u32 },
    Extended { id: u8 },
}

/// What a head says, and how many bytes it takes itself.
enum Head {
    /// Too few bytes to tell; it takes so many at least.
    Needs(usize),
    /// The message was all in it.
    Whole(Message, usize),
    /// So many bytes follow.
    Body(BodyHead, usize, u32),
    /// So many bytes follow, which are to be skipped.
    Skip(u8, usize, u32),
}

impl Default for MessageDecoder {
    fn default() -> Self {
        Self(State::START)
    }
}

impl MessageDecoder {
    /// The most bytes of a block that are read or served: what the most generous clients do.
    pub const MAX_BLOCK: u32 = 128 << 10;

    /// The most bytes of a bit field: of as many pieces as a torrent can have here, 2^21.
    pub const MAX_BITFIELD: u32 = 1 << 18;

    /// The most bytes of an extended message: room for every peer that an engine knows (BEP 11), and more than a piece
    /// of metadata takes (BEP 9).
    pub const MAX_EXTENDED: u32 = 64 << 10;

    /// The next message, and takes its bytes off `input`; `None` where all of `input` was taken and the message goes
    /// on.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Message>, MessageError> {
        loop {
            let message = match &mut self.0 {
                State::Head { bytes, have } => match read_head(bytes, have, input)? {
                    Head::Needs(_) => return Ok(None),
                    Head::Whole(message, _) => Some(message),
                    Head::Body(head, _, len) if input.len() >= len as usize => {
                        Some(head.with(input.split_to(len as usize).into()))
                    }
                    Head::Body(head, _, left) => {
                        self.0 = State::Body(Box::new(Body::new(head, left as usize)));
                        continue;
                    }
                    Head::Skip(id, _, left) => {
                        self.0 = State::Skip { id, left: left as usize };
                        continue;
                    }
                },
                State::Body(body) => body.take(input),
                State::Skip { id, left } => skip(input, left).then_some(Message::Unknown(*id)),
            };
            if message.is_some() {
                self.0 = State::START;
            }
            return Ok(message);
        }
    }
}

impl State {
    const START: Self = Self::Head { bytes: [0; MAX_HEAD], have: 0 };
}

/// Takes a head off `input`, of which `have` bytes came before and lie in `bytes`. What is too short is kept there.
fn read_head(bytes: &mut [u8; MAX_HEAD], have: &mut u8, input: &mut Bytes) -> Result<Head, MessageError> {
    if *have == 0 {
        let head = Head::parse(input)?;
        if !matches!(head, Head::Needs(_)) {
            input.advance(head.len());
            return Ok(head);
        }
    }
    loop {
        let kept = usize::from(*have);
        let head = Head::parse(&bytes[..kept])?;
        let Head::Needs(len) = head else { return Ok(head) };
        let taken = input.len().min(len - kept);
        if taken == 0 {
            return Ok(head);
        }
        bytes[kept..kept + taken].copy_from_slice(&input[..taken]);
        input.advance(taken);
        *have += u8::try_from(taken).unwrap_or(0);
    }
}

impl Head {
    /// Reads a head that may not be there yet as a whole; what follows it is not looked at.
    fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let Some((&len, rest)) = bytes.split_first_chunk() else { return Ok(Self::Needs(4)) };
        let Some(len) = u32::from_be_bytes(len).checked_sub(1) else {
            return Ok(Self::Whole(Message::KeepAlive, 4));
        };
        let Some((&id, rest)) = rest.split_first() else { return Ok(Self::Needs(5)) };
        match id {
            BITFIELD if len > MessageDecoder::MAX_BITFIELD => Err(MessageError::TooLong(id)),
            BITFIELD => Ok(Self::Body(BodyHead::Bitfield, 5, len)),
            PIECE => Self::parse_piece(len, rest),
            EXTENDED => Self::parse_extended(len, rest),
            _ => match fixed_len(id) {
                Some(fixed) if fixed != len => Err(MessageError::Length(id)),
                Some(fixed) => Ok(match rest.get(..fixed as usize) {
                    Some(numbers) => Self::Whole(Message::of(id, numbers), 5 + numbers.len()),
                    None => Self::Needs(5 + fixed as usize),
                }),
                None if len > MAX_SKIPPED => Err(MessageError::TooLong(id)),
                None => Ok(Self::Skip(id, 5, len)),
            },
        }
    }

    fn parse_piece(len: u32, rest: &[u8]) -> Result<Self, MessageError> {
        let len = len.checked_sub(8).filter(|len| *len > 0).ok_or(MessageError::Length(PIECE))?;
        if len > MessageDecoder::MAX_BLOCK {
            return Err(MessageError::TooLong(PIECE));
        }
        Ok(match rest.get(..8) {
            Some(numbers) => {
                let head = BodyHead::Piece { index: number(numbers, 0), begin: number(numbers, 1) };
                Self::Body(head, 13, len)
            }
            None => Self::Needs(13),
        })
    }

    fn parse_extended(len: u32, rest: &[u8]) -> Result<Self, MessageError> {
        let len = len.checked_sub(1).ok_or(MessageError::Length(EXTENDED))?;
        if len > MessageDecoder::MAX_EXTENDED {
            return Err(MessageError::TooLong(EXTENDED));
        }
        Ok(match rest.first() {
            Some(&id) => Self::Body(BodyHead::Extended { id }, 6, len),
            None => Self::Needs(6),
        })
    }

    /// How many bytes it takes.
    fn len(&self) -> usize {
        match self {
            Self::Needs(len) | Self::Whole(_, len) | Self::Body(_, len, _) | Self::Skip(_, len, _) => *len,
        }
    }
}

impl Message {
    /// A message of a fixed length; `numbers` are as many bytes as [`fixed_len`] says.
    fn of(id: u8, numbers: &[u8]) -> Self {
        let span = || Span { index: number(numbers, 0), begin: number(numbers, 1), len: number(numbers, 2) };
        match id {
            CHOKE => Self::Choke,
            UNCHOKE => Self::Unchoke,
            INTERESTED => Self::Interested,
            NOT_INTERESTED => Self::NotInterested,
            HAVE => Self::Have(number(numbers, 0)),
            REQUEST => Self::Request(span()),
            CANCEL => Self::Cancel(span()),
            PORT => Self::Port(numbers.first_chunk().copied().map_or(0, u16::from_be_bytes)),
            SUGGEST => Self::Suggest(number(numbers, 0)),
            HAVE_ALL => Self::HaveAll,
            HAVE_NONE => Self::HaveNone,
            REJECT => Self::Reject(span()),
            ALLOWED_FAST => Self::AllowedFast(number(numbers, 0)),
            _ => Self::Unknown(id),
        }
    }
}

impl BodyHead {
    fn with(self, data: BlockData) -> Message {
        match self {
            Self::Bitfield => Message::Bitfield(data.into_bytes()),
            Self::Piece { index, begin } => Message::Piece { index, begin, data },
            Self::Extended { id } => Message::Extended { id, payload: data.into_bytes() },
        }
    }
}

impl Body {
    fn new(head: BodyHead, left: usize) -> Self {
        Self { head, left, data: BlockData::new(), gathered: BytesMut::new() }
    }

    /// Takes what there is; the message where that was all.
    fn take(&mut self, input: &mut Bytes) -> Option<Message> {
        let part = input.split_to(input.len().min(self.left));
        self.left -= part.len();
        if part.len() < MIN_PART {
            if self.gathered.is_empty() {
                self.gathered.reserve(MIN_PART.min(part.len() + self.left));
            }
            self.gathered.extend_from_slice(&part);
        } else {
            self.settle_gathered();
            self.data.push(part);
        }
        if self.left > 0 {
            return None;
        }
        self.settle_gathered();
        Some(self.head.with(core::mem::take(&mut self.data)))
    }

    fn settle_gathered(&mut self) {
        self.data.push(core::mem::take(&mut self.gathered).freeze());
    }
}

/// Takes up to `left` bytes; says whether that was all.
fn skip(input: &mut Bytes, left: &mut usize) -> bool {
    let taken = input.len().min(*left);
    input.advance(taken);
    *left -= taken;
    *left == 0
}

/// Which rule the stream breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum MessageError {
    /// Messages of this kind have another length.
    #[error("message {0} has a wrong length")]
    Length(u8),
    /// The message is longer than anything that it could say.
    #[error("message {0} is too long")]
    TooLong(u8),
}

/// How many bytes follow the kind of a message, where that is always the same.
const fn fixed_len(id: u8) -> Option<u32> {
    match id {
        CHOKE | UNCHOKE | INTERESTED | NOT_INTERESTED | HAVE_ALL | HAVE_NONE => Some(0),
        PORT => Some(2),
        HAVE | SUGGEST | ALLOWED_FAST => Some(4),
        REQUEST | CANCEL | REJECT => Some(12),
        _ => None,
    }
}

/// The number at that place in a row of numbers.
fn number(numbers: &[u8], at: usize) -> u32 {
    numbers.get(at * 4..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_be_bytes)
}

fn put_head(out: &mut BytesMut, id: u8, len: u32) {
    out.put_u32(len.saturating_add(1));
    out.put_u8(id);
}

fn put_number(out: &mut BytesMut, id: u8, number: u32) {
    put_head(out, id, 4);
    out.put_u32(number);
}

fn put_span(out: &mut BytesMut, id: u8, span: Span) {
    put_head(out, id, 12);
    out.put_u32(span.index);
    out.put_u32(span.begin);
    out.put_u32(span.len);
}

fn put_bytes(out: &mut BytesMut, id: u8, bytes: &[u8]) {
    put_head(out, id, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

const CHOKE: u8 = 0;
const UNCHOKE: u8 = 1;
const INTERESTED: u8 = 2;
const NOT_INTERESTED: u8 = 3;
const HAVE: u8 = 4;
const BITFIELD: u8 = 5;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const CANCEL: u8 = 8;
const PORT: u8 = 9;
const SUGGEST: u8 = 13;
const HAVE_ALL: u8 = 14;
const HAVE_NONE: u8 = 15;
const REJECT: u8 = 16;
const ALLOWED_FAST: u8 = 17;
const EXTENDED: u8 = 20;

/// The length, the kind and three numbers.
const MAX_HEAD: usize = 17;

/// Parts that are smaller are copied together, so that a block that trickles in has few parts: one for each of these
/// bytes, and one more for each that is longer.
const MIN_PART: usize = 4 << 10;

/// A message that is not known is skipped, but nothing longer than what is known: it would be a broken stream.
const MAX_SKIPPED: u32 = 128 << 10;

mod payload;
#[cfg(test)]
mod tests;
