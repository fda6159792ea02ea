//! Codec: one call of the engine, as a value.

use super::fields::{Field, Source, choice};
use super::{RecordingError, payload, redact};
use crate::base::{Instant, LinkInput};
use crate::download::ReadRequest;
use crate::download::{DownloadId, DownloadOptions, DownloadPriority, FilePriority};
use crate::engine::{Engine, EngineConfig, Input, Token};
use bytes::Bytes;
use core::net::SocketAddr;
use core::ops::Range;
use core::time::Duration;
use std::path::PathBuf;

/// Everything that changes an engine: what a driver feeds in, and what users command.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Call {
    /// [`Engine::handle_input`]
    Input(Input),
    /// [`Engine::handle_timeout`]
    Timeout,
    /// [`Engine::add_http`]
    AddHttp {
        /// The URL.
        url: String,
        /// The options.
        options: Box<DownloadOptions>,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::add_torrent`]
    AddTorrent {
        /// The metainfo file.
        metainfo: Bytes,
        /// The options.
        options: Box<DownloadOptions>,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::add_magnet`]
    AddMagnet {
        /// The link.
        uri: String,
        /// The options.
        options: Box<DownloadOptions>,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::add_peer`]
    AddPeer {
        /// Which.
        id: DownloadId,
        /// Where.
        address: SocketAddr,
    },
    /// [`Engine::add_tracker`]
    AddTracker {
        /// Which.
        id: DownloadId,
        /// Its announce URL.
        url: String,
    },
    /// [`Engine::set_file_priorities`]
    SetFilePriorities {
        /// Which.
        id: DownloadId,
        /// The files and how much they are wanted.
        priorities: Vec<(usize, FilePriority)>,
    },
    /// [`Engine::read`]
    Read {
        /// Which.
        id: DownloadId,
        /// What.
        request: ReadRequest,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::close_reader`]
    CloseReader {
        /// Which.
        id: DownloadId,
        /// Who.
        reader: u64,
    },
    /// [`Engine::scrape`]
    Scrape {
        /// Which.
        id: DownloadId,
    },
    /// [`Engine::force_reannounce`]
    Reannounce {
        /// Which.
        id: DownloadId,
    },
    /// [`Engine::pause`]
    Pause {
        /// Which.
        id: DownloadId,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::resume`]
    Resume {
        /// Which.
        id: DownloadId,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::cancel`]
    Cancel {
        /// Which.
        id: DownloadId,
        /// Whether what it created is removed too.
        delete_files: bool,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::verify`]
    Verify {
        /// Which.
        id: DownloadId,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::repair`]
    Repair {
        /// Which.
        id: DownloadId,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::move_to`]
    MoveTo {
        /// Which.
        id: DownloadId,
        /// Where.
        dir: PathBuf,
        /// Whom to answer.
        reply: Token,
    },
    /// [`Engine::set_priority`]
    SetPriority {
        /// Which.
        id: DownloadId,
        /// Its place.
        priority: DownloadPriority,
    },
    /// [`Engine::set_download_limit`]
    SetDownloadLimit {
        /// Which.
        id: DownloadId,
        /// Bytes per second.
        limit: Option<u64>,
    },
    /// [`Engine::set_upload_limit`]
    SetUploadLimit {
        /// Which.
        id: DownloadId,
        /// Bytes per second.
        limit: Option<u64>,
    },
    /// [`Engine::set_seed_goal`]
    SetSeedGoal {
        /// Which.
        id: DownloadId,
        /// Bytes sent for each of its own.
        ratio: Option<f64>,
        /// How long.
        time: Option<Duration>,
    },
    /// [`Engine::set_config`]
    SetConfig(Box<EngineConfig>),
    /// [`Engine::shutdown`]
    Shutdown,
}

impl Call {
    /// Does it. What a command returns at once is not looked at: it follows from the same state and the same arguments.
    pub fn apply(self, engine: &mut Engine, now: Instant) {
        match self {
            Self::Input(input) => engine.handle_input(now, input),
            Self::Timeout => engine.handle_timeout(now),
            Self::AddHttp { url, options, reply } => drop(engine.add_http(now, &url, *options, reply)),
            Self::AddTorrent { metainfo, options, reply } => {
                drop(engine.add_torrent(now, metainfo, *options, reply));
            }
            Self::AddMagnet { uri, options, reply } => drop(engine.add_magnet(now, &uri, *options, reply)),
            Self::AddPeer { id, address } => drop(engine.add_peer(now, id, address)),
            Self::AddTracker { id, url } => drop(engine.add_tracker(now, id, &url)),
            Self::SetFilePriorities { id, priorities } => {
                drop(engine.set_file_priorities(now, id, &priorities));
            }
            Self::Read { id, request, reply } => engine.read(now, id, request, reply),
            Self::CloseReader { id, reader } => engine.close_reader(now, id, reader),
            Self::Scrape { id } => drop(engine.scrape(now, id)),
            Self::Reannounce { id } => drop(engine.force_reannounce(now, id)),
            Self::Pause { id, reply } => engine.pause(now, id, reply),
            Self::Resume { id, reply } => engine.resume(now, id, reply),
            Self::Cancel { id, delete_files, reply } => engine.cancel(now, id, delete_files, reply),
            Self::Verify { id, reply } => engine.verify(now, id, reply),
            Self::Repair { id, reply } => engine.repair(now, id, reply),
            Self::MoveTo { id, dir, reply } => engine.move_to(now, id, &dir, reply),
            Self::SetPriority { id, priority } => drop(engine.set_priority(now, id, priority)),
            Self::SetDownloadLimit { id, limit } => drop(engine.set_download_limit(now, id, limit)),
            Self::SetUploadLimit { id, limit } => drop(engine.set_upload_limit(now, id, limit)),
            Self::SetSeedGoal { id, ratio, time } => drop(engine.set_seed_goal(now, id, ratio, time)),
            Self::SetConfig(config) => drop(engine.set_config(now, *config)),
            Self::Shutdown => engine.shutdown(now),
        }
    }

    /// The call without what is nobody's business.
    pub(super) fn redacted(mut self) -> Self {
        if let Self::AddHttp { url, options, .. } = &mut self {
            *url = redact::url(url);
            redact::options(options);
        }
        self
    }

    /// Writes it; of data that arrives, what lies in `payload` only as its length.
    pub(super) fn put_without(&self, payload: &[Range<usize>], out: &mut Vec<u8>) {
        match self {
            Self::Input(Input::Link { link, input: LinkInput::Data(data) }) => {
                out.push(DATA);
                link.put(out);
                payload::put(data, payload, out);
            }
            other => {
                out.push(CALL);
                other.put(out);
            }
        }
    }

    /// Reads what [`put_without`](Self::put_without) wrote.
    pub(super) fn take_any(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        match from.octet()? {
            DATA => {
                let link = Field::take(from)?;
                Ok(Self::Input(Input::Link { link, input: LinkInput::Data(payload::take(from)?) }))
            }
            CALL => Self::take(from),
            _ => Err(RecordingError::Choice("call")),
        }
    }
}

choice!(Call {
    0 => Input(input),
    1 => Timeout,
    2 => AddHttp { url, options, reply },
    3 => Pause { id, reply },
    4 => Resume { id, reply },
    5 => Cancel { id, delete_files, reply },
    6 => Verify { id, reply },
    7 => Repair { id, reply },
    8 => SetPriority { id, priority },
    9 => SetDownloadLimit { id, limit },
    10 => SetConfig(config),
    11 => Shutdown,
    12 => AddTorrent { metainfo, options, reply },
    13 => AddMagnet { uri, options, reply },
    14 => AddPeer { id, address },
    15 => AddTracker { id, url },
    16 => Reannounce { id },
    24 => Scrape { id },
    25 => SetFilePriorities { id, priorities },
    26 => Read { id, request, reply },
    27 => CloseReader { id, reader },
    28 => MoveTo { id, dir, reply },
    29 => SetUploadLimit { id, limit },
    30 => SetSeedGoal { id, ratio, time },
});

impl<T: Field> Field for Box<T> {
    fn put(&self, out: &mut Vec<u8>) {
        T::put(self, out);
    }

    fn take(from: &mut Source<'_>) -> Result<Self, RecordingError> {
        T::take(from).map(Self::new)
    }
}

/// Data on a link, with its payload left out.
const DATA: u8 = 0;
/// Every other call.
const CALL: u8 = 1;
