//! What a user asks of one download.

use super::FilePriority;
use crate::base::disk::{AllocationMode, Digest, HashAlgorithm};
use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;
use std::path::PathBuf;

/// Settings of one download; everything left out comes from the engine's settings.
///
/// ```
/// use gosh_dl_core::download::DownloadOptions;
///
/// let options = DownloadOptions::new()
///     .filename("image.iso")
///     .mirror("https://mirror.example/image.iso")
///     .header("X-Api-Key", "secret")
///     .max_connections(4);
/// assert_eq!(options.mirrors.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DownloadOptions {
    /// Whether it waits for `resume` instead of starting.
    pub start_paused: bool,
    /// Its place in the queue.
    pub priority: DownloadPriority,
    /// Where it is saved; the engine's `download_dir` where left out.
    pub save_dir: Option<PathBuf>,
    /// The file's name; it is made safe. Where left out, the server's or the URL's.
    pub filename: Option<String>,
    /// The `User-Agent`.
    pub user_agent: Option<String>,
    /// The `Referer`.
    pub referer: Option<String>,
    /// Further headers of requests. They are sent to the origin of the first URL only, whatever it redirects to.
    pub headers: Vec<(String, String)>,
    /// Cookies as `name=value`; sent to the origin of the first URL only.
    pub cookies: Option<Vec<String>>,
    /// The digest that the whole file must have.
    pub checksum: Option<ExpectedChecksum>,
    /// Other URLs of the same file, used at the same time.
    pub mirrors: Vec<String>,
    /// How many connections it may use.
    pub max_connections: Option<usize>,
    /// Bytes per second.
    pub max_download_speed: Option<u64>,
    /// Bytes per second sent to others.
    pub max_upload_speed: Option<u64>,
    /// How room for the file is reserved.
    pub allocation_mode: Option<AllocationMode>,
    /// What happens when a file of the final name exists.
    pub on_conflict: Option<ConflictPolicy>,
    /// What happens when the resource changes while it is fetched.
    pub on_change: Option<OnChange>,
    /// Fail if it is not complete this long after it started. Default: never.
    pub deadline: Option<core::time::Duration>,
    /// Torrents: how much is uploaded for each byte of the torrent before seeding ends; 0 seeds without end. Default:
    /// the engine's.
    pub seed_ratio: Option<f64>,
    /// Torrents: how long it is seeded at most once it is complete; 0 does not seed.
    pub seed_time: Option<core::time::Duration>,
    /// Torrents: the numbers of the files that are fetched, from 0. Default: all.
    pub selected_files: Option<Vec<usize>>,
    /// Torrents: how much files are wanted, by their numbers; it counts more than
    /// [`selected_files`](Self::selected_files). Default: as much as any other.
    pub file_priorities: Vec<(usize, FilePriority)>,
    /// Torrents: whether pieces are fetched in order.
    pub sequential: Option<bool>,
    /// Torrents: whether it is seeded as if it had nothing, so that each piece is sent as seldom as can be (BEP 16). For
    /// the first seed; slower where there are others.
    pub super_seeding: Option<bool>,
    /// Torrents: how many peers it may be connected to.
    pub max_peers: Option<usize>,
    /// Torrents: addresses of peers that are known already.
    pub peers: Vec<SocketAddr>,
    /// Torrents: announce URLs besides those of the torrent, each in a tier of its own.
    pub trackers: Vec<String>,
}

/// A setter for each optional field, named as the field; `into` ones take whatever converts.
macro_rules! setters {
    ($(into $field:ident: $type:ty),* ; $($plain:ident: $plain_type:ty),* $(,)?) => {
        $(setters!(@one $field, impl Into<$type>, $field.into());)*
        $(setters!(@one $plain, $plain_type, $plain);)*
    };
    (@one $field:ident, $type:ty, $value:expr) => {
        #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = Some($value);
            self
        }
    };
}

impl DownloadOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        into save_dir: PathBuf,
        into filename: String,
        into user_agent: String,
        into referer: String,
        into cookies: Vec<String>;
        checksum: ExpectedChecksum,
        max_connections: usize,
        max_download_speed: u64,
        max_upload_speed: u64,
        allocation_mode: AllocationMode,
        on_conflict: ConflictPolicy,
        on_change: OnChange,
        deadline: core::time::Duration,
        seed_ratio: f64,
        seed_time: core::time::Duration,
        selected_files: Vec<usize>,
        sequential: bool,
        super_seeding: bool,
        max_peers: usize,
    }

    /// Adds one address to [`peers`](Self::peers).
    #[must_use]
    pub fn peer(mut self, address: SocketAddr) -> Self {
        self.peers.push(address);
        self
    }

    /// Adds one file to [`file_priorities`](Self::file_priorities).
    #[must_use]
    pub fn file_priority(mut self, file: usize, priority: FilePriority) -> Self {
        self.file_priorities.push((file, priority));
        self
    }

    /// Adds one announce URL to [`trackers`](Self::trackers).
    #[must_use]
    pub fn tracker(mut self, url: impl Into<String>) -> Self {
        self.trackers.push(url.into());
        self
    }

    /// Sets [`priority`](Self::priority).
    #[must_use]
    pub fn priority(mut self, priority: DownloadPriority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets [`start_paused`](Self::start_paused).
    #[must_use]
    pub fn start_paused(mut self, start_paused: bool) -> Self {
        self.start_paused = start_paused;
        self
    }

    /// Adds one header to [`headers`](Self::headers).
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds one URL to [`mirrors`](Self::mirrors).
    #[must_use]
    pub fn mirror(mut self, url: impl Into<String>) -> Self {
        self.mirrors.push(url.into());
        self
    }
}

/// A download's place in the queue. Running downloads are not pre-empted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[repr(i8)]
pub enum DownloadPriority {
    /// After everything else.
    Low = -1,
    /// The default.
    #[default]
    Normal = 0,
    /// Before the normal ones.
    High = 1,
    /// Before everything else.
    Critical = 2,
}

impl fmt::Display for DownloadPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

impl FromStr for DownloadPriority {
    type Err = UnknownPriority;

    fn from_str(text: &str) -> Result<Self, UnknownPriority> {
        match text.to_ascii_lowercase().as_str() {
            "low" | "-1" => Ok(Self::Low),
            "normal" | "0" => Ok(Self::Normal),
            "high" | "1" => Ok(Self::High),
            "critical" | "2" => Ok(Self::Critical),
            _ => Err(UnknownPriority),
        }
    }
}

/// The text names no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown priority (low, normal, high or critical)")]
pub struct UnknownPriority;

/// What happens when a file of the final name exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum ConflictPolicy {
    /// The new file gets another name (`a.1.iso`). Nothing is lost.
    #[default]
    Rename,
    /// The old file is replaced, once the new one is whole.
    Overwrite,
    /// Nothing is fetched and the download counts as complete.
    Skip,
    /// The download fails before anything is fetched.
    Fail,
}

impl FromStr for ConflictPolicy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        match text.to_ascii_lowercase().as_str() {
            "rename" => Ok(Self::Rename),
            "overwrite" => Ok(Self::Overwrite),
            "skip" => Ok(Self::Skip),
            "fail" => Ok(Self::Fail),
            _ => Err(UnknownPolicy),
        }
    }
}

/// The text names no conflict policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown conflict policy (rename, overwrite, skip or fail)")]
pub struct UnknownPolicy;

/// What happens when the resource changes while it is fetched. Two versions are never mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum OnChange {
    /// What arrived is thrown away and the new version is fetched from zero.
    #[default]
    Restart,
    /// The download fails.
    Fail,
}

/// The digest that a whole file must have.
///
/// ```
/// use gosh_dl_core::download::ExpectedChecksum;
///
/// let a: ExpectedChecksum = "sha-1:da39a3ee5e6b4b0d3255bfef95601890afd80709".parse().unwrap();
/// let b: ExpectedChecksum = "SHA1=DA39A3EE5E6B4B0D3255BFEF95601890AFD80709".parse().unwrap();
/// assert_eq!(a, b);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExpectedChecksum {
    /// The algorithm.
    pub algorithm: HashAlgorithm,
    /// The digest, as long as the algorithm's digests are.
    pub digest: Digest,
}

impl ExpectedChecksum {
    /// An MD5 checksum from 32 hexadecimal digits.
    pub fn md5(hex: &str) -> Result<Self, ParseChecksumError> {
        Self::new(HashAlgorithm::Md5, hex)
    }

    /// A SHA-256 checksum from 64 hexadecimal digits.
    pub fn sha256(hex: &str) -> Result<Self, ParseChecksumError> {
        Self::new(HashAlgorithm::Sha256, hex)
    }

    /// A checksum from hexadecimal digits of either case.
    pub fn new(algorithm: HashAlgorithm, hex: &str) -> Result<Self, ParseChecksumError> {
        let digits: Option<Vec<u8>> = hex.trim().chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        let digits = digits.ok_or(ParseChecksumError::NotHex)?;
        if digits.len() != algorithm.digest_len() * 2 {
            return Err(ParseChecksumError::Length { algorithm, digits: digits.len() });
        }
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        Ok(Self { algorithm, digest: Digest::new(&bytes) })
    }

    /// Reads `algorithm:hex` or `algorithm=hex`; `None` where it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromStr for ExpectedChecksum {
    type Err = ParseChecksumError;

    fn from_str(text: &str) -> Result<Self, ParseChecksumError> {
        let (name, hex) = text.split_once([':', '=']).ok_or(ParseChecksumError::NoSeparator)?;
        let algorithm = match name.trim().to_ascii_lowercase().replace('-', "").as_str() {
            "md5" => HashAlgorithm::Md5,
            "sha1" => HashAlgorithm::Sha1,
            "sha256" => HashAlgorithm::Sha256,
            "sha512" => HashAlgorithm::Sha512,
            _ => return Err(ParseChecksumError::UnknownAlgorithm),
        };
        Self::new(algorithm, hex)
    }
}

impl fmt::Display for ExpectedChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.digest)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ExpectedChecksum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for ExpectedChecksum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseChecksumError {
    /// There is neither `:` nor `=`.
    #[error("a checksum is written algorithm=hex, for example sha-256=9f86d0...")]
    NoSeparator,
    /// The algorithm is not one of md5, sha-1, sha-256, sha-512.
    #[error("unknown checksum algorithm (md5, sha-1, sha-256 or sha-512)")]
    UnknownAlgorithm,
    /// There is something else than hexadecimal digits.
    #[error("a checksum has hexadecimal digits only")]
    NotHex,
    /// The digest is too short or too long.
    #[error("a {algorithm} checksum has {} hexadecimal digits, not {digits}", algorithm.digest_len() * 2)]
    Length {
        /// The algorithm.
        algorithm: HashAlgorithm,
        /// How many digits there are.
        digits: usize,
    },
}
