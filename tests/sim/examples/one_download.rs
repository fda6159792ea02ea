//! Simulates a download: an origin that resets connections, a power cut in the middle, and a disk that forgets.

use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::DownloadState;
use gosh_dl_sim::{Behaviour, Content, CrashMode, Cut, End, Resource, World};
use std::time::Duration;

fn main() {
    let cut = Some(Cut::always(300_000, End::Reset));
    let behaviour = Behaviour { cut, ..Behaviour::default() };
    let mut world = World::new(42);
    let url = "http://origin.example/file.bin";
    world.serve(url, Resource::new(Content::generated(1, 4 << 20)).behave(behaviour)).rate = Some(2_000_000);

    let id = world.add(url, DownloadOptions::new());
    world.run_for(Duration::from_secs(1));
    world.crash(CrashMode::Torn);
    world.restart();

    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert_eq!(world.file("file.bin").map(|file| file.len()), Some(4 << 20));
    let report = format!("{:?} virtual, trace hash: {:016x}\n", world.now(), world.trace_hash());
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes()).expect("somebody reads");
}
