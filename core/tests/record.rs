//! What the store keeps: every value comes back as it was, and whatever else is read is refused, not believed.

use gosh_dl_core::base::disk::{AllocationMode, FileIdentity};
use gosh_dl_core::base::{FileName, RangeSet};
use gosh_dl_core::download::http::HttpSaved;
use gosh_dl_core::download::moving::MovingSaved;
use gosh_dl_core::download::target::Part;
use gosh_dl_core::download::{
    ConflictPolicy, DownloadId, DownloadOptions, DownloadPriority, ExpectedChecksum, OnChange,
};
use gosh_dl_core::engine::record::{
    DownloadRecord, Note, RecordError, SavedState, VERSION, decode_id, decode_progress, encode_id,
    encode_progress,
};
use gosh_dl_core::wire::http::Validator;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::path::PathBuf;
use std::time::Duration;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "\\PC{0,12}", Just("3:abc".to_owned())]
}

/// Numbers as lengths and limits are: up to 63 bits.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..10u64, 0..=i64::MAX as u64]
}

fn ranges() -> impl Strategy<Value = RangeSet> {
    vec((any::<u32>(), 1..1_000_000u64), 0..6)
        .prop_map(|parts| parts.into_iter().map(|(at, len)| u64::from(at)..u64::from(at) + len).collect())
}

fn identity() -> impl Strategy<Value = FileIdentity> {
    any::<(u64, u64)>().prop_map(|(device, inode)| FileIdentity { device, inode })
}

fn state() -> impl Strategy<Value = SavedState> {
    prop_oneof![
        Just(SavedState::Queued),
        Just(SavedState::Paused),
        Just(SavedState::Completed),
        (text(), text(), any::<bool>()).prop_map(|(kind, message, retryable)| SavedState::Error {
            kind,
            message,
            retryable
        }),
    ]
}

type Texts = (Option<String>, Option<String>, Option<String>, Option<String>);
type Lists = (Vec<(String, String)>, Vec<String>, Vec<String>);
type Numbers = (Option<u64>, Option<u64>, Option<u32>, Option<u32>);

fn options() -> impl Strategy<Value = DownloadOptions> {
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let lists = (vec((text(), text()), 0..3), vec(text(), 0..3), vec(text(), 0..3));
    let numbers =
        (option::of(number()), option::of(number()), option::of(any::<u32>()), option::of(any::<u32>()));
    let choices = (
        select(vec![
            DownloadPriority::Low,
            DownloadPriority::Normal,
            DownloadPriority::High,
            DownloadPriority::Critical,
        ]),
        option::of(select(vec![AllocationMode::None, AllocationMode::Sparse, AllocationMode::Full])),
        option::of(select(vec![
            ConflictPolicy::Rename,
            ConflictPolicy::Overwrite,
            ConflictPolicy::Skip,
            ConflictPolicy::Fail,
        ])),
        option::of(select(vec![OnChange::Restart, OnChange::Fail])),
        any::<bool>(),
    );
    (texts, lists, numbers, choices).prop_map(|(texts, lists, numbers, choices)| {
        let (priority, allocation, conflict, change, checksum) = choices;
        let mut options = with_values(texts, lists, numbers).priority(priority);
        options.allocation_mode = allocation;
        options.on_conflict = conflict;
        options.on_change = change;
        options.checksum = checksum.then(sum);
        options
    })
}

fn sum() -> ExpectedChecksum {
    "sha-1:da39a3ee5e6b4b0d3255bfef95601890afd80709".parse().expect("it is a checksum")
}

fn with_values(texts: Texts, lists: Lists, numbers: Numbers) -> DownloadOptions {
    let mut options = DownloadOptions::new();
    (options.filename, options.user_agent, options.referer) = (texts.0, texts.1, texts.2);
    options.save_dir = texts.3.map(PathBuf::from);
    (options.headers, options.mirrors) = (lists.0, lists.1);
    options.cookies = (!lists.2.is_empty()).then_some(lists.2);
    (options.max_download_speed, options.max_upload_speed) = (numbers.0, numbers.1);
    options.max_connections = numbers.2.map(|n| n as usize);
    options.deadline = numbers.3.map(|seconds| Duration::from_secs(seconds.into()));
    options
}

fn record() -> impl Strategy<Value = DownloadRecord> {
    (text(), options(), state(), number(), option::of(number()), number()).prop_map(
        |(url, options, state, created_at, completed_at, order)| DownloadRecord {
            url,
            info_hash: None,
            options,
            state,
            created_at,
            completed_at,
            order,
            moving: (created_at % 2 == 0).then(|| MovingSaved::new("/elsewhere".into())),
        },
    )
}

fn file_name() -> impl Strategy<Value = FileName> {
    prop_oneof!["[a-z]{1,8}(\\.[a-z]{1,3})?", "[a-zé]{230,240}", text()]
        .prop_filter_map("a name must be possible", |text| FileName::sanitise(&text))
}

fn part() -> impl Strategy<Value = Part> {
    (file_name(), 0..3u32, option::of(identity()), ranges(), any::<bool>()).prop_map(
        |(name, number, identity, durable, finalizing)| {
            let named = if number == 0 { name.clone() } else { name.numbered(number) };
            Part { part_name: named.partial(), final_name: name, identity, durable, finalizing }
        },
    )
}

fn validator() -> impl Strategy<Value = Validator> {
    (option::of(text()), option::of(text()))
        .prop_map(|(etag, last_modified)| Validator { etag, last_modified })
}

/// A mirror's validator; one that says nothing is none.
fn mirrors() -> impl Strategy<Value = Vec<Option<Validator>>> {
    vec(option::of(validator().prop_filter("it says something", |v| *v != Validator::default())), 0..4)
}

fn saved() -> impl Strategy<Value = HttpSaved> {
    (option::of(number()), option::of(validator()), mirrors(), option::of(part()))
        .prop_map(|(total, validator, validators, part)| HttpSaved { total, validator, validators, part })
}

fn note() -> impl Strategy<Value = Note> {
    let id = any::<[u8; 16]>().prop_map(DownloadId::from_random_bytes);
    (any::<[u8; 16]>(), vec((id, identity(), ranges()), 0..4))
        .prop_map(|(boot_id, written)| Note { boot_id, written })
}

/// Reads the bytes as everything; whatever is in them, this ends without a panic.
fn read_all(bytes: &[u8]) {
    let _ = DownloadRecord::decode(bytes);
    let _ = decode_progress(bytes);
    let _ = Note::decode(bytes);
}

/// Changes some bytes, as a bad disk does.
fn mutate(mut bytes: Vec<u8>, at: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (index, byte) in at {
        let index = index.index(bytes.len());
        bytes[index] = *byte;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn download_comes_back_as_it_was(record in record()) {
        prop_assert_eq!(DownloadRecord::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn progress_comes_back_as_it_was(saved in saved()) {
        prop_assert_eq!(decode_progress(&encode_progress(&saved)), Ok(saved));
    }

    #[test]
    fn note_comes_back_as_it_was(note in note()) {
        prop_assert_eq!(Note::decode(&note.encode()), Ok(note));
    }

    #[test]
    fn id_comes_back_as_it_was(bytes: [u8; 16], other in vec(any::<u8>(), 0..40)) {
        let id = DownloadId::from_random_bytes(bytes);
        prop_assert_eq!(decode_id(&encode_id(id)), Some(id));
        prop_assert_eq!(decode_id(&other).is_some(), other.len() == 16);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn damaged_records_are_read_without_a_panic(
        record in record(),
        saved in saved(),
        note in note(),
        at in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for bytes in [record.encode(), encode_progress(&saved), note.encode()] {
            let keep = cut.index(bytes.len());
            read_all(&bytes[..keep]);
            prop_assert_eq!(Note::decode(&bytes[..keep]), Err(RecordError::Malformed));
            read_all(&mutate(bytes, &at));
        }
    }

    #[test]
    fn names_are_safe_or_refused(name in "[./a\\\\\u{0}:-]{0,6}", part in "[./a\\\\\u{0}]{0,6}(\\.part)?") {
        let bytes = progress_with_names(&name, &part);
        if let Ok(saved) = decode_progress(&bytes) {
            let part = saved.part.expect("it has one");
            prop_assert_eq!(FileName::new(part.final_name.as_str()), Some(part.final_name));
            prop_assert_eq!(FileName::new(part.part_name.as_str()), Some(part.part_name));
        }
    }
}

fn progress_with_names(name: &str, part: &str) -> Vec<u8> {
    let dict = format!(
        "d7:durable0:10:finalizingi0e10:final name{}:{name}9:part name{}:{part}1:vi1e10:validatorslee",
        name.len(),
        part.len()
    );
    dict.into_bytes()
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    assert!(decode_progress(&progress_with_names("f", "f.part")).is_ok(), "so the rest is well-formed");
    for name in ["", ".", "..", "a/b", "/etc/passwd", "../a", "a\0b"] {
        let refused = decode_progress(&progress_with_names(name, "f.part"));
        assert_eq!(refused, Err(RecordError::Key("final name")), "{name:?}");
        let refused = decode_progress(&progress_with_names("f", &format!("{name}.part")));
        assert_eq!(refused, Err(RecordError::Key("part name")), "{name:?}");
    }
    assert_eq!(decode_progress(&progress_with_names("f", "f")), Err(RecordError::Key("part name")));
}

#[test]
fn newer_version_is_refused() {
    let newer = u32::try_from(VERSION + 1).expect("versions are small");
    let bytes = format!("d1:vi{newer}ee").into_bytes();
    let expected = RecordError::NewerVersion(newer);
    assert_eq!(DownloadRecord::decode(&bytes), Err(expected.clone()));
    assert_eq!(decode_progress(&bytes), Err(expected.clone()));
    assert_eq!(Note::decode(&bytes), Err(expected));
    for version in ["d1:vi0ee", "d1:vi-1ee", "d1:v1:1e", "de"] {
        assert_eq!(Note::decode(version.as_bytes()), Err(RecordError::Key("v")), "{version}");
    }
}

#[test]
fn unknown_keys_are_ignored() {
    let bytes = b"d4:boot16:0123456789abcdef6:future4:soon1:vi1e7:writtenlee";
    let note = Note { boot_id: *b"0123456789abcdef", written: Vec::new() };
    assert_eq!(Note::decode(bytes), Ok(note));
}
