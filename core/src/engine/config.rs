//! The engine's settings.

use super::EngineError;
use crate::base::disk::AllocationMode;
use crate::download::{ConflictPolicy, OnChange};
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
    /// slot. Default 5.
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
    /// HTTP settings.
    pub http: HttpConfig,
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
            http: HttpConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            max_redirects: 10,
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
        http: HttpConfig,
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
        max_retries: u32,
        retry_delay: Duration,
        max_retry_delay: Duration,
        keep_alive: Duration,
        accept_invalid_certs: bool,
    }
}

/// RFC 9110 section 5.5: no control characters but the tab.
fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}
