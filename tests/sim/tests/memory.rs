//! What an engine holds in memory does not grow with what it once did.

mod counting;

use core::time::Duration;
use counting::TAKEN;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::DownloadState;
use gosh_dl_sim::{Content, CrashMode, Resource, World};

/// Bytes of an engine that fetched and removed so many downloads, so many times over.
fn engine_after(rounds: u32, downloads: u32) -> usize {
    let mut world = World::new(1);
    for round in 0..rounds {
        let ids: Vec<_> = (0..downloads)
            .map(|number| {
                let url = format!("http://h{number}.example/{round}");
                world.serve(&url, Resource::new(Content::generated(u64::from(number), 100_000)));
                world.add(&url, DownloadOptions::new())
            })
            .collect();
        for id in ids {
            assert_eq!(world.wait_done(id), DownloadState::Completed);
            world.cancel(id, true);
        }
        world.run_for(Duration::from_secs(600));
        assert!(world.list().is_empty());
    }
    // Nothing but the engine goes: no link, file or commit is there any more.
    let before = TAKEN.get().0;
    world.crash(CrashMode::Kill);
    before - TAKEN.get().0
}

#[test]
fn downloads_that_are_removed_leave_nothing_in_memory() {
    let (one, many) = (engine_after(1, 40), engine_after(6, 40));
    assert!(many <= one + one / 100, "{one} bytes after one round, {many} after six");
    assert!(one < 256 << 10, "{one} bytes");
}
