//! Machine: one announce or scrape at one address of a UDP tracker, from the connect to the answer (BEP 15).

use crate::base::{InfoHash, Instant, Rng};
use crate::wire::tracker::udp::{
    Answer, ConnectionId, Packet, PacketError, TransactionId, encode_announce, encode_connect, encode_scrape,
};
use crate::wire::tracker::{AnnounceAnswer, AnnounceRequest, ScrapeAnswer};
use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

/// Asks once, as often as it takes, and ends with an answer or an error.
///
/// ```text
///            connection id                  answer
/// Connecting -------------> Asking -------------------> Ended
///     ^                       |
///     +-----------------------+  the connection id has expired, or an old one was refused
/// ```
///
/// A packet that is not from the address that was asked, or does not carry the number of the last question, changes
/// nothing: it is late, or somebody else wrote it.
#[derive(Debug)]
pub struct Conversation {
    to: SocketAddr,
    request: Request,
    patience: Patience,
    rng: Rng,
    began: Instant,
    connection: Option<Connection>,
    stage: Stage,
    /// How many packets were sent since the last answer.
    unanswered: u32,
    /// How many packets were sent.
    sent: u32,
    /// When the last packet counts as lost.
    resend_at: Instant,
    /// Whether the connection id was there before this conversation.
    inherited: bool,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting(TransactionId),
    Asking(TransactionId),
    Ended,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// An announce.
    Announce {
        /// What is said.
        request: Box<AnnounceRequest>,
        /// The path and query of the tracker's URL (BEP 41).
        url_data: String,
    },
    /// A scrape of one torrent.
    Scrape(InfoHash),
}

/// How long to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After this time without an answer the question is repeated, then after twice the time, and so on (BEP 15: 15 s).
    pub resend: Duration,
    /// After this time it is given up.
    pub total: Duration,
}

/// A connection id, and when it came: it serves for a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    id: ConnectionId,
    since: Instant,
}

impl Connection {
    /// Whether a tracker is sure to take it.
    pub fn is_fresh(&self, now: Instant) -> bool {
        now - self.since < CONNECTION_LIFE
    }
}

impl Conversation {
    /// Asks `request` of `to`; a `connection` of an earlier conversation with the same address spares a round trip.
    pub fn new(
        now: Instant,
        to: SocketAddr,
        request: Request,
        patience: Patience,
        connection: Option<Connection>,
        rng: Rng,
    ) -> Self {
        let connection = connection.filter(|connection| connection.is_fresh(now));
        let mut conversation = Self {
            to,
            request,
            patience,
            rng,
            began: now,
            connection,
            stage: Stage::Ended,
            unanswered: 0,
            sent: 0,
            resend_at: now,
            inherited: connection.is_some(),
            outputs: VecDeque::new(),
        };
        conversation.send(now);
        conversation
    }

    /// A datagram arrived. Says whether it was the answer that is waited for; any other leaves no trace.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> bool {
        if from != self.to {
            return false;
        }
        let (Stage::Connecting(expected) | Stage::Asking(expected)) = self.stage else { return false };
        match Packet::decode(from.ip(), bytes) {
            Ok(Packet { transaction, answer }) if transaction == expected => self.on_answer(now, answer),
            Err(PacketError::Truncated { transaction: Some(transaction) }) if transaction == expected => {
                self.end(Output::Failed(ConversationError::Empty));
                true
            }
            _ => false,
        }
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        if now >= self.began + self.patience.total || self.sent >= MAX_SENT {
            self.end(Output::Failed(ConversationError::TimedOut));
        } else {
            self.send(now);
        }
    }

    /// The next output; nothing else happens in here.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.stage != Stage::Ended).then(|| self.resend_at.min(self.began + self.patience.total))
    }

    /// Whom it asks.
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// What a later conversation with the same address can begin with.
    pub fn connection(&self) -> Option<Connection> {
        self.connection
    }

    /// Whether the request itself is on its way, and not only the connect before it.
    pub fn has_asked(&self) -> bool {
        !matches!(self.stage, Stage::Connecting(_))
    }

    /// Whether it is over: [`Output::Announced`], [`Output::Scraped`] or [`Output::Failed`] is or was the last output.
    pub fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// An answer of another kind than the question is ignored.
    fn on_answer(&mut self, now: Instant, answer: Answer) -> bool {
        match (self.stage, answer, &self.request) {
            (Stage::Connecting(_), Answer::Connected(id), _) => {
                self.connection = Some(Connection { id, since: now });
                self.inherited = false;
                self.unanswered = 0;
                // A tracker that connects and never answers is asked no more often than one that is silent.
                if self.sent >= MAX_SENT {
                    self.end(Output::Failed(ConversationError::TimedOut));
                } else {
                    self.send(now);
                }
            }
            (Stage::Asking(_), Answer::Announced(answer), Request::Announce { .. }) => {
                self.end(Output::Announced(answer));
            }
            (Stage::Asking(_), Answer::Scraped(answer), Request::Scrape(_)) => {
                self.end(Output::Scraped(answer));
            }
            (Stage::Asking(_), Answer::Refused(_), _) if self.inherited => {
                // The tracker may have forgotten an id that should still serve.
                self.connection = None;
                self.inherited = false;
                self.send(now);
            }
            (_, Answer::Refused(reason), _) => self.end(Output::Failed(ConversationError::Refused(reason))),
            _ => return false,
        }
        true
    }

    fn send(&mut self, now: Instant) {
        let transaction = TransactionId((self.rng.next_u64() >> 32) as u32);
        self.connection = self.connection.filter(|connection| connection.is_fresh(now));
        let bytes = match (self.connection, &self.request) {
            (None, _) => encode_connect(transaction),
            (Some(Connection { id, .. }), Request::Announce { request, url_data }) => {
                encode_announce(id, transaction, request, url_data)
            }
            (Some(Connection { id, .. }), Request::Scrape(info_hash)) => {
                encode_scrape(id, transaction, *info_hash)
            }
        };
        self.stage = match self.connection {
            None => Stage::Connecting(transaction),
            Some(_) => Stage::Asking(transaction),
        };
        self.resend_at = now + self.patience.resend.saturating_mul(1 << self.unanswered.min(MAX_SENT));
        self.unanswered += 1;
        self.sent += 1;
        self.outputs.push_back(Output::Datagram(bytes));
    }

    fn end(&mut self, output: Output) {
        self.stage = Stage::Ended;
        self.outputs.push_back(output);
    }
}

/// What a conversation wants sent, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// For the address that is asked.
    Datagram(Bytes),
    /// The answer to an announce; the last output.
    Announced(AnnounceAnswer),
    /// The answer to a scrape; the last output.
    Scraped(ScrapeAnswer),
    /// There is none; the last output.
    Failed(ConversationError),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConversationError {
    /// None came in time.
    #[error("the tracker does not answer")]
    TimedOut,
    /// One came with nothing in it: so opentracker answers an announce of a torrent that it does not serve.
    #[error("the tracker does not serve this torrent")]
    Empty,
    /// The tracker refused; the text is as it came.
    #[error("{}", crate::wire::printable::Printable(.0))]
    Refused(String),
}

/// BEP 15: a client can use a connection id until one minute after it has received it.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// The most packets for one request: nine questions (15 · 2^8 s between the last two) and their connects. Whatever a
/// tracker answers, it gets no more of them.
const MAX_SENT: u32 = 18;
