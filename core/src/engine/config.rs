//! The engine's settings.

use super::EngineError;
use crate::base::disk::AllocationMode;
use crate::download::{ConflictPolicy, OnChange};
use core::net::IpAddr;
use core::time::Duration;
use std::path::PathBuf;

/// Settings of one engine. Chain the setters of the same names, or set the fields.
///
/// ```
/// use gosh_dl_core::engine::EngineConfig;
///
/// let config = EngineConfig::new().download_dir("/tmp").max_concurrent_downloads(3);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Where downloads go that name no directory. Default: the current directory.
    pub download_dir: PathBuf,
    /// How many downloads fetch at once; 1 or more. One that has everything and only waits for disk and store holds no
    /// slot, and neither does a torrent that is seeded: of these there may be any number. Default 5.
    pub max_concurrent_downloads: usize,
    /// How many connections one download may use; 1 to 256. Default 16.
    pub max_connections_per_download: usize,
    /// How many connections all downloads together may have to one host; 1 to 1024. Default 16.
    pub max_connections_per_host: usize,
    /// The smallest part of a file that is worth a connection of its own, in bytes; more than 0. Default 1 MiB.
    pub min_segment_size: u64,
    /// Bytes per second for all downloads together. Default: no limit.
    pub global_download_limit: Option<u64>,
    /// Bytes per second sent to others by all downloads together. Default: no limit.
    pub global_upload_limit: Option<u64>,
    /// The `User-Agent` of requests. Default `gosh-dl/<version>`.
    pub user_agent: String,
    /// How room for files is reserved. Default: not at all.
    pub allocation_mode: AllocationMode,
    /// What happens when a file of the final name exists. Default: the new one gets another name.
    pub on_conflict: ConflictPolicy,
    /// What happens when the resource changes while it is fetched. Default: start again from zero.
    pub on_change: OnChange,
    /// The database that keeps the state; `None` keeps none. Default `None`.
    pub database_path: Option<PathBuf>,
    /// Memory for data between network and disk, in bytes; 1 MiB or more. Default 8 MiB.
    pub buffer_budget: u64,
    /// Where a driver writes everything that the engine is given, so that the run can be repeated; `None` for nowhere.
    /// Taken at the start only. See [`recording`](super::recording). Default `None`.
    pub record: Option<PathBuf>,
    /// How many peers one torrent may be connected to; 1 to 5000. Default 55.
    pub max_peers: usize,
    /// How much is uploaded for each byte of a torrent before seeding ends; 0 seeds without end. Default 1.
    pub seed_ratio: f64,
    /// Whether peers are told of each other (BEP 11). Default yes.
    pub enable_pex: bool,
    /// HTTP settings.
    pub http: HttpConfig,
    /// Settings of torrents.
    pub torrent: TorrentConfig,
}

/// Settings of torrents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TorrentConfig {
    /// The ports, first and last, of which the first that is free is listened on; `(0, 0)` takes any free one.
    /// Default 6881 to 6889.
    pub listen_port_range: (u16, u16),
    /// The address that is listened on. Default: all of IPv4 and IPv6.
    pub listen_address: Option<IpAddr>,
    /// Whether peers may connect to this side. Default yes.
    pub enable_listen: bool,
    /// The own address that connections to peers, trackers and web seeds come from; addresses of the other family are
    /// not connected to then. Default: as the system chooses.
    pub bind_address: Option<IpAddr>,
    /// How long a peer may be silent; 30 s later it is parted with. Default 120 s, as often as peers say something at
    /// least.
    pub peer_timeout: Duration,
    /// How long a peer may take to accept a connection. Default 10 s.
    pub connect_timeout: Duration,
    /// How many peers may download from this side at once; 1 or more. Default: as many as the upload limit feeds.
    pub upload_slots: Option<usize>,
    /// How many peers all torrents together may be connected to; 1 or more. Default 300.
    pub max_connections: usize,
}

/// Settings of HTTP.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpConfig {
    /// How long one host may take to give a connection, TLS included. Default 30 s.
    pub connect_timeout: Duration,
    /// How long a connection may be silent while it owes something. Default 60 s.
    pub read_timeout: Duration,
    /// How many redirects in a row are followed. Default 10.
    pub max_redirects: usize,
    /// Whether a server elsewhere may redirect to a loopback, private or link-local address. What the user names may be
    /// there, and may redirect there. Default no.
    pub allow_local_redirects: bool,
    /// How many tries in a row may fail without progress, the first included; 0 never gives up. Default 5.
    pub max_retries: u32,
    /// The first pause before a retry; it doubles with each failure. Default 1 s.
    pub retry_delay: Duration,
    /// The longest pause before a retry. Default 30 s.
    pub max_retry_delay: Duration,
    /// How long an unused connection is kept for the next request. Default 15 s.
    pub keep_alive: Duration,
    /// A file of certificates (PEM) to trust besides the platform's.
    pub ca_certificate: Option<PathBuf>,
    /// **Dangerous**: accept any certificate. Whoever sits between can then read and change everything.
    pub accept_invalid_certs: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            download_dir: PathBuf::from("."),
            max_concurrent_downloads: 5,
            max_connections_per_download: 16,
            max_connections_per_host: 16,
            min_segment_size: 1 << 20,
            global_download_limit: None,
            global_upload_limit: None,
            user_agent: concat!("gosh-dl/", env!("CARGO_PKG_VERSION")).to_owned(),
            allocation_mode: AllocationMode::None,
            on_conflict: ConflictPolicy::Rename,
            on_change: OnChange::Restart,
            database_path: None,
            buffer_budget: 8 << 20,
            record: None,
            max_peers: 55,
            seed_ratio: 1.0,
            enable_pex: true,
            http: HttpConfig::default(),
            torrent: TorrentConfig::default(),
        }
    }
}

impl Default for TorrentConfig {
    fn default() -> Self {
        Self {
            listen_port_range: (6881, 6889),
            listen_address: None,
            enable_listen: true,
            bind_address: None,
            peer_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(10),
            upload_slots: None,
            max_connections: 300,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            max_redirects: 10,
            allow_local_redirects: false,
            max_retries: 5,
            retry_delay: Duration::from_secs(1),
            max_retry_delay: Duration::from_secs(30),
            keep_alive: Duration::from_secs(15),
            ca_certificate: None,
            accept_invalid_certs: false,
        }
    }
}

/// A setter for each field, named as the field; `into` ones take whatever converts.
macro_rules! setters {
    ($(into $field:ident: $type:ty),* ; $($plain:ident: $plain_type:ty),* $(,)?) => {
        $(setters!(@one $field, impl Into<$type>, $field.into());)*
        $(setters!(@one $plain, $plain_type, $plain);)*
    };
    (@one $field:ident, $type:ty, $value:expr) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $value;
            self
        }
    };
}

impl EngineConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        into download_dir: PathBuf,
        into global_download_limit: Option<u64>,
        into global_upload_limit: Option<u64>,
        into user_agent: String,
        into database_path: Option<PathBuf>,
        into record: Option<PathBuf>;
        max_concurrent_downloads: usize,
        max_connections_per_download: usize,
        max_connections_per_host: usize,
        min_segment_size: u64,
        allocation_mode: AllocationMode,
        on_conflict: ConflictPolicy,
        on_change: OnChange,
        buffer_budget: u64,
        max_peers: usize,
        seed_ratio: f64,
        enable_pex: bool,
        http: HttpConfig,
        torrent: TorrentConfig,
    }

    /// Checks every range that the fields' descriptions give.
    ///
    /// # Errors
    ///
    /// [`EngineError::InvalidInput`] with the name of the first field that is out of range.
    pub fn validate(&self) -> Result<(), EngineError> {
        let checks = [
            (self.max_concurrent_downloads >= 1, "max_concurrent_downloads", "must be at least 1"),
            (
                (1..=256).contains(&self.max_connections_per_download),
                "max_connections_per_download",
                "must be 1 to 256",
            ),
            (
                (1..=1024).contains(&self.max_connections_per_host),
                "max_connections_per_host",
                "must be 1 to 1024",
            ),
            (self.min_segment_size > 0, "min_segment_size", "must be more than 0"),
            (
                self.global_download_limit != Some(0),
                "global_download_limit",
                "must be more than 0; leave it out for none",
            ),
            (
                self.global_upload_limit != Some(0),
                "global_upload_limit",
                "must be more than 0; leave it out for none",
            ),
            (self.buffer_budget >= 1 << 20, "buffer_budget", "must be at least 1 MiB"),
            ((1..=5000).contains(&self.max_peers), "max_peers", "must be 1 to 5000"),
            (self.seed_ratio >= 0.0, "seed_ratio", "must be 0 or more"),
            (self.torrent.upload_slots != Some(0), "upload_slots", "must be at least 1"),
            (self.torrent.max_connections > 0, "max_connections", "must be at least 1"),
            (
                self.torrent.listen_port_range.0 <= self.torrent.listen_port_range.1,
                "listen_port_range",
                "the first port must not be greater than the last",
            ),
            (!self.torrent.peer_timeout.is_zero(), "peer_timeout", "must be more than 0"),
            (!self.torrent.connect_timeout.is_zero(), "connect_timeout", "must be more than 0"),
            (!self.http.connect_timeout.is_zero(), "connect_timeout", "must be more than 0"),
            (!self.http.read_timeout.is_zero(), "read_timeout", "must be more than 0"),
            (
                is_header_value(&self.user_agent),
                "user_agent",
                "must be visible characters without line breaks",
            ),
        ];
        match checks.into_iter().find(|(ok, ..)| !ok) {
            Some((_, field, message)) => {
                Err(EngineError::InvalidInput { field, message: message.to_owned() })
            }
            None => Ok(()),
        }
    }
}

impl HttpConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        into ca_certificate: Option<PathBuf>;
        connect_timeout: Duration,
        read_timeout: Duration,
        max_redirects: usize,
        allow_local_redirects: bool,
        max_retries: u32,
        retry_delay: Duration,
        max_retry_delay: Duration,
        keep_alive: Duration,
        accept_invalid_certs: bool,
    }
}

impl TorrentConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        into listen_address: Option<IpAddr>,
        into bind_address: Option<IpAddr>,
        into upload_slots: Option<usize>;
        listen_port_range: (u16, u16),
        enable_listen: bool,
        max_connections: usize,
        peer_timeout: Duration,
        connect_timeout: Duration,
    }
}

/// RFC 9110 section 5.5: no control characters but the tab.
fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}
