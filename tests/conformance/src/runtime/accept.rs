//! Listeners, and the connections that come to them.

use super::bench::{Bench, PAUSE};
use super::{Rig, until};
use gosh_dl_core::base::{LinkInput, LinkOutput};
use gosh_dl_core::engine::ArrivalKey;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
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
