//! Codec: what the store keeps of a download. Each record is a bencoded dictionary with a version under `v`; unknown
//! keys are ignored, so that a newer minor version can be read.

use crate::base::disk::{AllocationMode, FileIdentity};
use crate::base::store::Record;
use crate::base::{FileName, InfoHash, RangeSet};
use crate::download::http::HttpSaved;
use crate::download::moving::MovingSaved;
use crate::download::target::Part;
use crate::download::torrent::{FilesSaved, TorrentSaved};
use crate::download::{ConflictPolicy, DownloadId, DownloadOptions, DownloadPriority, OnChange};
use crate::wire::bencode::{DictEncoder, Document, ListEncoder, Value, encode};
use crate::wire::http::Validator;
use core::time::Duration;
use std::path::PathBuf;

/// The version of the records that this build writes, and the newest that it reads.
pub const VERSION: i64 = 1;

/// What a download is and where it stands, as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct DownloadRecord {
    /// Its own URL, with user-info; of a torrent its magnet link.
    pub url: String,
    /// Of a torrent: its name.
    pub info_hash: Option<InfoHash>,
    /// What the user asked.
    pub options: DownloadOptions,
    /// Where it stands.
    pub state: SavedState,
    /// When it was added: milliseconds since the Unix epoch.
    pub created_at: u64,
    /// When it completed: milliseconds since the Unix epoch.
    pub completed_at: Option<u64>,
    /// The order in which downloads were added.
    pub order: u64,
    /// Where it is being moved, if it is.
    pub moving: Option<MovingSaved>,
}

/// Where a download stands, as far as it outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavedState {
    /// Waiting or running: it goes on at the next start.
    Queued,
    /// Stopped by the user.
    Paused,
    /// Done.
    Completed,
    /// Failed.
    Error {
        /// A short stable word.
        kind: String,
        /// One sentence for a person.
        message: String,
        /// Whether `resume` may succeed without changing anything.
        retryable: bool,
    },
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is not bencode.
    #[error("not a record")]
    Malformed,
    /// It was written by a newer version.
    #[error("record version {0} is newer than this build reads")]
    NewerVersion(u32),
    /// A key is missing or has a value that it cannot have.
    #[error("bad or missing key `{0}`")]
    Key(&'static str),
}

impl DownloadRecord {
    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.dict(|d| {
                d.entry(b"v", |e| e.int(VERSION));
                d.entry(b"url", |e| e.str(&self.url));
                if let Some(InfoHash(hash)) = &self.info_hash {
                    d.entry(b"info hash", |e| e.bytes(hash));
                }
                put_uint(d, b"created", self.created_at);
                put_uint(d, b"order", self.order);
                if let Some(at) = self.completed_at {
                    put_uint(d, b"completed", at);
                }
                if let Some(moving) = &self.moving {
                    d.entry(b"moving", |e| e.dict(|d| moving.encode(d)));
                }
                self.encode_state(d);
                encode_options(d, &self.options);
            })
        })
    }

    fn encode_state(&self, d: &mut DictEncoder<'_>) {
        let name = match &self.state {
            SavedState::Queued => "queued",
            SavedState::Paused => "paused",
            SavedState::Completed => "completed",
            SavedState::Error { kind, message, retryable } => {
                d.entry(b"error kind", |e| e.str(kind));
                d.entry(b"error", |e| e.str(message));
                d.entry(b"retryable", |e| e.int(i64::from(*retryable)));
                "error"
            }
        };
        d.entry(b"state", |e| e.str(name));
    }

    /// The record that these bytes hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let document = Document::decode_lax(bytes).map_err(|_| RecordError::Malformed)?;
        let d = document.root();
        check_version(d)?;
        let state = match text(d, "state")?.as_str() {
            "queued" => SavedState::Queued,
            "paused" => SavedState::Paused,
            "completed" => SavedState::Completed,
            "error" => SavedState::Error {
                kind: text(d, "error kind")?,
                message: text(d, "error")?,
                retryable: uint(d, "retryable")? != 0,
            },
            _ => return Err(RecordError::Key("state")),
        };
        Ok(Self {
            url: text(d, "url")?,
            info_hash: info_hash(d)?,
            options: decode_options(d)?,
            state,
            created_at: uint(d, "created")?,
            completed_at: optional(d, "completed", uint)?,
            order: uint(d, "order")?,
            moving: optional(d, "moving", moving)?,
        })
    }
}

fn encode_options(d: &mut DictEncoder<'_>, options: &DownloadOptions) {
    d.entry(b"priority", |e| e.int(options.priority as i8));
    let texts = [
        (&b"filename"[..], &options.filename),
        (b"user agent", &options.user_agent),
        (b"referer", &options.referer),
        (b"checksum", &options.checksum.as_ref().map(ToString::to_string)),
        (b"dir", &options.save_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned())),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            d.entry(key, |e| e.str(value));
        }
    }
    let pairs = |(name, value): &(String, String)| [name.clone(), value.clone()];
    put_list(d, b"headers", &options.headers.iter().flat_map(pairs).collect::<Vec<_>>());
    put_list(d, b"cookies", options.cookies.as_deref().unwrap_or_default());
    put_list(d, b"mirrors", &options.mirrors);
    put_list(d, b"trackers", &options.trackers);
    put_list(d, b"peers", &options.peers.iter().map(ToString::to_string).collect::<Vec<_>>());
    put_list(d, b"file priorities", &super::file_priorities::to_texts(options));
    if let Some(selected) = &options.selected_files {
        put_list(d, b"selected", &selected.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    let numbers = [
        (&b"connections"[..], options.max_connections.map(|n| n as u64)),
        (b"download limit", options.max_download_speed),
        (b"upload limit", options.max_upload_speed),
        (b"allocation", options.allocation_mode.map(|mode| mode as u64)),
        (b"conflict", options.on_conflict.map(|policy| policy as u64)),
        (b"change", options.on_change.map(|policy| policy as u64)),
        (b"deadline", options.deadline.map(|length| length.as_secs())),
        // Bencode has no fractions.
        (b"seed ratio", options.seed_ratio.map(f64::to_bits).map(|bits| bits >> 1)),
        (b"seed time", options.seed_time.map(|length| length.as_secs())),
        (b"sequential", options.sequential.map(u64::from)),
        (b"super seeding", options.super_seeding.map(u64::from)),
        (b"max peers", options.max_peers.map(|n| n as u64)),
    ];
    for (key, value) in numbers {
        if let Some(value) = value {
            put_uint(d, key, value);
        }
    }
}

fn decode_options(d: Value<'_>) -> Result<DownloadOptions, RecordError> {
    let priority = match d.get(b"priority").and_then(Value::as_int) {
        Some(-1) => DownloadPriority::Low,
        Some(0) => DownloadPriority::Normal,
        Some(1) => DownloadPriority::High,
        Some(2) => DownloadPriority::Critical,
        _ => return Err(RecordError::Key("priority")),
    };
    let headers = list(d, "headers")?;
    let cookies = list(d, "cookies")?;
    let checksum = optional(d, "checksum", text)?.map(|text| text.parse());
    let choice = |key: &'static str| optional(d, key, uint);
    let mut options = DownloadOptions::new().priority(priority);
    options.save_dir = optional(d, "dir", text)?.map(PathBuf::from);
    options.filename = optional(d, "filename", text)?;
    options.user_agent = optional(d, "user agent", text)?;
    options.referer = optional(d, "referer", text)?;
    options.headers = headers.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    options.cookies = (!cookies.is_empty()).then_some(cookies);
    options.checksum = checksum.transpose().map_err(|_| RecordError::Key("checksum"))?;
    options.mirrors = list(d, "mirrors")?;
    options.trackers = list(d, "trackers")?;
    options.peers = numbers(d, "peers")?;
    options.selected_files = Some(numbers(d, "selected")?).filter(|selected| !selected.is_empty());
    let texts = list(d, "file priorities")?;
    options.file_priorities =
        super::file_priorities::from_texts(&texts).ok_or(RecordError::Key("file priorities"))?;
    options.seed_ratio = choice("seed ratio")?.map(|bits| f64::from_bits(bits << 1));
    options.seed_time = choice("seed time")?.map(Duration::from_secs);
    options.sequential = choice("sequential")?.map(|flag| flag != 0);
    options.super_seeding = choice("super seeding")?.map(|flag| flag != 0);
    options.max_peers = choice("max peers")?.and_then(|n| usize::try_from(n).ok());
    options.max_connections = choice("connections")?.and_then(|n| usize::try_from(n).ok());
    options.max_download_speed = choice("download limit")?;
    options.max_upload_speed = choice("upload limit")?;
    options.deadline = choice("deadline")?.map(Duration::from_secs);
    let modes = [AllocationMode::None, AllocationMode::Sparse, AllocationMode::Full];
    options.allocation_mode = pick(choice("allocation")?, &modes, "allocation")?;
    let policies =
        [ConflictPolicy::Rename, ConflictPolicy::Overwrite, ConflictPolicy::Skip, ConflictPolicy::Fail];
    options.on_conflict = pick(choice("conflict")?, &policies, "conflict")?;
    options.on_change = pick(choice("change")?, &[OnChange::Restart, OnChange::Fail], "change")?;
    Ok(options)
}

fn pick<T: Copy>(index: Option<u64>, of: &[T], key: &'static str) -> Result<Option<T>, RecordError> {
    let Some(index) = index else { return Ok(None) };
    let index = usize::try_from(index).map_err(|_| RecordError::Key(key))?;
    of.get(index).copied().map(Some).ok_or(RecordError::Key(key))
}

/// The progress of a download as bytes.
pub fn encode_progress(saved: &HttpSaved) -> Vec<u8> {
    encode(|e| {
        e.dict(|d| {
            d.entry(b"v", |e| e.int(VERSION));
            if let Some(total) = saved.total {
                put_uint(d, b"total", total);
            }
            if let Some(validator) = &saved.validator {
                d.entry(b"validator", |e| e.dict(|d| put_validator(d, validator)));
            }
            d.entry(b"validators", |e| {
                e.list(|l| saved.validators.iter().for_each(|v| put_mirror(l, v.as_ref())))
            });
            if let Some(part) = &saved.part {
                d.entry(b"final name", |e| e.str(part.final_name.as_str()));
                d.entry(b"part name", |e| e.str(part.part_name.as_str()));
                d.entry(b"finalizing", |e| e.int(i64::from(part.finalizing)));
                put_identity(d, part.identity);
                put_ranges(d, b"durable", &part.durable);
            }
        })
    })
}

/// The progress that these bytes hold.
pub fn decode_progress(bytes: &[u8]) -> Result<HttpSaved, RecordError> {
    let document = Document::decode_lax(bytes).map_err(|_| RecordError::Malformed)?;
    let d = document.root();
    check_version(d)?;
    let part = match optional(d, "final name", text)? {
        None => None,
        Some(name) => Some(Part {
            final_name: file_name(&name, "final name")?,
            part_name: part_name(&text(d, "part name")?)?,
            identity: identity(d),
            durable: ranges(d, "durable")?,
            finalizing: uint(d, "finalizing")? != 0,
        }),
    };
    let some = |v: Validator| (v != Validator::default()).then_some(v);
    let validators = d.get(b"validators").and_then(Value::list).ok_or(RecordError::Key("validators"))?;
    Ok(HttpSaved {
        total: optional(d, "total", uint)?,
        validator: d.get(b"validator").map(validator),
        validators: validators.map(|v| some(validator(v))).collect(),
        part,
    })
}

/// What the store keeps of a torrent, as bytes.
pub fn encode_torrent(saved: &TorrentSaved) -> Vec<u8> {
    encode(|e| {
        e.dict(|d| {
            d.entry(b"v", |e| e.int(VERSION));
            put_uint(d, b"downloaded", saved.downloaded);
            put_uint(d, b"uploaded", saved.uploaded);
            put_uint(d, b"seeded", saved.seeded.as_secs());
            put_uint(d, b"completed", saved.completed);
            if let Some(wanted) = saved.wanted {
                put_uint(d, b"wanted", wanted);
            }
            if let Some(files) = &saved.files {
                d.entry(b"files", |e| e.raw(&files.encode()));
            }
        })
    })
}

/// What the store kept of a torrent.
pub fn decode_torrent(bytes: &[u8]) -> Result<TorrentSaved, RecordError> {
    let document = Document::decode_lax(bytes).map_err(|_| RecordError::Malformed)?;
    let d = document.root();
    check_version(d)?;
    let files = d.get(b"files").map(|files| FilesSaved::decode(files.raw()).ok_or(RecordError::Key("files")));
    Ok(TorrentSaved {
        files: files.transpose()?,
        wanted: optional(d, "wanted", uint)?,
        completed: uint(d, "completed")?,
        downloaded: uint(d, "downloaded")?,
        uploaded: uint(d, "uploaded")?,
        seeded: Duration::from_secs(uint(d, "seeded")?),
    })
}

/// What was written but perhaps not synced when a process died, for each download that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The boot of the machine in which it was written.
    pub boot_id: [u8; 16],
    /// What each download had written.
    pub written: Vec<(DownloadId, FileIdentity, RangeSet)>,
}

impl Note {
    /// The note as bytes.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.dict(|d| {
                d.entry(b"v", |e| e.int(VERSION));
                d.entry(b"boot", |e| e.bytes(&self.boot_id));
                d.entry(b"written", |e| {
                    e.list(|l| self.written.iter().for_each(|written| put_written(l, written)))
                });
            })
        })
    }

    /// The note that these bytes hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let document = Document::decode_lax(bytes).map_err(|_| RecordError::Malformed)?;
        let d = document.root();
        check_version(d)?;
        let boot_id = d.get(b"boot").and_then(Value::as_bytes).and_then(|boot| boot.try_into().ok());
        let mut written = Vec::new();
        for entry in d.get(b"written").and_then(Value::list).ok_or(RecordError::Key("written"))? {
            let id = entry
                .get(b"id")
                .and_then(Value::as_bytes)
                .and_then(decode_id)
                .ok_or(RecordError::Key("id"))?;
            let identity = identity(entry).ok_or(RecordError::Key("inode"))?;
            written.push((id, identity, ranges(entry, "ranges")?));
        }
        Ok(Self { boot_id: boot_id.ok_or(RecordError::Key("boot"))?, written })
    }
}

/// The key of a download's records.
pub fn encode_id(id: DownloadId) -> [u8; 16] {
    *id.as_uuid().as_bytes()
}

/// The id in a record's key.
pub fn decode_id(key: &[u8]) -> Option<DownloadId> {
    Some(DownloadId::from_uuid(uuid::Uuid::from_bytes(key.try_into().ok()?)))
}

/// The download that a record is about.
pub fn record_id(record: &Record) -> Option<DownloadId> {
    decode_id(&record.key)
}

// ----- pieces --------------------------------------------------------------------------------------------------------

fn check_version(d: Value<'_>) -> Result<(), RecordError> {
    match d.get(b"v").and_then(Value::as_int) {
        Some(version @ 1..) if version > VERSION => {
            Err(RecordError::NewerVersion(u32::try_from(version).unwrap_or(u32::MAX)))
        }
        Some(1..) => Ok(()),
        _ => Err(RecordError::Key("v")),
    }
}

/// Numbers beyond bencode's customary 63 bits do not occur: lengths are below them, and limits are cut off there.
fn put_uint(d: &mut DictEncoder<'_>, key: &[u8], value: u64) {
    d.entry(key, |e| e.int(i64::try_from(value).unwrap_or(i64::MAX)));
}

fn put_list(d: &mut DictEncoder<'_>, key: &[u8], items: &[String]) {
    if !items.is_empty() {
        d.entry(key, |e| e.list(|l| items.iter().for_each(|item| l.item(|e| e.str(item)))));
    }
}

fn put_validator(d: &mut DictEncoder<'_>, validator: &Validator) {
    if let Some(etag) = &validator.etag {
        d.entry(b"etag", |e| e.str(etag));
    }
    if let Some(date) = &validator.last_modified {
        d.entry(b"date", |e| e.str(date));
    }
}

fn put_mirror(l: &mut ListEncoder<'_>, validator: Option<&Validator>) {
    let validator = validator.cloned().unwrap_or_default();
    l.item(|e| e.dict(|d| put_validator(d, &validator)));
}

fn put_written(l: &mut ListEncoder<'_>, (id, identity, written): &(DownloadId, FileIdentity, RangeSet)) {
    l.item(|e| {
        e.dict(|d| {
            d.entry(b"id", |e| e.bytes(id.as_uuid().as_bytes()));
            put_identity(d, Some(*identity));
            put_ranges(d, b"ranges", written);
        })
    });
}

fn put_identity(d: &mut DictEncoder<'_>, identity: Option<FileIdentity>) {
    if let Some(FileIdentity { device, inode }) = identity {
        d.entry(b"file", |e| e.bytes(&[device.to_be_bytes(), inode.to_be_bytes()].concat()));
    }
}

fn put_ranges(d: &mut DictEncoder<'_>, key: &[u8], set: &RangeSet) {
    let bytes: Vec<u8> =
        set.iter().flat_map(|range| [range.start.to_be_bytes(), range.end.to_be_bytes()]).flatten().collect();
    d.entry(key, |e| e.bytes(&bytes));
}

fn text(d: Value<'_>, key: &'static str) -> Result<String, RecordError> {
    d.get(key.as_bytes()).and_then(Value::as_str).map(str::to_owned).ok_or(RecordError::Key(key))
}

fn uint(d: Value<'_>, key: &'static str) -> Result<u64, RecordError> {
    d.get(key.as_bytes()).and_then(Value::as_uint).ok_or(RecordError::Key(key))
}

fn optional<T>(
    d: Value<'_>,
    key: &'static str,
    read: impl FnOnce(Value<'_>, &'static str) -> Result<T, RecordError>,
) -> Result<Option<T>, RecordError> {
    d.get(key.as_bytes()).is_some().then(|| read(d, key)).transpose()
}

fn list(d: Value<'_>, key: &'static str) -> Result<Vec<String>, RecordError> {
    let Some(value) = d.get(key.as_bytes()) else { return Ok(Vec::new()) };
    let items = value.list().ok_or(RecordError::Key(key))?;
    items.map(|item| item.as_str().map(str::to_owned).ok_or(RecordError::Key(key))).collect()
}

fn moving(d: Value<'_>, key: &'static str) -> Result<MovingSaved, RecordError> {
    d.get(key.as_bytes()).and_then(MovingSaved::decode).ok_or(RecordError::Key(key))
}

fn info_hash(d: Value<'_>) -> Result<Option<InfoHash>, RecordError> {
    let Some(value) = d.get(b"info hash") else { return Ok(None) };
    let hash = value.as_bytes().and_then(|bytes| bytes.try_into().ok());
    hash.map(|hash| Some(InfoHash(hash))).ok_or(RecordError::Key("info hash"))
}

/// A list of what is written as text.
fn numbers<T: core::str::FromStr>(d: Value<'_>, key: &'static str) -> Result<Vec<T>, RecordError> {
    list(d, key)?.iter().map(|text| text.parse().map_err(|_| RecordError::Key(key))).collect()
}

fn validator(d: Value<'_>) -> Validator {
    let text = |key: &[u8]| d.get(key).and_then(Value::as_str).map(str::to_owned);
    Validator { etag: text(b"etag"), last_modified: text(b"date") }
}

fn identity(d: Value<'_>) -> Option<FileIdentity> {
    let bytes: [u8; 16] = d.get(b"file").and_then(Value::as_bytes)?.try_into().ok()?;
    let (device, inode) = bytes.split_at(8);
    Some(FileIdentity {
        device: u64::from_be_bytes(device.try_into().ok()?),
        inode: u64::from_be_bytes(inode.try_into().ok()?),
    })
}

fn ranges(d: Value<'_>, key: &'static str) -> Result<RangeSet, RecordError> {
    let bytes = d.get(key.as_bytes()).and_then(Value::as_bytes).ok_or(RecordError::Key(key))?;
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| RecordError::Key(key));
    let mut set = RangeSet::new();
    for pair in bytes.chunks(16) {
        let (start, end) = pair.split_at_checked(8).ok_or(RecordError::Key(key))?;
        set.insert(number(start)?..number(end)?);
    }
    Ok(set)
}

/// A record is as little trusted as a server: its names are made safe again.
fn file_name(name: &str, key: &'static str) -> Result<FileName, RecordError> {
    FileName::new(name).ok_or(RecordError::Key(key))
}

fn part_name(name: &str) -> Result<FileName, RecordError> {
    let stem = name.strip_suffix(".part").and_then(FileName::new).ok_or(RecordError::Key("part name"))?;
    Ok(stem.partial())
}
