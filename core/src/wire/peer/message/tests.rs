//! Tests of messages: their bytes, their lengths, and cutting.

use super::*;
use proptest::prelude::*;

fn encoded(message: &Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.to_vec()
}

/// All messages of a stream that is cut into parts of these lengths, again and again, and how it ended.
fn decoded(stream: &[u8], cuts: &[usize]) -> (Vec<Message>, Option<MessageError>) {
    let (mut decoder, mut messages, mut rest) = (MessageDecoder::default(), Vec::new(), stream);
    for cut in cuts.iter().cycle() {
        let (part, after) = rest.split_at((*cut).clamp(1, rest.len().max(1)).min(rest.len()));
        let mut input = Bytes::copy_from_slice(part);
        rest = after;
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(input.is_empty(), "what was not decoded is kept by the decoder");
        if rest.is_empty() {
            break;
        }
    }
    (messages, None)
}

fn message() -> impl Strategy<Value = Message> {
    let span = || {
        (any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(index, begin, len)| Span { index, begin, len })
    };
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from);
    prop_oneof![
        Just(Message::KeepAlive),
        Just(Message::Choke),
        Just(Message::Unchoke),
        Just(Message::Interested),
        Just(Message::NotInterested),
        any::<u32>().prop_map(Message::Have),
        bytes(200).prop_map(Message::Bitfield),
        span().prop_map(Message::Request),
        (any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 1..20_000))
            .prop_map(|(index, begin, data)| Message::Piece { index, begin, data: Bytes::from(data).into() }),
        span().prop_map(Message::Cancel),
        any::<u16>().prop_map(Message::Port),
        any::<u32>().prop_map(Message::Suggest),
        Just(Message::HaveAll),
        Just(Message::HaveNone),
        span().prop_map(Message::Reject),
        any::<u32>().prop_map(Message::AllowedFast),
        (any::<u8>(), bytes(200)).prop_map(|(id, payload)| Message::Extended { id, payload }),
        (21u8..).prop_map(Message::Unknown),
    ]
}

#[test]
fn every_message_has_the_bytes_of_its_specification() {
    let span = Span { index: 1, begin: 2, len: 3 };
    let data: BlockData = Bytes::from_static(b"abc").into();
    let table: [(Message, &[u8]); 18] = [
        (Message::KeepAlive, b"\0\0\0\0"),
        (Message::Choke, b"\0\0\0\x01\0"),
        (Message::Unchoke, b"\0\0\0\x01\x01"),
        (Message::Interested, b"\0\0\0\x01\x02"),
        (Message::NotInterested, b"\0\0\0\x01\x03"),
        (Message::Have(258), b"\0\0\0\x05\x04\0\0\x01\x02"),
        (Message::Bitfield(Bytes::from_static(b"\xf0\x80")), b"\0\0\0\x03\x05\xf0\x80"),
        (Message::Request(span), b"\0\0\0\x0d\x06\0\0\0\x01\0\0\0\x02\0\0\0\x03"),
        (Message::Piece { index: 1, begin: 2, data }, b"\0\0\0\x0c\x07\0\0\0\x01\0\0\0\x02abc"),
        (Message::Cancel(span), b"\0\0\0\x0d\x08\0\0\0\x01\0\0\0\x02\0\0\0\x03"),
        (Message::Port(6881), b"\0\0\0\x03\x09\x1a\xe1"),
        (Message::Suggest(5), b"\0\0\0\x05\x0d\0\0\0\x05"),
        (Message::HaveAll, b"\0\0\0\x01\x0e"),
        (Message::HaveNone, b"\0\0\0\x01\x0f"),
        (Message::Reject(span), b"\0\0\0\x0d\x10\0\0\0\x01\0\0\0\x02\0\0\0\x03"),
        (Message::AllowedFast(5), b"\0\0\0\x05\x11\0\0\0\x05"),
        (Message::Extended { id: 3, payload: Bytes::from_static(b"de") }, b"\0\0\0\x04\x14\x03de"),
        (Message::Unknown(21), b"\0\0\0\x01\x15"),
    ];
    for (message, bytes) in table {
        assert_eq!(encoded(&message), bytes, "{message:?}");
        assert_eq!(decoded(bytes, &[usize::MAX]), (vec![message], None));
    }
}

#[test]
fn a_wrong_length_is_found_before_the_message_is_there() {
    let table: [(&[u8], MessageError); 11] = [
        (b"\0\0\0\x02\0", MessageError::Length(0)),
        (b"\0\0\0\x04\x04", MessageError::Length(4)),
        (b"\0\0\0\x0c\x06", MessageError::Length(6)),
        (b"\0\0\0\x09\x07", MessageError::Length(7)),
        (b"\0\0\0\x02\x07", MessageError::Length(7)),
        (b"\0\0\0\x02\x09", MessageError::Length(9)),
        (b"\0\0\0\x01\x14", MessageError::Length(20)),
        (b"\0\x02\0\x0a\x07", MessageError::TooLong(7)),
        (b"\0\x04\0\x02\x05", MessageError::TooLong(5)),
        (b"\0\x01\0\x03\x14", MessageError::TooLong(20)),
        (b"\xff\xff\xff\xff\x63", MessageError::TooLong(99)),
    ];
    for (bytes, error) in table {
        for cuts in [[usize::MAX], [1]] {
            assert_eq!(decoded(bytes, &cuts), (Vec::new(), Some(error)), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn the_longest_messages_are_read() {
    let block = Bytes::from(vec![1; MessageDecoder::MAX_BLOCK as usize]);
    let bits = Bytes::from(vec![1; MessageDecoder::MAX_BITFIELD as usize]);
    let payload = Bytes::from(vec![1; MessageDecoder::MAX_EXTENDED as usize]);
    let messages = vec![
        Message::Piece { index: 0, begin: 0, data: block.into() },
        Message::Bitfield(bits),
        Message::Extended { id: 1, payload },
    ];
    let stream: Vec<u8> = messages.iter().flat_map(encoded).collect();
    assert_eq!(decoded(&stream, &[1460, 7]), (messages, None));
}

#[test]
fn what_is_not_known_is_skipped_without_keeping_it() {
    let mut decoder = MessageDecoder::default();
    let mut input = Bytes::from_static(b"\0\x01\0\0\x63");
    assert_eq!(decoder.decode(&mut input), Ok(None));
    for left in (1..=0xffffu32).rev() {
        let mut byte = Bytes::from_static(b"x");
        let message = (left == 1).then_some(Message::Unknown(0x63));
        assert_eq!(decoder.decode(&mut byte), Ok(message));
    }
}

#[test]
fn a_block_within_one_read_is_a_slice_of_it() {
    let stream = Bytes::from(encoded(&Message::Piece {
        index: 0,
        begin: 0,
        data: Bytes::from(vec![3; 16 << 10]).into(),
    }));
    let Ok(Some(Message::Piece { data, .. })) = MessageDecoder::default().decode(&mut stream.clone()) else {
        panic!("no block");
    };
    assert_eq!(data.into_bytes().as_ptr(), stream[13..].as_ptr());
}

#[test]
fn a_block_that_trickles_in_has_few_parts() {
    let len = 16 << 10;
    let stream = encoded(&Message::Piece { index: 0, begin: 0, data: Bytes::from(vec![3; len]).into() });
    for cut in [1, 100, 1460, MIN_PART, 2 * MIN_PART] {
        let (messages, _) = decoded(&stream, &[cut]);
        let [Message::Piece { data, .. }] = &messages[..] else { panic!("{messages:?}") };
        assert!(data.parts().count() <= 2 * len / MIN_PART, "{cut}");
    }
}

/// Which bytes of a stream are payload, where it comes in parts of these lengths.
fn payload(stream: &[u8], cuts: &[usize]) -> Vec<bool> {
    let (mut decoder, mut found, mut rest) = (MessageDecoder::default(), Vec::new(), stream);
    for cut in cuts.iter().cycle() {
        let (part, after) = rest.split_at((*cut).min(rest.len()));
        let at = found.len();
        found.resize(at + part.len(), false);
        for span in decoder.payload(part) {
            assert!(!span.is_empty() && !found[at..][span.clone()].iter().any(|there| *there));
            found[at..][span].fill(true);
        }
        let mut input = Bytes::copy_from_slice(part);
        while decoder.decode(&mut input).unwrap().is_some() {}
        rest = after;
        if rest.is_empty() {
            return found;
        }
    }
    found
}

proptest! {
    #[test]
    fn bytes_of_blocks_and_nothing_else_are_payload_wherever_it_is_cut(
        messages in prop::collection::vec(message(), 1..12),
        cuts in prop::collection::vec(1usize..9000, 1..6),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(encoded).collect();
        let of = |message: &Message| {
            let block = matches!(message, Message::Piece { .. });
            (0..encoded(message).len()).map(move |at| block && at >= 13).collect::<Vec<bool>>()
        };
        prop_assert_eq!(payload(&stream, &cuts), messages.iter().flat_map(of).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_written_is_read_wherever_it_is_cut(
        messages in prop::collection::vec(message(), 0..12),
        cuts in prop::collection::vec(1usize..9000, 1..6),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(encoded).collect();
        prop_assert_eq!(decoded(&stream, &cuts), (messages, None));
    }

    #[test]
    fn noise_is_the_same_wherever_it_is_cut(stream in prop::collection::vec(prop_oneof![3 => Just(0u8), 2 => 0u8..24, 1 => any::<u8>()], 0..300), cut in 1usize..20) {
        prop_assert_eq!(decoded(&stream, &[cut]), decoded(&stream, &[usize::MAX]));
    }
}
