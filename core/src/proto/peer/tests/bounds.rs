//! Tests that reach what a peer can make grow.

use super::*;

fn request(index: u32, number: u32) -> Message {
    Message::Request(span(block(index, number)))
}

#[test]
fn no_more_requests_wait_than_we_keep() {
    let config = PeerConfig { request_queue: 5, ..config() };
    let mut lab = Lab::greeted(FAST, config, Some(grid()));
    lab.announce(&Bitfield::full(10));
    lab.peer.unchoke();
    lab.hear(&[Message::HaveNone]);
    lab.forget();
    lab.hear(&vec![request(0, 0); 6]);
    assert_eq!((lab.peer.wanted_count(), lab.events().len()), (5, 5));
    assert_eq!(lab.said(), [Message::Reject(span(block(0, 0)))]);
}

#[test]
fn settings_cannot_make_the_queue_longer_than_any_use() {
    let config = PeerConfig { request_queue: u32::MAX, ..config() };
    let mut lab = Lab::greeted(FAST, config, Some(grid()));
    lab.announce(&Bitfield::full(10));
    lab.peer.unchoke();
    lab.hear(&vec![request(0, 0); 2001]);
    assert_eq!(lab.peer.wanted_count(), 2000);
}

#[test]
fn a_flood_of_requests_that_cannot_be_answered_ends_it() {
    for features in [FAST, PLAIN] {
        let mut lab = Lab::open(features);
        lab.hear(&vec![request(0, 0); 6000]);
        assert_eq!(lab.end(), None, "twelve times over is what a hasty peer may do in a minute");
        assert_eq!(lab.said().len(), if features.fast { 6000 } else { 0 });
        lab.now += Duration::from_secs(60);
        lab.hear(&vec![request(0, 0); 6000]);
        assert_eq!(lab.end(), None);
        lab.hear(&[request(0, 0)]);
        assert_eq!(lab.violation(), Some(Violation::RequestFlood));
    }
}

#[test]
fn a_peer_that_does_not_read_our_answers_is_cut_off() {
    let mut lab = Lab::serving(FAST);
    let pair = [request(0, 0), Message::Cancel(span(block(0, 0)))];
    let answers = (1 << 20) / 17;
    for _ in 0..answers / 100 {
        lab.hear(&pair.iter().cycle().take(200).cloned().collect::<Vec<_>>());
        lab.forget();
    }
    assert_eq!(lab.end(), None);
    // What the kernel took is not counted any more.
    lab.peer.handle_input(lab.now, LinkInput::Sent(17 * 200));
    lab.hear(&pair.iter().cycle().take(400).cloned().collect::<Vec<_>>());
    assert_eq!(lab.end(), None);
    lab.hear(&pair.iter().cycle().take(400).cloned().collect::<Vec<_>>());
    assert_eq!(lab.violation(), Some(Violation::NotReading));
}

#[test]
fn metadata_is_given_four_times_over_and_then_no_more() {
    let config = PeerConfig { metadata_size: Some(20_000), ..config() };
    let mut lab = Lab::greeted(ALL, config, Some(grid()));
    lab.announce(&Bitfield::new(10));
    let theirs = ExtensionHandshake { ids: [Some(12), None, None, None], ..Default::default() };
    lab.hear(&[Message::Extended { id: 0, payload: theirs.encode().into() }]);
    lab.forget();
    let request = Message::Extended { id: 1, payload: Bytes::from_static(b"d8:msg_typei0e5:piecei1ee") };
    lab.hear(&vec![request.clone(); 32]);
    assert_eq!((lab.events().len(), lab.said().len()), (8, 24));
    lab.hear(&[request]);
    assert_eq!(lab.violation(), Some(Violation::MetadataFlood));
}

#[test]
fn no_metadata_is_added_to_what_waits_to_be_taken() {
    let config = PeerConfig { metadata_size: Some(1 << 20), ..config() };
    let mut lab = Lab::greeted(ALL, config, Some(grid()));
    lab.announce(&Bitfield::new(10));
    let theirs = ExtensionHandshake { ids: [Some(12), None, None, None], ..Default::default() };
    lab.hear(&[Message::Extended { id: 0, payload: theirs.encode().into() }]);
    let mut given = 0;
    for _ in 0..100 {
        lab.hear(&[Message::Extended { id: 1, payload: Bytes::from_static(b"d8:msg_typei0e5:piecei1ee") }]);
        for _ in lab.events().iter().filter(|event| matches!(event, Output::Metadata(_))) {
            lab.peer.send_metadata(1, 1 << 20, &Bytes::from(vec![0; 16384]));
            given += 1;
        }
    }
    assert_eq!(given, (1 << 20) / 16384);
}

#[test]
fn sixteen_pieces_of_metadata_are_asked_for_at_once() {
    let mut lab = Lab::greeted(ALL, config(), None);
    lab.announce(&Bitfield::new(0));
    let theirs = ExtensionHandshake {
        ids: [Some(12), None, None, None],
        metadata_size: Some(1 << 20),
        ..Default::default()
    };
    lab.hear(&[Message::Extended { id: 0, payload: theirs.encode().into() }]);
    assert_eq!((0..64).filter(|piece| lab.peer.request_metadata(*piece)).count(), 16);
}

#[test]
fn six_peer_exchange_messages_a_minute_are_enough() {
    let mut lab = Lab::open(ALL);
    let pex = Message::Extended { id: 2, payload: Bytes::from_static(b"de") };
    lab.hear(&vec![pex.clone(); 6]);
    lab.now += Duration::from_secs(60);
    lab.hear(&vec![pex.clone(); 6]);
    assert_eq!((lab.events().len(), lab.end()), (12, None));
    lab.hear(&[pex]);
    assert_eq!(lab.violation(), Some(Violation::PexFlood));
}

#[test]
fn allowed_pieces_are_few() {
    let grid = PieceGrid::new(16 << 10, 200 * (16 << 10)).unwrap();
    for early in [false, true] {
        let mut lab = Lab::greeted(FAST, config(), (!early).then_some(grid));
        lab.announce(&Bitfield::new(if early { 0 } else { 200 }));
        lab.hear(&(0..200).map(Message::AllowedFast).collect::<Vec<_>>());
        lab.judge.set_pieces(grid);
        lab.peer.set_pieces(lab.now, grid);
        assert_eq!(lab.peer.allowed_fast().len(), 64);
        lab.forget();
        lab.peer.allow_fast(&grid.all().collect::<Vec<_>>());
        assert_eq!(lab.said().len(), 64);
    }
}

#[test]
fn a_storm_of_small_messages_costs_no_memory_for_good() {
    let mut lab = Lab::open(FAST);
    for _ in 0..3 {
        let storm = [Message::Interested, Message::NotInterested];
        lab.hear(&storm.iter().cycle().take(40_000).cloned().collect::<Vec<_>>());
        assert_eq!(lab.events().len(), 40_000);
        assert!(lab.peer.outputs.capacity() <= 64);
    }
    lab.peer.interested(true);
    lab.hear(&[Message::Unchoke]);
    lab.peer.flush(lab.now);
    lab.now += Duration::from_secs(100);
    lab.hear(&[Message::KeepAlive]);
    lab.peer.handle_timeout(lab.now);
    lab.forget();
    assert!(lab.peer.outputs.capacity() <= 1, "what a keep-alive itself takes");
}
