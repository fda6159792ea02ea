//! Fuzzing: the policies of a torrent that say where its requests may lead, who sent wrong bytes, what is wanted of its files,
//! and what a first seed shows.

use super::machines::each;
use crate::base::{Bitfield, Instant, PieceGrid, PieceIndex, Reach, Rng};
use crate::download::torrent::file_priorities;
use crate::download::torrent::picker::{Evidence, Priority};
use crate::download::torrent::reach::{Bounds, ReachError};
use crate::download::torrent::super_seed::SuperSeed;
use crate::download::torrent::trail::{RedirectError, Trail};
use crate::wire::http::{HttpUrl, Origin};
use arbitrary::Arbitrary;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Sixteen bytes are an address, and the first four are one too; then lines: a URL, and where redirects lead. However an
/// address is written it may be asked for the same; whoever redirects elsewhere leads nowhere that could not be asked
/// without that; and the password of the first URL stays with its origin.
pub fn reach(data: &[u8]) {
    let Some((octets, text)) = data.split_first_chunk::<16>() else { return };
    let [a, b, c, d, ..] = *octets;
    check_address(Ipv6Addr::from(*octets).into());
    check_address([a, b, c, d].into());
    check_forms(Ipv4Addr::new(a, b, c, d));
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let Some(Ok(home)) = lines.next().map(HttpUrl::parse) else { return };
    let mut trail = Trail::new(home.clone());
    check_request(&trail, &home);
    for (number, location) in lines.take(9).enumerate() {
        let followed = trail.follow(location);
        assert_eq!(number >= MAX_REDIRECTS, followed == Err(RedirectError::TooMany));
        if followed.is_err() {
            return;
        }
        check_request(&trail, &home);
    }
}

/// Against the blocks as RFCs list them.
fn check_address(ip: IpAddr) {
    let is_in = |blocks: &[&str]| blocks.iter().any(|block| contains(block, ip));
    let carried = is_in(&CARRIERS) && !contains("::/112", ip);
    let allowed = [Reach::Anywhere, Reach::Host, Reach::Elsewhere].map(|reach| reach.allows(ip));
    assert!(allowed.is_sorted_by(|wide, narrow| wide >= narrow), "{ip}: {allowed:?}");
    if !carried {
        let host = !is_in(&NO_HOST);
        assert_eq!(allowed, [true, host, host && !is_in(&LOCAL)], "{ip}");
    }
}

fn contains(block: &str, ip: IpAddr) -> bool {
    let (base, len) = block.split_once('/').expect("a block has a length");
    let (base, len): (IpAddr, u32) = (base.parse().expect("an address"), len.parse().expect("a length"));
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    base.is_ipv4() == ip.is_ipv4() && (bits(base) ^ bits(ip)).leading_zeros() >= len
}

/// One address in all its forms, as bits and as text.
fn check_forms(ip: Ipv4Addr) {
    let ([a, b, c, d], low) = (ip.octets(), u128::from(ip.to_bits()));
    let all = [Reach::Anywhere, Reach::Host, Reach::Elsewhere];
    let carried = [0xffff << 32 | low, 0x64_ff9b << 96 | low, 0x2002 << 112 | low << 80];
    // Below 1.0.0.0 the compatible form is taken by others: `::1` is one.
    for form in carried.into_iter().chain((a > 0).then_some(low)).map(Ipv6Addr::from_bits) {
        assert_eq!(
            all.map(|reach| reach.allows(form.into())),
            all.map(|reach| reach.allows(ip.into())),
            "{form}"
        );
    }
    let verdict = |host: String, path: &str| {
        let url = HttpUrl::parse(&format!("http://{host}/{path}")).ok()?;
        Some(Bounds::of_tracker(&url, None).check(&url))
    };
    for path in ["announce", "x"] {
        let dotted = verdict(ip.to_string(), path);
        let hex = verdict(format!("0x{low:x}"), path);
        let octal = verdict(format!("{a:#o}.{b}.{c}.{d}").replace("0o", "0"), path);
        let short = verdict(format!("{a}.{}", low & 0xff_ffff), path);
        let mapped = verdict(format!("[::ffff:{ip}]"), path);
        assert!(dotted.is_some());
        assert_eq!([low.to_string()].map(|host| verdict(host, path)), [dotted]);
        assert_eq!([hex, octal, short, mapped], [dotted; 4], "{ip}/{path}");
    }
}

/// What is sent at this place of a trail, and where it may lead.
fn check_request(trail: &Trail, home: &HttpUrl) {
    let (url, from) = (trail.url(), trail.from());
    let bytes = trail.request(home, "fuzz", None).encode();
    let told = bytes.windows(16).any(|window| window == b"\r\nAuthorization:");
    assert_eq!(
        told,
        url.basic_auth().is_some() || (url.origin() == home.origin() && home.basic_auth().is_some()),
        "{url:?}"
    );
    let is_call = |name: &str| name.starts_with("announce") || name.starts_with("scrape");
    let target = url.target();
    let (path, query) =
        target.split_once('?').map_or((&target[..], None), |(path, query)| (path, Some(query)));
    let called = path.rsplit('/').next().is_some_and(is_call);
    check_bounds(url, from, called, |from| Bounds::of_tracker(url, from));
    check_bounds(url, from, query.is_none(), |from| Bounds::of_web_seed(url, from, query.is_some()));
}

fn check_bounds<'a>(
    url: &HttpUrl,
    from: Option<&'a Origin>,
    harmless: bool,
    bounds: impl Fn(Option<&'a Origin>) -> Bounds,
) {
    let (named, led) = (bounds(None), bounds(from));
    assert!(led.reach >= named.reach, "a redirect widens {named:?} to {led:?}");
    assert_eq!(named.reach == Reach::Host, harmless, "{url:?}");
    let stranger = from.is_some_and(|from| from.host != url.origin().host && !is_local(from));
    assert!(!stranger || led.reach == Reach::Elsewhere, "{from:?} leads to {url:?}");
    for bounds in [named, led] {
        match bounds.check(url) {
            Ok(reach) => {
                assert_eq!(reach, bounds.reach);
                assert!(url.origin().ip().is_none_or(|ip| reach.allows(ip)), "{url:?}");
                assert!(reach == Reach::Host || !is_local(url.origin()), "{url:?}");
            }
            Err(ReachError::NoHost) => assert!(url.origin().ip().is_some_and(|ip| !Reach::Host.allows(ip))),
            Err(error) => assert!(is_local(url.origin()) && error == bounds.beyond, "{url:?}: {error}"),
        }
    }
}

/// Whether an origin is named as one of the own network or machine.
fn is_local(origin: &Origin) -> bool {
    let name = origin.host.trim_end_matches('.').rsplit('.').next();
    name == Some("localhost")
        || origin.ip().is_some_and(|ip| Reach::Host.allows(ip) && !Reach::Elsewhere.allows(ip))
}

/// What becomes of wrong pieces.
#[derive(Arbitrary, Debug)]
enum Trial {
    Keep(u8, Vec<(u8, u8, bool)>),
    Judge(u8, u8),
}

/// Whoever sent a block that is not the right one is guilty, and nobody else; what is kept is bounded.
pub fn evidence(data: &[u8]) {
    let grid = PieceGrid::new(1, 256).expect("it is one");
    let (mut evidence, mut kept) = (Evidence::new(), BTreeMap::<u8, Vec<(u32, u8, [u8; 20])>>::new());
    each(data, |step: Trial| match step {
        Trial::Keep(index, blocks) => {
            let piece = grid.piece(index.into()).expect("there are so many");
            // The right digest of a block is its number twenty times.
            let block =
                |(number, who, lies): (u8, u8, bool)| (number.into(), who, [number ^ u8::from(lies); 20]);
            let blocks: Vec<_> = blocks.into_iter().map(block).collect();
            evidence.keep(piece, blocks.iter().copied());
            if evidence.has(piece) {
                kept.entry(index).or_default().extend(blocks);
            }
            assert_eq!(evidence.has(piece), kept.contains_key(&index));
            assert!(kept.len() <= MAX_WRONG_PIECES);
        }
        Trial::Judge(index, count) => {
            let piece = grid.piece(index.into()).expect("there are so many");
            let right: Vec<[u8; 20]> = (0..count).map(|number| [number; 20]).collect();
            let guilty = evidence.judge(piece, &right);
            let said = kept.remove(&index).unwrap_or_default();
            let lied = |(number, _, digest): &&(u32, u8, [u8; 20])| {
                *number < u32::from(count) && u32::from(digest[0]) != *number
            };
            let liars: BTreeSet<u8> = said.iter().filter(lied).map(|(_, who, _)| *who).collect();
            assert!(guilty.iter().all(|who| liars.contains(who)), "{guilty:?} are not all among {liars:?}");
            assert!(said.len() > MAX_WRONG_BLOCKS || guilty.len() == liars.len(), "{guilty:?} of {liars:?}");
            assert!(!evidence.has(piece));
        }
    });
}

/// What was said of each file counts, otherwise whether it was selected; what was said of files that are not there means
/// nothing.
pub fn priorities(data: &[u8]) {
    type Said = (u8, Option<Vec<u8>>, Vec<(u8, u8)>);
    each(data, |(files, selected, said): Said| {
        let levels = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High];
        let said: BTreeMap<u32, Priority> =
            said.into_iter().map(|(file, level)| (file.into(), levels[usize::from(level) % 4])).collect();
        let selected: Option<Vec<usize>> = selected.map(|files| files.into_iter().map(usize::from).collect());
        let found = file_priorities(files.into(), selected.as_deref(), &said);
        assert_eq!(found.len(), usize::from(files));
        // What selects no file of the torrent selects all.
        let selected = selected.filter(|chosen| chosen.iter().any(|file| *file < usize::from(files)));
        for (file, priority) in (0u32..).zip(found) {
            let chosen = selected.as_ref().is_none_or(|files| files.contains(&(file as usize)));
            let otherwise = if chosen { Priority::Normal } else { Priority::Skip };
            assert_eq!(priority, said.get(&file).copied().unwrap_or(otherwise), "file {file}");
        }
    });
}

/// What the peers of a first seed do.
#[derive(Arbitrary, Debug)]
enum Shown {
    Join(u8),
    Leave(u8),
    Offer(u8),
    Saw(u8, u8),
    Later(u8),
    NoLonger,
}

/// Nobody is shown what it has, or more than two pieces at once, and nobody waits who could be shown something; what is
/// shown is what fewest have; and whoever passed a piece on, or kept it for long, may be shown the next.
pub fn super_seed(data: &[u8]) {
    let grid = PieceGrid::new(1, 24).expect("it is one");
    let mut world = FirstSeed {
        seed: SuperSeed::new(grid),
        grid,
        has: BTreeMap::new(),
        shown: BTreeMap::new(),
        now: Instant::ZERO,
        rng: Rng::from_seed([8; 32]),
    };
    each(data, |step: Shown| world.step(step));
}

struct FirstSeed {
    seed: SuperSeed<u8>,
    grid: PieceGrid,
    has: BTreeMap<u8, Bitfield>,
    /// Pieces that peers were shown and nobody else has got, and since when they have them.
    shown: BTreeMap<u8, BTreeMap<PieceIndex, Option<Instant>>>,
    now: Instant,
    rng: Rng,
}

impl FirstSeed {
    fn step(&mut self, step: Shown) {
        match step {
            Shown::Join(who) => {
                let who = who % PEERS;
                self.seed.joined(who);
                self.has.entry(who).or_insert_with(|| Bitfield::new(self.grid.pieces()));
                self.shown.entry(who).or_default();
            }
            Shown::Leave(who) => {
                self.seed.left(who % PEERS);
                self.has.remove(&(who % PEERS));
                self.shown.remove(&(who % PEERS));
            }
            Shown::Offer(who) => self.offer(who % PEERS),
            Shown::Saw(who, piece) => self.saw(who % PEERS, piece),
            Shown::Later(seconds) => self.now += Duration::from_secs(seconds.into()),
            Shown::NoLonger => {
                let free = self.seed.wait_no_longer(self.now);
                let now = self.now;
                let late = |at: &Option<Instant>| at.is_some_and(|at| now - at >= PATIENCE);
                self.expect_free(free, |_, _, at| late(at));
            }
        }
        assert!((0..PEERS).all(|who| self.seed.has(who) == self.has.contains_key(&who)));
    }

    fn offer(&mut self, who: u8) {
        let nothing = Bitfield::new(self.grid.pieces());
        let has = self.has.get(&who).unwrap_or(&nothing);
        let copies = |piece| self.has.values().filter(|has| has.has(piece)).count() as u32;
        let offer = self.seed.offer(who, has, copies, &mut self.rng);
        let shown = self.shown.get(&who);
        let lacks =
            |piece: &PieceIndex| !has.has(*piece) && shown.is_some_and(|shown| !shown.contains_key(piece));
        let lacking: Vec<PieceIndex> = self.grid.all().filter(lacks).collect();
        let is_due = shown.is_some_and(|shown| shown.len() < MAX_SHOWN) && !lacking.is_empty();
        assert_eq!(offer.is_some(), is_due, "{offer:?} of {lacking:?}");
        if let Some(piece) = offer {
            assert!(lacking.contains(&piece), "it has {piece}, or was shown it");
            assert_eq!(Some(copies(piece)), lacking.iter().map(|piece| copies(*piece)).min(), "a rare one");
            self.shown.entry(who).or_default().insert(piece, None);
        }
    }

    fn saw(&mut self, who: u8, piece: u8) {
        let Some(piece) = self.grid.piece(u32::from(piece) % self.grid.pieces()) else { return };
        self.has.get_mut(&who).into_iter().for_each(|has| _ = has.insert(piece));
        let (free, alone) = (self.seed.saw(self.now, who, piece), self.shown.len() < 2);
        self.expect_free(free, |peer, shown, _| shown == piece && (peer != who || alone));
        let kept = self.shown.get_mut(&who).and_then(|shown| shown.get_mut(&piece));
        kept.into_iter().for_each(|at| *at = Some(self.now));
    }

    /// Those who may be shown another piece are those of whom one is `over`.
    fn expect_free(&mut self, free: Vec<u8>, over: impl Fn(u8, PieceIndex, &Option<Instant>) -> bool) {
        let mut expected = Vec::new();
        for (peer, shown) in &mut self.shown {
            let before = shown.len();
            shown.retain(|piece, at| !over(*peer, *piece, at));
            expected.extend((shown.len() < before).then_some(*peer));
        }
        assert_eq!(free, expected);
    }
}

/// More redirects of one request are not followed.
const MAX_REDIRECTS: usize = 5;
/// Wrong pieces of which something is kept, and blocks of each.
const MAX_WRONG_PIECES: usize = 16;
const MAX_WRONG_BLOCKS: usize = 1024;
/// A few peers meet each other more often than many.
const PEERS: u8 = 6;
/// Pieces that a peer is shown at once.
const MAX_SHOWN: usize = 2;
/// How long a peer may keep a piece for itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// RFC 1122, 1918, 3927, 6598; RFC 4291, 4193, 3879, 8215.
const LOCAL: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "64:ff9b:1::/48",
];
const NO_HOST: [&str; 5] = ["0.0.0.0/32", "255.255.255.255/32", "224.0.0.0/4", "::/128", "ff00::/8"];
/// IPv6 addresses that carry an IPv4 address.
const CARRIERS: [&str; 4] = ["::ffff:0:0/96", "64:ff9b::/96", "2002::/16", "::/96"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rules_keep_their_promises(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            for body in [super::evidence, super::priorities, super::super_seed] {
                body(&data);
            }
        }

        #[test]
        fn no_address_or_redirect_leads_too_far(ip: [u8; 16], trail in "(https?://(u:p@)?(localhost|a|127\\.1|8\\.8\\.8\\.8)/(announce)?(\\?x)?\n){1,7}") {
            super::reach(&[&ip, trail.as_bytes()].concat());
        }
    }
}
