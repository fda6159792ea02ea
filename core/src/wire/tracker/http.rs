//! Codec: announce and scrape over HTTP (BEP 3, 7, 23, 24, 31, 48).

use super::announce::{compact_v4, compact_v6, peer, seconds, text};
use super::{AnnounceAnswer, AnnounceRequest, Event, MAX_PEERS, Refusal, Retry, ScrapeAnswer};
use crate::base::InfoHash;
use crate::wire::bencode::{self, Document, Mode, Value};
use crate::wire::http::{HttpUrl, UrlError};
use core::fmt::Write;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// The URL of an announce to `tracker`. What stands in the tracker's own URL, such as a passkey, stays in front.
///
/// ```
/// use gosh_dl_core::base::{InfoHash, PeerId};
/// use gosh_dl_core::wire::http::HttpUrl;
/// use gosh_dl_core::wire::tracker::{AnnounceRequest, Event, http};
///
/// let request = AnnounceRequest {
///     info_hash: InfoHash(*b"\x12\x34\x56\x78\x9a\xbc\xde\xf1\x23\x45\x67\x89\xab\xcd\xef\x12\x34\x56\x78\x9a"),
///     peer_id: PeerId(*b"-GD0100-abcdefghijkl"),
///     port: 6881, uploaded: 0, downloaded: 1, left: 2, event: Event::Started, num_want: 50, key: 0xbeef,
///     ip: None, ipv6: None,
/// };
/// let tracker = HttpUrl::parse("http://t.example/announce?passkey=k").unwrap();
/// assert_eq!(
///     http::announce_url(&tracker, &request, None).unwrap().target(),
///     "/announce?passkey=k&info_hash=%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A&peer_id=-GD0100-abcdefghijkl\
///      &port=6881&uploaded=0&downloaded=1&left=2&compact=1&numwant=50&key=0000BEEF&event=started",
/// );
/// ```
pub fn announce_url(
    tracker: &HttpUrl,
    request: &AnnounceRequest,
    tracker_id: Option<&[u8]>,
) -> Result<HttpUrl, UrlError> {
    let mut query = format!(
        "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&compact=1&numwant={}&key={:08X}",
        percent_encode(&request.info_hash.0, ESCAPED),
        percent_encode(&request.peer_id.0, ESCAPED),
        request.port,
        request.uploaded,
        request.downloaded,
        request.left,
        request.num_want,
        request.key,
    );
    let event = match request.event {
        Event::None => None,
        Event::Started => Some("started"),
        Event::Completed => Some("completed"),
        Event::Stopped => Some("stopped"),
    };
    // Writing to a string cannot fail.
    let _ = event.map_or(Ok(()), |event| write!(query, "&event={event}"));
    let id = tracker_id.map(|id| percent_encode(id, ESCAPED));
    let _ = id.map_or(Ok(()), |id| write!(query, "&trackerid={id}"));
    let _ = request.ip.map_or(Ok(()), |ip| write!(query, "&ip={}", escape_address(ip)));
    let _ = request.ipv6.map_or(Ok(()), |ip| write!(query, "&ipv6={}", escape_address(ip.into())));
    with_query(tracker, tracker.as_str_with_user_info(), &query)
}

/// The URL of a scrape, where the tracker's URL has one: the last segment of its path begins with `announce` (BEP 48).
pub fn scrape_url(tracker: &HttpUrl, info_hash: InfoHash) -> Option<HttpUrl> {
    let url = tracker.as_str_with_user_info();
    let path_end = url.find('?').unwrap_or(url.len());
    let segment = url[..path_end].rfind('/')? + 1;
    let rest = url[segment..].strip_prefix("announce")?;
    let scrape = format!("{}scrape{rest}", &url[..segment]);
    with_query(tracker, &scrape, &format!("info_hash={}", percent_encode(&info_hash.0, ESCAPED))).ok()
}

fn with_query(tracker: &HttpUrl, url: &str, query: &str) -> Result<HttpUrl, UrlError> {
    let joint = match tracker.target().split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, own)) if own.ends_with('&') => "",
        Some(_) => "&",
    };
    HttpUrl::parse(&format!("{url}{joint}{query}"))
}

fn escape_address(ip: IpAddr) -> String {
    percent_encode(ip.to_string().as_bytes(), ESCAPED).to_string()
}

/// Reads the answer to an announce. Whatever follows its value is not looked at.
pub fn decode_announce(body: &[u8]) -> Result<AnnounceAnswer, AnswerError> {
    let (document, _) = Document::decode_prefix(body, Mode::Lax)?;
    let root = dict(document.root())?;
    let int = |key: &[u8]| root.get(key).and_then(Value::as_int);
    let count = |key: &[u8]| int(key).and_then(|count| u32::try_from(count).ok());
    let answer = AnnounceAnswer {
        interval: int(b"interval").and_then(seconds),
        min_interval: int(b"min interval").and_then(seconds),
        tracker_id: tracker_id(root),
        seeders: count(b"complete"),
        leechers: count(b"incomplete"),
        peers: peers(root),
        external_ip: root.get(b"external ip").and_then(Value::as_bytes).and_then(packed_ip),
        warning: root.get(b"warning message").and_then(Value::as_bytes).map(text),
    };
    let says_nothing = answer.interval.is_none() && root.get(b"peers").or(root.get(b"peers6")).is_none();
    if says_nothing { Err(AnswerError::NoPeers) } else { Ok(answer) }
}

/// Reads what the answer to a scrape says of one torrent.
pub fn decode_scrape(body: &[u8], info_hash: InfoHash) -> Result<ScrapeAnswer, AnswerError> {
    let (document, _) = Document::decode_prefix(body, Mode::Lax)?;
    let root = dict(document.root())?;
    let swarm = root.get(b"files").and_then(|files| files.get(&info_hash.0)).ok_or(AnswerError::NoSwarm)?;
    let count = |key: &[u8]| swarm.get(key)?.as_int().and_then(|count| u32::try_from(count).ok());
    Ok(ScrapeAnswer {
        seeders: count(b"complete"),
        leechers: count(b"incomplete"),
        completed: count(b"downloaded"),
    })
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is not bencoded.
    #[error("the answer is not that of a tracker: {0}")]
    Bencode(#[from] bencode::DecodeError),
    /// It is no dictionary.
    #[error("the answer is not that of a tracker: it is no dictionary")]
    NotDict,
    /// It has neither `interval` nor `peers`.
    #[error("the answer has neither an interval nor peers")]
    NoPeers,
    /// It has nothing on the torrent.
    #[error("the tracker does not know the torrent")]
    NoSwarm,
    /// The tracker refused (`failure reason`).
    #[error("{}", crate::wire::printable::Printable(&.0.reason))]
    Refused(Refusal),
}

/// The answer's dictionary, unless it is a refusal.
fn dict(root: Value<'_>) -> Result<Value<'_>, AnswerError> {
    if root.entries().is_none() {
        return Err(AnswerError::NotDict);
    }
    let Some(reason) = root.get(b"failure reason").and_then(Value::as_bytes) else { return Ok(root) };
    Err(AnswerError::Refused(Refusal { reason: text(reason), retry: retry(root) }))
}

/// BEP 31: `retry in` is minutes or `never`; a number is written as a string in its examples.
fn retry(root: Value<'_>) -> Retry {
    let Some(value) = root.get(b"retry in") else { return Retry::Unsaid };
    if value.as_bytes() == Some(b"never") {
        return Retry::Never;
    }
    let minutes = value.as_int().or_else(|| value.as_str()?.parse().ok());
    let length = minutes.and_then(|minutes: i64| seconds(minutes.saturating_mul(60)));
    length.map_or(Retry::Unsaid, |length: Duration| Retry::After(length))
}

fn tracker_id(root: Value<'_>) -> Option<Vec<u8>> {
    let id = root.get(b"tracker id").or_else(|| root.get(b"trackerid"))?.as_bytes()?;
    (!id.is_empty() && id.len() <= MAX_TRACKER_ID).then(|| id.to_vec())
}

/// Half of the room is kept for IPv6 peers, so that many of one kind do not shut out the other.
fn peers(root: Value<'_>) -> Vec<SocketAddr> {
    let v6 = root.get(b"peers6").and_then(Value::as_bytes).unwrap_or_default();
    let v6: Vec<SocketAddr> = compact_v6(v6).take(MAX_PEERS / 2).collect();
    let room = MAX_PEERS - v6.len();
    let mut peers: Vec<SocketAddr> = match root.get(b"peers") {
        None => Vec::new(),
        Some(list) => match list.as_bytes() {
            Some(compact) => compact_v4(compact).take(room).collect(),
            None => list.list().into_iter().flatten().filter_map(peer_dict).take(room).collect(),
        },
    };
    peers.extend(v6);
    peers
}

/// A peer as a dictionary (BEP 3). One that is given by name is left out: looking up names that a tracker chose is not
/// worth what it could be abused for, and no tracker sends them.
fn peer_dict(value: Value<'_>) -> Option<SocketAddr> {
    let port = u16::try_from(value.get(b"port")?.as_int()?).ok()?;
    peer(value.get(b"ip")?.as_str()?.parse().ok()?, port)
}

fn packed_ip(bytes: &[u8]) -> Option<IpAddr> {
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        _ => return None,
    };
    Some(ip.to_canonical())
}

/// All but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// It is sent back with every announce. Real ones have some forty bytes.
const MAX_TRACKER_ID: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerId;
    use proptest::prelude::*;

    fn request() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash([0xff; 20]),
            peer_id: PeerId(*b"-GD0100-~_.- /?&=#+%"),
            port: 1,
            uploaded: 2,
            downloaded: 3,
            left: u64::MAX,
            event: Event::None,
            num_want: 4,
            key: 5,
            ip: None,
            ipv6: None,
        }
    }

    fn target(tracker: &str, request: &AnnounceRequest, id: Option<&[u8]>) -> String {
        announce_url(&HttpUrl::parse(tracker).unwrap(), request, id).unwrap().target()
    }

    #[test]
    fn own_query_of_the_tracker_stays_in_front() {
        let params = "info_hash=%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF%FF\
            &peer_id=-GD0100-~_.-%20%2F%3F%26%3D%23%2B%25&port=1&uploaded=2&downloaded=3\
            &left=18446744073709551615&compact=1&numwant=4&key=00000005";
        let request = request();
        assert_eq!(target("http://t", &request, None), format!("/?{params}"));
        assert_eq!(target("http://t/a?", &request, None), format!("/a?{params}"));
        assert_eq!(target("http://t/a?k=v", &request, None), format!("/a?k=v&{params}"));
        assert_eq!(target("http://t/a?k=v&", &request, None), format!("/a?k=v&{params}"));
        assert_eq!(target("http://t/a#f", &request, None), format!("/a?{params}"));
    }

    #[test]
    fn what_is_known_is_said() {
        let mut request = request();
        request.event = Event::Stopped;
        request.ip = Some("10.0.0.1".parse().unwrap());
        request.ipv6 = Some("2001:db8::1".parse().unwrap());
        let said = target("http://t/a", &request, Some(b"\0&id"));
        assert!(
            said.ends_with("&event=stopped&trackerid=%00%26id&ip=10.0.0.1&ipv6=2001%3Adb8%3A%3A1"),
            "{said}"
        );
        request.event = Event::Completed;
        assert!(target("http://t/a", &request, None).contains("&event=completed&"));
    }

    #[test]
    fn scrape_url_is_made_as_the_bep_says() {
        let scrape =
            |url: &str| scrape_url(&HttpUrl::parse(url).unwrap(), InfoHash(*b"xxxxxxxxxxxxxxxxxxxx"));
        let made = |url: &str| scrape(url).map(|url| url.to_string());
        let hash = "info_hash=xxxxxxxxxxxxxxxxxxxx";
        assert_eq!(made("http://t/announce"), Some(format!("http://t/scrape?{hash}")));
        assert_eq!(
            made("http://t/x/announce.php?k=/announce"),
            Some(format!("http://t/x/scrape.php?k=/announce&{hash}"))
        );
        for url in ["http://t/", "http://t/a", "http://t/announce/", "http://t/xannounce", "http://announce"]
        {
            assert_eq!(made(url), None, "{url}");
        }
    }

    #[test]
    fn whole_answer_is_read() {
        let body = b"d8:completei7e11:external ip4:\x01\x02\x03\x0410:incompletei8e8:intervali1800e\
            12:min intervali60e5:peers12:\x0a\0\0\x01\x1a\xe1\x0a\0\0\x02\0\0\
            6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x5010:tracker id2:\0\xff15:warning message2:\x1b[e\n";
        let expected = AnnounceAnswer {
            interval: Some(Duration::from_secs(1800)),
            min_interval: Some(Duration::from_secs(60)),
            tracker_id: Some(vec![0, 0xff]),
            seeders: Some(7),
            leechers: Some(8),
            peers: vec!["10.0.0.1:6881".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()],
            external_ip: Some("1.2.3.4".parse().unwrap()),
            warning: Some("\u{1b}[".to_owned()),
        };
        assert_eq!(decode_announce(body), Ok(expected));
    }

    #[test]
    fn peers_as_dictionaries_are_the_same_peers() {
        let body = b"d8:intervali9e5:peersl\
            d2:ip8:10.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881ee\
            d2:ip11:2001:db8::14:porti80ee\
            d2:ip11:example.com4:porti80ee\
            d2:ip8:10.0.0.24:porti65536ee\
            d2:ip8:10.0.0.2e3:abcee";
        let peers = decode_announce(body).unwrap().peers;
        assert_eq!(peers, ["10.0.0.1:6881".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()]);
    }

    #[test]
    fn ten_thousand_peers_are_cut_with_room_for_either_kind() {
        let many = |count: usize, item: &[u8]| {
            [format!("{}:", count * item.len()).as_bytes(), &item.repeat(count)].concat()
        };
        let v4 = many(10_000, &[1, 2, 3, 4, 0, 80]);
        let v6 = many(10_000, &[1; 18]);
        let only_v4 = [b"d5:peers", &v4[..], b"e"].concat();
        let both = [b"d5:peers", &v4[..], b"6:peers6", &v6[..], b"e"].concat();
        let families = |body: &[u8]| {
            let peers = decode_announce(body).unwrap().peers;
            (peers.len(), peers.iter().filter(|peer| peer.is_ipv6()).count())
        };
        assert_eq!(families(&only_v4), (MAX_PEERS, 0));
        assert_eq!(families(&both), (MAX_PEERS, MAX_PEERS / 2));
        let dicts = [b"d5:peersl", &b"d2:ip7:1.2.3.44:porti80ee".repeat(10_000)[..], b"ee"].concat();
        assert_eq!(families(&dicts), (MAX_PEERS, 0));
    }

    #[test]
    fn refusal_says_why_and_until_when() {
        let refused = |body: &[u8]| match decode_announce(body) {
            Err(AnswerError::Refused(Refusal { reason, retry })) => (reason, retry),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(b"d14:failure reason3:no!e"), ("no!".into(), Retry::Unsaid));
        let five = Retry::After(Duration::from_secs(300));
        assert_eq!(refused(b"d14:failure reason0:8:retry in1:5e").1, five);
        assert_eq!(refused(b"d14:failure reason0:8:retry ini5ee").1, five);
        assert_eq!(refused(b"d14:failure reason0:8:retry in5:nevere").1, Retry::Never);
        assert_eq!(refused(b"d14:failure reason0:8:retry ini-5ee").1, Retry::Unsaid);
        let longest = Retry::After(Duration::from_secs(u64::from(u32::MAX)));
        assert_eq!(refused(b"d14:failure reason0:8:retry ini9223372036854775807ee").1, longest);
        let error = decode_announce(b"d14:failure reason4:\x1b]0;e").unwrap_err();
        assert_eq!(error.to_string(), "\\u{1b}]0;");
    }

    #[test]
    fn what_is_no_answer_says_why() {
        assert!(matches!(decode_announce(b"<html>"), Err(AnswerError::Bencode(_))));
        assert!(matches!(decode_announce(b""), Err(AnswerError::Bencode(_))));
        assert_eq!(decode_announce(b"le"), Err(AnswerError::NotDict));
        assert_eq!(decode_announce(b"de"), Err(AnswerError::NoPeers));
        assert_eq!(decode_announce(b"d8:intervali0ee"), Err(AnswerError::NoPeers));
        assert_eq!(decode_announce(b"d5:peers0:e"), Ok(AnnounceAnswer::default()));
    }

    #[test]
    fn long_tracker_id_is_not_kept() {
        let body = |len: usize| {
            [b"d5:peers0:10:tracker id", format!("{len}:").as_bytes(), &vec![b'a'; len], b"e"].concat()
        };
        let id = |len| decode_announce(&body(len)).unwrap().tracker_id.map(|id| id.len());
        assert_eq!(id(MAX_TRACKER_ID), Some(MAX_TRACKER_ID));
        assert_eq!((id(MAX_TRACKER_ID + 1), id(0)), (None, None));
    }

    #[test]
    fn scrape_is_read_for_the_torrent_that_was_asked_for() {
        let body = b"d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei11e10:downloadedi13772e10:incompletei-1eeee";
        let expected = ScrapeAnswer { seeders: Some(11), leechers: None, completed: Some(13772) };
        assert_eq!(decode_scrape(body, InfoHash([b'x'; 20])), Ok(expected));
        assert_eq!(decode_scrape(body, InfoHash([b'y'; 20])), Err(AnswerError::NoSwarm));
        assert_eq!(decode_scrape(b"de", InfoHash([b'y'; 20])), Err(AnswerError::NoSwarm));
    }

    proptest! {
        #[test]
        fn announce_is_understood_as_it_was_meant(
            hash: [u8; 20], peer: [u8; 20], id in proptest::collection::vec(any::<u8>(), 0..20),
            path in "[a-z/]{0,8}", query in "(\\?[a-z=&]{0,8})?",
        ) {
            let request = AnnounceRequest { info_hash: InfoHash(hash), peer_id: PeerId(peer), ..request() };
            let target = target(&format!("http://t/{path}{query}"), &request, Some(&id));
            let sent = target.split_once('?').unwrap().1;
            let value = |wanted: &str| -> Vec<u8> {
                let mut pairs = sent.split('&').filter_map(|pair| pair.split_once('='));
                let (_, value) = pairs.rfind(|(key, _)| *key == wanted).unwrap();
                percent_encoding::percent_decode_str(value).collect()
            };
            prop_assert_eq!(value("info_hash"), hash);
            prop_assert_eq!(value("peer_id"), peer);
            prop_assert_eq!(value("trackerid"), id);
        }

        #[test]
        fn no_body_is_too_strange(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (decode_announce(&body), decode_scrape(&body, InfoHash([0; 20])));
        }
    }
}
