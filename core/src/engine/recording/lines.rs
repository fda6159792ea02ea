//! Codec: what goes into an engine and comes out of it, as a line of text: for people, and for the hash by which two
//! runs are compared. Payload stands as its length, and what [`redact`](super::redact) hides does not stand there.

use super::{Call, redact};
use crate::base::disk::{DiskOk, DiskOp, HashInput};
use crate::base::store::{StoreOp, Table};
use crate::base::{LinkInput, LinkOutput};
use crate::engine::{Answer, Input, Output};
use bytes::Bytes;

/// A call in one line.
pub fn call_line(call: &Call) -> String {
    match call {
        Call::Input(Input::Link { link, input: LinkInput::Data(data) }) => {
            let head = if data.starts_with(b"HTTP/") { head_of(data) } else { String::new() };
            format!("link {link:?} data, {} bytes{head}", data.len())
        }
        Call::Input(Input::Link { link, input }) => format!("link {link:?} {input:?}"),
        Call::Input(Input::Disk { key, result: Ok(DiskOk::Data(data)) }) => {
            format!("disk {} data, {} bytes", key.0, data.len())
        }
        Call::Input(Input::Disk { key, result }) => format!("disk {} {result:?}", key.0),
        Call::Input(Input::Datagram { socket, from, bytes }) => {
            format!("{socket:?} from {from}: {}", datagram(bytes))
        }
        Call::Input(other) => format!("{other:?}"),
        other => format!("{other:?}"),
    }
}

/// An output in one line.
pub fn output_line(output: &Output) -> String {
    match output {
        Output::Link { link, output: LinkOutput::Send(bytes) } if bytes.starts_with(b"GET ") => {
            format!("link {link:?} send \"{}\"", redact::request(bytes).escape_ascii())
        }
        Output::Link { link, output: LinkOutput::Send(bytes) } => {
            format!("link {link:?} send, {} bytes", bytes.len())
        }
        Output::Link { link, output } => format!("link {link:?} {output:?}"),
        Output::Disk { key, op: DiskOp::Write { file, offset, data } } => {
            format!("disk {} write {file:?} at {offset}, {} bytes", key.0, len(data))
        }
        Output::Disk {
            key,
            op: DiskOp::Hash { hash, algorithm, input: HashInput::Memory(data), finish },
        } => {
            format!("disk {} {hash:?} {algorithm}, {} bytes, finish {finish}", key.0, len(data))
        }
        Output::Disk { key, op: DiskOp::WriteHashed { file, offset, data, hash, finish, .. } } => {
            let len = len(data);
            format!("disk {} write {file:?} at {offset}, {len} bytes, {hash:?}, finish {finish}", key.0)
        }
        Output::Disk { key, op } => format!("disk {} {op:?}", key.0),
        Output::Store { batch, ops } => {
            let ops: Vec<String> = ops.iter().map(op_line).collect();
            format!("store {} [{}]", batch.0, ops.join(", "))
        }
        Output::Datagram { socket, to, bytes } => format!("{socket:?} to {to}: {}", datagram(bytes)),
        Output::Reply { token, result: Ok(Answer::Data(bytes)) } => {
            format!("reply {} with {} bytes", token.0, bytes.len())
        }
        Output::Note(note) => format!("note, {} bytes", note.len()),
        other => format!("{other:?}"),
    }
}

/// The head of an answer, or what there is of it.
fn head_of(data: &[u8]) -> String {
    let end = data.windows(4).position(|four| four == b"\r\n\r\n").map_or(data.len(), |at| at + 4);
    format!(" \"{}\"", data[..end.min(MAX_SHOWN)].escape_ascii())
}

fn op_line(op: &StoreOp) -> String {
    match op {
        StoreOp::Put { table, key, value } => {
            let value = if *table == Table::Download { redact::record(value) } else { value.to_vec() };
            format!("put {table:?} {key:?} \"{}\"", value.escape_ascii())
        }
        StoreOp::Delete { table, key } => format!("delete {table:?} {key:?}"),
    }
}

/// A message of the DHT is bencoded; in others there may be payload.
fn datagram(bytes: &[u8]) -> String {
    match bytes {
        [b'd', ..] => format!("\"{}\"", bytes.escape_ascii()),
        other => format!("{} bytes", other.len()),
    }
}

fn len(parts: &[Bytes]) -> usize {
    parts.iter().map(Bytes::len).sum()
}

/// Enough of a head to see what it says.
const MAX_SHOWN: usize = 4096;

/// A hash of lines (64 bits, rotate and multiply): not against an attacker, only to find where two runs part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash {
    /// How many outputs there were.
    pub outputs: u64,
    /// The hash of their lines.
    pub hash: u64,
}

impl TraceHash {
    /// The hash before any output.
    pub const fn new() -> Self {
        Self { outputs: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Takes in one output.
    pub fn fold(&mut self, line: &str) {
        self.outputs += 1;
        let (words, rest) = line.as_bytes().as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.mix(u64::from(*byte)));
        self.mix(line.len() as u64);
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Default for TraceHash {
    fn default() -> Self {
        Self::new()
    }
}
