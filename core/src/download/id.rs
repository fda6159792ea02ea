//! The name of a download for users.

use core::fmt;
use uuid::Uuid;

/// Names one download, for as long as it is known; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct DownloadId(Uuid);

impl DownloadId {
    /// The id with this UUID.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// A random (version 4) id made of 16 random bytes.
    pub fn from_random_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The id as a UUID.
    pub const fn as_uuid(&self) -> Uuid {
        self.0
    }

    /// The first 16 hexadecimal digits, as aria2's GIDs have.
    pub fn to_gid(self) -> String {
        let (high, _) = self.0.as_u64_pair();
        format!("{high:016x}")
    }

    /// An id whose GID is `gid` (16 hexadecimal digits). The other half of the UUID is zero, so compare by
    /// [`matches_gid`](Self::matches_gid).
    pub fn from_gid(gid: &str) -> Option<Self> {
        let digits = gid.len() == 16 && gid.bytes().all(|byte| byte.is_ascii_hexdigit());
        let high = digits.then(|| u64::from_str_radix(gid, 16).ok()).flatten()?;
        Some(Self(Uuid::from_u64_pair(high, 0)))
    }

    /// Whether `gid` is this id's GID, or the beginning of it (at least four digits).
    pub fn matches_gid(&self, gid: &str) -> bool {
        gid.len() >= 4 && self.to_gid().starts_with(&gid.to_ascii_lowercase())
    }
}

/// The UUID in any of its spellings, or a GID: then, as with [`DownloadId::from_gid`], compare by
/// [`DownloadId::matches_gid`].
///
/// ```
/// use gosh_dl_core::download::DownloadId;
///
/// let id = DownloadId::from_random_bytes([7; 16]);
/// assert_eq!(id.as_uuid().to_string().parse(), Ok(id));
/// let named: DownloadId = id.to_string().parse().unwrap();
/// assert!(id.matches_gid(&named.to_gid()));
/// assert!("abc".parse::<DownloadId>().is_err());
/// ```
impl core::str::FromStr for DownloadId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match Self::from_gid(text) {
            Some(id) => Ok(id),
            None => Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError),
        }
    }
}

/// The text is neither a UUID nor 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID or 16 hexadecimal digits")]
pub struct ParseIdError;

impl fmt::Display for DownloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_gid())
    }
}

impl fmt::Debug for DownloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_gid())
    }
}
