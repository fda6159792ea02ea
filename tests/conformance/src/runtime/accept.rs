//! Listeners, and the connections that come to them.

use super::bench::{Bench, PAUSE};
use super::{Rig, until};
use bytes::Bytes;
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_core::engine::ArrivalKey;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Many connect at once; each is adopted or dismissed, and the adopted ones are links like others.
pub fn many_are_accepted_at_once(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.listen(1, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let mut peers: Vec<TcpStream> = (0..MANY).map(|_| connect(address)).collect();
    let mut answered = 0;
    let mut dismissed = 0;
    until("all have come", || {
        bench.look();
        for (listener, arrival, from) in bench.arrivals.split_off(0) {
            assert!(listener == 1 && peers.iter().any(|peer| peer.local_addr().ok() == Some(from)));
            if answered % 3 == 0 {
                bench.dismiss(arrival);
                dismissed += 1;
            } else {
                bench.adopt(arrival, 1000 + answered);
                bench.order(1000 + answered, LinkOutput::Credit(4));
            }
            answered += 1;
        }
        answered == MANY
    });
    for peer in &mut peers {
        // To one that was dismissed, this may fail.
        let _ = peer.write_all(b"ping");
        peer.set_read_timeout(Some(Duration::from_millis(1))).expect("an option");
    }
    until("what was adopted is heard", || bench.data().len() as u64 == (MANY - dismissed) * 4);
    let over = |peer: &mut TcpStream| !matches!(peer.read(&mut [0]), Err(error) if is_quiet(&error));
    until("what was dismissed has ended, and nothing else", || {
        peers.iter_mut().map(|peer| u64::from(over(peer))).sum::<u64>() == dismissed
    });
    assert!(!bench.seen.iter().any(|(_, input)| *input == LinkInput::Opened), "it is open already");
}

/// More connect than may wait: the rest is accepted when there is room.
pub fn few_wait_for_an_answer(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.listen(1, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let _peers: Vec<TcpStream> = (0..CROWD).map(|_| connect(address)).collect();
    until("some have come", || {
        bench.look();
        bench.arrivals.len() >= 100
    });
    std::thread::sleep(PAUSE);
    bench.look();
    assert!(bench.arrivals.len() < 200, "{} wait", bench.arrivals.len());
    let mut come = 0;
    until("all have come", || {
        bench.look();
        for (_, arrival, _) in bench.arrivals.split_off(0) {
            bench.dismiss(arrival);
            come += 1;
        }
        come == CROWD
    });
}

/// An adopted link talks both ways, is half-closed and reset like any other.
pub fn adopted_links_are_links(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.listen(1, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let mut peer = connect(address);
    let arrival = arrival(&mut bench);
    bench.adopt(arrival, 5);
    bench.order(5, LinkOutput::Send(Bytes::from_static(b"hello")));
    bench.order(5, LinkOutput::Credit(100));
    let mut heard = [0; 5];
    peer.read_exact(&mut heard).expect("it speaks");
    assert_eq!(&heard, b"hello");
    peer.write_all(b"and you").expect("it listens");
    peer.shutdown(Shutdown::Write).expect("it is open");
    until("the end", || bench.end().is_some());
    assert_eq!((bench.data().as_slice(), bench.end()), (&b"and you"[..], Some(LinkError::Eof)));

    let mut bench = Bench::new(rig);
    let address = bench.listen(1, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let peer = socket2::Socket::from(connect(address));
    let arrival = self::arrival(&mut bench);
    bench.adopt(arrival, 5);
    bench.order(5, LinkOutput::Credit(1));
    peer.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(peer);
    until("the end", || bench.end().is_some());
    assert_eq!(bench.end(), Some(LinkError::Reset));
}

/// A connection that nobody waits for any more is closed, and whoever adopts it is told.
pub fn unlistening_closes_what_waits(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.listen(1, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let mut kept = connect(address);
    let arrival = arrival(&mut bench);
    bench.adopt(arrival, 5);
    let mut waits = connect(address);
    let late = self::arrival(&mut bench);
    bench.unlisten(1);
    assert_ends(&mut waits);
    bench.adopt(late, 6);
    until("it is told", || bench.look().contains(&(6, LinkInput::Closed(LinkError::Reset))));
    until("nobody listens", || TcpStream::connect(address).is_err());
    bench.order(5, LinkOutput::Send(Bytes::from_static(b"on")));
    kept.read_exact(&mut [0; 2]).expect("what was adopted stays");
    // The port can be had again at once, although connections over it are open.
    assert_eq!(bench.listen(2, address), Ok(address));
    let again = connect(address);
    drop(again);
}

/// Why a place cannot be had is told: it is taken, it is not here.
pub fn places_that_cannot_be_had_are_told(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    assert_eq!(bench.listen(1, address), Err(LinkError::AddressInUse));
    let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
    assert_eq!(bench.listen(2, foreign), Err(LinkError::AddressNotAvailable));
    assert_eq!(bench.bind(3, foreign), Err(LinkError::AddressNotAvailable));
    let held = bench.bind(4, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    assert_eq!(bench.bind(5, held), Err(LinkError::AddressInUse));
}

/// IPv4 and IPv6 have the same port side by side, and each is told who comes in its own form.
pub fn both_families_share_a_port(rig: &impl Rig) {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return;
    }
    let mut bench = Bench::new(rig);
    let six = bench.listen(6, (Ipv6Addr::UNSPECIFIED, 0).into()).expect("a port");
    let four = bench.listen(4, (Ipv4Addr::UNSPECIFIED, six.port()).into()).expect("the same port");
    let over_six = connect((Ipv6Addr::LOCALHOST, six.port()).into());
    let over_four = connect((Ipv4Addr::LOCALHOST, four.port()).into());
    until("both have come", || {
        bench.look();
        bench.arrivals.len() == 2
    });
    let mut came: Vec<_> = bench.arrivals.iter().map(|(at, _, from)| (*at, Some(*from))).collect();
    came.sort_unstable();
    assert_eq!(came, [(4, over_four.local_addr().ok()), (6, over_six.local_addr().ok())]);
}

/// A driver that ends closes listeners, what waits, and what was adopted.
pub fn dropping_closes_listeners(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.listen(1, (Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let mut adopted = connect(address);
    let arrival = arrival(&mut bench);
    bench.adopt(arrival, 5);
    let mut waits = connect(address);
    let _waits_for_ever = self::arrival(&mut bench);
    let Bench { links, .. } = bench;
    rig.enter(|| drop(links));
    assert_ends(&mut adopted);
    assert_ends(&mut waits);
    until("nobody listens", || TcpStream::connect(address).is_err());
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("somebody listens")
}

fn arrival<R: Rig>(bench: &mut Bench<'_, R>) -> ArrivalKey {
    until("a connection", || {
        bench.look();
        !bench.arrivals.is_empty()
    });
    bench.arrivals.remove(0).1
}

fn assert_ends(peer: &mut TcpStream) {
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    let end = peer.read(&mut [0; 16]);
    assert!(!matches!(&end, Err(error) if is_quiet(error)) && !matches!(end, Ok(1..)), "{end:?}");
}

fn is_quiet(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

const MANY: u64 = 100;
/// More than may wait for an answer, fewer than wait in the system's queue.
const CROWD: usize = 400;
