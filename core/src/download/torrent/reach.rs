//! Policy: where the trackers and web seeds that a torrent names may be, so that neither it nor a redirect can make this
//! machine ask services of its own network for anything but an announce or a file.

use crate::base::Reach;
use crate::wire::http::{HttpUrl, Origin};
use core::net::{IpAddr, Ipv4Addr};

/// Why a tracker or a web seed is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReachError {
    /// The address is not that of one host.
    #[error("not the address of a host")]
    NoHost,
    /// A service in the own network is asked only for what is called an announce or a scrape.
    #[error("a tracker in the own network must be called /announce")]
    TrackerPath,
    /// A service in the own network is asked only for files.
    #[error("a web seed in the own network must have no query")]
    WebSeedQuery,
    /// A host elsewhere redirects into the own network.
    #[error("redirects into the own network")]
    Redirect,
}

/// Where one request may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) reach: Reach,
    /// What is wrong where it leads elsewhere.
    pub(crate) beyond: ReachError,
}

impl Bounds {
    /// Where the tracker at `url` may be, to which `from` has redirected if anything has.
    pub(crate) fn of_tracker(url: &HttpUrl, from: Option<&Origin>) -> Self {
        let target = url.target();
        let path = target.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_call = last.starts_with("announce") || last.starts_with("scrape");
        Self::new(url, from, (!is_call).then_some(ReachError::TrackerPath))
    }

    /// Where the web seed at `url` may be. `asks` tells whether the torrent or the redirect says more than a file's name.
    pub(crate) fn of_web_seed(url: &HttpUrl, from: Option<&Origin>, asks: bool) -> Self {
        Self::new(url, from, asks.then_some(ReachError::WebSeedQuery))
    }

    fn new(url: &HttpUrl, from: Option<&Origin>, wrong: Option<ReachError>) -> Self {
        // Whoever redirects to itself leads nowhere that the torrent could not have named.
        let leads_on = |from: &&Origin| from.host != url.origin().host && !is_local(from);
        let wrong = from.filter(leads_on).map(|_| ReachError::Redirect).or(wrong);
        match wrong {
            Some(beyond) => Self { reach: Reach::Elsewhere, beyond },
            None => Self { reach: Reach::Host, beyond: ReachError::NoHost },
        }
    }

    /// Whether `url` may be asked as far as its own text tells. Where its name leads, the look-up tells.
    pub(crate) fn check(self, url: &HttpUrl) -> Result<Reach, ReachError> {
        match locate(url.origin()) {
            Some(ip) if !Reach::Host.allows(ip) => Err(ReachError::NoHost),
            Some(ip) if !self.reach.allows(ip) => Err(self.beyond),
            _ => Ok(self.reach),
        }
    }
}

fn is_local(origin: &Origin) -> bool {
    locate(origin).is_some_and(|ip| Reach::Host.allows(ip) && !Reach::Elsewhere.allows(ip))
}

/// The address that the text of an origin names. RFC 6761 section 6.3: `localhost` is the own machine.
fn locate(origin: &Origin) -> Option<IpAddr> {
    let name = origin.host.trim_end_matches('.');
    let is_localhost = name == "localhost" || name.ends_with(".localhost");
    origin.ip().or(is_localhost.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(url: &str, from: Option<&str>) -> Result<Reach, ReachError> {
        let from = from.map(|from| HttpUrl::parse(from).unwrap().origin().clone());
        let url = HttpUrl::parse(url).unwrap();
        Bounds::of_tracker(&url, from.as_ref()).check(&url)
    }

    const LOCAL: [&str; 17] = [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "localhost",
        "x.localhost.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
    ];

    #[test]
    fn own_network_is_asked_for_announces_only() {
        for host in LOCAL {
            assert_eq!(verdict(&format!("http://{host}:8080/announce?x=y"), None), Ok(Reach::Host), "{host}");
            assert_eq!(verdict(&format!("http://{host}/k/announce.php"), None), Ok(Reach::Host), "{host}");
            assert_eq!(verdict(&format!("https://{host}/scrape"), None), Ok(Reach::Host), "{host}");
            for path in ["", "admin/reboot?announce", "announce/reboot", "?/announce"] {
                assert_eq!(
                    verdict(&format!("http://{host}/{path}"), None),
                    Err(ReachError::TrackerPath),
                    "{host}"
                );
            }
        }
        for host in ["example.com", "1.1.1.1", "[2606:4700::1111]", "localhost.example.com", "100.128.0.1"] {
            assert_eq!(verdict(&format!("http://{host}/anything"), None), Ok(Reach::Elsewhere), "{host}");
        }
    }

    #[test]
    fn nobody_else_redirects_into_the_own_network() {
        for host in LOCAL {
            let url = format!("http://{host}/announce");
            assert_eq!(verdict(&url, Some("http://tracker.example/")), Err(ReachError::Redirect), "{host}");
            assert_eq!(verdict(&url, Some("http://8.8.8.8/")), Err(ReachError::Redirect), "{host}");
            assert_eq!(verdict(&url, Some("http://127.0.0.1:1/")), Ok(Reach::Host), "{host}");
        }
    }

    #[test]
    fn whose_names_lead_into_the_own_network_must_be_called_as_trackers_are() {
        let is = |url: &str, from: Option<&str>, reach| {
            assert_eq!(verdict(url, from), Ok(reach), "{url} {from:?}")
        };
        is("http://t.example/announce", None, Reach::Host);
        is("http://t.example/x", None, Reach::Elsewhere);
        is("http://t.example/announce", Some("http://e.example/"), Reach::Elsewhere);
        is("https://t.example/announce", Some("http://t.example/"), Reach::Host);
        is("https://t.example/x", Some("http://t.example/"), Reach::Elsewhere);
    }

    #[test]
    fn what_is_not_one_host_is_not_asked() {
        for host in ["0.0.0.0", "[::]", "224.0.0.1", "255.255.255.255", "[ff02::1]", "[::ffff:0.0.0.0]"] {
            assert_eq!(verdict(&format!("http://{host}/announce"), None), Err(ReachError::NoHost), "{host}");
        }
    }

    #[test]
    fn web_seeds_of_the_own_network_are_asked_for_files_only() {
        let verdict = |url: &str, from: Option<&str>, asks| {
            let from = from.map(|from| HttpUrl::parse(from).unwrap().origin().clone());
            let url = HttpUrl::parse(url).unwrap();
            Bounds::of_web_seed(&url, from.as_ref(), asks).check(&url)
        };
        for host in LOCAL {
            let url = format!("http://{host}/files/");
            assert_eq!(verdict(&url, None, false), Ok(Reach::Host), "{host}");
            assert_eq!(verdict(&url, None, true), Err(ReachError::WebSeedQuery), "{host}");
            assert_eq!(verdict(&url, Some("http://a.example/"), false), Err(ReachError::Redirect), "{host}");
        }
        assert_eq!(verdict("http://a.example/x", None, false), Ok(Reach::Host));
        assert_eq!(verdict("http://a.example/x", None, true), Ok(Reach::Elsewhere));
        assert_eq!(verdict("http://a.example/x", Some("http://b.example/"), false), Ok(Reach::Elsewhere));
    }
}
