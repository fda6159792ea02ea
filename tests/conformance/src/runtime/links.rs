//! Links without an engine, in any network.

use super::bench::pattern;
use super::wires::{Stage, Wires};
use bytes::Bytes;
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::{ArrivalKey, ListenerKey, Output, UdpKey};
use gosh_dl_runtime::Dial;
use std::net::{Ipv4Addr, SocketAddr};

/// A link reads exactly as much as it has credit for, however much there is.
pub fn credit_is_kept_to_the_byte(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let peer = stage.pair();
    let all = pattern(600_000);
    stage.wires.peer_sends(peer, &all);
    stage.pause();
    assert_eq!(stage.data(), [], "nothing is read without credit");
    let mut given = 0;
    for credit in [1, 2, 1000, 1, 65_536, 99_999, 1, 300_000] {
        stage.order(1, LinkOutput::Credit(credit));
        given += usize::try_from(credit).unwrap_or(0);
        stage.until("credit is used up", |stage| stage.data().len() >= given);
        stage.pause();
        assert!(stage.data() == all[..given], "exactly the credit was read");
    }
    stage.order(1, LinkOutput::Credit(1 << 20));
    stage.until("the rest", |stage| stage.data().len() == all.len());
    assert!(stage.data() == all);
}

/// Where the other side has finished, what it said before is delivered, and then `Eof`.
pub fn half_closed_links_deliver_all(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let peer = stage.pair();
    let all = pattern(50_000);
    stage.wires.peer_sends(peer, &all);
    stage.wires.peer_finishes(peer);
    for _ in 0..5 {
        stage.order(1, LinkOutput::Credit(10_000));
        stage.wires.pass();
    }
    stage.order(1, LinkOutput::Credit(1));
    stage.until("the end", |stage| stage.end().is_some());
    assert!(stage.data() == all);
    assert_eq!(stage.end(), Some(LinkError::Eof));
}

/// A reset is told as one.
pub fn resets_are_told(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let peer = stage.pair();
    stage.order(1, LinkOutput::Credit(1));
    stage.wires.peer_resets(peer);
    stage.until("the end", |stage| stage.end().is_some());
    assert_eq!(stage.end(), Some(LinkError::Reset));
}

/// Where nothing listens, that is told.
pub fn refusals_are_told(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let here = SocketAddr::new(stage.wires.addresses()[0], 0);
    let free = stage.listen(7, here).expect("a port");
    stage.wires.ask(Output::Unlisten { listener: ListenerKey(7) });
    stage.pause();
    stage.dial(1, Dial::plain(free));
    stage.until("the end", |stage| stage.end().is_some());
    assert_eq!(stage.seen, [(1, LinkInput::Closed(LinkError::Refused))]);
}

/// `Sent` counts what left: less than all while the other side reads nothing, and all in the end.
pub fn what_was_sent_is_told(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let peer = stage.pair();
    let all = pattern(32 << 20);
    for piece in all.chunks(1 << 20) {
        stage.order(1, LinkOutput::Send(Bytes::copy_from_slice(piece)));
    }
    stage.pause();
    let early = stage.sent();
    assert!(early > 0 && early < all.len() as u64, "{early} bytes are in the kernel");
    assert!(stage.heard(peer, all.len()) == (all.clone(), None));
    stage.until("all is told", |stage| stage.sent() == all.len() as u64);
}

/// `Close` ends a link after what was queued before it.
pub fn closing_sends_what_is_queued(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let peer = stage.pair();
    let all = pattern(300_000);
    stage.order(1, LinkOutput::Send(Bytes::from(all.clone())));
    stage.order(1, LinkOutput::Close);
    assert!(stage.heard(peer, usize::MAX) == (all, Some(LinkError::Eof)));
    // Orders for one that is gone are nothing.
    stage.order(1, LinkOutput::Credit(5));
    stage.order(2, LinkOutput::Close);
    stage.pause();
    assert_eq!(stage.end(), None, "whoever closes hears no more");
}

/// A driver that ends leaves no connection, used or under way.
pub fn dropping_closes_everything(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let to = stage.wires.peers_listen();
    (0..20).for_each(|link| stage.dial(link, Dial::plain(to)));
    let peers: Vec<usize> = (0..20).map(|_| stage.accepted().0).collect();
    stage.dial(99, Dial::plain(to));
    stage.wires.end();
    for peer in peers {
        let (heard, end) = stage.heard(peer, 1);
        assert!(heard.is_empty() && end.is_some(), "{end:?}");
    }
}

/// A link comes from the address that it is told to come from, and says so where there is no such address.
pub fn links_come_from_where_they_are_told(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let to = stage.wires.peers_listen();
    let from = stage.wires.addresses()[1];
    stage.dial(1, Dial { from: Some(from), ..Dial::plain(to) });
    assert_eq!(stage.accepted().1.ip(), from);
    stage.dial(2, Dial { from: Some(FOREIGN.into()), ..Dial::plain(to) });
    let told = (2, LinkInput::Closed(LinkError::AddressNotAvailable));
    stage.until("it is told", |stage| stage.seen.contains(&told));
}

/// An adopted link talks both ways, is half-closed and reset like any other.
pub fn adopted_links_are_links(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let (peer, arrival) = dialled(&mut stage);
    stage.adopt(arrival, 5);
    stage.order(5, LinkOutput::Send(Bytes::from_static(b"hello")));
    stage.order(5, LinkOutput::Credit(100));
    assert_eq!(stage.heard(peer, 5), (b"hello".to_vec(), None));
    stage.wires.peer_sends(peer, b"and you");
    stage.wires.peer_finishes(peer);
    stage.until("the end", |stage| stage.end().is_some());
    assert_eq!((stage.data().as_slice(), stage.end()), (&b"and you"[..], Some(LinkError::Eof)));
    assert!(!stage.seen.contains(&(5, LinkInput::Opened)), "it is open already");
    stage.seen.clear();
    let (peer, arrival) = again(&mut stage);
    stage.adopt(arrival, 6);
    stage.order(6, LinkOutput::Credit(1));
    stage.wires.peer_resets(peer);
    stage.until("the end", |stage| stage.end().is_some());
    assert_eq!(stage.end(), Some(LinkError::Reset));
}

/// A connection that nobody waits for any more is closed, and whoever adopts it is told.
pub fn unlistening_closes_what_waits(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let (kept, arrival) = dialled(&mut stage);
    stage.adopt(arrival, 5);
    let (waits, late) = again(&mut stage);
    let address = stage.address.expect("somebody listens");
    stage.wires.ask(Output::Unlisten { listener: ListenerKey(1) });
    assert!(stage.heard(waits, 1).1.is_some());
    stage.adopt(late, 6);
    let told = (6, LinkInput::Closed(LinkError::Reset));
    stage.until("it is told", |stage| stage.seen.contains(&told));
    stage.order(5, LinkOutput::Send(Bytes::from_static(b"on")));
    assert_eq!(stage.heard(kept, 2), (b"on".to_vec(), None), "what was adopted stays");
    // The port can be had again at once, although connections over it are open.
    assert_eq!(stage.listen(2, address), Ok(address));
    let (peer, arrival) = again(&mut stage);
    stage.wires.ask(Output::Dismiss { arrival });
    assert!(stage.heard(peer, 1).1.is_some());
}

/// Why a place cannot be had is told: it is taken, it is not here.
pub fn places_that_cannot_be_had_are_told(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let here = SocketAddr::new(stage.wires.addresses()[0], 0);
    let foreign = SocketAddr::from((FOREIGN, 0));
    let held = stage.listen(1, here).expect("a port");
    assert_eq!(stage.listen(2, held), Err(LinkError::AddressInUse));
    assert_eq!(stage.listen(2, foreign), Err(LinkError::AddressNotAvailable));
    assert_eq!(stage.bind(3, foreign), Err(LinkError::AddressNotAvailable));
    let held = stage.bind(4, here).expect("a port");
    assert_eq!(stage.bind(5, held), Err(LinkError::AddressInUse));
}

/// Many datagrams that leave together arrive each by itself, of its length and with the address that it came from; and
/// so do the answers.
pub fn datagrams_arrive_each_by_itself(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let here = SocketAddr::new(stage.wires.addresses()[0], 0);
    let address = stage.bind(1, here).expect("a port");
    let to = stage.wires.peers_bind();
    // Equal ones, a shorter one behind them, and others.
    let lens = [1400, 1400, 1400, 1400, 700, 1400, 1, 9, 9, 9, 1472, 100];
    for round in 0..20_u8 {
        let mut expected: Vec<_> = (0..).zip(lens).map(|(place, len)| vec![round ^ place; len]).collect();
        expected.iter().for_each(|bytes| stage.datagram(1, to, Bytes::from(bytes.clone())));
        let mut came = Vec::new();
        stage.until("all have come", |stage| {
            came.extend(stage.wires.peers_receive());
            came.len() == lens.len()
        });
        assert!(came.iter().all(|(from, _)| *from == address), "round {round}");
        came.iter().for_each(|(_, bytes)| stage.wires.peers_send(address, bytes));
        stage.until("the answers", |stage| stage.datagrams.len() == lens.len());
        let mut came: Vec<_> = came.into_iter().map(|(_, bytes)| bytes).collect();
        let answers = stage.datagrams.drain(..);
        let mut answers: Vec<_> = answers
            .map(|(socket, from, bytes)| {
                assert_eq!((socket, from), (1, to));
                bytes
            })
            .collect();
        // Datagrams may overtake each other.
        [&mut expected, &mut came, &mut answers].into_iter().for_each(|all| all.sort_unstable());
        assert!(came == expected && answers == expected, "round {round}");
    }
}

/// A socket that is closed has sent what was asked of it, frees its port, and reports nothing more.
pub fn unbound_sockets_are_gone(wires: impl Wires) {
    let mut stage = Stage::new(wires);
    let here = SocketAddr::new(stage.wires.addresses()[0], 0);
    let address = stage.bind(1, here).expect("a port");
    let to = stage.wires.peers_bind();
    stage.datagram(1, to, Bytes::from_static(b"farewell"));
    stage.wires.ask(Output::Unbind { socket: UdpKey(1) });
    stage.datagram(1, to, Bytes::from_static(b"too late"));
    stage.pause();
    assert_eq!(stage.wires.peers_receive(), [(address, b"farewell".to_vec())]);
    stage.wires.peers_send(address, b"nobody is there");
    stage.pause();
    assert_eq!(stage.datagrams, []);
    assert_eq!(stage.bind(2, address), Ok(address));
}

/// Somebody listens, and is dialled.
fn dialled<W: Wires>(stage: &mut Stage<W>) -> (usize, ArrivalKey) {
    let here = SocketAddr::new(stage.wires.addresses()[0], 0);
    stage.address = Some(stage.listen(1, here).expect("a port"));
    again(stage)
}

fn again<W: Wires>(stage: &mut Stage<W>) -> (usize, ArrivalKey) {
    let peer = stage.wires.peer_connects(stage.address.expect("somebody listens"));
    (peer, stage.arrival())
}

/// An address for documentation, which nobody has.
const FOREIGN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
