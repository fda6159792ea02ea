//! Codec: the engine's own words as a recording spells them. The numbers are part of the format: one that was used for
//! something is never used for something else.

use super::RecordingError;
use super::fields::{Field, Source, choice, newtype, record};
use crate::base::disk::{
    AllocationMode, Digest, DiskError, DiskErrorKind, DiskOk, FileIdentity, FileStat, HashAlgorithm,
};
use crate::base::link::{ArrivalKey, ListenerKey, UdpKey};
use crate::base::store::{Record, StoreError, Table};
use crate::base::{Key, LinkError, LinkInput, ResolveError, TlsError};
use crate::download::ReadRequest;
use crate::download::{
    ConflictPolicy, DownloadId, DownloadOptions, DownloadPriority, ExpectedChecksum, FilePriority, OnChange,
};
use crate::engine::{
    BatchKey, DiskKey, EngineConfig, EngineStart, HttpConfig, Input, LinkKey, QueryKey, Token, TorrentConfig,
};
use bytes::Bytes;
use uuid::Uuid;

newtype! {
    QueryKey as u64: |key| key.0, |number| Some(QueryKey(number));
    DiskKey as u64: |key| key.0, |number| Some(DiskKey(number));
    BatchKey as u64: |key| key.0, |number| Some(BatchKey(number));
    ListenerKey as u64: |key| key.0, |number| Some(ListenerKey(number));
    ArrivalKey as u64: |key| key.0, |number| Some(ArrivalKey(number));
    UdpKey as u64: |key| key.0, |number| Some(UdpKey(number));
    Token as u64: |token| token.0, |number| Some(Token(number));
    LinkKey as u64: |key| key.as_u64(), |number| Some(Key::from_u64(number));
    DownloadId as [u8; 16]: |id| *id.as_uuid().as_bytes(), |bytes| Some(DownloadId::from_uuid(Uuid::from_bytes(bytes)));
    Digest as Bytes: |digest| Bytes::copy_from_slice(digest.as_bytes()), |bytes| Some(Digest::new(&bytes));
}

record!(EngineStart { config, seed, unix_millis, boot_id, records, note });
record!(ReadRequest { reader, file, offset, len });
record!(EngineConfig {
    download_dir,
    max_concurrent_downloads,
    max_connections_per_download,
    max_connections_per_host,
    min_segment_size,
    global_download_limit,
    global_upload_limit,
    user_agent,
    allocation_mode,
    on_conflict,
    on_change,
    database_path,
    buffer_budget,
    record,
    max_peers,
    seed_ratio,
    enable_pex,
    http,
    torrent,
});
record!(TorrentConfig {
    listen_port_range,
    listen_address,
    enable_listen,
    bind_address,
    peer_timeout,
    connect_timeout,
    upload_slots,
    max_connections,
});
record!(HttpConfig {
    connect_timeout,
    read_timeout,
    max_redirects,
    max_retries,
    retry_delay,
    max_retry_delay,
    keep_alive,
    ca_certificate,
    accept_invalid_certs,
    allow_local_redirects,
});
record!(DownloadOptions {
    start_paused,
    priority,
    save_dir,
    filename,
    user_agent,
    referer,
    headers,
    cookies,
    checksum,
    mirrors,
    max_connections,
    max_download_speed,
    max_upload_speed,
    allocation_mode,
    on_conflict,
    on_change,
    deadline,
    seed_ratio,
    seed_time,
    selected_files,
    file_priorities,
    sequential,
    super_seeding,
    max_peers,
    peers,
    trackers,
});
record!(ExpectedChecksum { algorithm, digest });
record!(Record { table, key, value });
record!(FileIdentity { device, inode });
record!(FileStat { identity, len, regular });
record!(DiskError { kind, os });

choice!(Input {
    0 => Resolved { query, result },
    1 => Link { link, input },
    2 => Disk { key, result },
    3 => Stored { batch, result },
    4 => WallClock { unix_millis },
    5 => Listening { listener, result },
    6 => Accepted { listener, arrival, from },
    7 => Bound { socket, result },
    8 => Datagram { socket, from, bytes },
});
choice!(LinkInput { 0 => Opened, 1 => Secured, 2 => Data(bytes), 3 => Sent(count), 4 => Closed(error) });
choice!(LinkError {
    0 => Eof,
    1 => Truncated,
    2 => Reset,
    3 => Refused,
    4 => Unreachable,
    5 => TimedOut,
    6 => OutOfResources,
    7 => Tls(error),
    8 => Io,
    9 => AddressInUse,
    10 => AddressNotAvailable,
    11 => PermissionDenied,
});
choice!(TlsError {
    0 => UnknownIssuer,
    1 => WrongHost,
    2 => Expired,
    3 => BadCertificate,
    4 => Protocol,
    5 => InvalidName,
});
choice!(ResolveError { 0 => NotFound, 1 => Failed, 2 => TimedOut });
choice!(DiskErrorKind {
    0 => Full,
    1 => ReadOnly,
    2 => PermissionDenied,
    3 => NotFound,
    4 => Exists,
    5 => Locked,
    6 => NotRegular,
    7 => NotADirectory,
    8 => InvalidName,
    9 => TooLarge,
    10 => TooManyFiles,
    11 => UnexpectedEof,
    12 => Io,
    13 => NotEmpty,
    14 => CrossDevice,
});
choice!(StoreError {
    0 => InUse,
    1 => NewerVersion { found, supported },
    2 => Corrupt(why),
    3 => Full,
    4 => Io(why),
});
choice!(Table { 0 => Meta, 1 => Download, 2 => Progress, 3 => Torrent });
choice!(AllocationMode { 0 => None, 1 => Sparse, 2 => Full });
choice!(ConflictPolicy { 0 => Rename, 1 => Overwrite, 2 => Skip, 3 => Fail });
choice!(OnChange { 0 => Restart, 1 => Fail });
choice!(FilePriority { 0 => Skip, 1 => Low, 2 => Normal, 3 => High });
choice!(DownloadPriority { 0 => Low, 1 => Normal, 2 => High, 3 => Critical });
choice!(HashAlgorithm { 0 => Md5, 1 => Sha1, 2 => Sha256, 3 => Sha512 });

/// What was read from a file is passed on without a look at it, so its length is enough.
impl Field for DiskOk {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done => out.push(0),
            Self::Found(stat) => {
                out.push(1);
                stat.put(out);
            }
            Self::Opened { stat, local } => {
                out.push(2);
                stat.put(out);
                local.put(out);
            }
            Self::Data(bytes) => {
                out.push(3);
                bytes.len().put(out);
            }
            Self::Hashed(digest) => {
                out.push(4);
                digest.put(out);
            }
            Self::OpenedDir { created } => {
                out.push(5);
                created.put(out);
            }
            Self::Digests(digests) => {
                out.push(6);
                digests.put(out);
            }
        }
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        Ok(match from.octet()? {
            0 => Self::Done,
            1 => Self::Found(Field::take(from)?),
            2 => Self::Opened { stat: Field::take(from)?, local: Field::take(from)? },
            3 => Self::Data(Bytes::from(vec![0; super::payload::taken_len(from)?])),
            4 => Self::Hashed(Field::take(from)?),
            5 => Self::OpenedDir { created: Field::take(from)? },
            6 => Self::Digests(Field::take(from)?),
            _ => return Err(RecordingError::Choice("DiskOk")),
        })
    }
}
