//! Policy: where announces may go, so that a torrent or a redirect cannot make this machine ask services of its own
//! network for anything but an announce.

use crate::wire::http::{HttpUrl, Origin};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a tracker is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub(in crate::download::torrent) enum ReachError {
    /// The address is not that of one host.
    #[error("not the address of a host")]
    NoHost,
    /// A service in the own network is asked only for what is called an announce or a scrape.
    #[error("a tracker in the own network must be called /announce")]
    LocalPath,
    /// A tracker elsewhere redirects into the own network.
    #[error("the tracker redirects into the own network")]
    LocalRedirect,
}

/// Whether `url`, to which `from` has redirected if anything has, may be fetched as far as its own text tells.
pub(super) fn check(url: &HttpUrl, from: Option<&Origin>) -> Result<(), ReachError> {
    match locate(url.origin()) {
        Some(ip) => check_address(url, from, ip),
        None => Ok(()),
    }
}

/// Whether a web seed may be asked at `url`, as far as its own text or `ip`, which its host's name was resolved to, tells.
/// What a service in the own network serves may be fetched; nothing that `asks` it for more than a file.
pub(in crate::download::torrent) fn check_web_seed(
    url: &HttpUrl,
    from: Option<&Origin>,
    ip: Option<IpAddr>,
    asks: bool,
) -> Result<(), ReachError> {
    let Some(ip) = ip.or_else(|| locate(url.origin())).map(innermost) else { return Ok(()) };
    if !is_one_host(ip) {
        return Err(ReachError::NoHost);
    }
    if !is_local(ip) {
        return Ok(());
    }
    if from.is_some_and(|from| !locate(from).is_some_and(|ip| is_local(innermost(ip)))) {
        return Err(ReachError::LocalRedirect);
    }
    if asks { Err(ReachError::LocalPath) } else { Ok(()) }
}

/// Whether `url` may be fetched from `ip`, which its host's name was resolved to.
pub(super) fn check_address(url: &HttpUrl, from: Option<&Origin>, ip: IpAddr) -> Result<(), ReachError> {
    let ip = innermost(ip);
    if !is_one_host(ip) {
        return Err(ReachError::NoHost);
    }
    if !is_local(ip) {
        return Ok(());
    }
    if from.is_some_and(|from| !locate(from).is_some_and(|ip| is_local(innermost(ip)))) {
        return Err(ReachError::LocalRedirect);
    }
    let target = url.target();
    let path = target.split('?').next().unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_call = last.starts_with("announce") || last.starts_with("scrape");
    if is_call { Ok(()) } else { Err(ReachError::LocalPath) }
}

/// Whether datagrams may go to `ip`. A tracker in the own network is fine: until it has answered as one, it gets
/// nothing but 16 bytes that ask for a connection.
pub(super) fn is_one_host(ip: IpAddr) -> bool {
    let ip = innermost(ip);
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// The address that the text of an origin names. RFC 6761 section 6.3: `localhost` is the own machine.
fn locate(origin: &Origin) -> Option<IpAddr> {
    let name = origin.host.trim_end_matches('.');
    let is_localhost = name == "localhost" || name.ends_with(".localhost");
    origin.ip().or(is_localhost.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)))
}

/// The IPv4 address that an IPv6 address carries, where it does: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
fn innermost(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip.to_canonical() else { return ip.to_canonical() };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match (a, b) {
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => v4(g, h),
        (0x2002, _) => v4(b, c),
        (0, 0) if [c, d, e, f] == [0; 4] && g != 0 => v4(g, h),
        _ => IpAddr::V6(v6),
    }
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_local_v4(ip),
        IpAddr::V6(ip) => is_local_v6(ip),
    }
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    let shared = a == 100 && b & 0xc0 == 64;
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || a == 0 || shared
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(url: &str, from: Option<&str>) -> Result<(), ReachError> {
        let from = from.map(|from| HttpUrl::parse(from).unwrap().origin().clone());
        check(&HttpUrl::parse(url).unwrap(), from.as_ref())
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
            assert_eq!(verdict(&format!("http://{host}:8080/announce?x=y"), None), Ok(()), "{host}");
            assert_eq!(verdict(&format!("http://{host}/k/announce.php"), None), Ok(()), "{host}");
            assert_eq!(verdict(&format!("https://{host}/scrape"), None), Ok(()), "{host}");
            for path in ["", "admin/reboot?announce", "announce/reboot", "?/announce"] {
                assert_eq!(
                    verdict(&format!("http://{host}/{path}"), None),
                    Err(ReachError::LocalPath),
                    "{host}"
                );
            }
        }
        for host in ["example.com", "1.1.1.1", "[2606:4700::1111]", "localhost.example.com", "100.128.0.1"] {
            assert_eq!(verdict(&format!("http://{host}/anything"), None), Ok(()), "{host}");
        }
    }

    #[test]
    fn nobody_else_redirects_into_the_own_network() {
        for host in LOCAL {
            let url = format!("http://{host}/announce");
            assert_eq!(
                verdict(&url, Some("http://tracker.example/")),
                Err(ReachError::LocalRedirect),
                "{host}"
            );
            assert_eq!(verdict(&url, Some("http://8.8.8.8/")), Err(ReachError::LocalRedirect), "{host}");
            assert_eq!(verdict(&url, Some("http://127.0.0.1:1/")), Ok(()), "{host}");
        }
        assert_eq!(verdict("http://b.example/x", Some("http://a.example/")), Ok(()));
    }

    #[test]
    fn what_is_not_one_host_is_not_asked() {
        for host in ["0.0.0.0", "[::]", "224.0.0.1", "255.255.255.255", "[ff02::1]", "[::ffff:0.0.0.0]"] {
            assert_eq!(verdict(&format!("http://{host}/announce"), None), Err(ReachError::NoHost), "{host}");
        }
    }

    #[test]
    fn names_that_lead_into_the_own_network_count_as_what_they_lead_to() {
        let (url, elsewhere) =
            (HttpUrl::parse("http://t.example/x").unwrap(), HttpUrl::parse("http://e/").unwrap());
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(check_address(&url, None, local), Err(ReachError::LocalPath));
        assert_eq!(check_address(&url, Some(elsewhere.origin()), local), Err(ReachError::LocalRedirect));
        assert_eq!(check_address(&url, None, "9.9.9.9".parse().unwrap()), Ok(()));
    }
}
