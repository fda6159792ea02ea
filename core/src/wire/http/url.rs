//! Codec: `http` and `https` URLs (RFC 9110 section 4.2, WHATWG URL) and their origins.

use super::headers::latin1;
use crate::base::FileName;
use core::fmt;
use core::net::IpAddr;
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use url::{Host, ParseError, Url};

/// A URL that can be fetched: `http` or `https`, with a host, without a fragment.
///
/// It may carry a user name and password; those are shown by neither `Display` nor `Debug`.
///
/// ```
/// use gosh_dl_core::wire::http::HttpUrl;
///
/// let url = HttpUrl::parse("https://me:secret@example.com/a%20b.iso?v=1#part").unwrap();
/// assert_eq!(url.to_string(), "https://example.com/a%20b.iso?v=1");
/// assert_eq!(url.origin().to_string(), "https://example.com");
/// assert_eq!(url.target(), "/a%20b.iso?v=1");
/// assert_eq!(url.file_name().unwrap().as_str(), "a b.iso");
/// assert_eq!(url.join("/c").unwrap().to_string(), "https://example.com/c");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    url: Url,
    origin: Origin,
}

impl HttpUrl {
    /// Longer URLs are refused: no server takes them, and a redirect cannot carry them.
    pub const MAX_LEN: usize = 64 * 1024;

    /// Reads a URL as a user or a file gives it; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        within_limit(text)?;
        Self::new(Url::parse(text)?)
    }

    /// Where it is fetched from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The request target in origin form: the path, never empty, and the query.
    pub fn target(&self) -> String {
        match self.url.query() {
            None => self.url.path().to_owned(),
            Some(query) => format!("{}?{query}", self.url.path()),
        }
    }

    /// The value of an `Authorization` header for the user name and password in the URL (RFC 7617).
    pub fn basic_auth(&self) -> Option<String> {
        if self.url.username().is_empty() && self.url.password().is_none() {
            return None;
        }
        let mut credentials: Vec<u8> = percent_decode_str(self.url.username()).collect();
        credentials.push(b':');
        credentials.extend(percent_decode_str(self.url.password().unwrap_or_default()));
        Some(format!("Basic {}", base64(&credentials)))
    }

    /// Where a redirect from here leads: `location` may be relative, and may hold spaces and characters that should
    /// have been escaped. The user name and password of this URL do not go along.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim();
        within_limit(location)?;
        let mut base = self.url.clone();
        base.set_username("").and_then(|()| base.set_password(None)).map_err(|()| UrlError::NoHost)?;
        Self::new(base.join(location)?)
    }

    /// A safe file name from the last segment of the path; `None` where that is empty or nothing safe is left of it.
    pub fn file_name(&self) -> Option<FileName> {
        let segment = self.url.path().rsplit('/').next()?;
        let bytes: Vec<u8> = percent_decode_str(segment).collect();
        let text = String::from_utf8(bytes).unwrap_or_else(|error| latin1(error.as_bytes()));
        FileName::sanitise(&text)
    }

    /// The whole URL with the user name and password, for a record that must be able to fetch it again. Not for logs.
    pub fn as_str_with_user_info(&self) -> &str {
        self.url.as_str()
    }

    fn new(mut url: Url) -> Result<Self, UrlError> {
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::UnsupportedScheme),
        };
        let host: Arc<str> = match url.host() {
            None | Some(Host::Domain("")) => return Err(UrlError::NoHost),
            Some(Host::Domain(domain)) => domain.into(),
            Some(Host::Ipv4(ip)) => ip.to_string().into(),
            Some(Host::Ipv6(ip)) => ip.to_string().into(),
        };
        let port = url.port().unwrap_or(default_port(secure));
        if port == 0 {
            return Err(UrlError::Port);
        }
        within_limit(url.as_str())?;
        url.set_fragment(None);
        Ok(Self { url, origin: Origin { secure, host, port } })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.url.path())?;
        self.url.query().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

impl core::str::FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

/// Whom to connect to and whom to trust with a credential: scheme, host and port (RFC 9110 4.3.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Whether it is reached over TLS.
    pub secure: bool,
    /// A host name in ASCII and lower case, or an IP literal without brackets.
    pub host: Arc<str>,
    /// The port, never zero.
    pub port: u16,
}

impl Origin {
    /// The value of the `Host` header: an IPv6 literal in brackets, the port where it is not the default.
    pub fn host_header(&self) -> String {
        let host: &str = &self.host;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        if self.port == default_port(self.secure) {
            return format!("{open}{host}{close}");
        }
        format!("{open}{host}{close}:{}", self.port)
    }

    /// The address, where the host is an IP literal and no name to look up.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.host_header())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a URL that can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no scheme in front.
    #[error("a URL starts with http:// or https://")]
    NoScheme,
    /// The scheme is neither `http` nor `https`.
    #[error("only http and https URLs are supported")]
    UnsupportedScheme,
    /// There is no host.
    #[error("the URL has no host")]
    NoHost,
    /// The host is neither a valid name nor a valid address.
    #[error("the URL's host is not a valid name or address")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the URL's port is not valid")]
    Port,
    /// It is longer than [`HttpUrl::MAX_LEN`].
    #[error("the URL is too long")]
    TooLong,
    /// It breaks another rule.
    #[error("the URL is malformed")]
    Syntax,
}

impl From<ParseError> for UrlError {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::RelativeUrlWithoutBase | ParseError::RelativeUrlWithCannotBeABaseBase => {
                Self::NoScheme
            }
            ParseError::EmptyHost => Self::NoHost,
            ParseError::InvalidPort => Self::Port,
            ParseError::IdnaError
            | ParseError::InvalidIpv4Address
            | ParseError::InvalidIpv6Address
            | ParseError::InvalidDomainCharacter => Self::Host,
            ParseError::Overflow => Self::TooLong,
            _ => Self::Syntax,
        }
    }
}

fn within_limit(text: &str) -> Result<(), UrlError> {
    if text.len() <= HttpUrl::MAX_LEN { Ok(()) } else { Err(UrlError::TooLong) }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| group.get(index).map_or(0, |&byte| u32::from(byte));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let sextet = (bits >> (18 - 6 * index) & 63) as usize;
            text.push(if index <= group.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> HttpUrl {
        HttpUrl::parse(text).unwrap()
    }

    #[test]
    fn each_rule_has_its_error() {
        let error = |text: &str| HttpUrl::parse(text).unwrap_err();
        assert_eq!(error("example.com/file"), UrlError::NoScheme);
        assert_eq!(error(""), UrlError::NoScheme);
        assert_eq!(error("ftp://example.com/"), UrlError::UnsupportedScheme);
        assert_eq!(error("file:///etc/passwd"), UrlError::UnsupportedScheme);
        assert_eq!(error("localhost:8080/x"), UrlError::UnsupportedScheme);
        assert_eq!(error("http://"), UrlError::NoHost);
        assert_eq!(error("http://a b/"), UrlError::Host);
        assert_eq!(error("http://[::1/"), UrlError::Host);
        assert_eq!(error("http://256.256.256.256/"), UrlError::Host);
        assert_eq!(error("http://a:65536/"), UrlError::Port);
        assert_eq!(error("http://a:0/"), UrlError::Port);
        assert_eq!(error(&format!("http://a/{}", "a".repeat(HttpUrl::MAX_LEN))), UrlError::TooLong);
        // Three bytes for each once escaped.
        assert_eq!(error(&format!("http://a/{}", " a".repeat(HttpUrl::MAX_LEN / 2 - 8))), UrlError::TooLong);
    }

    #[test]
    fn longest_url_is_taken() {
        let longest = format!("http://a/{}", "a".repeat(HttpUrl::MAX_LEN - "http://a/".len()));
        assert_eq!(url(&longest).to_string(), longest);
    }

    #[test]
    fn origin_leaves_the_default_port_out_and_brackets_ipv6() {
        let shown = |text: &str| (url(text).origin().to_string(), url(text).origin().host_header());
        assert_eq!(shown(" HTTP://EXAMPLE.com:80/x "), ("http://example.com".into(), "example.com".into()));
        assert_eq!(shown("https://h:8443"), ("https://h:8443".into(), "h:8443".into()));
        assert_eq!(shown("http://[::1]:443/"), ("http://[::1]:443".into(), "[::1]:443".into()));
        assert_eq!(shown("https://[0:0::1]/"), ("https://[::1]".into(), "[::1]".into()));
        assert_eq!(shown("http://bücher.example/").1, "xn--bcher-kva.example");
    }

    #[test]
    fn only_ip_literals_have_an_address() {
        assert_eq!(url("http://[::1]/").origin().ip(), Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])));
        assert_eq!(url("http://0x7f.1/").origin().ip(), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(url("http://localhost/").origin().ip(), None);
    }

    #[test]
    fn target_is_never_empty_and_has_no_fragment() {
        assert_eq!(url("http://a").target(), "/");
        assert_eq!(url("http://a?b").target(), "/?b");
        assert_eq!(url("http://a/ü b?c d#e").target(), "/%C3%BC%20b?c%20d");
        assert_eq!(url("http://a/b?").target(), "/b?");
    }

    #[test]
    fn user_info_is_sent_but_not_shown() {
        let secret = url("http://Aladdin:open%20sesame@a/b");
        assert_eq!(secret.basic_auth().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{secret} {secret:?}"), "http://a/b HttpUrl(http://a/b)");
        assert_eq!(secret.as_str_with_user_info(), "http://Aladdin:open%20sesame@a/b");
        assert_eq!(url("http://a/").basic_auth(), None);
        assert_eq!(url("http://u@a/").basic_auth().unwrap(), "Basic dTo=");
    }

    #[test]
    fn base64_pads() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn redirect_is_resolved_and_loses_the_old_user_info() {
        let from = url("http://u:p@a/b/c?d");
        let to = |location: &str| from.join(location).map(|url| url.as_str_with_user_info().to_owned());
        assert_eq!(to("e").as_deref(), Ok("http://a/b/e"));
        assert_eq!(to("/e f/ü?x y").as_deref(), Ok("http://a/e%20f/%C3%BC?x%20y"));
        assert_eq!(to("//b/c").as_deref(), Ok("http://b/c"));
        assert_eq!(to("?q").as_deref(), Ok("http://a/b/c?q"));
        assert_eq!(to("").as_deref(), Ok("http://a/b/c?d"));
        assert_eq!(to(" https://x:y@b/../c#f ").as_deref(), Ok("https://x:y@b/c"));
        assert_eq!(to("ftp://b/"), Err(UrlError::UnsupportedScheme));
        assert_eq!(to("javascript:alert(1)"), Err(UrlError::UnsupportedScheme));
        assert_eq!(to("http://"), Err(UrlError::NoHost));
    }

    #[test]
    fn file_name_is_the_last_segment_decoded() {
        let name = |text: &str| url(text).file_name().map(|name| name.as_str().to_owned());
        assert_eq!(name("http://a/b/c.iso?x=y/z").as_deref(), Some("c.iso"));
        assert_eq!(name("http://a/%E6%97%A5.txt").as_deref(), Some("日.txt"));
        assert_eq!(name("http://a/caf%E9.txt").as_deref(), Some("café.txt"));
        assert_eq!(name("http://a/..%2F..%2Fetc%2Fpasswd").as_deref(), Some(".._.._etc_passwd"));
        assert_eq!(name("http://a/a%00%1b%5b.txt").as_deref(), Some("a__[.txt"));
        assert_eq!(name("http://a/b/"), None);
        assert_eq!(name("http://a"), None);
        assert_eq!(name("http://a/%2e%2e"), None);
    }

    proptest! {
        #[test]
        fn joined_urls_are_safe(location in "[a-z0-9:/?#@%. \\\\\u{0}-\u{1f}é日]{0,40}|.{0,40}") {
            let from = url("https://me:secret@example.com/dir/file");
            if let Ok(to) = from.join(&location) {
                prop_assert!(!to.as_str_with_user_info().contains("secret") || location.contains("secret"));
                prop_assert!(location.contains('@') || to.basic_auth().is_none());
                for text in [to.target(), to.origin().host_header(), to.to_string()] {
                    prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
                }
                prop_assert!(to.target().starts_with('/'));
                let again = HttpUrl::parse(to.as_str_with_user_info());
                prop_assert_eq!(again.as_ref(), Ok(&to));
            }
        }

        #[test]
        fn file_names_are_safe(path in any::<String>()) {
            if let Some(name) = HttpUrl::parse(&format!("http://a/{path}")).ok().and_then(|url| url.file_name()) {
                prop_assert!(FileName::new(name.as_str()).is_some());
            }
        }
    }
}
