//! Tests of whom a torrent is connected with.

use super::*;
use crate::base::{InfoHash, LinkInput, PeerId};
use crate::wire::peer::{Features, Handshake, Message};
use bytes::BytesMut;
use core::time::Duration;

const HASH: InfoHash = InfoHash([7; 20]);
const NOW: Instant = Instant::ZERO;

/// A torrent of which only the name is known, so that no disk is needed.
pub(super) fn torrent(info_hash: InfoHash, change: impl FnOnce(&mut TorrentPlan)) -> Torrent {
    let mut plan = TorrentPlan {
        info_hash,
        peer_id: PeerId([1; 20]),
        user_agent: "test".into(),
        port: None,
        dir_path: "/d".into(),
        allocation: Default::default(),
        overwrite: false,
        max_peers: 55,
        upload_slots: None,
        upload_limit: None,
        pex: true,
        offline: false,
        sequential: false,
        super_seeding: false,
        selected: None,
        file_priorities: Default::default(),
        trackers: Vec::new(),
        web_seeds: Vec::new(),
        known_peers: Vec::new(),
        magnet_peers: Vec::new(),
        bind: None,
        goal: Goal::default(),
        peer_timeout: Duration::from_secs(120),
        connect_timeout: Duration::from_secs(10),
    };
    change(&mut plan);
    let (saved, rng) = (TorrentSaved::default(), Rng::from_seed([1; 32]));
    let start = TorrentStart { metainfo: None, saved, keys: 1 << 20, rng };
    Torrent::new(NOW, Arc::new(plan), start)
}

/// A torrent whose peers are in the test's hands.
struct Lab {
    torrent: Torrent,
    /// Peers that came, and links that are gone.
    came: u64,
    gone: Vec<LinkKey>,
    dialled: Vec<SocketAddr>,
    lookups: Vec<(Lane, Arc<str>)>,
}

impl Lab {
    fn new(change: impl FnOnce(&mut TorrentPlan)) -> Self {
        let torrent = torrent(HASH, change);
        let mut lab = Self { torrent, came: 0, gone: Vec::new(), dialled: Vec::new(), lookups: Vec::new() };
        lab.drain();
        lab
    }

    /// A peer connects, says who it is and these messages.
    fn accept(&mut self, now: Instant, ip: IpAddr, messages: &[Message]) -> Option<PeerKey> {
        self.came += 1;
        let mut id = PeerId([2; 20]);
        id.0[..8].copy_from_slice(&self.came.to_be_bytes());
        let features = Features { extended: true, ..Features::default() };
        let handshake = Handshake { features, info_hash: HASH, peer_id: id };
        let mut rest = BytesMut::new();
        messages.iter().for_each(|message| message.encode(&mut rest));
        let from = SocketAddr::new(ip, 50_000);
        let arrival = Arrival { handshake, rest, credit: 1 << 20 };
        let peer = self.torrent.accept(now, Key::from_u64(self.came), from, arrival);
        self.drain();
        peer
    }

    fn hear(&mut self, now: Instant, peer: PeerKey, message: &Message) {
        let mut data = BytesMut::new();
        message.encode(&mut data);
        self.torrent.handle_link(now, Lane::Peer(peer), LinkInput::Data(data));
        // It takes what it is sent.
        self.torrent.handle_link(now, Lane::Peer(peer), LinkInput::Sent(u32::MAX));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.torrent.poll_output() {
            match output {
                Output::Gone(link) => self.gone.push(link),
                Output::Dial { to, .. } => self.dialled.push(to),
                Output::Resolve { lane, host } => self.lookups.push((lane, host)),
                _ => {}
            }
        }
    }
}

fn host(number: u8) -> IpAddr {
    [203, 0, 113, number].into()
}

/// They counted as named by the user: low ports of anybody were knocked at all the time.
#[test]
fn peers_of_a_magnet_link_are_strangers_and_may_be_named_by_their_hosts() {
    let named = ["203.0.113.1", "203.0.113.2", "host.example"].map(|host| (host.to_owned(), 80));
    let mut lab = Lab::new(|plan| plan.magnet_peers = named.to_vec());
    assert_eq!(lab.dialled.len(), 1, "one low port at a time");
    let [(lane, name)] = &lab.lookups[..] else { panic!("{:?}", lab.lookups) };
    assert_eq!(&**name, "host.example");
    let (lane, later) = (*lane, NOW + Duration::from_secs(60));
    lab.torrent.resolved(later, lane, Ok(vec![host(3)]));
    lab.drain();
    assert_eq!(lab.torrent.candidates.len(), 3);
}

/// BEP 3: keep-alives "are generally sent once every two minutes", and take their time.
#[test]
fn peer_that_keeps_alive_every_two_minutes_is_kept() {
    let mut lab = Lab::new(|_| {});
    let peer = lab.accept(NOW, host(1), &[]).expect("there is room");
    for round in 1..5 {
        let now = NOW + Duration::from_secs(round * 121);
        lab.torrent.handle_timeout(now);
        lab.hear(now, peer, &Message::KeepAlive);
    }
    assert_eq!(lab.gone, []);
    lab.torrent.handle_timeout(NOW + Duration::from_secs(4 * 121 + 150));
    lab.drain();
    assert_eq!(lab.gone.len(), 1);
}

/// Such a link leaked, and was counted for good.
#[test]
fn peer_that_is_parted_with_in_the_turn_in_which_it_was_to_be_dialled_is_not() {
    let mut lab = Lab::new(|_| {});
    let peer = lab.accept(NOW, host(1), &[]).expect("there is room");
    assert!(lab.torrent.has_peer(peer));
    lab.torrent.stop(NOW);
    assert!(!lab.torrent.has_peer(peer));
}
