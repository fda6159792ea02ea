//! The same seed gives the same world, to the last bit.

use core::time::Duration;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::EngineConfig;
use gosh_dl_sim::{Behaviour, Content, CrashMode, Cut, End, Refusal, Resource, World};

/// A few downloads, a few faults, a crash: the hash of everything.
fn run(seed: u64) -> u64 {
    let mut world = World::with_config(seed, EngineConfig::new().global_download_limit(Some(3_000_000)));
    for number in 0..4 {
        let first = vec![Refusal::new(503); (number % 2) as usize];
        let cut = Some(Cut { answers: number, after: 300_000, end: End::Reset });
        let resource = Resource::new(Content::generated(number, 3 << 20));
        let url = format!("http://h{number}.example/f");
        world.serve(&url, resource.behave(Behaviour { first, cut, ..Behaviour::default() }));
        world.add(&url, DownloadOptions::new());
    }
    world.run_for(Duration::from_secs(2));
    world.crash(CrashMode::Torn);
    world.restart();
    world.run_for(Duration::from_secs(30));
    world.trace_hash()
}

#[test]
fn equal_seeds_give_equal_traces() {
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn different_seeds_give_different_traces() {
    assert_ne!(run(1), run(2));
}
