//! Codec: the URL of a tracker: `http`, `https` or `udp` (BEP 3, 15, 41), and how it is shown without its secrets.

use crate::wire::http::{HttpUrl, UrlError};
use core::fmt;
use core::net::IpAddr;
use std::sync::Arc;

/// Where a tracker is. Displays without what looks like a password or a passkey.
///
/// ```
/// use gosh_dl_core::wire::tracker::TrackerUrl;
///
/// let shown = |url: &str| TrackerUrl::parse(url).unwrap().to_string();
/// assert_eq!(shown("udp://tracker.example:1337/announce"), "udp://tracker.example:1337/announce");
/// assert_eq!(
///     shown("https://me:pw@t.example/0123456789abcdef0123456789abcdef/announce?key=secret"),
///     "https://t.example/…/announce?key=…",
/// );
/// assert!(TrackerUrl::parse("wss://tracker.example/").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum TrackerUrl {
    /// Over HTTP or HTTPS.
    Http(HttpUrl),
    /// Over UDP.
    Udp(UdpTracker),
}

/// A tracker that is reached over UDP.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UdpTracker {
    /// A host name in ASCII and lower case, or an IP literal without brackets.
    pub host: Arc<str>,
    /// The port, never zero.
    pub port: u16,
    /// The path and query, which BEP 41 sends along; empty where the path is `/` or none.
    pub url_data: String,
    /// The host and port as they stand in a URL.
    authority: String,
}

impl TrackerUrl {
    /// Longer URLs are refused: no tracker has one, and many of them are kept in memory.
    pub const MAX_LEN: usize = 4096;

    /// Reads a URL as a torrent or a user gives it; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, TrackerUrlError> {
        let text = text.trim();
        if text.len() > Self::MAX_LEN {
            return Err(TrackerUrlError::Url(UrlError::TooLong));
        }
        let (scheme, rest) = text.split_once("://").ok_or(TrackerUrlError::Url(UrlError::NoScheme))?;
        if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
            return Ok(Self::Http(HttpUrl::parse(text)?));
        }
        if !scheme.eq_ignore_ascii_case("udp") {
            return Err(TrackerUrlError::Scheme);
        }
        // Names and addresses are read by the same rules whatever the scheme.
        let url = HttpUrl::parse(&format!("http://{rest}"))?;
        let origin = url.origin();
        let target = url.target();
        Ok(Self::Udp(UdpTracker {
            host: origin.host.clone(),
            port: origin.port,
            url_data: if target == "/" { String::new() } else { target },
            authority: origin.host_header(),
        }))
    }
}

impl UdpTracker {
    /// The address, where the host is an IP literal and no name to look up.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => {
                write!(f, "{}", url.origin())?;
                write_target(f, &url.target())
            }
            Self::Udp(tracker) => {
                write!(f, "udp://{}", tracker.authority)?;
                write_target(f, &tracker.url_data)
            }
        }
    }
}

impl fmt::Debug for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for UdpTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "udp://{}", self.authority)
    }
}

/// Long segments of the path and all values of the query may be what lets in whoever knows it.
fn write_target(f: &mut fmt::Formatter<'_>, target: &str) -> fmt::Result {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    for (place, segment) in path.split('/').enumerate() {
        let joint = if place == 0 { "" } else { "/" };
        write!(f, "{joint}{}", if segment.len() >= SECRET_LEN { "…" } else { segment })?;
    }
    for (place, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        let joint = if place == 0 { "?" } else { "&" };
        match pair.split_once('=') {
            Some((key, _)) if key.len() < SECRET_LEN => write!(f, "{joint}{key}=…")?,
            _ => write!(f, "{joint}…")?,
        }
    }
    Ok(())
}

/// Why a text is not the URL of a tracker that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TrackerUrlError {
    /// The scheme is none of `http`, `https` and `udp`.
    #[error("only http, https and udp trackers are supported")]
    Scheme,
    /// The rest of it is wrong.
    #[error("{0}")]
    Url(#[from] UrlError),
}

/// Segments from this length on are not shown: passkeys have 20 to 40 characters, and `announce.php` has 12.
const SECRET_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn udp_urls_follow_the_rules_of_all_urls() {
        let udp = |text: &str| match TrackerUrl::parse(text) {
            Ok(TrackerUrl::Udp(UdpTracker { host, port, url_data, .. })) => {
                (host.to_string(), port, url_data)
            }
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(udp(" UDP://Tracker.Example:1337 "), ("tracker.example".into(), 1337, String::new()));
        assert_eq!(udp("udp://127.1:80/"), ("127.0.0.1".into(), 80, String::new()));
        assert_eq!(udp("udp://u:p@[::1]:6969/announce?k=v#f"), ("::1".into(), 6969, "/announce?k=v".into()));
        assert_eq!(udp("udp://b\u{fc}cher.example:1/?x").2, "/?x");
        assert_eq!(udp("udp://t"), ("t".into(), 80, String::new()));
    }

    #[test]
    fn each_rule_has_its_error() {
        let error = |text: &str| TrackerUrl::parse(text).unwrap_err();
        for text in ["wss://t/", "file:///etc/passwd", "gopher://t/", "ftp://t/", "dht://t/", "i2p://t/"] {
            assert_eq!(error(text), TrackerUrlError::Scheme, "{text}");
        }
        assert_eq!(error("t.example/announce"), TrackerUrlError::Url(UrlError::NoScheme));
        assert_eq!(error("udp://"), TrackerUrlError::Url(UrlError::NoHost));
        assert_eq!(error("udp://t:0"), TrackerUrlError::Url(UrlError::Port));
        assert_eq!(error("udp://a b:1"), TrackerUrlError::Url(UrlError::Host));
        let long = format!("udp://t:1/{}", "a".repeat(TrackerUrl::MAX_LEN));
        assert_eq!(error(&long), TrackerUrlError::Url(UrlError::TooLong));
        assert!(TrackerUrl::parse(&long[..TrackerUrl::MAX_LEN]).is_ok());
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = |text: &str| {
            let url = TrackerUrl::parse(text).unwrap();
            assert_eq!(format!("{url:?}"), url.to_string());
            url.to_string()
        };
        assert_eq!(
            shown("http://t/announce.php?secret&passkey=secret&="),
            "http://t/announce.php?…&passkey=…&=…"
        );
        assert_eq!(shown("udp://u:secret@[::1]:1/0123456789abcdef/a"), "udp://[::1]:1/…/a");
        assert_eq!(shown("http://t/a?0123456789abcdef=1"), "http://t/a?…");
    }

    proptest! {
        #[test]
        fn shown_urls_are_plain(text in "(udp|http)://[a-z0-9.:@\\[\\]]{1,12}/.{0,40}") {
            if let Ok(url) = TrackerUrl::parse(&text) {
                prop_assert!(url.to_string().chars().all(|c| c.is_ascii_graphic() || c == '…'), "{url}");
            }
        }
    }
}
