//! Vocabulary: the rules that a peer can break.

/// What a peer did that no peer may do: one variant per rule. Each ends the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// BEP 3: the handshake does not begin with the name of the protocol.
    #[error("the peer does not speak BitTorrent")]
    NotBitTorrent,
    /// BEP 3: the handshake is about another torrent.
    #[error("the peer answered for another torrent")]
    WrongInfoHash,
    /// BEP 3: a message of this kind has a fixed length, and it is another.
    #[error("message {0} has a wrong length")]
    MessageLength(u8),
    /// A message of this kind is longer than anything that it could say.
    #[error("message {0} is too long")]
    MessageTooLong(u8),
    /// BEP 3: a message names a piece that the torrent does not have.
    #[error("the peer named a piece that does not exist")]
    NoSuchPiece,
    /// BEP 3: the bit field is of another length than the torrent, or has spare bits set.
    #[error("malformed bit field")]
    MalformedBitfield,
    /// BEP 6: a message of the Fast extension, which was not agreed upon.
    #[error("message {0} without the Fast extension")]
    FastDisabled(u8),
    /// BEP 6: a block that was never asked for.
    #[error("a block that was not asked for")]
    UnaskedBlock,
    /// BEP 6: a rejection of a block that was never asked for.
    #[error("a rejection of what was not asked for")]
    UnaskedReject,
    /// BEP 3: a request beyond the end of its piece, of no bytes, or of more than any peer serves.
    #[error("a request for what does not exist")]
    InvalidRequest,
    /// BEP 6, BEP 10: requests without end that cannot be answered: while choked, or beyond `reqq`.
    #[error("a flood of requests")]
    RequestFlood,
    /// BEP 10: an extended message, which was not agreed upon.
    #[error("an extended message without the extension protocol")]
    ExtendedDisabled,
    /// BEP 10: the extension handshake is not a dictionary.
    #[error("malformed extension handshake")]
    MalformedExtension,
    /// BEP 9: a metadata message is malformed.
    #[error("malformed metadata message")]
    MalformedMetadata,
    /// BEP 9: the same metadata again and again.
    #[error("a flood of metadata requests")]
    MetadataFlood,
    /// BEP 11: a peer exchange message is malformed.
    #[error("malformed peer exchange message")]
    MalformedPex,
    /// BEP 11: more than one message a minute, by far.
    #[error("a flood of peer exchange messages")]
    PexFlood,
    /// BEP 54, BEP 21: an extended message of a fixed length has another.
    #[error("malformed extended message")]
    MalformedExtended,
    /// It makes us answer and does not read the answers.
    #[error("the peer does not read what it asks for")]
    NotReading,
}
