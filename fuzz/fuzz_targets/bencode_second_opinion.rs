//! Fuzz target: what the strict decoder takes, the crate `bencode-rs` reads as the same value. It is not in the library,
//! because nothing else needs that crate.
#![no_main]

use bencode_rs::Value as Theirs;
use gosh_dl_core::wire::bencode::{Document, Value};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(document) = Document::decode(data) else { return };
    if !is_within_their_limits(document.root(), 0) {
        return;
    }
    let theirs = bencode_rs::parse_all(data).expect("a canonical value is a value");
    assert_eq!(theirs.len(), 1, "one value");
    assert!(is_same(document.root(), &theirs[0]), "{theirs:?}");
});

/// They recurse, and their integers overflow.
fn is_within_their_limits(value: Value<'_>, depth: usize) -> bool {
    let within = |item| is_within_their_limits(item, depth + 1);
    depth < 100
        && value.as_int().is_none_or(|int| int.unsigned_abs() < 1 << 62)
        && value.list().into_iter().flatten().all(within)
        && value.entries().into_iter().flatten().all(|(_, item)| within(item))
}

fn is_same(ours: Value<'_>, theirs: &Theirs) -> bool {
    match theirs {
        Theirs::Integer(int) => ours.as_int() == Some(*int),
        Theirs::ByteString(bytes) => ours.as_bytes() == Some(bytes),
        Theirs::List(list) => ours.list().is_some_and(|items| {
            let items: Vec<_> = items.collect();
            items.len() == list.len() && items.into_iter().zip(list).all(|(ours, theirs)| is_same(ours, theirs))
        }),
        Theirs::Dictionary(pairs) => ours.entries().is_some_and(|entries| {
            let entries: Vec<_> = entries.collect();
            entries.len() == pairs.len()
                && entries.into_iter().zip(pairs).all(|((key, item), (their_key, their_item))| {
                    *their_key == Theirs::ByteString(key.to_vec()) && is_same(item, their_item)
                })
        }),
    }
}
