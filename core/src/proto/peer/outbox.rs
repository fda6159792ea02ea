//! Policy: what leaves together, and how much of it the link has not taken yet.

use crate::base::Instant;
use crate::wire::peer::{Message, Span};
use bytes::{Bytes, BytesMut};

/// The small messages that wait to leave together, and what left.
#[derive(Debug)]
pub(super) struct Outbox {
    pending: BytesMut,
    /// Bytes that the link was given and has not taken.
    unsent: u64,
    /// Bytes of answers that nobody but the peer asked for, sent and not taken.
    answers: u64,
    /// When something was sent last.
    pub(super) sent_at: Instant,
    /// When the link took something last, or was given something to take.
    pub(super) taken_at: Instant,
}

impl Outbox {
    pub(super) fn new(now: Instant) -> Self {
        Self { pending: BytesMut::new(), unsent: 0, answers: 0, sent_at: now, taken_at: now }
    }

    /// Puts a message aside.
    pub(super) fn push(&mut self, message: &Message) {
        message.encode(self.pending());
    }

    /// Puts a message aside that the peer made us say; says whether it may be made to say more.
    pub(super) fn answer(&mut self, message: &Message) -> bool {
        let before = self.pending.len();
        self.push(message);
        self.answers += (self.pending.len() - before) as u64;
        self.answers <= MAX_ANSWERS
    }

    /// Puts the head of a block aside, whose bytes follow by themselves.
    pub(super) fn push_piece_head(&mut self, span: Span) {
        Message::encode_piece_head(self.pending(), span);
    }

    /// Puts an extended message aside.
    pub(super) fn push_extended(&mut self, id: u8, payload: &[&[u8]]) {
        Message::encode_extended(self.pending(), id, payload);
    }

    /// Puts bytes aside.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.pending().extend_from_slice(bytes);
    }

    /// Everything that was put aside, to be put aside again behind something else.
    pub(super) fn take_back(&mut self) -> BytesMut {
        core::mem::take(&mut self.pending)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// What waits, to be sent now; never nothing.
    pub(super) fn flush(&mut self, now: Instant) -> Option<Bytes> {
        if self.pending.is_empty() {
            return None;
        }
        let bytes = self.pending.split().freeze();
        self.on_given(now, bytes.len() as u64);
        Some(bytes)
    }

    /// The link was given so many bytes.
    pub(super) fn on_given(&mut self, now: Instant, bytes: u64) {
        if self.unsent == 0 {
            self.taken_at = now;
        }
        self.unsent += bytes;
        self.sent_at = now;
    }

    /// The link took so many bytes.
    pub(super) fn on_taken(&mut self, now: Instant, bytes: u32) {
        self.unsent = self.unsent.saturating_sub(u64::from(bytes));
        self.answers = self.answers.saturating_sub(u64::from(bytes));
        self.taken_at = now;
    }

    /// Bytes that the link has not taken.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Gives memory back that nothing waits in.
    pub(super) fn trim(&mut self) {
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
        }
    }

    fn pending(&mut self) -> &mut BytesMut {
        if self.pending.capacity() - self.pending.len() < ROOM {
            self.pending.reserve(CHUNK);
        }
        &mut self.pending
    }
}

/// What a peer may make us say without reading it: 60,000 rejections, as many as it may ask for at once 30 times over.
const MAX_ANSWERS: u64 = 1 << 20;

/// Memory is taken for so many bytes at a time: the heads of 75 blocks, or 60 requests.
const CHUNK: usize = 1 << 10;

/// Room for the longest of the frequent messages.
const ROOM: usize = 17;
