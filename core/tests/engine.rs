//! The engine by its public face: whole lists of outputs, and the rules that every machine keeps.

use bytes::BytesMut;
use gosh_dl_core::base::disk::{DirKey, DiskErrorKind, DiskOk, DiskOp};
use gosh_dl_core::base::store::{StoreError, StoreOp, Table};
use gosh_dl_core::base::{Instant, LinkError, LinkInput};
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{
    Answer, BatchKey, DiskKey, DownloadEvent, DownloadState, Engine, EngineConfig, EngineError, EngineStart,
    Input, LinkKey, Output, QueryKey, ResolveError, SHUTDOWN_TIMEOUT, Token,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const URL: &str = "http://a.example/f";

fn engine_with(config: EngineConfig) -> Engine {
    let start = EngineStart {
        config,
        seed: [7; 32],
        unix_millis: 1_000_000,
        boot_id: None,
        records: Vec::new(),
        note: None,
    };
    Engine::new(NOW, start).expect("the settings are in range")
}

fn engine() -> Engine {
    engine_with(EngineConfig::new().download_dir("/d"))
}

fn add(engine: &mut Engine, url: &str) -> DownloadId {
    engine.add_http(NOW, url, DownloadOptions::new(), Token(0)).expect("nothing is wrong with it")
}

fn add_paused(engine: &mut Engine) -> DownloadId {
    engine.add_http(NOW, URL, paused(), Token(0)).expect("nothing is wrong with it")
}

fn paused() -> DownloadOptions {
    let mut options = DownloadOptions::new();
    options.start_paused = true;
    options
}

fn drain(engine: &mut Engine) -> Vec<Output> {
    std::iter::from_fn(|| engine.poll_output()).collect()
}

/// Lets the store keep everything and the disk refuse everything, until nothing more is asked for.
fn settle(engine: &mut Engine) -> Vec<Output> {
    let mut all = Vec::new();
    loop {
        let outputs = drain(engine);
        if outputs.is_empty() {
            return all;
        }
        for output in &outputs {
            match output {
                Output::Store { batch, .. } => {
                    engine.handle_input(NOW, Input::Stored { batch: *batch, result: Ok(()) });
                }
                Output::Disk { key, op } if op.completes() => {
                    let result = match op {
                        DiskOp::OpenDir { .. } => Ok(DiskOk::Done),
                        DiskOp::Stat { .. } => Ok(DiskOk::Found(None)),
                        _ => Err(DiskErrorKind::Io.into()),
                    };
                    engine.handle_input(NOW, Input::Disk { key: *key, result });
                }
                _ => {}
            }
        }
        all.extend(outputs);
    }
}

fn replies(outputs: &[Output]) -> Vec<(u64, Result<Answer, EngineError>)> {
    let reply = |output: &Output| match output {
        Output::Reply { token, result } => Some((token.0, result.clone())),
        _ => None,
    };
    outputs.iter().filter_map(reply).collect()
}

fn state(engine: &mut Engine, id: DownloadId) -> DownloadState {
    engine.status(NOW, id).expect("it is there").state
}

fn refused(action: &'static str, state: &str) -> Result<Answer, EngineError> {
    Err(EngineError::InvalidState { action, current_state: state.to_owned() })
}

#[test]
fn added_download_is_stored_started_and_connected() {
    let mut engine = engine();
    let id = add(&mut engine, URL);
    let outputs = drain(&mut engine);
    let opens = DiskOp::OpenDir { dir: DirKey(0), path: "/d".into() };
    let expected = [
        Output::Event(DownloadEvent::Added { id }),
        Output::Event(DownloadEvent::StateChanged {
            id,
            old_state: DownloadState::Queued,
            new_state: DownloadState::Connecting,
        }),
        Output::Event(DownloadEvent::Started { id }),
        Output::Disk { key: DiskKey(0), op: opens },
        Output::Resolve { query: QueryKey(0), host: "a.example".into() },
    ];
    assert_eq!(outputs[..5], expected);
    let [Output::Store { batch: BatchKey(0), ops }] = &outputs[5..] else { panic!("{:?}", &outputs[5..]) };
    assert!(matches!(ops[..], [StoreOp::Put { table: Table::Download, .. }]), "{ops:?}");
    engine.handle_input(NOW, Input::Stored { batch: BatchKey(0), result: Ok(()) });
    assert_eq!(drain(&mut engine), [Output::Reply { token: Token(0), result: Ok(Answer::Done) }]);
}

#[test]
fn failing_store_is_told_to_whoever_added() {
    let mut engine = engine();
    add(&mut engine, URL);
    drain(&mut engine);
    engine.handle_input(NOW, Input::Stored { batch: BatchKey(0), result: Err(StoreError::Full) });
    assert_eq!(replies(&drain(&mut engine)), [(0, Err(EngineError::from(StoreError::Full)))]);
}

#[test]
fn removal_that_the_store_failed_to_keep_is_tried_again() {
    let mut engine = engine();
    let id = add_paused(&mut engine);
    settle(&mut engine);
    engine.cancel(NOW, id, false, Token(1));
    drain(&mut engine);
    engine.handle_input(NOW, Input::Stored { batch: BatchKey(1), result: Err(StoreError::Full) });
    drain(&mut engine);
    let due = engine.poll_timeout().expect("it is tried again");
    engine.handle_timeout(due);
    assert!(engine.poll_timeout().is_none_or(|at| at > due), "no progress (I2)");
    let again = drain(&mut engine);
    let [Output::Store { batch: BatchKey(2), ops }] = &again[..] else { panic!("{again:?}") };
    assert!(ops.iter().all(|op| matches!(op, StoreOp::Delete { .. })) && ops.len() == 3, "{ops:?}");
}

#[test]
fn wrong_argument_is_named() {
    let header = |name: &str, value: &str| DownloadOptions::new().header(name, value);
    let cases = [
        ("ftp://a/f", DownloadOptions::new(), "url"),
        ("", DownloadOptions::new(), "url"),
        (URL, DownloadOptions::new().mirror("nonsense"), "mirrors"),
        (URL, DownloadOptions::new().filename(".."), "filename"),
        (URL, header("Bad Name", "x"), "headers"),
        (URL, header("X", "a\r\nb"), "headers"),
        (URL, header("range", "bytes=0-1"), "headers"),
        (URL, DownloadOptions::new().max_connections(0), "max_connections"),
        (URL, DownloadOptions::new().max_connections(257), "max_connections"),
        (URL, DownloadOptions::new().max_download_speed(0), "max_download_speed"),
    ];
    for (url, options, wrong) in cases {
        let mut engine = engine();
        match engine.add_http(NOW, url, options, Token(0)) {
            Err(EngineError::InvalidInput { field, .. }) => assert_eq!(field, wrong, "{url}"),
            other => panic!("{wrong}: {other:?}"),
        }
        assert_eq!(drain(&mut engine), [], "nothing happened");
    }
}

#[test]
fn same_download_twice_is_refused() {
    let mut engine = engine();
    let id = add(&mut engine, URL);
    let again = engine.add_http(NOW, URL, DownloadOptions::new(), Token(1));
    assert_eq!(again, Err(EngineError::AlreadyExists(id.to_string())));
    let elsewhere = DownloadOptions::new().filename("g");
    assert!(engine.add_http(NOW, URL, elsewhere, Token(2)).is_ok());
}

#[test]
fn late_inputs_are_dropped() {
    let mut engine = engine();
    let id = add(&mut engine, URL);
    settle(&mut engine);
    let link = LinkKey::from_u64(77);
    let late = [
        Input::Disk { key: DiskKey(999), result: Ok(DiskOk::Done) },
        Input::Disk { key: DiskKey(0), result: Ok(DiskOk::Done) },
        Input::Stored { batch: BatchKey(999), result: Ok(()) },
        Input::Stored { batch: BatchKey(0), result: Err(StoreError::Full) },
        Input::Resolved { query: QueryKey(999), result: Err(ResolveError::NotFound) },
        Input::Link { link, input: LinkInput::Opened },
        Input::Link { link, input: LinkInput::Secured },
        Input::Link { link, input: LinkInput::Data(BytesMut::from("HTTP/1.1 200 OK\r\n\r\n")) },
        Input::Link { link, input: LinkInput::Sent(5) },
        Input::Link { link, input: LinkInput::Closed(LinkError::Reset) },
    ];
    let before = engine.status(NOW, id);
    for input in late {
        engine.handle_input(NOW, input);
        assert_eq!(drain(&mut engine), []);
    }
    assert_eq!(engine.status(NOW, id), before);
}

#[test]
fn commands_are_answered_in_every_state() {
    let mut engine = engine();
    let id = add_paused(&mut engine);
    settle(&mut engine);
    engine.pause(NOW, id, Token(1));
    assert_eq!(replies(&settle(&mut engine)), [(1, Ok(Answer::Done))], "paused already");
    engine.resume(NOW, id, Token(2));
    assert_eq!(replies(&settle(&mut engine)), [(2, Ok(Answer::Done))]);
    assert_eq!(state(&mut engine, id), DownloadState::Connecting);
    engine.resume(NOW, id, Token(3));
    assert_eq!(replies(&settle(&mut engine)), [(3, Ok(Answer::Done))], "it runs already");
    engine.verify(NOW, id, Token(4));
    assert_eq!(replies(&settle(&mut engine)), [(4, refused("verify", "connecting"))]);
    engine.pause(NOW, id, Token(5));
    engine.pause(NOW, id, Token(6));
    let mut answers = replies(&settle(&mut engine));
    answers.sort_by_key(|(token, _)| *token);
    assert_eq!(answers, [(5, Ok(Answer::Done)), (6, Ok(Answer::Done))]);
    assert_eq!(state(&mut engine, id), DownloadState::Paused);
    engine.cancel(NOW, id, true, Token(7));
    assert_eq!(replies(&settle(&mut engine)), [(7, Ok(Answer::Done))]);
    engine.pause(NOW, id, Token(8));
    engine.resume(NOW, id, Token(9));
    engine.cancel(NOW, id, false, Token(10));
    let gone = || Err(EngineError::NotFound(id.to_string()));
    assert_eq!(replies(&settle(&mut engine)), [(8, gone()), (9, gone()), (10, gone())]);
}

#[test]
fn pause_and_resume_in_one_turn_are_both_answered() {
    let mut engine = engine();
    let id = add(&mut engine, URL);
    engine.pause(NOW, id, Token(1));
    engine.resume(NOW, id, Token(2));
    let answers = replies(&settle(&mut engine));
    let tokens: Vec<u64> = answers.iter().map(|(token, _)| *token).collect();
    assert_eq!(tokens, [0, 1, 2]);
    assert_eq!(state(&mut engine, id), DownloadState::Connecting);
}

#[test]
fn failed_download_can_be_resumed_and_not_paused() {
    let mut engine = engine();
    let id = add(&mut engine, URL);
    settle(&mut engine);
    engine.handle_input(NOW, Input::Resolved { query: QueryKey(0), result: Err(ResolveError::NotFound) });
    settle(&mut engine);
    assert!(matches!(state(&mut engine, id), DownloadState::Error { .. }));
    engine.pause(NOW, id, Token(1));
    assert!(matches!(replies(&settle(&mut engine))[..], [(1, Err(EngineError::InvalidState { .. }))]));
    engine.resume(NOW, id, Token(2));
    assert_eq!(replies(&settle(&mut engine)), [(2, Ok(Answer::Done))]);
}

#[test]
fn shutdown_ends_with_closed() {
    let mut engine = engine();
    add(&mut engine, URL);
    add_paused_elsewhere(&mut engine);
    drain(&mut engine);
    engine.handle_input(NOW, Input::Stored { batch: BatchKey(0), result: Ok(()) });
    engine.shutdown(NOW);
    let refused = engine.add_http(NOW, "http://b/", DownloadOptions::new(), Token(9));
    assert_eq!(refused, Err(EngineError::Shutdown));
    let outputs = settle(&mut engine);
    assert_eq!(outputs.last(), Some(&Output::Closed));
    assert_eq!(outputs.iter().filter(|output| **output == Output::Closed).count(), 1);
    assert_eq!(engine.poll_timeout(), None);
    engine.handle_timeout(NOW + Duration::from_secs(60));
    engine.handle_input(NOW, Input::WallClock { unix_millis: 0 });
    assert_eq!(drain(&mut engine), [], "it is inert");
}

fn add_paused_elsewhere(engine: &mut Engine) {
    engine.add_http(NOW, "http://b.example/g", paused(), Token(1)).expect("nothing is wrong with it");
}

#[test]
fn shutdown_does_not_wait_for_a_dead_store_for_ever() {
    let mut engine = engine();
    add(&mut engine, URL);
    engine.shutdown(NOW);
    assert!(!drain(&mut engine).contains(&Output::Closed));
    let end = NOW + SHUTDOWN_TIMEOUT;
    while let Some(at) = engine.poll_timeout() {
        assert!(at <= end);
        engine.handle_timeout(at);
    }
    assert_eq!(drain(&mut engine).last(), Some(&Output::Closed));
}

#[test]
fn ten_thousand_downloads_wait_while_five_run() {
    let mut engine = engine();
    for n in 0..10_000 {
        add(&mut engine, &format!("http://h{n}.example/f"));
    }
    let outputs = drain(&mut engine);
    let started = |output: &&Output| matches!(output, Output::Event(DownloadEvent::Started { .. }));
    assert_eq!(outputs.iter().filter(started).count(), 5);
    assert_eq!(
        outputs.iter().filter(|output| matches!(output, Output::Disk { .. })).count(),
        1,
        "one directory"
    );
    let stats = engine.global_stats(NOW);
    assert_eq!((stats.num_active, stats.num_waiting), (5, 9_995));
    engine.handle_input(NOW, Input::Disk { key: DiskKey(0), result: Ok(DiskOk::Done) });
    assert_eq!(drain(&mut engine), [], "a turn is about what happened, not about what waits");
    assert!(std::mem::size_of::<DownloadOptions>() < 1024, "kept by each download");
}

// ----- rules -----------------------------------------------------------------------------------------------------------

/// What a driver and a user do, with keys that may be alive or not.
#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Pause(usize),
    Resume(usize),
    Cancel(usize, bool),
    Wait(u16),
    Timeout,
    Stored(u64, bool),
    Disk(u64, bool),
    Resolved(u64, bool),
    Link(u64, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4u8).prop_map(Step::Add),
        1 => (0..4usize).prop_map(Step::Pause),
        1 => (0..4usize).prop_map(Step::Resume),
        1 => (0..4usize, any::<bool>()).prop_map(|(n, delete)| Step::Cancel(n, delete)),
        1 => (0..2000u16).prop_map(Step::Wait),
        2 => Just(Step::Timeout),
        4 => (0..12u64, prop::bool::weighted(0.9)).prop_map(|(key, ok)| Step::Stored(key, ok)),
        4 => (0..20u64, prop::bool::weighted(0.9)).prop_map(|(key, ok)| Step::Disk(key, ok)),
        2 => (0..6u64, prop::bool::weighted(0.9)).prop_map(|(key, ok)| Step::Resolved(key, ok)),
        5 => (0..4u64, 0..6u8).prop_map(|(link, what)| Step::Link(link, what)),
    ]
}

fn link_input(what: u8) -> LinkInput {
    let head = "HTTP/1.1 206 OK\r\nETag: \"a\"\r\nContent-Range: bytes 0-99999/100000\r\n\r\n";
    match what {
        0 | 1 => LinkInput::Opened,
        2 => LinkInput::Data(BytesMut::from(head)),
        3 => LinkInput::Data(BytesMut::from(&[7; 1000][..])),
        4 => LinkInput::Sent(100),
        _ => LinkInput::Closed(LinkError::Reset),
    }
}

/// Makes the steps; `late` drains only at the end.
fn play(steps: &[Step], late: bool) -> Vec<Output> {
    let (mut engine, mut now) = (engine(), NOW);
    let (mut ids, mut outputs) = (Vec::new(), Vec::new());
    for (n, step) in steps.iter().enumerate() {
        let token = Token(n as u64);
        let id = |n: &usize| ids.get(*n).copied().unwrap_or(DownloadId::from_random_bytes([1; 16]));
        match step {
            Step::Add(host) => {
                let url = format!("http://h{host}.example/f");
                ids.extend(engine.add_http(now, &url, DownloadOptions::new(), token));
            }
            Step::Pause(n) => engine.pause(now, id(n), token),
            Step::Resume(n) => engine.resume(now, id(n), token),
            Step::Cancel(n, delete) => engine.cancel(now, id(n), *delete, token),
            Step::Wait(millis) => now += Duration::from_millis((*millis).into()),
            Step::Timeout => {
                now = now.max(engine.poll_timeout().unwrap_or(now));
                engine.handle_timeout(now);
                assert!(engine.poll_timeout().is_none_or(|at| at > now), "no progress (I2)");
            }
            _ => engine.handle_input(now, input(step)),
        }
        if !late {
            outputs.extend(drain(&mut engine));
        }
    }
    outputs.extend(drain(&mut engine));
    outputs
}

fn input(step: &Step) -> Input {
    match *step {
        Step::Stored(key, ok) => {
            Input::Stored { batch: BatchKey(key), result: if ok { Ok(()) } else { Err(StoreError::Full) } }
        }
        Step::Disk(key, ok) => {
            let result = if ok { Ok(DiskOk::Done) } else { Err(DiskErrorKind::Io.into()) };
            Input::Disk { key: DiskKey(key), result }
        }
        Step::Resolved(key, ok) => {
            let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
            let result = if ok { Ok(addresses) } else { Err(ResolveError::NotFound) };
            Input::Resolved { query: QueryKey(key), result }
        }
        Step::Link(link, what) => Input::Link { link: LinkKey::from_u64(link), input: link_input(what) },
        _ => Input::WallClock { unix_millis: 0 },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outputs_depend_on_inputs_alone(steps in vec(step(), 0..120)) {
        let outputs = play(&steps, false);
        prop_assert_eq!(&play(&steps, false), &outputs, "same seed and inputs, same outputs (I7)");
        prop_assert_eq!(&play(&steps, true), &outputs, "draining late changes nothing (I1)");
    }
}
