//! Who is connected to whom: one link between two peers, whoever began.

use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::EngineConfig;
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, NodeId, World};

const LEN: u64 = 3_000_000;
/// Bytes a second: half a minute for all.
const SPEED: u64 = 100_000;

/// A slow leecher at `number` that knows these peers.
fn join(world: &mut World, number: u8, has: bool, peers: &[u8]) -> (NodeId, DownloadId) {
    let file = OneFile::new(Content::generated(5, LEN), 64 << 10);
    let options = DownloadOptions::new().max_download_speed(SPEED);
    let options = peers.iter().fold(options, |options, peer| options.peer(place(*peer)));
    let join = if has { OneFile::seed } else { OneFile::join };
    join(&file, world, number, EngineConfig::new(), options)
}

fn connections(world: &mut World, of: (NodeId, DownloadId)) -> u32 {
    world.status_of(of).progress.connections
}

#[test]
fn two_that_connect_to_each_other_at_once_keep_one_link() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let one = join(&mut world, 1, true, &[2]);
        let other = join(&mut world, 2, false, &[1]);
        world.run_for(Duration::from_millis(500));
        for tick in 0..100 {
            world.run_for(Duration::from_millis(200));
            let both = (connections(&mut world, one), connections(&mut world, other));
            assert_eq!(both, (1, 1), "seed {seed}, tick {tick}: {}", world.report());
        }
    }
}
