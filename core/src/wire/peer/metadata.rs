//! Codec: the info dictionary, sent from peer to peer in pieces (BEP 9).

use crate::wire::bencode::{self, Document, Mode, Value};
use bytes::Bytes;

/// The length of a metadata piece in bytes; the last one may be shorter.
pub const METADATA_PIECE_LEN: u32 = 16 << 10;

/// One message of `ut_metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataMessage {
    /// Asks for a piece.
    Request {
        /// Its number, from 0.
        piece: u32,
    },
    /// A piece.
    Data {
        /// Its number.
        piece: u32,
        /// The length of all metadata in bytes; 0 where the sender does not say.
        total_size: u32,
        /// Its bytes.
        data: Bytes,
    },
    /// The piece will not come.
    Reject {
        /// Its number.
        piece: u32,
    },
}

impl MetadataMessage {
    /// Reads the payload of an extended message. `Ok(None)` is a kind of message that must be ignored; an error one
    /// that no version of the protocol allows.
    pub fn decode(payload: &Bytes) -> Result<Option<Self>, MalformedMetadata> {
        let (document, used) = Document::decode_prefix(payload, Mode::Lax).map_err(|_| MalformedMetadata)?;
        let number = |key: &[u8]| document.root().get(key).and_then(Value::as_uint);
        let kind = number(b"msg_type").ok_or(MalformedMetadata)?;
        let piece = number(b"piece").and_then(|piece| u32::try_from(piece).ok()).ok_or(MalformedMetadata)?;
        let total_size = number(b"total_size").map_or(Ok(0), u32::try_from).map_err(|_| MalformedMetadata)?;
        Ok(match kind {
            0 => Some(Self::Request { piece }),
            1 => Some(Self::Data { piece, total_size, data: payload.slice(used..) }),
            2 => Some(Self::Reject { piece }),
            _ => None,
        })
    }

    /// The dictionary of the message. The bytes of a piece follow it.
    pub fn encode_head(&self) -> Vec<u8> {
        let (kind, piece, total) = match self {
            Self::Request { piece } => (0u8, piece, None),
            Self::Data { piece, total_size, .. } => (1, piece, Some(total_size)),
            Self::Reject { piece } => (2, piece, None),
        };
        bencode::encode(|value| {
            value.dict(|message| {
                message.entry(b"msg_type", |value| value.int(kind));
                message.entry(b"piece", |value| value.int(*piece));
                if let Some(total) = total {
                    message.entry(b"total_size", |value| value.int(*total));
                }
            })
        })
    }
}

/// The message is not a dictionary, or its numbers are missing or out of range (BEP 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed metadata message")]
pub struct MalformedMetadata;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(payload: &'static [u8]) -> Result<Option<MetadataMessage>, MalformedMetadata> {
        MetadataMessage::decode(&Bytes::from_static(payload))
    }

    #[test]
    fn reads_the_examples_of_the_specification() {
        assert_eq!(read(b"d8:msg_typei0e5:piecei0ee"), Ok(Some(MetadataMessage::Request { piece: 0 })));
        let data =
            MetadataMessage::Data { piece: 0, total_size: 34256, data: Bytes::from_static(b"xxxxxxxx") };
        assert_eq!(read(b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxxxxxxx"), Ok(Some(data)));
        assert_eq!(read(b"d8:msg_typei2e5:piecei7ee"), Ok(Some(MetadataMessage::Reject { piece: 7 })));
    }

    #[test]
    fn unknown_kinds_are_ignored_and_wrong_numbers_are_not() {
        assert_eq!(read(b"d8:msg_typei9e5:piecei0ee"), Ok(None));
        for wrong in [
            &b""[..],
            b"le",
            b"d5:piecei0ee",
            b"d8:msg_typei0ee",
            b"d8:msg_typei0e5:piecei-1ee",
            b"d8:msg_typei0e5:piecei4294967296ee",
            b"d8:msg_typei1e5:piecei0e10:total_sizei4294967296ee",
        ] {
            assert_eq!(read(wrong), Err(MalformedMetadata), "{}", wrong.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(kind in 0..3, piece: u32, total_size: u32, data: Vec<u8>) {
            let data = Bytes::from(data);
            let message = match kind {
                0 => MetadataMessage::Request { piece },
                1 => MetadataMessage::Data { piece, total_size, data: data.clone() },
                _ => MetadataMessage::Reject { piece },
            };
            let tail = if kind == 1 { data } else { Bytes::new() };
            let written = [&message.encode_head()[..], &tail].concat();
            prop_assert_eq!(MetadataMessage::decode(&written.into()), Ok(Some(message)));
        }
    }
}
