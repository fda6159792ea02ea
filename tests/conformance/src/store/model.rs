//! A store against a model, with batches as the engine makes them and as it never would.

use super::{Backend, Place, commit, open, put, sorted};
use bytes::Bytes;
use gosh_dl_core::base::store::{MemoryStore, Record, Store, StoreError, StoreOp, Table};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::download::http::HttpSaved;
use gosh_dl_core::engine::record::{DownloadRecord, SavedState, encode_progress};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

/// What happens to a store.
#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<StoreOp>),
    Note(Vec<u8>),
    Reopen,
}

/// Whatever is committed and however often it is opened anew, it keeps what a map would.
pub fn agrees_with_the_model(backend: &impl Backend) {
    let steps = vec(step(), 1..24);
    let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let result = runner.run(&steps, |steps| {
        run(backend, steps);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn run(backend: &impl Backend, steps: Vec<Step>) {
    let place = Place::new();
    let mut store = open(backend, &place.path());
    // A volatile store is the same for all cases.
    let left: Vec<StoreOp> = sorted(&mut store)
        .into_iter()
        .map(|record| StoreOp::Delete { table: record.table, key: record.key.into() })
        .collect();
    commit(&mut store, &left);
    let mut model: Box<dyn Store> = Box::new(MemoryStore::new());
    let mut note = store.load_note().unwrap_or_else(|error| panic!("no note: {error}"));
    for step in steps {
        match step {
            Step::Commit(batch) => {
                commit(&mut store, &batch);
                commit(&mut model, &batch);
            }
            Step::Note(content) => {
                store.save_note(&content).unwrap_or_else(|error| panic!("no note: {error}"));
                note = Some(content);
            }
            Step::Reopen => {
                drop(store);
                store = open(backend, &place.path());
            }
        }
        assert_eq!(sorted(&mut store), sorted(&mut model));
        assert_eq!(store.load_note(), Ok(note.clone()));
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(op(), 0..20).prop_map(Step::Commit),
        1 => vec(any::<u8>(), 0..300).prop_map(Step::Note),
        1 => Just(Step::Reopen),
    ]
}

/// Few keys, so that they are written over and deleted.
fn op() -> impl Strategy<Value = StoreOp> {
    let table = proptest::sample::select(&Table::ALL[..]);
    let len = prop_oneof![3 => Just(16_usize), 1 => Just(1), 1 => Just(64)];
    let key = (0..6_u8, len).prop_map(|(byte, len)| Bytes::from(vec![byte; len]));
    (table, key, proptest::option::weighted(0.7, value())).prop_map(|(table, key, value)| match value {
        Some(value) => StoreOp::Put { table, key, value },
        None => StoreOp::Delete { table, key },
    })
}

/// Records of the engine and anything else.
fn value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        (any::<u8>(), 0..9000_usize).prop_map(|(byte, len)| vec![byte; len]),
        (".{0,40}", any::<u32>()).prop_map(|(text, number)| download(text, number.into()).encode()),
        any::<u64>().prop_map(|total| {
            encode_progress(&HttpSaved { total: Some(total >> 1), ..HttpSaved::default() })
        }),
    ]
    .prop_map(Bytes::from)
}

fn download(text: String, number: u64) -> DownloadRecord {
    let state = match number % 4 {
        0 => SavedState::Queued,
        1 => SavedState::Paused,
        2 => SavedState::Completed,
        _ => SavedState::Error { kind: "network".to_owned(), message: text.clone(), retryable: true },
    };
    DownloadRecord {
        url: format!("http://h/{text}"),
        info_hash: None,
        options: DownloadOptions::new().filename(text),
        state,
        created_at: number,
        completed_at: (number % 4 == 2).then_some(number),
        order: number,
        moving: None,
    }
}

/// A batch is applied in its order.
pub fn the_last_operation_counts(backend: &impl Backend) {
    let place = Place::new();
    let mut store = open(backend, &place.path());
    let delete =
        |key: &'static [u8]| StoreOp::Delete { table: Table::Download, key: Bytes::from_static(key) };
    let put = |key: &[u8], value: &[u8]| put(Table::Download, key, value);
    commit(
        &mut store,
        &[put(b"a", b"1"), put(b"b", b"1"), put(b"a", b"2"), delete(b"b"), delete(b"missing")],
    );
    commit(&mut store, &[]);
    let expected = [Record { table: Table::Download, key: b"a".into(), value: b"2".into() }];
    assert_eq!(sorted(&mut store), expected);
}

/// The newest note is found by whoever opens the store next.
pub fn notes_outlive_the_store(backend: &impl Backend) {
    let place = Place::new();
    for round in 0..4_u8 {
        let mut store = open(backend, &place.path());
        let expected = round.checked_sub(1).map(|before| vec![before; 3]);
        assert_eq!(store.load_note(), Ok(expected));
        assert_eq!(store.save_note(&[round; 1000]), Ok(()));
        assert_eq!(store.save_note(&[round; 3]), Ok(()));
        assert_eq!(store.load_note(), Ok(Some(vec![round; 3])));
    }
}

/// One store has one owner at a time.
pub fn second_opener_is_refused(backend: &impl Backend) {
    let place = Place::new();
    let mut first = open(backend, &place.path());
    for round in 0..3_u8 {
        assert_eq!(backend.open(&place.path()).err(), Some(StoreError::InUse), "round {round}");
        // The refusal took nothing from the owner.
        commit(&mut first, &[put(Table::Download, &[round; 16], b"v")]);
    }
    drop(first);
    assert_eq!(sorted(&mut open(backend, &place.path())).len(), 3);
}
