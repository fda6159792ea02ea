//! Recordings by their public face: what is refused, what a full one says, and where two runs part.

use gosh_dl_core::base::{Instant, LinkError, LinkInput};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::recording::{Ending, RECORDING_LIMIT, RecordedEngine, RecordingError, Replay};
use gosh_dl_core::engine::{EngineConfig, EngineStart, Input, LinkKey, Token};
use std::time::Duration;

fn start() -> EngineStart {
    EngineStart {
        config: EngineConfig::new(),
        seed: [1; 32],
        unix_millis: 1,
        boot_id: Some([2; 16]),
        records: Vec::new(),
        note: Some(vec![3]),
    }
}

/// An engine that was added `count` downloads, a second apart.
fn run(limit: u64, count: u64) -> RecordedEngine {
    let mut engine = RecordedEngine::recorded_up_to(limit, Instant::ZERO, start()).expect("it starts");
    for number in 0..count {
        let now = Instant::ZERO + Duration::from_secs(number);
        let options = DownloadOptions::new().header("A", "b");
        engine.add_http(now, &format!("http://h/{number}"), options, Token(number)).expect("it is added");
        while engine.poll_output().is_some() {}
    }
    engine
}

fn steps(replay: &mut Replay<'_>) -> Result<u64, RecordingError> {
    let mut steps = 0;
    while replay.step()?.is_some() {
        steps += 1;
    }
    Ok(steps)
}

#[test]
fn a_full_recording_says_so_and_the_engine_goes_on() {
    let mut engine = run(2000, 100);
    assert_eq!(engine.list(Instant::ZERO).len(), 100);
    let file = engine.take_recording();
    assert!(file.len() < 2100, "{} bytes", file.len());
    let mut replay = Replay::new(&file).unwrap();
    steps(&mut replay).unwrap();
    assert_eq!((replay.ending(), replay.has_diverged()), (Some(Ending::Full), false));
    assert!((5..100).contains(&replay.engine().list(Instant::ZERO).len()));
}

#[test]
fn what_came_out_otherwise_is_noticed() {
    let file = run(RECORDING_LIMIT, 40).take_recording();
    let at = file.windows(8).position(|eight| eight == b"http://h").unwrap();
    let mut other = file.clone();
    other[at + 7] = b'g';
    for (file, differs) in [(file, false), (other, true)] {
        let mut replay = Replay::new(&file).unwrap();
        steps(&mut replay).unwrap();
        assert_eq!(replay.has_diverged(), differs);
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    let file = run(RECORDING_LIMIT, 1).take_recording();
    assert_eq!(Replay::new(b"something else").err(), Some(RecordingError::NotARecording));
    assert_eq!(Replay::new(b"gosh-dl recording\n\x07").err(), Some(RecordingError::NewerVersion(7)));
    assert_eq!(Replay::new(&file[..30]).err(), Some(RecordingError::NoStart));
    let mut damaged = file.clone();
    let place = damaged.len() - 60;
    damaged[place..].fill(0xff);
    assert!(Replay::new(&damaged).is_err() || steps(&mut Replay::new(&damaged).unwrap()).is_err());
}

#[test]
fn what_arrives_where_nobody_listens_is_payload() {
    let mut engine = run(RECORDING_LIMIT, 1);
    let input = LinkInput::Data(b"HTTP/1.1 200 OK\r\nSet-Cookie: secret".as_slice().into());
    engine.handle_input(Instant::ZERO, Input::Link { link: LinkKey::from_u64(77), input });
    assert!(!engine.take_recording().windows(6).any(|six| six == b"secret"));
}

#[test]
fn late_inputs_and_every_error_are_kept() {
    let mut engine = run(RECORDING_LIMIT, 1);
    for error in [LinkError::Eof, LinkError::Truncated, LinkError::Io] {
        let input = LinkInput::Closed(error);
        engine.handle_input(Instant::ZERO, Input::Link { link: LinkKey::from_u64(77), input });
    }
    engine.end_recording();
    let file = engine.take_recording();
    let mut replay = Replay::new(&file).unwrap();
    let mut said = Vec::new();
    while let Some(step) = replay.step().unwrap() {
        said.push(step.what);
    }
    assert_eq!(said[2..5], ["link 77.0 Closed(Eof)", "link 77.0 Closed(Truncated)", "link 77.0 Closed(Io)"]);
    assert_eq!(replay.ending(), Some(Ending::Stopped));
}
