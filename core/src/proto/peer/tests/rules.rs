//! Tests of the rules of BEP 3 and BEP 6, on both sides.

use super::*;

#[test]
fn greets_when_the_link_is_open_and_announces_before_anything_else() {
    let mut lab = Lab::greeted(ALL, config(), Some(grid()));
    assert_eq!(lab.events(), [Output::Greeted { peer_id: THEM }]);
    lab.peer.have(piece(3));
    lab.peer.interested(true);
    assert_eq!(lab.said(), []);
    let mut have = Bitfield::new(10);
    have.insert(piece(1));
    lab.announce(&have);
    let said = lab.said();
    let [Message::Bitfield(bits), Message::Extended { id: 0, .. }] = &said[..] else { panic!("{said:?}") };
    assert_eq!(bits, have.as_bytes());
    lab.announce(&have);
    assert_eq!(lab.said(), [], "once only");
}

#[test]
fn full_and_empty_fields_are_short_where_both_are_fast() {
    for (features, have, said) in [
        (FAST, Bitfield::new(10), vec![Message::HaveNone]),
        (FAST, Bitfield::full(10), vec![Message::HaveAll]),
        (PLAIN, Bitfield::new(10), vec![]),
        (PLAIN, Bitfield::full(10), vec![Message::Bitfield(Bytes::from_static(&[0xff, 0xc0]))]),
    ] {
        let mut lab = Lab::greeted(features, config(), Some(grid()));
        lab.announce(&have);
        assert_eq!(lab.said(), said);
    }
}

#[test]
fn answers_to_what_came_early_follow_the_announcement() {
    let mut lab = Lab::greeted(FAST, config(), Some(grid()));
    lab.hear(&[Message::HaveNone, Message::Request(span(block(0, 0)))]);
    assert_eq!(lab.said(), []);
    lab.announce(&Bitfield::full(10));
    assert_eq!(lab.said(), [Message::HaveAll, Message::Reject(span(block(0, 0)))]);
}

#[test]
fn an_arrival_is_answered_and_what_came_with_it_is_heard() {
    let now = Instant::ZERO;
    let mut greeting = Greeting::new(now, Duration::from_secs(9));
    greeting.grant(now, 1000);
    let bytes = [&handshake(FAST).encode()[..], &encoded(&[Message::HaveAll, Message::Unchoke])].concat();
    greeting.handle_input(now, LinkInput::Data(BytesMut::from(&bytes[..50])));
    assert_eq!(greeting.poll_output(), Some(GreetingOutput::Link(LinkOutput::Credit(1000))));
    assert_eq!(greeting.poll_output(), None);
    greeting.handle_input(now, LinkInput::Data(BytesMut::from(&bytes[50..])));
    let Some(GreetingOutput::Done(arrival)) = greeting.poll_output() else { panic!("not done") };
    assert_eq!((arrival.handshake, arrival.credit), (handshake(FAST), 1000 - bytes.len() as u64));
    assert_eq!((greeting.poll_output(), greeting.poll_timeout()), (None, None));

    let mut peer = Peer::accepted(now, Arc::new(config()), Some(grid()), remote(), arrival);
    let outputs: Vec<Output> = core::iter::from_fn(|| peer.poll_output()).collect();
    let [
        Output::Link(LinkOutput::Send(ours)),
        Output::Greeted { peer_id: THEM },
        Output::HasPieces(has),
        Output::Unchoked,
    ] = &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    let ours = Handshake::decode(ours[..].try_into().unwrap()).unwrap();
    assert_eq!((ours.features, ours.info_hash, ours.peer_id), (ALL, HASH, US));
    assert!(has.is_full());
    assert!(peer.is_seed() && !peer.peer_choking() && peer.credit() == 1000 - bytes.len() as u64);
}

#[test]
fn whoever_does_not_greet_rightly_is_cut_off() {
    let other = Handshake { info_hash: InfoHash([8; 20]), ..handshake(ALL) };
    let myself = Handshake { peer_id: US, ..handshake(ALL) };
    for (bytes, reason) in [
        (other.encode().to_vec(), CloseReason::Violation(Violation::WrongInfoHash)),
        (b"GET / HTTP/1.1\r\n".to_vec(), CloseReason::Violation(Violation::NotBitTorrent)),
        (myself.encode().to_vec(), CloseReason::Myself),
    ] {
        let mut peer = Peer::connecting(Instant::ZERO, Arc::new(config()), Some(grid()), remote());
        peer.handle_input(Instant::ZERO, LinkInput::Opened);
        peer.handle_input(Instant::ZERO, LinkInput::Data(BytesMut::from(&bytes[..])));
        let outputs: Vec<Output> = core::iter::from_fn(|| peer.poll_output()).skip(1).collect();
        assert_eq!(outputs, [Output::Link(LinkOutput::Close), Output::Closed(reason)]);
    }
    let mut greeting = Greeting::new(Instant::ZERO, Duration::from_secs(9));
    greeting.handle_input(Instant::ZERO, LinkInput::Data(BytesMut::from(&b"\x13Bittorrent"[..])));
    let outputs: Vec<_> = core::iter::from_fn(|| greeting.poll_output()).collect();
    let reason = CloseReason::Violation(Violation::NotBitTorrent);
    assert_eq!(outputs, [GreetingOutput::Link(LinkOutput::Close), GreetingOutput::Closed(reason)]);
}

#[test]
fn blocks_are_asked_for_and_come() {
    let mut lab = Lab::unchoked(FAST);
    let (a, b) = (block(0, 0), block(9, 0));
    assert!(lab.peer.request(lab.now, a) && lab.peer.request(lab.now, b));
    assert_eq!(lab.said(), [Message::Request(span(a)), Message::Request(span(b))]);
    assert_eq!(lab.peer.in_flight().collect::<Vec<_>>(), [a, b]);
    lab.now += Duration::from_millis(70);
    assert_eq!(lab.peer.stalled_for(lab.now), Duration::from_millis(70));
    lab.hear(&[bytes_of(b)]);
    let data = Bytes::from(vec![9; b.len as usize]);
    assert_eq!(lab.events(), [Output::Block(b, data.into())]);
    assert_eq!((lab.peer.received(), lab.peer.in_flight_count()), (u64::from(b.len), 1));
    assert_eq!(lab.peer.last_round_trip(), Some(Duration::from_millis(70)));
    assert_eq!((lab.peer.last_block_at(), lab.peer.stalled_for(lab.now)), (Some(lab.now), Duration::ZERO));
}

#[test]
fn nothing_is_asked_for_that_the_peer_would_not_give() {
    let mut choked = Lab::open(FAST);
    choked.peer.interested(true);
    assert!(!choked.peer.request(choked.now, block(0, 0)), "choked");
    choked.hear(&[Message::AllowedFast(3), Message::AllowedFast(3)]);
    assert_eq!(choked.events(), [Output::AllowedFast(piece(3))]);
    assert!(choked.peer.request(choked.now, block(3, 0)), "allowed");
    assert!(!choked.peer.request(choked.now, block(4, 0)), "not allowed");
    assert_eq!(choked.peer.allowed_fast(), [piece(3)]);

    let mut uninterested = Lab::open(FAST);
    uninterested.hear(&[Message::Unchoke]);
    assert!(!uninterested.peer.request(uninterested.now, block(0, 0)), "not interested");

    let mut lacking = Lab::greeted(FAST, config(), Some(grid()));
    lacking.announce(&Bitfield::new(10));
    lacking.hear(&[Message::HaveNone, Message::Unchoke, Message::Have(5)]);
    lacking.peer.interested(true);
    assert!(!lacking.peer.request(lacking.now, block(4, 0)), "it does not have it");
    assert!(lacking.peer.request(lacking.now, block(5, 0)));
}

#[test]
fn a_choke_rejects_nothing_where_both_are_fast_and_everything_otherwise() {
    for (features, lost) in [(FAST, vec![]), (PLAIN, vec![block(1, 0), block(1, 1)])] {
        let mut lab = Lab::unchoked(features);
        assert!(lab.peer.request(lab.now, block(1, 0)) && lab.peer.request(lab.now, block(1, 1)));
        lab.hear(&[Message::Choke, Message::Choke]);
        assert_eq!(lab.peer.in_flight_count(), 2 - lost.len());
        assert_eq!(lab.events(), [Output::Choked { lost }]);
    }
}

#[test]
fn a_late_block_is_dropped_and_counted() {
    for features in [FAST, PLAIN] {
        let mut lab = Lab::unchoked(features);
        assert!(lab.peer.request(lab.now, block(1, 0)));
        lab.peer.cancel(block(1, 0));
        lab.peer.cancel(block(1, 0));
        assert_eq!(lab.said(), [Message::Request(span(block(1, 0))), Message::Cancel(span(block(1, 0)))]);
        assert_eq!(lab.peer.in_flight_count(), 0);
        lab.hear(&[bytes_of(block(1, 0))]);
        assert_eq!((lab.events(), lab.peer.wasted(), lab.peer.received()), (vec![], 16384, 0));
        lab.hear(&[bytes_of(block(1, 0))]);
        assert_eq!(lab.violation(), Some(Violation::UnaskedBlock), "once is late, twice is a flood");
    }
}

#[test]
fn a_rejection_ends_a_request_and_answers_a_cancel() {
    let mut lab = Lab::unchoked(FAST);
    assert!(lab.peer.request(lab.now, block(1, 0)) && lab.peer.request(lab.now, block(1, 1)));
    lab.peer.cancel(block(1, 1));
    lab.hear(&[Message::Reject(span(block(1, 0))), Message::Reject(span(block(1, 1)))]);
    assert_eq!(lab.events(), [Output::Rejected(block(1, 0))]);
    assert_eq!(lab.peer.in_flight_count(), 0);
    lab.hear(&[Message::Reject(span(block(1, 1)))]);
    assert_eq!(lab.violation(), Some(Violation::UnaskedReject));
}

#[test]
fn requests_wait_until_they_are_answered() {
    let mut lab = Lab::serving(FAST);
    lab.hear(&[0, 1].map(|number| Message::Request(span(block(2, number)))));
    assert_eq!(lab.events(), [0, 1].map(|number| Output::Requested(block(2, number))));
    assert_eq!(lab.peer.wanted().collect::<Vec<_>>(), [block(2, 0), block(2, 1)]);
    let data = BlockData::from(Bytes::from(vec![9; 16384]));
    assert!(lab.peer.send_block(lab.now, block(2, 0), data.clone()));
    assert!(!lab.peer.send_block(lab.now, block(2, 0), data), "it does not wait for it twice");
    assert!(!lab.peer.send_block(lab.now, block(2, 1), Bytes::from_static(b"short").into()));
    lab.peer.reject(block(2, 1));
    assert_eq!(lab.said(), [bytes_of(block(2, 0)), Message::Reject(span(block(2, 1)))]);
    assert_eq!((lab.peer.sent(), lab.peer.wanted_count()), (16384, 0));
}

#[test]
fn a_block_can_leave_straight_from_files() {
    let mut lab = Lab::serving(FAST);
    lab.hear(&[Message::Request(span(block(2, 0)))]);
    lab.forget();
    let before = lab.peer.unsent();
    let spans = [
        FileSpan { file: FileKey(4), offset: 100, len: 16000 },
        FileSpan { file: FileKey(5), offset: 0, len: 0 },
        FileSpan { file: FileKey(6), offset: 0, len: 384 },
    ];
    assert!(!lab.peer.send_block_from(lab.now, block(2, 0), &spans[..1]), "too few bytes");
    assert!(lab.peer.send_block_from(lab.now, block(2, 0), &spans));
    let outputs: Vec<Output> = core::iter::from_fn(|| lab.peer.poll_output()).collect();
    let head = Bytes::from_static(b"\0\0\x40\x09\x07\0\0\0\x02\0\0\0\0");
    let file = |key, offset, len| LinkOutput::SendFile { file: FileKey(key), offset, len };
    let expected = [LinkOutput::Send(head), file(4, 100, 16000), file(6, 0, 384)].map(Output::Link);
    assert_eq!(outputs, expected);
    assert_eq!((lab.peer.sent(), lab.peer.unsent() - before), (16384, 13 + 16384));
}

#[test]
fn small_messages_leave_together() {
    let mut lab = Lab::unchoked(FAST);
    assert!(lab.peer.poll_timeout().is_some_and(|at| at > lab.now));
    lab.peer.have(piece(0));
    assert!(lab.peer.request(lab.now, block(1, 0)) && lab.peer.request(lab.now, block(1, 1)));
    assert_eq!((lab.peer.poll_output(), lab.peer.poll_timeout()), (None, Some(Instant::ZERO)));
    lab.peer.handle_timeout(lab.now);
    assert!(
        matches!(lab.peer.poll_output(), Some(Output::Link(LinkOutput::Send(bytes))) if bytes.len() == 9 + 2 * 17)
    );
    assert_eq!(lab.peer.poll_output(), None);
    assert!(lab.peer.poll_timeout().is_some_and(|at| at > lab.now));
}

#[test]
fn our_choke_rejects_what_waits_but_for_pieces_that_are_given() {
    let mut lab = Lab::serving(FAST);
    lab.peer.allow_fast(&[piece(4), piece(4)]);
    lab.hear(&[block(2, 0), block(4, 0), block(3, 1)].map(|block| Message::Request(span(block))));
    lab.forget();
    lab.peer.choke();
    let rejects = [block(2, 0), block(3, 1)].map(|block| Message::Reject(span(block)));
    assert_eq!(lab.said(), [&[Message::Choke][..], &rejects].concat());
    assert_eq!(lab.peer.wanted().collect::<Vec<_>>(), [block(4, 0)]);
    let data = BlockData::from(Bytes::from(vec![9; 16384]));
    assert!(
        !lab.peer.send_block(lab.now, block(2, 0), data.clone())
            && lab.peer.send_block(lab.now, block(4, 0), data)
    );
    // BEP 6: what is asked for while choked is rejected, but for given pieces.
    lab.forget();
    lab.hear(&[block(2, 1), block(4, 1)].map(|block| Message::Request(span(block))));
    assert_eq!(lab.said(), [Message::Reject(span(block(2, 1)))]);
    assert_eq!(lab.events(), [Output::Requested(block(4, 1))]);
}

#[test]
fn our_choke_forgets_what_waits_where_the_peer_is_not_fast() {
    let mut lab = Lab::serving(PLAIN);
    lab.peer.allow_fast(&[piece(4)]);
    lab.peer.suggest(piece(4));
    lab.hear(&[Message::Request(span(block(4, 0)))]);
    lab.forget();
    lab.peer.choke();
    lab.hear(&[Message::Request(span(block(4, 1)))]);
    lab.peer.reject(block(4, 1));
    assert_eq!((lab.said(), lab.events(), lab.peer.wanted_count()), (vec![Message::Choke], vec![], 0));
    lab.peer.unchoke();
    lab.peer.unchoke();
    assert_eq!(lab.said(), [Message::Unchoke]);
}

#[test]
fn a_cancelled_request_is_rejected_where_both_are_fast() {
    for (features, said) in [(FAST, vec![Message::Reject(span(block(2, 0)))]), (PLAIN, vec![])] {
        let mut lab = Lab::serving(features);
        lab.hear(&[Message::Request(span(block(2, 0))), Message::Cancel(span(block(2, 0)))]);
        assert_eq!(lab.events(), [Output::Requested(block(2, 0)), Output::Cancelled(block(2, 0))]);
        lab.hear(&[Message::Cancel(span(block(2, 0)))]);
        assert_eq!((lab.said(), lab.events()), (said, vec![]));
    }
}

#[test]
fn pieces_of_the_peer_are_followed() {
    let mut lab = Lab::greeted(FAST, config(), Some(grid()));
    lab.announce(&Bitfield::new(10));
    lab.forget();
    lab.hear(&[Message::HaveNone, Message::Have(3), Message::Have(3), Message::Have(9), Message::Suggest(3)]);
    let none = Output::HasPieces(Bitfield::new(10));
    let expected = [none, Output::Have(piece(3)), Output::Have(piece(9)), Output::Suggested(piece(3))];
    assert_eq!(lab.events(), expected);
    assert_eq!(lab.peer.has().unwrap().ones().collect::<Vec<_>>(), [3, 9]);
    lab.hear(&[Message::Interested, Message::Interested, Message::NotInterested, Message::KeepAlive]);
    assert_eq!(lab.events(), [Output::Interested(true), Output::Interested(false)]);
    lab.hear(&[Message::Port(4), Message::Port(0), Message::Unknown(99)]);
    assert_eq!(lab.events(), [Output::Port(4)]);
}

/// BEP 3: who begins with nothing need not send a bit field.
#[test]
fn a_peer_that_sends_no_bit_field_has_pieces_by_its_first_have() {
    let none = || Output::HasPieces(Bitfield::new(10));
    let payload = Bytes::from_static(b"\0\0\0\x03");
    let donthave = Message::Extended { id: 3, payload };
    for (first, expected) in
        [(Message::Have(3), vec![none(), Output::Have(piece(3))]), (donthave, vec![none()])]
    {
        let mut lab = Lab::greeted(ALL, config(), Some(grid()));
        lab.announce(&Bitfield::new(10));
        lab.forget();
        assert!(!lab.peer.tells_pieces());
        lab.hear(&[first]);
        assert_eq!(lab.events(), expected);
        assert!(lab.peer.tells_pieces());
        lab.hear(&[Message::Have(9)]);
        assert_eq!(lab.events(), [Output::Have(piece(9))]);
    }
}

/// aria2 sends a bit field in the middle of the conversation, where others send a `have` for each piece.
#[test]
fn a_bit_field_that_comes_later_adds_to_what_the_peer_had() {
    let mut lab = Lab::greeted(FAST, config(), Some(grid()));
    lab.announce(&Bitfield::new(10));
    lab.forget();
    let later = Message::Bitfield(Bytes::from_static(&[0b0101_0000, 0]));
    lab.hear(&[Message::HaveNone, Message::Have(3), later, Message::HaveNone]);
    let none = Output::HasPieces(Bitfield::new(10));
    let expected = [none, Output::Have(piece(3)), Output::Have(piece(1))];
    assert_eq!(lab.events(), expected);
    assert_eq!(lab.peer.has().unwrap().ones().collect::<Vec<_>>(), [1, 3]);
    lab.hear(&[Message::HaveAll]);
    assert!(lab.peer.is_seed());
    assert_eq!(lab.events().len(), 8);
}

/// Every rule of a peer of these features that a single message can break, with all that comes before.
#[test]
fn whoever_breaks_a_rule_is_cut_off_for_that_rule() {
    let bits = |bytes: &'static [u8]| Message::Bitfield(Bytes::from_static(bytes));
    let far = Span { index: 10, begin: 0, len: 1 };
    let long = Span { index: 0, begin: 16384, len: 16385 };
    let none = Span { index: 0, begin: 0, len: 0 };
    let table: Vec<(Features, Vec<Message>, Violation)> = vec![
        (FAST, vec![bits(&[0xff])], Violation::MalformedBitfield),
        (FAST, vec![bits(&[0xff, 0xff])], Violation::MalformedBitfield),
        (FAST, vec![bits(&[])], Violation::MalformedBitfield),
        (PLAIN, vec![Message::Have(10)], Violation::NoSuchPiece),
        (FAST, vec![Message::Suggest(10)], Violation::NoSuchPiece),
        (FAST, vec![Message::AllowedFast(10)], Violation::NoSuchPiece),
        (PLAIN, vec![Message::Suggest(1)], Violation::FastDisabled(13)),
        (PLAIN, vec![Message::HaveAll], Violation::FastDisabled(14)),
        (PLAIN, vec![Message::HaveNone], Violation::FastDisabled(15)),
        (PLAIN, vec![Message::Reject(span(block(0, 0)))], Violation::FastDisabled(16)),
        (PLAIN, vec![Message::AllowedFast(1)], Violation::FastDisabled(17)),
        (
            PLAIN,
            vec![Message::Extended { id: 0, payload: Bytes::from_static(b"de") }],
            Violation::ExtendedDisabled,
        ),
        (FAST, vec![Message::Request(far)], Violation::InvalidRequest),
        (FAST, vec![Message::Request(long)], Violation::InvalidRequest),
        (FAST, vec![Message::Request(none)], Violation::InvalidRequest),
        (FAST, vec![Message::Reject(span(block(0, 0)))], Violation::UnaskedReject),
        (FAST, vec![Message::Reject(far)], Violation::UnaskedReject),
        (FAST, vec![bytes_of(block(0, 0))], Violation::UnaskedBlock),
        (PLAIN, vec![bytes_of(block(0, 0))], Violation::UnaskedBlock),
    ];
    for (features, messages, violation) in table {
        let mut lab = Lab::greeted(features, config(), Some(grid()));
        lab.announce(&Bitfield::new(10));
        lab.hear(&messages);
        assert_eq!(lab.violation(), Some(violation), "{messages:?}");
    }
    let mut lab = Lab::open(FAST);
    lab.peer.handle_input(lab.now, LinkInput::Data(BytesMut::from(&b"\0\0\0\x02\0"[..])));
    assert_eq!(lab.violation(), Some(Violation::MessageLength(0)));
    let mut lab = Lab::open(FAST);
    lab.peer.handle_input(lab.now, LinkInput::Data(BytesMut::from(&b"\x7f\0\0\x02\x07"[..])));
    assert_eq!(lab.violation(), Some(Violation::MessageTooLong(7)));
}

#[test]
fn nothing_happens_after_the_end() {
    let mut lab = Lab::unchoked(ALL);
    assert!(lab.peer.request(lab.now, block(0, 0)));
    lab.peer.have(piece(0));
    lab.peer.close(lab.now);
    assert_eq!(
        lab.said(),
        [Message::Request(span(block(0, 0))), Message::Have(0)],
        "what was said still leaves"
    );
    assert_eq!((lab.end(), lab.links()), (Some(CloseReason::Local), vec![LinkOutput::Close]));
    lab.events.clear();
    assert!(!lab.peer.request(lab.now, block(0, 0)) && lab.peer.has().is_some());
    lab.peer.have(piece(0));
    lab.peer.unchoke();
    lab.peer.grant(lab.now, 5);
    lab.peer.close(lab.now);
    lab.peer.handle_input(lab.now, LinkInput::Data(encoded(&[Message::Choke])));
    lab.peer.handle_input(lab.now, LinkInput::Closed(LinkError::Eof));
    lab.peer.handle_timeout(lab.now + Duration::from_secs(9999));
    assert_eq!((lab.said(), lab.events(), lab.links()), (vec![], vec![], vec![]));
}

#[test]
fn a_link_that_is_gone_ends_it() {
    let mut lab = Lab::unchoked(ALL);
    lab.peer.handle_input(lab.now, LinkInput::Closed(LinkError::Reset));
    assert_eq!(lab.end(), Some(CloseReason::Link(LinkError::Reset)));
    assert_eq!(lab.links(), []);
}
