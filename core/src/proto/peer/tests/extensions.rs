//! Tests of the extension protocol and what is said by it (BEP 9, 10, 11, 21, 54).

use super::*;

const EXTENDED: Features = Features { extended: true, fast: false, dht: false };

fn extended(id: u8, payload: &'static [u8]) -> Message {
    Message::Extended { id, payload: Bytes::from_static(payload) }
}

fn introduction(message: &Message) -> ExtensionHandshake {
    let Message::Extended { id: 0, payload } = message else { panic!("{message:?}") };
    ExtensionHandshake::decode(payload).unwrap()
}

/// What libtorrent would say of itself, and the numbers that it wants.
fn theirs() -> Message {
    let said = ExtensionHandshake {
        ids: [Some(12), Some(11), Some(17), Some(13)],
        client: Some("their client".to_owned()),
        listen_port: Some(51413),
        your_ip: Some([203, 0, 113, 5].into()),
        request_queue: Some(3),
        metadata_size: Some(40_000),
        upload_only: None,
    };
    Message::Extended { id: 0, payload: said.encode().into() }
}

#[test]
fn we_say_what_we_can_do_and_not_too_much_of_a_private_torrent() {
    let public = PeerConfig { metadata_size: Some(99), client: "us 1".to_owned(), ..config() };
    let expected = ExtensionHandshake {
        ids: [Some(1), Some(2), Some(3), Some(4)],
        client: Some("us 1".to_owned()),
        listen_port: Some(6881),
        your_ip: Some([192, 0, 2, 9].into()),
        request_queue: Some(500),
        metadata_size: Some(99),
        upload_only: None,
    };
    let private = ExtensionHandshake {
        ids: [None, None, Some(3), Some(4)],
        metadata_size: None,
        upload_only: Some(true),
        ..expected.clone()
    };
    let alone = ExtensionHandshake { ids: [Some(1), None, Some(3), Some(4)], ..expected.clone() };
    let private_config = PeerConfig { private: true, upload_only: true, ..public.clone() };
    let alone_config = PeerConfig { pex: false, ..public.clone() };
    for (config, expected) in [(public, expected), (private_config, private), (alone_config, alone)] {
        let mut lab = Lab::greeted(EXTENDED, config, Some(grid()));
        lab.announce(&Bitfield::new(10));
        assert_eq!(lab.said().iter().map(introduction).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn what_the_peer_says_of_itself_is_kept_and_may_be_said_in_parts() {
    let mut lab = Lab::open(EXTENDED);
    assert_eq!((lab.peer.client(), lab.peer.request_queue()), (None, 250));
    lab.hear(&[theirs()]);
    assert_eq!(lab.events(), [Output::Extended]);
    assert_eq!((lab.peer.client(), lab.peer.request_queue()), (Some("their client"), 3));
    assert_eq!(
        (lab.peer.listen_port(), lab.peer.external_ip()),
        (Some(51413), Some([203, 0, 113, 5].into()))
    );
    assert!(lab.peer.wants_pex() && lab.peer.metadata_size() == Some(40_000));
    lab.hear(&[extended(0, b"d1:md6:ut_pexi0ee11:upload_onlyi1ee")]);
    assert!(!lab.peer.wants_pex() && lab.peer.is_upload_only());
    assert_eq!((lab.peer.client(), lab.peer.metadata_size()), (Some("their client"), Some(40_000)));
    lab.hear(&[extended(0, b"d1:md11:ut_metadatai0eee")]);
    assert_eq!(lab.peer.metadata_size(), None);
}

#[test]
fn no_more_is_asked_for_than_the_peer_keeps() {
    let mut lab = Lab::unchoked(EXTENDED);
    lab.hear(&[theirs()]);
    let asked = (0..5).filter(|index| lab.peer.request(lab.now, block(*index, 0))).count();
    assert_eq!((asked, lab.said().len()), (3, 3));
}

#[test]
fn metadata_is_asked_for_and_comes() {
    let mut lab = Lab::greeted(ALL, config(), None);
    lab.announce(&Bitfield::new(0));
    lab.forget();
    assert!(!lab.peer.request_metadata(0), "it has not said that it gives any");
    lab.hear(&[theirs()]);
    assert!(lab.peer.request_metadata(0) && lab.peer.request_metadata(2));
    assert!(!lab.peer.request_metadata(0) && !lab.peer.request_metadata(3), "asked already, beyond the end");
    let request = |piece| Message::Extended {
        id: 12,
        payload: MetadataMessage::Request { piece }.encode_head().into(),
    };
    assert_eq!(lab.said(), [request(0), request(2)]);
    lab.forget();

    let data = MetadataMessage::Data { piece: 2, total_size: 40_000, data: vec![5; 40_000 - 32_768].into() };
    let payload = [data.encode_head(), vec![5; 40_000 - 32_768]].concat().into();
    let reject = MetadataMessage::Reject { piece: 0 };
    let rejection = Message::Extended { id: 1, payload: reject.encode_head().into() };
    let data_message = Message::Extended { id: 1, payload };
    lab.hear(&[data_message.clone(), rejection.clone(), data_message, rejection]);
    assert_eq!(lab.events(), [Output::Metadata(data), Output::Metadata(reject)], "once each");
    assert!(lab.peer.request_metadata(2));
    lab.hear(&[extended(1, b"d8:msg_typei1e5:piecei2eeshort")]);
    assert_eq!(lab.violation(), Some(Violation::MalformedMetadata));
}

#[test]
fn metadata_is_given_to_those_who_ask() {
    let config = PeerConfig { metadata_size: Some(20_000), ..config() };
    let mut lab = Lab::greeted(ALL, config, Some(grid()));
    lab.announce(&Bitfield::new(10));
    let request =
        |piece| Message::Extended { id: 1, payload: MetadataMessage::Request { piece }.encode_head().into() };
    lab.hear(&[Message::HaveNone, request(0)]);
    lab.forget();
    lab.hear(&[theirs(), request(1), request(2)]);
    let asked = Output::Metadata(MetadataMessage::Request { piece: 1 });
    assert_eq!(lab.events(), [Output::Extended, asked]);
    lab.peer.send_metadata(1, 20_000, &Bytes::from_static(b"bytes"));
    lab.peer.reject_metadata(1);
    let reject =
        |piece| Message::Extended { id: 12, payload: MetadataMessage::Reject { piece }.encode_head().into() };
    let data = extended(12, b"d8:msg_typei1e5:piecei1e10:total_sizei20000eebytes");
    assert_eq!(lab.said(), [reject(2), data, reject(1)]);
}

#[test]
fn without_metadata_every_request_for_it_is_rejected() {
    let mut lab = Lab::open(ALL);
    lab.hear(&[
        theirs(),
        extended(1, b"d8:msg_typei0e5:piecei0ee"),
        extended(1, b"d8:msg_typei7e5:piecei0ee"),
    ]);
    assert_eq!(lab.events(), [Output::Extended]);
    assert_eq!(lab.said(), [extended(12, b"d8:msg_typei2e5:piecei0ee")]);
}

#[test]
fn peers_are_exchanged_but_not_in_a_private_torrent_nor_where_that_is_off() {
    let pex = Pex { added: vec![(remote(), PexFlags::SEED)], dropped: vec![] };
    let cases = [(false, true, ALL), (true, true, ALL), (false, false, ALL), (false, true, FAST)];
    for (private, on, features) in cases {
        let mut lab = Lab::greeted(features, PeerConfig { private, pex: on, ..config() }, Some(grid()));
        lab.announce(&Bitfield::new(10));
        let mut messages = vec![Message::HaveAll];
        if features.extended {
            messages.extend([theirs(), Message::Extended { id: 2, payload: pex.encode().into() }]);
        }
        lab.forget();
        lab.hear(&messages);
        let expected = (on && !private && features.extended).then(|| Output::Pex(pex.clone()));
        assert_eq!(lab.events().into_iter().find(|event| matches!(event, Output::Pex(_))), expected);
        assert_eq!(lab.peer.pex(&pex), expected.is_some());
        let said = Message::Extended { id: 11, payload: pex.encode().into() };
        assert_eq!(lab.said(), expected.map(|_| said).into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_piece_can_be_lost() {
    for features in [EXTENDED, ALL] {
        let mut lab = Lab::unchoked(features);
        assert!(lab.peer.request(lab.now, block(5, 0)) && lab.peer.request(lab.now, block(6, 0)));
        lab.hear(&[extended(3, b"\0\0\0\x05"), extended(3, b"\0\0\0\x05")]);
        // BEP 54: without the Fast extension its requests are lost.
        let lost = (!features.fast).then_some(Output::Rejected(block(5, 0)));
        assert_eq!(lab.peer.in_flight_count(), 2 - lost.iter().count());
        assert_eq!(lab.events(), [Output::DontHave(piece(5))].into_iter().chain(lost).collect::<Vec<_>>());
        assert!(!lab.peer.request(lab.now, block(5, 1)) && !lab.peer.is_seed());
        lab.forget();
        lab.peer.dont_have(piece(2));
        assert_eq!(lab.said(), [], "it has not said that it understands");
        lab.hear(&[theirs()]);
        lab.peer.dont_have(piece(2));
        assert_eq!(lab.said(), [extended(17, b"\0\0\0\x02")]);
    }
}

#[test]
fn who_only_uploads_says_so() {
    let mut lab = Lab::greeted(EXTENDED, config(), Some(grid()));
    lab.announce(&Bitfield::new(10));
    lab.forget();
    lab.peer.upload_only(true);
    let said = lab.said();
    assert_eq!(introduction(&said[0]), ExtensionHandshake { upload_only: Some(true), ..Default::default() });
    lab.hear(&[theirs(), extended(4, b"\x01")]);
    assert!(lab.peer.is_upload_only() && !lab.peer.is_seed());
    lab.peer.upload_only(true);
    assert_eq!(lab.said(), [extended(13, b"\x01")]);
    lab.hear(&[extended(4, b"\x01\x02")]);
    assert_eq!(lab.violation(), Some(Violation::MalformedExtended));
}

#[test]
fn other_settings_are_said_anew() {
    let mut lab = Lab::open(ALL);
    lab.peer.configure(Arc::new(config()));
    assert_eq!(lab.said(), [], "they are the same");
    lab.peer.configure(Arc::new(PeerConfig { private: true, metadata_size: Some(5), ..config() }));
    let said = introduction(&lab.said()[0]);
    assert_eq!(said.ids, [Some(0), Some(0), Some(3), Some(4)]);
    assert_eq!((said.metadata_size, said.upload_only), (None, Some(false)));
}

#[test]
fn malformed_messages_end_it_and_unknown_ones_do_not() {
    let table = [
        (extended(0, b"li1ee"), Some(Violation::MalformedExtension)),
        (extended(1, b"de"), Some(Violation::MalformedMetadata)),
        (extended(2, b"le"), Some(Violation::MalformedPex)),
        (extended(3, b"abc"), Some(Violation::MalformedExtended)),
        (extended(3, b"\0\0\0\x0a"), Some(Violation::NoSuchPiece)),
        (extended(5, b"anything"), None),
        (extended(255, b""), None),
    ];
    for (message, violation) in table {
        let mut lab = Lab::open(ALL);
        lab.hear(&[message]);
        assert_eq!(lab.violation(), violation);
    }
}

#[test]
fn what_was_said_of_pieces_is_understood_when_the_metadata_is_there() {
    let table: Vec<(Vec<Message>, Vec<u32>)> = vec![
        (vec![Message::HaveAll], (0..10).collect()),
        (vec![Message::HaveNone, Message::Have(3)], vec![3]),
        (vec![Message::Have(9), Message::Have(2), extended(3, b"\0\0\0\x09")], vec![2]),
        (vec![Message::Bitfield(Bytes::from_static(&[0x80, 0x40])), Message::Have(1)], vec![0, 1, 9]),
    ];
    for (messages, has) in table {
        let mut lab = Lab::greeted(ALL, config(), None);
        lab.announce(&Bitfield::new(0));
        lab.hear(&messages);
        lab.hear(&[Message::AllowedFast(4), Message::Unchoke, Message::Request(span(block(0, 0)))]);
        assert_eq!(lab.peer.has(), None);
        assert_eq!(lab.said().last(), Some(&Message::Reject(span(block(0, 0)))));
        lab.forget();
        lab.judge.set_pieces(grid());
        lab.peer.set_pieces(lab.now, grid());
        let known = lab.peer.has().unwrap().clone();
        assert_eq!(known.ones().collect::<Vec<_>>(), has);
        assert_eq!(lab.events(), [Output::HasPieces(known), Output::AllowedFast(piece(4))]);
        lab.peer.interested(true);
        assert!(lab.peer.request(lab.now, block(has[0], 0)));
    }
}

#[test]
fn what_was_said_of_pieces_must_fit_the_metadata() {
    let table = [
        (Message::Bitfield(Bytes::from_static(&[0x80])), Violation::MalformedBitfield),
        (Message::Bitfield(Bytes::from_static(&[0x80, 0x20])), Violation::MalformedBitfield),
        (Message::Bitfield(Bytes::from_static(&[0x80, 0, 0])), Violation::MalformedBitfield),
        (Message::Have(16), Violation::NoSuchPiece),
        (Message::AllowedFast(10), Violation::NoSuchPiece),
    ];
    for (message, violation) in table {
        let mut lab = Lab::greeted(ALL, config(), None);
        lab.announce(&Bitfield::new(0));
        lab.hear(&[message]);
        assert_eq!(lab.end(), None);
        lab.peer.set_pieces(lab.now, grid());
        assert_eq!(lab.violation(), Some(violation));
    }
    let mut lab = Lab::greeted(ALL, config(), None);
    lab.hear(&[Message::Have(1 << 21)]);
    assert_eq!(lab.violation(), Some(Violation::NoSuchPiece), "no torrent has so many");
}

#[test]
fn a_dht_node_is_named_where_both_have_one() {
    for (features, said) in [(ALL, vec![Message::Port(6881)]), (FAST, vec![])] {
        let mut lab = Lab::open(features);
        lab.peer.dht_port(6881);
        assert_eq!(lab.said(), said);
    }
    assert_eq!(Extension::ALL.map(Extension::local_id), [1, 2, 3, 4]);
}
