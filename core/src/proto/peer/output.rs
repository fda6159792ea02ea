//! Vocabulary: what comes out of a conversation with a peer, and how it ends.

use super::Violation;
use crate::base::disk::FileKey;
use crate::base::{Bitfield, Block, BlockData, LinkError, LinkOutput, PeerId, PieceIndex};
use crate::wire::peer::{MetadataMessage, Pex};

/// What a peer wants done, or has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// For the link.
    Link(LinkOutput),
    /// The handshakes are exchanged: [`announce_have`](super::Peer::announce_have) is due.
    Greeted {
        /// Who it says it is.
        peer_id: PeerId,
    },
    /// What it says of itself (BEP 10) came, for the first time or anew.
    Extended,
    /// It will not answer requests, but for allowed-fast pieces.
    Choked {
        /// Blocks that will not come. With the Fast extension none: each is rejected by itself (BEP 6).
        lost: Vec<Block>,
    },
    /// It will answer requests.
    Unchoked,
    /// Whether it wants pieces from us has changed.
    Interested(bool),
    /// Which pieces it has, once it says anything about pieces; before any [`Have`](Self::Have) and
    /// [`DontHave`](Self::DontHave), which go on from there. At most once.
    HasPieces(Bitfield),
    /// It has a piece more.
    Have(PieceIndex),
    /// It has a piece less (BEP 54). Without the Fast extension the requests for it are lost, and follow as
    /// [`Rejected`](Self::Rejected).
    DontHave(PieceIndex),
    /// A block that was asked for.
    Block(Block, BlockData),
    /// It asks for a block: to be answered by [`send_block`](super::Peer::send_block) or
    /// [`reject`](super::Peer::reject) some time, unless it is [`Cancelled`](Self::Cancelled) or choked.
    Requested(Block),
    /// It does not ask any more.
    Cancelled(Block),
    /// A block that was asked for will not come.
    Rejected(Block),
    /// It would rather give this piece (BEP 6).
    Suggested(PieceIndex),
    /// It gives this piece although it chokes (BEP 6); whether it has it is another question.
    AllowedFast(PieceIndex),
    /// A message of `ut_metadata`; data and rejections only of what was asked for (BEP 9).
    Metadata(MetadataMessage),
    /// Whom it is connected to (BEP 11); never in a private torrent.
    Pex(Pex),
    /// Its DHT node listens on this port (BEP 5).
    Port(u16),
    /// The conversation is over. Always the last output; what was asked for will not come.
    Closed(CloseReason),
}

/// Why a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The link is gone.
    #[error("{0}")]
    Link(LinkError),
    /// The peer broke the protocol.
    #[error("{0}")]
    Violation(Violation),
    /// The handshake did not come in time.
    #[error("the peer did not greet in time")]
    HandshakeTimeout,
    /// The peer neither said anything for long, nor took what was sent.
    #[error("the peer fell silent")]
    IdleTimeout,
    /// The peer is this engine itself.
    #[error("connected to itself")]
    Myself,
    /// This side wanted it closed.
    #[error("closed by this side")]
    Local,
}

/// Some bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSpan {
    /// The file.
    pub file: FileKey,
    /// Where they begin, in bytes.
    pub offset: u64,
    /// How many they are.
    pub len: u32,
}
