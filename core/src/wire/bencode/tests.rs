//! Tests of the bencode codec: the rules one by one, then properties against a tree model.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn strict(input: &[u8]) -> Result<(), DecodeError> {
    Document::decode(input).map(|document| assert!(document.canonical()))
}

/// Decodes leniently; `Ok(canonical)`.
fn lax(input: &[u8]) -> Result<bool, DecodeError> {
    Document::decode_lax(input).map(|document| document.canonical())
}

#[test]
fn values_are_views_into_the_input() {
    let input = b"d3:inti-42e4:listl1:ai7ee3:str3:\xff\x00\xfe4:text2:\xc3\xa9e";
    let document = Document::decode(input).unwrap();
    let root = document.root();
    assert_eq!(root.get(b"int").unwrap().as_int(), Some(-42));
    assert_eq!(root.get(b"int").unwrap().as_uint(), None);
    assert_eq!(root.get(b"str").unwrap().as_bytes(), Some(&b"\xff\x00\xfe"[..]));
    assert_eq!(root.get(b"str").unwrap().as_str(), None);
    assert_eq!(root.get(b"text").unwrap().as_str(), Some("é"));
    let list: Vec<_> = root.get(b"list").unwrap().list().unwrap().map(Value::raw).collect();
    assert_eq!(list, [&b"1:a"[..], b"i7e"]);
    let keys: Vec<_> = root.entries().unwrap().map(|(key, _)| key).collect();
    assert_eq!(keys, [&b"int"[..], b"list", b"str", b"text"]);
    assert_eq!(root.raw(), input);
    assert!(root.get(b"none").is_none());
    assert_eq!(document.node_count(), 11);
}

#[test]
fn value_asked_for_what_it_is_not_gives_none() {
    let document = Document::decode(b"l1:1i1eledee").unwrap();
    let values: Vec<_> = document.root().list().unwrap().collect();
    let kinds = |value: &Value<'_>| {
        [
            value.as_int().is_some(),
            value.as_bytes().is_some(),
            value.list().is_some(),
            value.entries().is_some(),
        ]
    };
    let kinds: Vec<_> = values.iter().map(kinds).collect();
    let (yes, no) = (true, false);
    assert_eq!(kinds, [[no, yes, no, no], [yes, no, no, no], [no, no, yes, no], [no, no, no, yes]]);
    assert!(document.root().get(b"1").is_none());
}

#[test]
fn integers_reach_both_ends_of_i64() {
    for value in [0, 1, -1, i64::MAX, i64::MIN] {
        let text = format!("i{value}e");
        assert_eq!(Document::decode(text.as_bytes()).unwrap().root().as_int(), Some(value));
    }
    for text in ["i9223372036854775808e", "i-9223372036854775809e", "i99999999999999999999999e"] {
        assert_eq!(strict(text.as_bytes()), Err(DecodeError::IntegerOverflow(0)), "{text}");
    }
}

#[test]
fn each_rule_is_an_error_of_its_own_at_its_byte() {
    use DecodeError::*;
    let cases: [(&[u8], DecodeError); 32] = [
        (b"", Truncated(0)),
        (b"i1", Truncated(2)),
        (b"i", Truncated(1)),
        (b"i-", Truncated(2)),
        (b"l", Truncated(1)),
        (b"d1:a", Truncated(4)),
        (b"5:abc", Truncated(5)),
        (b"12", Truncated(2)),
        (b"4294967295:", Truncated(11)),
        (b"e", Unexpected(0)),
        (b"x", Unexpected(0)),
        (b"l-e", Unexpected(1)),
        (b"-1:a", Unexpected(0)),
        (b"ie", MalformedInteger(1)),
        (b"i-e", MalformedInteger(2)),
        (b"i+3e", MalformedInteger(1)),
        (b"i1.5e", MalformedInteger(2)),
        (b"i--1e", MalformedInteger(2)),
        (b"i 1e", MalformedInteger(1)),
        (b"1x", MalformedLength(1)),
        (b"4294967296:", LengthOverflow(0)),
        (b"l18446744073709551617:ae", LengthOverflow(1)),
        (b"i03e", LeadingZero(1)),
        (b"i-03e", LeadingZero(2)),
        (b"03:abc", LeadingZero(0)),
        (b"i-0e", NegativeZero(0)),
        (b"di1ei2ee", KeyNotString(1)),
        (b"dle1:ae", KeyNotString(1)),
        (b"d1:ae", MissingValue(4)),
        (b"d1:bi1e1:ai1ee", UnsortedKey(7)),
        (b"d1:ai1e1:ai1ee", DuplicateKey(7)),
        (b"i1ei2e", TrailingBytes(3)),
    ];
    for (input, error) in cases {
        assert_eq!(strict(input), Err(error), "{}", input.escape_ascii());
    }
}

#[test]
fn lax_mode_takes_other_spellings_and_says_so() {
    for input in [&b"i-0e"[..], b"i-03e", b"i003e", b"03:abc", b"00:", b"d1:bi1e1:ai1ee", b"ld1:bi1e1:ai1eee"]
    {
        assert_eq!(lax(input), Ok(false), "{}", input.escape_ascii());
    }
    assert_eq!(lax(b"d1:ai1e1:bi1ee"), Ok(true));
    let document = Document::decode_lax(b"d1:bi-007e1:ai1ee").unwrap();
    assert_eq!(document.root().get(b"b").unwrap().as_int(), Some(-7));
    assert_eq!(document.root().get(b"a").unwrap().as_int(), Some(1));
}

#[test]
fn repeated_key_is_an_error_even_when_lax_and_apart() {
    assert_eq!(lax(b"d1:ai1e1:ai1ee"), Err(DecodeError::DuplicateKey(7)));
    assert_eq!(lax(b"d1:bld1:ale1:bleee1:ai1e1:bi1ee"), Err(DecodeError::DuplicateKey(24)));
    assert_eq!(lax(b"d1:bi1e1:ai1e01:bi1ee"), Err(DecodeError::DuplicateKey(13)), "in another spelling");
}

#[test]
fn prefix_tells_how_much_it_took() {
    let (document, consumed) = Document::decode_prefix(b"d5:piecei0eeDATA", Mode::Strict).unwrap();
    assert_eq!((consumed, document.root().raw()), (12, &b"d5:piecei0ee"[..]));
    assert_eq!(Document::decode_prefix(b"d5:piece", Mode::Lax).map(|_| ()), Err(DecodeError::Truncated(8)));
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| [b"l".repeat(depth), b"e".repeat(depth)].concat();
    assert_eq!(strict(&nested(MAX_DEPTH)), Ok(()));
    assert_eq!(strict(&nested(MAX_DEPTH + 1)), Err(DecodeError::TooDeep(MAX_DEPTH)));
    assert_eq!(strict(&b"l".repeat(1_000_000)), Err(DecodeError::TooDeep(MAX_DEPTH)));
    assert_eq!(strict(&b"d1:a".repeat(1_000_000)), Err(DecodeError::TooDeep(4 * MAX_DEPTH)));
}

#[test]
fn node_count_is_bounded() {
    let list = |items: usize| [&b"l"[..], &b"le".repeat(items), b"e"].concat();
    assert_eq!(strict(&list(MAX_NODES - 1)), Ok(()));
    assert_eq!(strict(&list(MAX_NODES)), Err(DecodeError::TooManyNodes(2 * MAX_NODES - 1)));
}

#[test]
fn encoder_sorts_keys_and_keeps_the_last_of_equal_ones() {
    let encoded = encode(|value| {
        value.dict(|dict| {
            dict.entry(b"b", |value| value.int(1));
            dict.entry(b"a", |value| value.list(|list| list.item(|value| value.str("x"))));
            dict.entry(b"b", |value| value.int(i64::MIN));
            dict.entry(b"", |value| value.raw(b"de"));
        })
    });
    assert_eq!(encoded.escape_ascii().to_string(), "d0:de1:al1:xe1:bi-9223372036854775808ee");
}

/// What a value means, without how it is written.
#[derive(Clone, Debug, PartialEq)]
enum Tree {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Dict(BTreeMap<Vec<u8>, Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    let leaf = prop_oneof![any::<i64>().prop_map(Tree::Int), bytes().prop_map(Tree::Bytes)];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
            prop::collection::btree_map(bytes(), inner, 0..6).prop_map(Tree::Dict),
        ]
    })
}

fn write(tree: &Tree, value: Encoder<'_>, reversed: bool) -> Written {
    match tree {
        Tree::Int(int) => value.int(*int),
        Tree::Bytes(bytes) => value.bytes(bytes),
        Tree::List(items) => value.list(|list| {
            for item in items {
                list.item(|value| write(item, value, reversed));
            }
        }),
        Tree::Dict(entries) => value.dict(|dict| {
            let mut entries: Vec<_> = entries.iter().collect();
            if reversed {
                entries.reverse();
            }
            for (key, item) in entries {
                dict.entry(key, |value| write(item, value, reversed));
            }
        }),
    }
}

fn read(value: Value<'_>) -> Tree {
    if let Some(int) = value.as_int() {
        Tree::Int(int)
    } else if let Some(bytes) = value.as_bytes() {
        Tree::Bytes(bytes.to_vec())
    } else if let Some(list) = value.list() {
        Tree::List(list.map(read).collect())
    } else {
        let entries = value.entries().expect("a value is one of four kinds");
        Tree::Dict(entries.map(|(key, value)| (key.to_vec(), read(value))).collect())
    }
}

/// Bytes that are nearly bencode, so that a mutation often hits a rule.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), prop::sample::select(b"dlie0123:-9\xff".to_vec()), 0..3u8);
    (tree(), prop::collection::vec(edit, 0..4)).prop_map(|(tree, edits)| {
        let mut bytes = encode(|value| write(&tree, value, false));
        for (at, byte, how) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match how {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
            }
        }
        bytes
    })
}

/// The rules for what was decoded, whatever the input was.
fn check_decoded(input: &[u8]) -> Result<(), TestCaseError> {
    let lax = Document::decode_lax(input);
    let strict = Document::decode(input);
    prop_assert_eq!(strict.is_ok(), lax.as_ref().is_ok_and(Document::canonical), "lax takes more and tells");
    if let Ok(document) = &strict {
        let again = encode(|value| write(&read(document.root()), value, false));
        prop_assert_eq!(&again, input, "a canonical value has one spelling");
    }
    if let Ok(document) = &lax {
        prop_assert!(document.node_count() <= input.len() / 2, "memory is bounded by the input");
        let again = encode(|value| write(&read(document.root()), value, false));
        let reread = Document::decode(&again).map(|document| read(document.root()));
        prop_assert_eq!(reread, Ok(read(document.root())), "rewriting keeps the meaning");
    }
    Ok(())
}

proptest! {
    #[test]
    fn round_trip(tree in tree(), tail in prop::collection::vec(any::<u8>(), 0..8)) {
        let mut bytes = encode(|value| write(&tree, value, false));
        prop_assert_eq!(&encode(|value| write(&tree, value, true)), &bytes, "the order of entries is no matter");
        prop_assert_eq!(Document::decode(&bytes).map(|document| read(document.root())), Ok(tree.clone()));
        let length = bytes.len();
        bytes.extend(&tail);
        let (document, consumed) = Document::decode_prefix(&bytes, Mode::Strict).unwrap();
        prop_assert_eq!((read(document.root()), consumed), (tree, length));
    }

    #[test]
    fn every_part_is_a_document_of_its_own(tree in tree()) {
        let bytes = encode(|value| write(&tree, value, false));
        let document = Document::decode(&bytes).unwrap();
        for index in 0..document.node_count() {
            let value = Value { index, ..document.root() };
            let alone = Document::decode(value.raw()).map(|part| read(part.root()));
            prop_assert_eq!(alone, Ok(read(value)));
        }
    }

    #[test]
    fn every_prefix_is_cut_off(tree in tree()) {
        let bytes = encode(|value| write(&tree, value, false));
        for length in 0..bytes.len() {
            prop_assert_eq!(strict(&bytes[..length]), Err(DecodeError::Truncated(length)));
        }
    }

    #[test]
    fn mutations_never_panic_and_keep_the_rules(bytes in mutated()) {
        check_decoded(&bytes)?;
    }

    #[test]
    fn noise_never_panics_and_keeps_the_rules(bytes in prop::collection::vec(
        prop_oneof![prop::sample::select(b"dlie0123:-".to_vec()), any::<u8>()], 0..40)
    ) {
        check_decoded(&bytes)?;
    }
}
