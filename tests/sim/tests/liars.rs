//! One peer among five has wrong bytes and does not know it.

use core::time::Duration;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::EngineConfig;
use gosh_dl_sim::one_file::{OneFile, place};
use gosh_dl_sim::{Content, Station, World};
use std::collections::BTreeSet;
use std::net::IpAddr;

const LEN: u64 = 12 << 20;
/// Long enough that every peer has blocks in each piece.
const PIECE: u32 = 1 << 20;
const BLOCK: u64 = 16 << 10;
const LIAR: u8 = 3;

/// Who was connected at each look until the leecher had everything. The liar's blocks at `wrong` are not right.
/// Says too whether a whole piece was fetched twice.
fn play(seed: u64, wrong: &[u64]) -> (Vec<BTreeSet<u8>>, bool) {
    let mut world = World::new(seed);
    let file = OneFile::new(Content::generated(5, LEN), PIECE);
    let config = EngineConfig::new().seed_ratio(0.0);
    for number in 1..=5 {
        let (station, _) = file.seed(&mut world, number, config.clone(), DownloadOptions::new());
        if number == LIAR {
            world.run_for(Duration::from_secs(2));
            // It has checked its file by now.
            world.act(station, |station: &mut Station, _| {
                for block in wrong {
                    let at = block * BLOCK;
                    station.disk.change(World::DIR, "file", at, &[file.bytes()[at as usize] ^ 1]);
                }
            });
        }
    }
    world.run_for(Duration::from_secs(2));
    let options = (1..=5).map(place).fold(DownloadOptions::new(), DownloadOptions::peer);
    let leecher = file.join(&mut world, 9, config, options.max_download_speed(2_000_000));
    let mut looks = Vec::new();
    while !world.has_completed(leecher.0) {
        world.run_for(Duration::from_millis(20));
        let peers = world.status_of(leecher).peers;
        let number = |address: IpAddr| match address {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => 0,
        };
        looks.push(peers.into_iter().flatten().map(|peer| number(peer.ip)).collect());
        assert!(looks.len() < 50 * 60, "{}", world.report());
    }
    file.assert_fetched(&mut world, leecher.0, Duration::ZERO);
    let downloaded = world.status_of(leecher).torrent_info.expect("it is a torrent").downloaded;
    // What was asked of two in the end is less.
    (looks, downloaded >= LEN + 64 * BLOCK)
}

/// Says whether the liar was thrown out before the end: its piece may be the last to come again.
fn assert_only_the_liar_went(looks: &[BTreeSet<u8>]) -> bool {
    let all = looks.iter().position(|peers| peers.len() == 5).expect("all five were there");
    let met = &looks[all..];
    let honest = |peers: &BTreeSet<u8>| (1..=5).filter(|number| *number != LIAR).all(|n| peers.contains(&n));
    // Whoever has everything is parted with in the end.
    let met = &met[..met.iter().rposition(honest).map_or(0, |last| last + 1)];
    assert!(met.iter().all(honest), "an honest peer went");
    let Some(gone) = met.iter().position(|peers| !peers.contains(&LIAR)) else { return false };
    assert!(met[gone..].iter().all(|peers| !peers.contains(&LIAR)), "the liar came back");
    true
}

#[test]
fn a_liar_that_lies_always_is_thrown_out_and_nobody_else() {
    let wrong: Vec<u64> = (0..LEN / BLOCK).collect();
    for seed in 0..2 {
        let (looks, _) = play(seed, &wrong);
        assert!(assert_only_the_liar_went(&looks), "the liar is thrown out");
    }
}

#[test]
fn a_liar_that_lied_in_one_piece_is_found_by_its_blocks() {
    let wrong: Vec<u64> = (128..192).collect();
    let mut found = 0;
    for seed in 0..6 {
        // The piece may have come from the others.
        let (looks, twice) = play(seed, &wrong);
        if twice && assert_only_the_liar_went(&looks) {
            found += 1;
        }
    }
    assert!(found >= 2, "{found}");
}
