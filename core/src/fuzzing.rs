//! Fuzzing: what every parser and some policies and machines must keep, whatever comes in. One body per target; each
//! panics where a promise is broken. `fuzz/` gives them to libFuzzer, and a test replays the corpora on stable Rust.

pub mod machines;
pub mod peers;
pub mod policies;
pub mod resting;
pub mod rules;
pub mod swarm;
pub mod torrent;
pub mod trackers;
pub mod whole_torrent;

use crate::base::{FileName, Instant, LinkInput, RangeSet};
use crate::engine::record::{DownloadRecord, Note, decode_progress, encode_progress};
use crate::engine::recording::{Frame, Reader, Replay, output_line};
use crate::proto::http::{Connection, ConnectionConfig, Output};
use crate::wire::bencode::{Document, Encoder, Mode, Value, Written};
use crate::wire::http::{
    Chunked, ChunkedDecoder, ContentRange, HttpUrl, Request, ResponseHead, RetryAfter, content_disposition,
};
use bytes::BytesMut;
use core::time::Duration;

/// The body of a target: panics where the input makes a promise break.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Body); 48] = [
    ("announcer", trackers::announcer),
    ("backoff", policies::backoff),
    ("bencode", bencode),
    ("candidates", swarm::candidates),
    ("choker", swarm::choker),
    ("dialler", machines::dialler),
    ("evidence", rules::evidence),
    ("file_name", file_name),
    ("flow", flow),
    ("greeting", peers::greeting),
    ("http_chunked", http_chunked),
    ("http_connection", http_connection),
    ("http_fields", http_fields),
    ("http_head", http_head),
    ("http_talk", machines::http_talk),
    ("http_url", http_url),
    ("journal", journal),
    ("metadata_fetch", swarm::metadata_fetch),
    ("mirrors", policies::mirrors),
    ("moving", resting::moving),
    ("peer_extensions", peers::peer_extensions),
    ("peer_messages", peers::peer_messages),
    ("peer_talk", peers::peer_talk),
    ("pex_journal", swarm::pex_journal),
    ("picker", picker),
    ("pipeline", swarm::pipeline),
    ("priorities", rules::priorities),
    ("queue", swarm::queue),
    ("ramp", policies::ramp),
    ("range_set", range_set),
    ("reach", rules::reach),
    ("readers", swarm::readers),
    ("recording", recording),
    ("records", records),
    ("segments", machines::segments),
    ("shelf", resting::shelf),
    ("super_seed", rules::super_seed),
    ("target", machines::target),
    ("token_bucket", policies::token_bucket),
    ("torrent", whole_torrent::torrent),
    ("torrent_create", torrent::create),
    ("torrent_files", torrent_files),
    ("torrent_files_saved", torrent_files_saved),
    ("torrent_magnet", torrent::magnet),
    ("torrent_metainfo", torrent::metainfo),
    ("torrent_web_seed", torrent::web_seed),
    ("tracker_http", trackers::tracker_http),
    ("tracker_udp", trackers::tracker_udp),
];

/// Strict values have one spelling; a value is the same whatever follows it; there are no more values than bytes.
pub fn bencode(data: &[u8]) {
    if let Ok(document) = Document::decode(data) {
        let mut again = Vec::new();
        let _ = write_value(Encoder::new(&mut again), document.root());
        assert_eq!(again, data, "a canonical value has one spelling");
        assert!(document.canonical() && document.node_count() <= data.len());
        assert!(Document::decode_lax(data).is_ok(), "lax takes all that strict takes");
    }
    if let Ok((document, used)) = Document::decode_prefix(data, Mode::Lax) {
        assert_eq!(document.root().raw(), &data[..used]);
        assert!(Document::decode_lax(&data[..used]).is_ok(), "what follows is not looked at");
    }
}

fn write_value(to: Encoder<'_>, value: Value<'_>) -> Written {
    if let Some(int) = value.as_int() {
        to.int(int)
    } else if let Some(bytes) = value.as_bytes() {
        to.bytes(bytes)
    } else if let Some(list) = value.list() {
        to.list(|l| list.for_each(|item| l.item(|to| write_value(to, item))))
    } else {
        to.dict(|d| {
            for (key, item) in value.entries().into_iter().flatten() {
                d.entry(key, |to| write_value(to, item));
            }
        })
    }
}

/// A name is one safe component, and so is everything that is made of it.
pub fn file_name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(name) = FileName::new(&text) else { return };
    for made in [name.clone(), name.partial(), name.numbered(1), name.numbered(9999)] {
        check_name(&made);
    }
    assert_eq!(FileName::new(name.as_str()), Some(name), "a safe name is its own");
}

fn check_name(name: &FileName) {
    let text = name.as_str();
    let forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\' | '\0');
    assert!(!text.is_empty() && text != "." && text != "..", "{text:?}");
    assert!(!text.contains(forbidden) && text.len() <= 255, "{text:?}");
}

/// Cutting changes nothing, no byte comes out that did not go in, and `httparse` reads the same sizes.
pub fn http_chunked(data: &[u8]) {
    let whole = chunks(data, usize::MAX);
    for step in [1, 2, 7] {
        assert_eq!(chunks(data, step), whole, "cut every {step} bytes");
    }
    assert!(whole.0.len() <= data.len());
    if let (Some(true), Some(second)) = (whole.1, chunks_by_httparse(data)) {
        assert_eq!(whole.0, second, "a second opinion");
    }
}

/// The body as a decoder reads it that knows chunk sizes from `httparse` alone; `None` where that is not the whole.
fn chunks_by_httparse(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((head, len))) = httparse::parse_chunk_size(data) else {
            return None;
        };
        let chunk = data.get(head..)?.get(..usize::try_from(len).ok()?)?;
        if chunk.is_empty() {
            return Some(body);
        }
        body.extend_from_slice(chunk);
        data = data[head + chunk.len()..].strip_prefix(b"\r\n")?;
    }
}

/// The body, and how it ended.
fn chunks(data: &[u8], step: usize) -> (Vec<u8>, Option<bool>) {
    let (mut decoder, mut body, mut input) = (ChunkedDecoder::new(), Vec::new(), BytesMut::new());
    for piece in data.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(Chunked::Data(bytes))) => body.extend_from_slice(&bytes),
                Ok(Some(Chunked::End)) => return (body, Some(true)),
                Ok(None) => break,
                Err(_) => return (body, Some(false)),
            }
        }
    }
    (body, None)
}

/// One connection that asked once: cutting the answer changes nothing, and after the end nothing follows.
pub fn http_connection(data: &[u8]) {
    let whole = talk(data, usize::MAX);
    for step in [1, 3, 64] {
        assert_eq!(talk(data, step), whole, "cut every {step} bytes");
    }
}

/// What came of an answer: heads, body and end, as text and bytes.
fn talk(data: &[u8], step: usize) -> (Vec<String>, Vec<u8>) {
    let now = Instant::ZERO;
    let timeout = Duration::from_secs(10);
    let mut connection =
        Connection::new(now, ConnectionConfig { read_timeout: timeout, keep_alive: timeout });
    connection.grant(now, u32::MAX);
    if let Ok(url) = HttpUrl::parse("http://a/f") {
        connection.request(now, &Request::get(&url));
    }
    let (mut said, mut body) = (Vec::new(), Vec::new());
    for piece in data.chunks(step) {
        connection.handle_input(now, LinkInput::Data(BytesMut::from(piece)));
        while let Some(output) = connection.poll_output() {
            assert!(!said.iter().any(|line: &String| line.starts_with("Closed")), "nothing after the end");
            match output {
                Output::Body(bytes) => body.extend_from_slice(&bytes),
                Output::Link(_) => {}
                other => said.push(format!("{other:?}")),
            }
        }
    }
    assert!(connection.poll_timeout().is_none_or(|at| at > now || connection.is_closed()));
    assert!(body.len() <= data.len());
    (said, body)
}

/// Fields that a server sends: what is read of them is in range and safe.
pub fn http_fields(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(ContentRange { range: Some(range), total }) = ContentRange::decode(&text) {
        assert!(!range.is_empty() && total.is_none_or(|total| range.end <= total), "{range:?} of {total:?}");
    }
    if let Some(name) = content_disposition::file_name(&text) {
        check_name(&name);
    }
    let _ = RetryAfter::decode(&text);
}

/// A head is the same whatever follows it.
pub fn http_head(data: &[u8]) {
    let Ok(head) = ResponseHead::decode(data) else { return };
    assert!((100..1000).contains(&head.status));
    let more = [data, b"HTTP/1.1 200 OK\r\n\r\n"].concat();
    assert_eq!(ResponseHead::decode(&more).map(|more| format!("{more:?}")), Ok(format!("{head:?}")));
    let _ = (head.content_length(), head.is_chunked(), head.content_range(), head.retry_after());
}

/// A URL can be put into a request line, and what it displays as is the same URL.
pub fn http_url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (first, second) = text.split_once('\n').unwrap_or((&text, "/a?b"));
    let Ok(url) = HttpUrl::parse(first) else { return };
    for url in [Ok(url.clone()), url.join(second)].into_iter().flatten() {
        let target = url.target();
        let plain = |byte: u8| byte.is_ascii_graphic();
        assert!(target.starts_with('/') && target.bytes().all(plain), "{target:?}");
        assert!(url.origin().host_header().bytes().all(plain), "{url:?}");
        assert_eq!(HttpUrl::parse(url.as_str_with_user_info()).ok(), Some(url.clone()));
        if let Some(name) = url.file_name() {
            check_name(&name);
        }
    }
}

/// A list of operations (a byte each, after four that say what goes wrong) on the files of a torrent, on a disk in
/// memory that fails, and loses what was not synced.
pub fn torrent_files(data: &[u8]) {
    crate::download::torrent::files::model::adventure(data);
}

/// What the store has of a torrent's files: what is read is written the same.
pub fn torrent_files_saved(data: &[u8]) {
    use crate::download::torrent::files::FilesSaved;
    if let Some(saved) = FilesSaved::decode(data) {
        assert_eq!(FilesSaved::decode(&saved.encode()), Some(saved));
    }
}

/// A list of operations (three bytes each) on what lets links read, beside a count of all that was let.
pub fn flow(data: &[u8]) {
    crate::engine::flow::model::run(data);
}

/// A list of operations (two bytes each) on what is written to the store, beside a store that fails.
pub fn journal(data: &[u8]) {
    crate::engine::journal::model::run(data);
}

/// A list of operations (three bytes each) on a picker, against a simple model of it.
pub fn picker(data: &[u8]) {
    crate::download::torrent::picker::model::run(data);
}

/// A list of operations (three bytes each) on ranges below 256, against one bit per number.
pub fn range_set(data: &[u8]) {
    let (mut set, mut model) = (RangeSet::new(), [false; 512]);
    for op in data.as_chunks::<3>().0 {
        let (start, end) = (u64::from(op[1]), u64::from(op[1]) + u64::from(op[2]));
        let fill = op[0] % 2 == 0;
        if fill {
            set.insert(start..end)
        } else {
            set.remove(start..end)
        }
        model[start as usize..end as usize].fill(fill);
    }
    assert_eq!(set.len(), model.iter().filter(|there| **there).count() as u64);
    let mut last = None;
    for range in set.iter() {
        assert!(range.start < range.end && last.is_none_or(|last| range.start > last), "{set:?}");
        assert!(model[range.start as usize..range.end as usize].iter().all(|there| *there));
        last = Some(range.end);
    }
}

/// Records and notes: an error or a value, and a value is written and read back the same.
pub fn records(data: &[u8]) {
    if let Ok(record) = DownloadRecord::decode(data) {
        let again = DownloadRecord::decode(&record.encode());
        assert_eq!(again.map(|again| again.encode()), Ok(record.encode()));
    }
    if let Ok(saved) = decode_progress(data) {
        assert_eq!(decode_progress(&encode_progress(&saved)).as_ref(), Ok(&saved));
    }
    if let Ok(note) = Note::decode(data) {
        assert_eq!(Note::decode(&note.encode()).as_ref(), Ok(&note));
    }
}

/// A recording: an error or frames, each from bytes that are there; and what it makes an engine do is the same each time.
pub fn recording(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else { return };
    let mut frames = 0;
    while let Ok(Some(frame)) = reader.next_frame() {
        frames += 1;
        assert!(frames <= data.len());
        if matches!(frame, Frame::End(_)) {
            break;
        }
    }
    assert_eq!(repeat(data), repeat(data), "the same again");
}

/// What comes out of an engine in the first steps.
fn repeat(data: &[u8]) -> Option<(Vec<String>, bool)> {
    let mut replay = Replay::new(data).ok()?;
    let mut lines = Vec::new();
    for _ in 0..MOST_STEPS {
        let Ok(Some(step)) = replay.step() else { break };
        lines.extend(step.outputs.iter().map(output_line));
    }
    Some((lines, replay.has_diverged()))
}

/// An engine holds what arrives until it is written, and here nothing is.
const MOST_STEPS: usize = 200;
