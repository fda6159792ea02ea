//! Codec: which bytes of a stream of messages are those of blocks, found without reading the messages.

use super::{BodyHead, Head, MAX_HEAD, MessageDecoder, State};
use core::ops::Range;

impl MessageDecoder {
    /// Which of `data`, were it to arrive next, are bytes of blocks: in order, without touching. How the stream is read
    /// does not depend on what they are.
    pub fn payload(&self, data: &[u8]) -> Vec<Range<usize>> {
        let mut before: (&[u8], usize) = (&[], 0);
        let mut body = match &self.0 {
            State::Head { bytes, have } => {
                before = (bytes, usize::from(*have));
                BodyAhead { len: 0, is_block: false }
            }
            State::Body(body) => BodyAhead { len: body.left, is_block: is_block(body.head) },
            State::Skip { left, .. } => BodyAhead { len: *left, is_block: false },
        };
        let (mut payload, mut at) = (Vec::new(), 0);
        // Each turn but the first takes a head, which has four bytes at least.
        while at < data.len() {
            let len = body.len.min(data.len() - at);
            if len > 0 && body.is_block {
                payload.push(at..at + len);
            }
            at += len;
            let (bytes, have) = core::mem::take(&mut before);
            let Some((taken, next)) = head_ahead(&bytes[..have], &data[at..]) else { break };
            at += taken;
            body = next;
        }
        payload
    }
}

/// What follows a head.
#[derive(Clone, Copy)]
struct BodyAhead {
    len: usize,
    is_block: bool,
}

/// Reads a head of which the first bytes came before: how many of `data` are its, and what follows. `None` where it
/// does not end in there, or breaks a rule.
fn head_ahead(before: &[u8], data: &[u8]) -> Option<(usize, BodyAhead)> {
    let mut bytes = [0; MAX_HEAD];
    let kept = before.len();
    let more = data.len().min(MAX_HEAD - kept);
    bytes[..kept].copy_from_slice(before);
    bytes[kept..kept + more].copy_from_slice(&data[..more]);
    let head = Head::parse(&bytes[..kept + more]).ok()?;
    let body = match &head {
        Head::Needs(_) => return None,
        Head::Whole(..) => BodyAhead { len: 0, is_block: false },
        Head::Body(kind, _, len) => BodyAhead { len: *len as usize, is_block: is_block(*kind) },
        Head::Skip(_, _, len) => BodyAhead { len: *len as usize, is_block: false },
    };
    Some((head.len().saturating_sub(kept), body))
}

fn is_block(head: BodyHead) -> bool {
    matches!(head, BodyHead::Piece { .. })
}
