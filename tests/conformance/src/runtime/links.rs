//! Links over real sockets, without an engine.

use super::bench::{Bench, PAUSE, pattern};
use super::{Rig, until};
use bytes::Bytes;
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use gosh_dl_runtime::Dial;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// A link reads exactly as much as it has credit for, however much there is.
pub fn credit_is_kept_to_the_byte(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let mut peer = bench.pair();
    let all = pattern(600_000);
    let feed = std::thread::spawn({
        let all = all.clone();
        move || {
            peer.write_all(&all).expect("it is read in the end");
            peer
        }
    });
    std::thread::sleep(PAUSE);
    assert_eq!(bench.data(), [], "nothing is read without credit");
    let mut given = 0;
    for credit in [1, 2, 1000, 1, 65_536, 99_999, 1, 300_000] {
        bench.order(1, LinkOutput::Credit(credit));
        given += usize::try_from(credit).unwrap_or(0);
        until("credit is used up", || bench.data().len() >= given);
        std::thread::sleep(PAUSE / 4);
        assert!(bench.data() == all[..given], "exactly the credit was read");
    }
    bench.order(1, LinkOutput::Credit(1 << 20));
    until("the rest", || bench.data().len() == all.len());
    assert!(bench.data() == all);
    drop(feed.join());
}

/// Where the other side has finished, what it said before is delivered, and then `Eof`.
pub fn half_closed_links_deliver_all(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let mut peer = bench.pair();
    let all = pattern(50_000);
    peer.write_all(&all).expect("there is room");
    peer.shutdown(Shutdown::Write).expect("it is open");
    for _ in 0..5 {
        bench.order(1, LinkOutput::Credit(10_000));
        std::thread::sleep(PAUSE / 10);
    }
    bench.order(1, LinkOutput::Credit(1));
    until("the end", || bench.end().is_some());
    assert!(bench.data() == all);
    assert_eq!(bench.end(), Some(LinkError::Eof));
}

/// A reset is told as one.
pub fn resets_are_told(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let peer = bench.pair();
    bench.order(1, LinkOutput::Credit(1));
    let peer = socket2::Socket::from(peer);
    peer.set_linger(Some(Duration::ZERO)).expect("an option");
    drop(peer);
    until("the end", || bench.end().is_some());
    assert_eq!(bench.end(), Some(LinkError::Reset));
}

/// Where nothing listens, that is told.
pub fn refusals_are_told(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    bench.connect(1, free);
    until("the end", || bench.end().is_some());
    assert_eq!(bench.look(), [(1, LinkInput::Closed(LinkError::Refused))]);
}

/// `Sent` counts what left: less than all while the other side reads nothing, and all in the end.
pub fn what_was_sent_is_told(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let mut peer = bench.pair();
    let all = pattern(32 << 20);
    for piece in all.chunks(1 << 20) {
        bench.order(1, LinkOutput::Send(Bytes::copy_from_slice(piece)));
    }
    std::thread::sleep(PAUSE);
    let early = bench.sent();
    assert!(early > 0 && early < all.len() as u64, "{early} bytes are in the kernel");
    let mut received = vec![0; all.len()];
    peer.read_exact(&mut received).expect("all of it");
    assert!(received == all);
    until("all is told", || bench.sent() == all.len() as u64);
}

/// `Close` ends a link after what was queued before it.
pub fn closing_sends_what_is_queued(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let mut peer = bench.pair();
    let all = pattern(300_000);
    bench.order(1, LinkOutput::Send(Bytes::from(all.clone())));
    bench.order(1, LinkOutput::Close);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("an orderly end");
    assert!(received == all);
    // Orders for one that is gone are nothing.
    bench.order(1, LinkOutput::Credit(5));
    bench.order(2, LinkOutput::Close);
}

/// A driver that ends leaves no connection, used or under way.
pub fn dropping_closes_everything(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (0..20).for_each(|link| bench.connect(link, address));
    let mut peers: Vec<TcpStream> = (0..20).map(|_| listener.accept().expect("a connection").0).collect();
    bench.connect(99, address);
    let Bench { links, .. } = bench;
    rig.enter(|| drop(links));
    for peer in &mut peers {
        peer.set_read_timeout(Some(Duration::from_secs(5))).expect("an option");
        let end = peer.read(&mut [0; 16]);
        assert!(
            matches!(end, Ok(0))
                || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
}

/// A link comes from the address that it is told to come from, and says so where there is no such address.
pub fn links_come_from_where_they_are_told(rig: &impl Rig) {
    let mut bench = Bench::new(rig);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = listener.local_addr().expect("an address");
    bench.dial(1, Dial { from: Some([127, 0, 0, 9].into()), ..Dial::plain(to) });
    let (_peer, from) = listener.accept().expect("a connection");
    assert_eq!(from.ip(), std::net::IpAddr::from([127, 0, 0, 9]));
    bench.dial(2, Dial { from: Some([192, 0, 2, 1].into()), ..Dial::plain(to) });
    let told = (2, LinkInput::Closed(LinkError::AddressNotAvailable));
    until("it is told", || bench.look().contains(&told));
}
