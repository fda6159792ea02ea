//! What the engine keeps of each download, whether it runs or not.

use super::config::EngineConfig;
use super::error::{EngineError, Result};
use super::io::Token;
use super::record::{DownloadRecord, SavedState};
use super::status::DownloadState;
use crate::base::{FileName, InfoHash, Instant, Key, TokenBucket};
use crate::download::check::Check;
use crate::download::http::{HttpDownload, HttpPlan, HttpSaved, Phase};
use crate::download::moving::{Move, MovingSaved};
use crate::download::target::{Part, Target, TargetPlan};
use crate::download::torrent::{self, Torrent, TorrentSaved};
use crate::download::{DownloadError, DownloadId, DownloadOptions};
use crate::wire::http::{HttpUrl, valid_header_name, valid_header_value};
use crate::wire::torrent::{Magnet, Metainfo};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names an entry.
pub(super) type EntryKey = Key<Entry>;

/// One download, running or not.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: DownloadId,
    pub(super) url: Arc<str>,
    pub(super) options: Box<DownloadOptions>,
    pub(super) state: DownloadState,
    pub(super) created_at: u64,
    pub(super) completed_at: Option<u64>,
    pub(super) order: u64,
    pub(super) kind: Kind,
    pub(super) running: Option<Running>,
    pub(super) intent: Option<Intent>,
    /// Where it is being moved, while it is.
    pub(super) moving: Option<Box<MovingSaved>>,
    /// Why it failed, if it did in this process.
    pub(super) error: Option<EngineError>,
    /// Which run of it this is; 0 before the first.
    pub(super) run: u64,
    /// Whether a cancel that waits for a check removes the file too.
    pub(super) delete_files: bool,
    pub(super) bucket: TokenBucket,
    pub(super) upload_bucket: TokenBucket,
    pub(super) touched: bool,
    /// Whether it is among the hungry.
    pub(super) hungry: bool,
    /// Whether no progress is reported until something happens to it.
    pub(super) quiet: bool,
    /// Whether it is among those that have something to send.
    pub(super) uploading: bool,
    /// Bytes of memory that are spoken for because of it.
    pub(super) used: u64,
    /// Which of its links is asked first whether it wants credit.
    pub(super) turn: usize,
    /// The directory that it holds open.
    pub(super) dir: Option<PathBuf>,
}

/// What kind of download it is, with what the store keeps of it.
#[derive(Debug)]
pub(super) enum Kind {
    Http(Box<HttpSaved>),
    Torrent(Box<TorrentEntry>),
}

/// What the engine keeps of a torrent.
#[derive(Debug)]
pub(super) struct TorrentEntry {
    pub(super) info_hash: InfoHash,
    /// What the magnet link said; empty where there was none.
    pub(super) magnet: Option<Magnet>,
    /// Once it is known.
    pub(super) metainfo: Option<Arc<Metainfo>>,
    pub(super) saved: TorrentSaved,
}

impl TorrentEntry {
    pub(super) fn new(info_hash: InfoHash, magnet: Option<Magnet>, metainfo: Option<Arc<Metainfo>>) -> Self {
        Self { info_hash, magnet, metainfo, saved: TorrentSaved::default() }
    }
}

/// What runs for a download.
#[derive(Debug)]
pub(super) enum Running {
    Http(Box<HttpDownload>),
    Torrent(Box<Torrent>),
    Check { check: Box<Check>, reply: Token },
    Remove(Box<Target>),
    Move { machine: Box<Move>, reply: Option<Token> },
}

/// What happens once a running download has come to rest.
#[derive(Debug)]
pub(super) enum Intent {
    /// It pauses.
    Pause(Vec<Token>),
    /// It was paused but is wanted again.
    Requeue(Vec<Token>),
    /// It goes, and what it made with it if so asked.
    Cancel(Vec<Token>),
    /// The engine shuts down; it goes on at the next start.
    Shutdown,
    /// It is moved to another directory, and goes on there.
    Move { to: PathBuf, reply: Token },
    /// A torrent is checked.
    Check {
        /// Who waits for the report.
        reply: Token,
        /// Whether what is wrong is fetched again.
        repair: bool,
        /// The state that it had, and has again afterwards.
        was: DownloadState,
    },
    /// What ran for a check alone comes to rest; the report is given.
    Checked {
        /// The state that it had, and has again afterwards.
        was: DownloadState,
        /// Whether it is queued instead: something is to be fetched.
        again: bool,
    },
}

impl Running {
    /// Bytes of memory that are spoken for because of it.
    pub(super) fn used(&self) -> u64 {
        match self {
            Self::Http(download) => download.used(),
            Self::Torrent(torrent) => torrent.used(),
            Self::Check { .. } | Self::Remove(_) | Self::Move { .. } => 0,
        }
    }
}

impl Entry {
    /// The URLs of the file, its own first.
    fn urls(&self) -> Result<Vec<HttpUrl>> {
        let own = core::iter::once((&*self.url, "url"));
        let mirrors = self.options.mirrors.iter().map(|mirror| (mirror.as_str(), "mirrors"));
        own.chain(mirrors).map(|(text, field)| parse_url(text, field)).collect()
    }

    /// Where it is saved.
    pub(super) fn save_dir<'a>(&'a self, config: &'a EngineConfig) -> &'a Path {
        self.options.save_dir.as_deref().unwrap_or(&config.download_dir)
    }

    /// How its file is treated.
    pub(super) fn target_plan(&self, config: &EngineConfig) -> TargetPlan {
        let options = &self.options;
        TargetPlan {
            dir_path: self.save_dir(config).to_owned(),
            on_conflict: options.on_conflict.unwrap_or(config.on_conflict),
            allocation: options.allocation_mode.unwrap_or(config.allocation_mode),
            checksum: options.checksum.clone(),
        }
    }

    /// What it is told when it starts.
    pub(super) fn plan(&self, config: &EngineConfig) -> Result<HttpPlan> {
        let options = &self.options;
        let http = &config.http;
        Ok(HttpPlan {
            urls: self.urls()?,
            max_connections: options.max_connections.unwrap_or(config.max_connections_per_download),
            min_segment: config.min_segment_size,
            user_agent: options.user_agent.clone().unwrap_or_else(|| config.user_agent.clone()),
            referer: options.referer.clone(),
            headers: options.headers.clone(),
            cookies: options.cookies.clone().unwrap_or_default(),
            max_redirects: http.max_redirects,
            allow_local_redirects: http.allow_local_redirects,
            max_retries: http.max_retries,
            retry_delay: http.retry_delay,
            max_retry_delay: http.max_retry_delay,
            read_timeout: http.read_timeout,
            on_change: options.on_change.unwrap_or(config.on_change),
            file_name: options.filename.as_deref().and_then(FileName::sanitise),
            deadline: options.deadline,
            target: self.target_plan(config),
        })
    }

    /// What tells it from all others: its URL, or the name of its torrent.
    pub(super) fn identity(&self) -> Arc<str> {
        match &self.kind {
            Kind::Http(_) => Arc::clone(&self.url),
            Kind::Torrent(torrent) => torrent_identity(torrent.info_hash),
        }
    }

    /// What the store keeps of a download over HTTP.
    pub(super) fn saved_mut(&mut self) -> Option<&mut HttpSaved> {
        match &mut self.kind {
            Kind::Http(saved) => Some(saved),
            Kind::Torrent(_) => None,
        }
    }

    /// The file of a download over HTTP.
    pub(super) fn part(&self) -> Option<&Part> {
        match &self.kind {
            Kind::Http(saved) => saved.part.as_ref(),
            Kind::Torrent(_) => None,
        }
    }

    pub(super) fn torrent(&self) -> Option<&Torrent> {
        match &self.running {
            Some(Running::Torrent(torrent)) => Some(torrent),
            _ => None,
        }
    }

    pub(super) fn torrent_mut(&mut self) -> Option<&mut Torrent> {
        match &mut self.running {
            Some(Running::Torrent(torrent)) => Some(torrent),
            _ => None,
        }
    }

    /// Whether it has sent more than the store knows, or received.
    pub(super) fn has_new_totals(&self) -> bool {
        let Kind::Torrent(kept) = &self.kind else { return false };
        self.torrent().is_some_and(|torrent| torrent.has_new_totals(&kept.saved))
    }

    pub(super) fn http(&self) -> Option<&HttpDownload> {
        match &self.running {
            Some(Running::Http(download)) => Some(download),
            _ => None,
        }
    }

    pub(super) fn http_mut(&mut self) -> Option<&mut HttpDownload> {
        match &mut self.running {
            Some(Running::Http(download)) => Some(download),
            _ => None,
        }
    }

    /// The state as its run shows it.
    pub(super) fn running_state(&self) -> Option<DownloadState> {
        match &self.running {
            Some(Running::Http(download)) => match download.phase() {
                Phase::Connecting => Some(DownloadState::Connecting),
                Phase::Receiving => Some(DownloadState::Downloading),
                Phase::Finishing => Some(DownloadState::Finishing),
                Phase::Stopping | Phase::Ended => None,
            },
            Some(Running::Torrent(torrent)) => match torrent.phase() {
                torrent::Phase::Checking => Some(DownloadState::Checking),
                torrent::Phase::Connecting => Some(DownloadState::Connecting),
                torrent::Phase::Downloading => Some(DownloadState::Downloading),
                torrent::Phase::Finishing => Some(DownloadState::Finishing),
                torrent::Phase::Seeding => Some(DownloadState::Seeding),
                torrent::Phase::Stopping | torrent::Phase::Ended => None,
            },
            _ => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.running {
            Some(Running::Http(download)) => download.poll_timeout(),
            Some(Running::Torrent(torrent)) => torrent.poll_timeout(),
            Some(Running::Remove(target)) => target.poll_timeout(),
            Some(Running::Check { .. } | Running::Move { .. }) | None => None,
        }
    }

    /// What the store keeps of it.
    pub(super) fn record(&self) -> DownloadRecord {
        let state = match &self.state {
            DownloadState::Paused => SavedState::Paused,
            DownloadState::Completed => SavedState::Completed,
            DownloadState::Error { kind, message, retryable } => {
                SavedState::Error { kind: kind.clone(), message: message.clone(), retryable: *retryable }
            }
            _ => SavedState::Queued,
        };
        DownloadRecord {
            url: self.url.to_string(),
            info_hash: match &self.kind {
                Kind::Http(_) => None,
                Kind::Torrent(torrent) => Some(torrent.info_hash),
            },
            options: (*self.options).clone(),
            state,
            created_at: self.created_at,
            completed_at: self.completed_at,
            order: self.order,
            moving: self.moving.as_deref().cloned(),
        }
    }
}

/// What tells one torrent from all others.
pub(super) fn torrent_identity(info_hash: InfoHash) -> Arc<str> {
    format!("urn:btih:{info_hash}").into()
}

/// Checks everything that a user can get wrong in a new torrent of so many files.
pub(super) fn validate_torrent(options: &DownloadOptions, files: Option<usize>) -> Result<()> {
    let bad = |field, message: &str| Err(EngineError::InvalidInput { field, message: message.to_owned() });
    check_ratio(options.seed_ratio)?;
    if options.max_peers.is_some_and(|n| !(1..=5000).contains(&n)) {
        return bad("max_peers", "must be 1 to 5000");
    }
    if options.selected_files.as_ref().is_some_and(Vec::is_empty) {
        return bad("selected_files", "must name at least one file");
    }
    if let Some(error) = files.and_then(|files| selects_beyond(options, files)) {
        return Err(error.into());
    }
    super::file_priorities::validate(&options.file_priorities, files)?;
    validate_common(options)
}

/// What is wrong where files were selected that a torrent of so many files does not have.
pub(super) fn selects_beyond(options: &DownloadOptions, files: usize) -> Option<DownloadError> {
    let beyond = options.selected_files.iter().flatten().find(|file| **file >= files);
    beyond.map(|file| DownloadError::NoSuchFile { file: *file })
}

/// Checks how much is to be sent of a torrent.
pub(super) fn check_ratio(ratio: Option<f64>) -> Result<()> {
    if ratio.is_some_and(|ratio| ratio.is_nan() || ratio < 0.0) {
        let message = "must be 0 or more".to_owned();
        return Err(EngineError::InvalidInput { field: "seed_ratio", message });
    }
    Ok(())
}

/// Checks everything that a user can get wrong in a new download.
pub(super) fn validate(url: &str, options: &DownloadOptions) -> Result<()> {
    parse_url(url, "url")?;
    validate_common(options)
}

/// Checks what all kinds of downloads may be told.
fn validate_common(options: &DownloadOptions) -> Result<()> {
    for mirror in &options.mirrors {
        parse_url(mirror, "mirrors")?;
    }
    let bad = |field, message: &str| Err(EngineError::InvalidInput { field, message: message.to_owned() });
    if options.mirrors.len() > MAX_MIRRORS {
        return Err(EngineError::ResourceLimit { resource: "mirrors", limit: MAX_MIRRORS });
    }
    if options.filename.as_deref().is_some_and(|name| FileName::sanitise(name).is_none()) {
        return bad("filename", "no safe file name can be made of it");
    }
    for (name, value) in &options.headers {
        if !valid_header_name(name) || !valid_header_value(value) {
            return bad(
                "headers",
                "a name must be a token and a value visible characters without line breaks",
            );
        }
        if RESERVED_HEADERS.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
            return Err(EngineError::InvalidInput {
                field: "headers",
                message: format!("{name} is set by the engine"),
            });
        }
    }
    let texts = [
        ("user_agent", options.user_agent.as_slice()),
        ("referer", options.referer.as_slice()),
        ("cookies", options.cookies.as_deref().unwrap_or_default()),
    ];
    for (field, texts) in texts {
        if texts.iter().any(|text| !valid_header_value(text)) {
            return bad(field, "must be visible characters without line breaks");
        }
    }
    if options.max_connections.is_some_and(|n| !(1..=256).contains(&n)) {
        return bad("max_connections", "must be 1 to 256");
    }
    for (field, limit) in
        [("max_download_speed", options.max_download_speed), ("max_upload_speed", options.max_upload_speed)]
    {
        if limit == Some(0) {
            return bad(field, "must be more than 0; leave it out for none");
        }
    }
    if options.save_dir.as_ref().is_some_and(|dir| dir.to_str().is_none()) {
        return bad("save_dir", "must be UTF-8, or it could not be recorded");
    }
    Ok(())
}

fn parse_url(text: &str, field: &'static str) -> Result<HttpUrl> {
    HttpUrl::parse(text).map_err(|error| EngineError::InvalidInput { field, message: error.to_string() })
}

/// More URLs than this for one file are a mistake.
const MAX_MIRRORS: usize = 64;

/// Headers that carry what the engine itself decides: a user cannot give them.
pub const RESERVED_HEADERS: [&str; 9] = [
    "Host",
    "Range",
    "If-Range",
    "Accept-Encoding",
    "Connection",
    "Content-Length",
    "Transfer-Encoding",
    "Upgrade",
    "Expect",
];
