//! Tests of the times of a conversation.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn is_due(peer: &Peer, at: Instant) {
    assert_eq!(peer.poll_timeout(), Some(at));
}

#[test]
fn a_peer_that_does_not_greet_is_given_up() {
    let start = Instant::from_nanos(5);
    let mut peer = Peer::connecting(start, Arc::new(config()), Some(grid()), remote());
    is_due(&peer, start + 20 * SECOND);
    peer.handle_input(start + SECOND, LinkInput::Opened);
    let half = BytesMut::from(&handshake(ALL).encode()[..40]);
    peer.handle_input(start + 19 * SECOND, LinkInput::Data(half));
    is_due(&peer, start + 20 * SECOND);
    peer.handle_timeout(start + 19 * SECOND);
    assert!(!peer.is_closed());
    peer.handle_timeout(start + 20 * SECOND);
    let last = core::iter::from_fn(|| peer.poll_output()).last();
    assert_eq!((last, peer.poll_timeout()), (Some(Output::Closed(CloseReason::HandshakeTimeout)), None));

    let mut greeting = Greeting::new(start, SECOND);
    assert_eq!(greeting.poll_timeout(), Some(start + SECOND));
    greeting.handle_timeout(start);
    greeting.handle_timeout(start + SECOND);
    assert_eq!(greeting.poll_output(), Some(GreetingOutput::Link(LinkOutput::Close)));
    assert_eq!(greeting.poll_output(), Some(GreetingOutput::Closed(CloseReason::HandshakeTimeout)));
    assert_eq!((greeting.poll_output(), greeting.poll_timeout()), (None, None));
}

#[test]
fn a_peer_hears_from_us_before_it_could_miss_us() {
    let mut lab = Lab::open(FAST);
    let start = lab.now;
    lab.peer.handle_input(lab.now, LinkInput::Sent(10_000));
    for round in 1..4 {
        is_due(&lab.peer, start + round * 100 * SECOND);
        lab.now = start + round * 100 * SECOND;
        lab.hear(&[Message::KeepAlive]);
        lab.peer.handle_timeout(lab.now);
        assert_eq!(lab.said(), [Message::KeepAlive]);
        lab.peer.handle_input(lab.now, LinkInput::Sent(4));
    }
}

#[test]
fn a_silent_peer_is_given_up_unless_it_is_we_who_do_not_read() {
    let mut lab = Lab::open(FAST);
    lab.peer.handle_input(lab.now, LinkInput::Sent(10_000));
    lab.now += 100 * SECOND;
    lab.peer.handle_timeout(lab.now);
    lab.peer.handle_input(lab.now, LinkInput::Sent(4));
    is_due(&lab.peer, lab.now + 50 * SECOND);
    // All credit is used up: from now on nothing can be heard.
    lab.hear(&[Message::KeepAlive]);
    let credit = lab.peer.credit() as usize;
    lab.data(BytesMut::from(&vec![0; credit][..]));
    assert_eq!(lab.peer.credit(), 0);
    is_due(&lab.peer, lab.now + 100 * SECOND);
    lab.now += 70 * SECOND;
    lab.peer.grant(lab.now, 100);
    let quiet = lab.now + 150 * SECOND;
    lab.peer.handle_timeout(lab.now + 100 * SECOND);
    lab.settle();
    lab.peer.handle_input(lab.now + 100 * SECOND, LinkInput::Sent(4));
    is_due(&lab.peer, quiet);
    lab.peer.handle_timeout(quiet);
    assert_eq!(lab.end(), Some(CloseReason::IdleTimeout));
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let mut lab = Lab::open(FAST);
    lab.peer.handle_input(lab.now, LinkInput::Sent(10_000));
    assert_eq!(lab.peer.unsent(), 0);
    lab.now += 10 * SECOND;
    lab.peer.have(piece(0));
    lab.peer.flush(lab.now);
    assert_eq!(lab.peer.unsent(), 9);
    let since = lab.now;
    for _ in 0..14 {
        lab.now += 10 * SECOND;
        lab.hear(&[Message::KeepAlive]);
        lab.peer.handle_timeout(lab.now);
    }
    assert_eq!(lab.end(), None);
    lab.peer.handle_timeout(since + 150 * SECOND);
    assert_eq!(lab.end(), Some(CloseReason::IdleTimeout));
}

#[test]
fn no_setting_makes_a_timeout_that_is_due_at_once_again() {
    let config = PeerConfig { keep_alive: Duration::ZERO, ..config() };
    let mut lab = Lab::greeted(FAST, config, Some(grid()));
    lab.announce(&Bitfield::new(10));
    for _ in 0..5 {
        lab.now = lab.peer.poll_timeout().unwrap();
        lab.peer.handle_timeout(lab.now);
        assert!(lab.peer.poll_timeout().is_some_and(|at| at > lab.now));
    }
}
