//! UDP sockets.

use super::bench::{Bench, PAUSE};
use super::{Rig, until};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Many datagrams of one and of many lengths go both ways, whole and with the address that they came from.
pub fn datagrams_go_both_ways(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.bind(1, HERE).expect("a port");
    let peer = UdpSocket::bind(HERE).expect("a port");
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    let to = peer.local_addr().expect("an address");
    // Equal ones that leave together, a shorter one behind them, and others.
    let lens = [1400, 1400, 1400, 1400, 700, 1400, 1, 9, 9, 9, 1472, 1473, 5000, 5000, 100];
    for round in 0..20_u8 {
        for (place, len) in (0..).zip(lens) {
            bench.datagram(1, to, Bytes::from(vec![round ^ place; len]));
        }
        let mut room = [0; 10_000];
        for (place, len) in (0..).zip(lens) {
            let (got, from) = peer.recv_from(&mut room).expect("a datagram");
            assert_eq!((got, from), (len, address), "round {round}, place {place}");
            assert!(room[..got].iter().all(|byte| *byte == round ^ place));
            peer.send_to(&room[..got], address).expect("it is sent");
        }
        until("the answers", || {
            bench.look();
            bench.datagrams.len() == lens.len()
        });
        let came: Vec<usize> = bench.datagrams.iter().map(|(_, _, bytes)| bytes.len()).collect();
        assert_eq!(came, lens);
        assert!(bench.datagrams.drain(..).all(|(socket, from, _)| (socket, from) == (1, to)));
    }
}

/// Two sockets of a driver talk to each other at a speed at which datagrams are joined and taken apart; none comes in
/// pieces or glued to another, and those of many senders are told apart.
pub fn batches_stay_apart(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let target = bench.bind(0, HERE).expect("a port");
    let sources: Vec<SocketAddr> = (1..=4).map(|socket| bench.bind(socket, HERE).expect("a port")).collect();
    let mut expected = BTreeSet::new();
    for number in 0..200_u32 {
        for (socket, from) in (1..).zip(&sources) {
            let mut bytes = vec![0; 1200];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            expected.insert((*from, bytes.clone()));
            bench.datagram(socket, target, Bytes::from(bytes));
        }
        if number % 20 == 0 {
            // The system's buffer holds no more.
            std::thread::sleep(Duration::from_millis(5));
            bench.look();
        }
    }
    std::thread::sleep(PAUSE);
    bench.look();
    let came: BTreeSet<_> = bench.datagrams.drain(..).map(|(_, from, bytes)| (from, bytes)).collect();
    assert!(came.is_subset(&expected), "nothing came that was not sent");
    assert!(came.len() > 400, "{} of {}", came.len(), expected.len());
}

/// What nobody can take ends no socket: a closed port, an address of the other family, port 0, a datagram that is too
/// large or empty, a network that is not there.
pub fn errors_end_no_socket(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    bench.bind(1, HERE).expect("a port");
    let peer = UdpSocket::bind(HERE).expect("a port");
    let to = peer.local_addr().expect("an address");
    let closed = UdpSocket::bind(HERE).expect("a port").local_addr().expect("an address");
    for _ in 0..50 {
        bench.datagram(1, closed, Bytes::from_static(b"nobody"));
        bench.datagram(1, (Ipv6Addr::LOCALHOST, to.port()).into(), Bytes::from_static(b"six"));
        bench.datagram(1, (Ipv4Addr::LOCALHOST, 0).into(), Bytes::from_static(b"port 0"));
        bench.datagram(1, to, Bytes::from(vec![0; 70_000]));
        bench.datagram(1, (Ipv4Addr::new(240, 0, 0, 1), 9).into(), Bytes::from_static(b"nowhere"));
        bench.datagram(9, to, Bytes::from_static(b"no socket"));
    }
    std::thread::sleep(PAUSE);
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    bench.datagram(1, to, Bytes::from_static(b"alive"));
    let mut room = [0; 100];
    let (len, from) = peer.recv_from(&mut room).expect("it is alive");
    assert_eq!(&room[..len], b"alive");
    peer.send_to(b"", from).expect("it is sent");
    peer.send_to(b"both ways", from).expect("it is sent");
    until("it hears", || {
        bench.look();
        bench.datagrams.iter().any(|(_, _, bytes)| bytes == b"both ways")
    });
}

/// As large as the loopback takes, and IPv6 beside IPv4 on one port.
pub fn large_datagrams_and_both_families(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let four = bench.bind(4, HERE).expect("a port");
    let large = vec![7; 60_000];
    let peer = UdpSocket::bind(HERE).expect("a port");
    peer.send_to(&large, four).expect("it is sent");
    until("the large one", || {
        bench.look();
        bench.datagrams.iter().any(|(_, _, bytes)| *bytes == large)
    });
    let Ok(peer) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else { return };
    let six = bench.bind(6, (Ipv6Addr::UNSPECIFIED, four.port()).into()).expect("the same port");
    assert_eq!(six.port(), four.port());
    peer.send_to(b"six", (Ipv6Addr::LOCALHOST, six.port())).expect("it is sent");
    until("the one over IPv6", || {
        bench.look();
        let from = peer.local_addr().expect("an address");
        bench.datagrams.contains(&(6, from, b"six".to_vec()))
    });
}

/// More comes than is taken in: what is too much is lost, memory is bounded, and the socket goes on.
pub fn floods_are_dropped(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.bind(1, HERE).expect("a port");
    let peer = UdpSocket::bind(HERE).expect("a port");
    for _ in 0..30_000 {
        // The system drops what does not fit, too.
        let _ = peer.send_to(&[1; 1000], address);
    }
    std::thread::sleep(PAUSE);
    bench.look();
    let kept = bench.datagrams.len();
    assert!(kept > 100 && kept < 12_000, "{kept} were kept");
    until("it hears again", || {
        let _ = peer.send_to(b"still", address);
        bench.look();
        bench.datagrams.iter().any(|(_, _, bytes)| bytes == b"still")
    });
}

/// A socket that is closed has sent what was asked of it, frees its port, and reports nothing more.
pub fn closed_sockets_free_their_port(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let address = bench.bind(1, HERE).expect("a port");
    let peer = UdpSocket::bind(HERE).expect("a port");
    peer.set_read_timeout(Some(Duration::from_secs(20))).expect("an option");
    bench.datagram(1, peer.local_addr().expect("an address"), Bytes::from_static(b"farewell"));
    bench.unbind(1);
    bench.datagram(1, peer.local_addr().expect("an address"), Bytes::from_static(b"too late"));
    let mut room = [0; 100];
    let len = peer.recv(&mut room).expect("a datagram");
    assert_eq!(&room[..len], b"farewell");
    until("the port is free", || UdpSocket::bind(address).is_ok());
    let address = bench.bind(2, HERE).expect("a port");
    let Bench { links, .. } = bench;
    rig.enter(|| drop(links));
    until("the port is free", || UdpSocket::bind(address).is_ok());
}
