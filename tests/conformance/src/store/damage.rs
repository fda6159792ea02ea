//! Files that are not what the store wrote.

use super::{Backend, Place, Random, commit, open, put, sorted};
use gosh_dl_core::base::store::{Record, Store, StoreError, Table};
use std::fs;
use std::path::Path;

/// Whoever goes back to an older version is told so, however often it is tried.
pub fn newer_is_refused(backend: &impl Backend) {
    let place = Place::new();
    drop(open(backend, &place.path()));
    if !backend.make_newer(&place.path()) {
        return;
    }
    for _ in 0..2 {
        let error = backend.open(&place.path()).err();
        assert!(matches!(error, Some(StoreError::NewerVersion { found: 99, .. })), "{error:?}");
    }
}

/// Text, zeros, other formats and other people's databases are refused and stay as they are.
pub fn another_kind_is_refused(backend: &impl Backend) {
    let place = Place::new();
    fs::create_dir_all(place.path().parent().unwrap_or(Path::new("/"))).expect("a directory");
    for content in [&b"x"[..], &[0; 4096], &[0xff; 100_000], b"a page of text, \nand no database at all"] {
        fs::write(place.path(), content).expect("a file");
        let error = backend.open(&place.path()).err();
        assert!(matches!(error, Some(StoreError::Corrupt(_))), "{error:?}");
        assert!(read(&place.path()) == content, "the file was written to");
    }
    fs::remove_file(place.path()).expect("a file");
    if backend.make_foreign(&place.path()) {
        let error = backend.open(&place.path()).err();
        assert!(matches!(error, Some(StoreError::Corrupt(_))), "{error:?}");
    }
    let directory = backend.open(place.dir.path()).err();
    assert!(matches!(directory, Some(StoreError::Io(_))), "{directory:?}");
}

/// Flipped bits come out as an answer, whatever it is.
pub fn damage_is_an_error(backend: &impl Backend) {
    let place = Place::new();
    let (whole, _) = filled(backend, &place);
    let damaged = place.dir.path().join("damaged");
    let mut random = Random(11);
    for _ in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(8) {
            // Half of the damage is in the header, where it hurts most.
            let bound = if random.below(2) == 0 { 512 } else { bytes.len() };
            let at = random.below(bound);
            bytes[at] ^= 1 << random.below(8);
        }
        fs::write(&damaged, &bytes).expect("a file");
        let Ok(mut store) = backend.open(&damaged) else { continue };
        let _answer = store.load();
        let _answer = store.commit(&[put(Table::Meta, b"k", b"v")]);
    }
}

/// A store that lost its end is damaged; it is never an older or an empty one.
pub fn truncation_is_noticed(backend: &impl Backend) {
    let place = Place::new();
    let (whole, records) = filled(backend, &place);
    let damaged = place.dir.path().join("damaged");
    let mut random = Random(5);
    let cuts = [1, 100, 512, 4096, 5000, 8192, 65_536, whole.len() / 2, whole.len() - 1];
    for len in cuts.into_iter().chain((0..60).map(|_| 1 + random.below(whole.len() - 1))) {
        fs::write(&damaged, &whole[..len.min(whole.len() - 1)]).expect("a file");
        let answer = backend.open(&damaged).and_then(|mut store: Box<dyn Store>| store.load());
        match answer {
            Err(StoreError::Corrupt(_)) => {}
            // The end may have been of no use.
            Ok(found) => assert_eq!(found.len(), records.len(), "cut at {len}"),
            Err(error) => panic!("cut at {len}: {error:?}"),
        }
    }
}

fn filled(backend: &impl Backend, place: &Place) -> (Vec<u8>, Vec<Record>) {
    let mut store = open(backend, &place.path());
    for number in 0..50_u8 {
        commit(&mut store, &[put(Table::Progress, &[number; 16], &[number; 700])]);
    }
    let records = sorted(&mut store);
    drop(store);
    (read(&place.path()), records)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
