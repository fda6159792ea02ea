//! Codec: magnet links to torrents (BEP 9, 53).

use super::outer::address;
use super::{MAX_ADDRESSES, MAX_FILES};
use crate::base::{FileName, InfoHash};
use core::fmt;
use core::ops::RangeInclusive;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A link that names a torrent by its info-hash; peers have the rest.
///
/// ```
/// use gosh_dl_core::wire::torrent::Magnet;
///
/// let link = "magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH&dn=some+file&so=0,2-4";
/// let magnet = Magnet::parse(link)?;
/// assert_eq!(magnet.info_hash.to_string(), "0123456789abcdef0123456789abcdef01234567");
/// assert_eq!(magnet.name.as_deref(), Some("some file"));
/// assert_eq!(magnet.select_only, [0..=0, 2..=4]);
/// # Ok::<(), gosh_dl_core::wire::torrent::MagnetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// The torrent (`xt`).
    pub info_hash: InfoHash,
    /// What to call it until its metadata is there (`dn`). It is text for people; [`Magnet::file_name`] is for disks.
    pub name: Option<String>,
    /// Trackers (`tr`).
    pub trackers: Vec<String>,
    /// Web servers that have the files (`ws`, BEP 19).
    pub web_seeds: Vec<String>,
    /// Peers: hosts or addresses, and ports (`x.pe`).
    pub peers: Vec<(String, u16)>,
    /// The numbers of the files that are wanted (`so`, BEP 53), as ranges in the order of the link; all if there is none.
    pub select_only: Vec<RangeInclusive<u32>>,
}

impl Magnet {
    /// The longest link that is read, in bytes.
    pub const MAX_LEN: usize = 64 << 10;

    /// A link with nothing but the hash.
    pub fn new(info_hash: InfoHash) -> Self {
        let (trackers, web_seeds, peers, select_only) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { info_hash, name: None, trackers, web_seeds, peers, select_only }
    }

    /// Reads a link. Parameters that mean nothing here are left out.
    pub fn parse(link: &str) -> Result<Self, MagnetError> {
        let link = link.trim();
        if link.len() > Self::MAX_LEN {
            return Err(MagnetError::TooLong(link.len()));
        }
        let scheme = link.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        let query = scheme.map(|scheme| &link[scheme.len()..]).ok_or(MagnetError::NotMagnet)?;
        let query = query.split('#').next().unwrap_or(query);
        let (mut magnet, mut topics) = (Self::new(InfoHash([0; 20])), Topics::default());
        for (key, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
            // Several of a kind may be numbered: `xt.1`, `tr.2`.
            match key.to_ascii_lowercase().split('.').next().unwrap_or_default() {
                "xt" => topics.add(&decoded(value))?,
                "dn" => magnet.name = name(value).or(magnet.name),
                "tr" => push_address(&mut magnet.trackers, value),
                "ws" => push_address(&mut magnet.web_seeds, value),
                "x" if key.eq_ignore_ascii_case("x.pe") => magnet.push_peer(value),
                "so" => select(&mut magnet.select_only, &decoded(value))?,
                _ => {}
            }
        }
        magnet.info_hash =
            topics.v1.ok_or(if topics.v2 { MagnetError::OnlyV2 } else { MagnetError::NoTopic })?;
        Ok(magnet)
    }

    /// The name as the name of a file; the info-hash where there is none.
    pub fn file_name(&self) -> FileName {
        let given = self.name.as_deref().and_then(FileName::sanitise);
        let hash = || FileName::new(&self.info_hash.to_string());
        given.or_else(hash).expect("hexadecimal digits are a safe name")
    }

    fn push_peer(&mut self, value: &str) {
        let value = decoded(value);
        let Some((host, port)) = value.rsplit_once(':') else { return };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let Some(port) = port.parse().ok().filter(|port| *port > 0) else { return };
        let Some(host) = address(host.as_bytes()).filter(|host| !host.contains(char::is_whitespace)) else {
            return;
        };
        let peer = (host, port);
        if self.peers.len() < MAX_ADDRESSES && !self.peers.contains(&peer) {
            self.peers.push(peer);
        }
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xt=urn:btih:{}", self.info_hash)?;
        let mut put = |key: &str, value: &str| write!(f, "&{key}={}", utf8_percent_encode(value, ESCAPED));
        self.name.iter().try_for_each(|name| put("dn", name))?;
        self.trackers.iter().try_for_each(|url| put("tr", url))?;
        self.web_seeds.iter().try_for_each(|url| put("ws", url))?;
        for (host, port) in &self.peers {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            put("x.pe", &format!("{host}:{port}"))?;
        }
        for (at, range) in self.select_only.iter().enumerate() {
            f.write_str(if at == 0 { "&so=" } else { "," })?;
            write!(f, "{}", range.start())?;
            if range.end() > range.start() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}

/// What `xt` says.
#[derive(Default)]
struct Topics {
    v1: Option<InfoHash>,
    v2: bool,
}

impl Topics {
    fn add(&mut self, topic: &str) -> Result<(), MagnetError> {
        let after = |prefix: &str| {
            let head = topic.get(..prefix.len())?;
            head.eq_ignore_ascii_case(prefix).then(|| &topic[prefix.len()..])
        };
        if let Some(digits) = after("urn:btih:") {
            let hash = InfoHash::parse(digits).ok_or(MagnetError::InfoHash)?;
            if self.v1.replace(hash).is_some_and(|other| other != hash) {
                return Err(MagnetError::SeveralTopics);
            }
        }
        self.v2 |= after("urn:btmh:").is_some();
        Ok(())
    }
}

fn decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// Many write a space in a name as forms do.
fn name(value: &str) -> Option<String> {
    let name = decoded(&value.replace('+', " "));
    let kept: String = name.trim().chars().take(MAX_NAME_CHARS).collect();
    // Where it is cut off there may be white space again.
    Some(kept.trim_end().to_owned()).filter(|name| !name.is_empty())
}

fn push_address(urls: &mut Vec<String>, value: &str) {
    if let Some(url) = address(decoded(value).as_bytes())
        && urls.len() < MAX_ADDRESSES
        && !urls.contains(&url)
    {
        urls.push(url);
    }
}

fn select(ranges: &mut Vec<RangeInclusive<u32>>, list: &str) -> Result<(), MagnetError> {
    let number = |digits: &str| {
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|number| is_plain && *number < MAX_FILES).ok_or(MagnetError::SelectOnly)
    };
    for item in list.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let range = number(first)?..=number(last)?;
        if range.is_empty() || ranges.len() == MAX_RANGES {
            return Err(MagnetError::SelectOnly);
        }
        ranges.push(range);
    }
    Ok(())
}

/// Why text is not a link to a torrent that can be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum MagnetError {
    /// It does not begin with `magnet:?`.
    #[error("not a magnet link")]
    NotMagnet,
    /// It has this many bytes, which is more than [`Magnet::MAX_LEN`].
    #[error("a magnet link of {0} bytes is too long")]
    TooLong(usize),
    /// There is no `xt=urn:btih:`: it is not about a torrent.
    #[error("the magnet link has no `xt=urn:btih:`")]
    NoTopic,
    /// Its `xt` is not 40 hexadecimal or 32 base32 digits.
    #[error("`xt` in the magnet link is not a valid info-hash")]
    InfoHash,
    /// It has several `xt` that name different torrents.
    #[error("`xt` in the magnet link names several torrents")]
    SeveralTopics,
    /// It names a torrent of BitTorrent v2 only (BEP 52).
    #[error("the magnet link is to a torrent of version 2 only, which is not supported")]
    OnlyV2,
    /// Its `so` is not a list of numbers and ascending ranges.
    #[error("`so` in the magnet link is not a list of files")]
    SelectOnly,
}

const SCHEME: &str = "magnet:?";

/// The longest name that is kept; longer ones tell people nothing and make no file name.
const MAX_NAME_CHARS: usize = 512;

/// The most ranges of files in one link, far beyond what fits where links are passed on.
const MAX_RANGES: usize = 4096;

/// RFC 3986, section 2.3, leaves these as they are; `:` and `/` too, because people read links.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse(parameters: &str) -> Magnet {
        Magnet::parse(&format!("magnet:?xt=urn:btih:{HASH}{parameters}")).unwrap()
    }

    #[test]
    fn everything_that_a_link_can_say_is_read() {
        let magnet = parse(
            "&dn=a%20b+c&tr=http%3A%2F%2Ft%2Fannounce&tr.1=udp://u:1&tr=http://t/announce&ws=http://w/&xl=5\
             &x.pe=10.0.0.1:6881&x.pe=%5B::1%5D:2&x.pe=host.example:3&x.pe=nothing:0&so=0,2,4,6-8",
        );
        let expected = Magnet {
            info_hash: InfoHash::parse(HASH).unwrap(),
            name: Some("a b c".to_owned()),
            trackers: vec!["http://t/announce".to_owned(), "udp://u:1".to_owned()],
            web_seeds: vec!["http://w/".to_owned()],
            peers: vec![("10.0.0.1".to_owned(), 6881), ("::1".to_owned(), 2), ("host.example".to_owned(), 3)],
            select_only: vec![0..=0, 2..=2, 4..=4, 6..=8],
        };
        assert_eq!(magnet, expected);
    }

    #[test]
    fn scheme_keys_and_topic_are_read_in_any_case() {
        let link = format!("MAGNET:?XT=URN:BTIH:{}&DN=x", HASH.to_uppercase());
        assert_eq!(Magnet::parse(&link).unwrap().name.as_deref(), Some("x"));
    }

    #[test]
    fn link_to_nothing_is_told_apart() {
        let error = |link: &str| Magnet::parse(link).unwrap_err();
        assert_eq!(error("http://a/b"), MagnetError::NotMagnet);
        assert_eq!(error("magnet:?dn=x"), MagnetError::NoTopic);
        assert_eq!(error("magnet:?xt=urn:sha1:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH"), MagnetError::NoTopic);
        assert_eq!(error("magnet:?xt=urn:btih:01234"), MagnetError::InfoHash);
        assert_eq!(error("magnet:?xt=urn:btmh:1220caf1e1"), MagnetError::OnlyV2);
        let other = HASH.replace('0', "1");
        let two = format!("magnet:?xt=urn:btih:{HASH}&xt=urn:btih:{other}");
        assert_eq!(error(&two), MagnetError::SeveralTopics);
        for list in ["", "x", "1-", "-1", "3-2", "+1", "4294967296", "500000"] {
            assert_eq!(
                error(&format!("magnet:?xt=urn:btih:{HASH}&so={list}")),
                MagnetError::SelectOnly,
                "{list}"
            );
        }
        assert_eq!(error(&format!("magnet:?{}", "a".repeat(Magnet::MAX_LEN))), MagnetError::TooLong(65544));
    }

    #[test]
    fn link_of_both_versions_names_its_first() {
        let magnet =
            parse("&xt=urn:btmh:1220caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e");
        assert_eq!(magnet, Magnet::new(InfoHash::parse(HASH).unwrap()));
    }

    #[test]
    fn more_addresses_than_anybody_needs_are_left_out() {
        let many = |key: &str| (0..400).map(|n| format!("&{key}=h{n}:1")).collect::<String>();
        let magnet = parse(&[many("tr"), many("ws"), many("x.pe")].concat());
        assert_eq!([magnet.trackers.len(), magnet.web_seeds.len(), magnet.peers.len()], [MAX_ADDRESSES; 3]);
        assert!(Magnet::parse(&format!("magnet:?xt=urn:btih:{HASH}&so={}1", "1,".repeat(5000))).is_err());
    }

    #[test]
    fn without_a_usable_name_the_file_is_called_by_the_hash() {
        let cut = format!("&dn={}%0Ab", "a".repeat(MAX_NAME_CHARS - 1));
        assert_eq!(parse(&cut).name, Some("a".repeat(MAX_NAME_CHARS - 1)));
        assert_eq!(parse("&dn=..").file_name().as_str(), HASH);
        assert_eq!(parse("").file_name().as_str(), HASH);
        assert_eq!(parse("&dn=..%2Fa").file_name().as_str(), ".._a");
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_read_back(
            hash in any::<[u8; 20]>(),
            name in proptest::option::of("[^\\s]{1,9}"),
            urls in prop::collection::btree_set("[!-~é]{1,12}", 0..4),
            ports in prop::collection::btree_set(1u16.., 0..3),
            select in prop::collection::vec((0u32..1000, 0u32..1000), 0..4),
        ) {
            let magnet = Magnet {
                name,
                trackers: urls.iter().cloned().collect(),
                web_seeds: urls.into_iter().collect(),
                peers: ports.into_iter().map(|port| ("::1".to_owned(), port)).collect(),
                select_only: select.into_iter().map(|(first, more)| first..=first + more).collect(),
                ..Magnet::new(InfoHash(hash))
            };
            prop_assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
        }
    }
}
