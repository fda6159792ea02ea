//! Digests: a file that does not have its own is never reported as complete.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use gosh_dl_core::base::disk::HashAlgorithm;
use gosh_dl_core::download::{DownloadId, DownloadOptions, ExpectedChecksum};
use gosh_dl_core::engine::{DownloadState, EngineError, ProtocolErrorKind};
use gosh_dl_sim::{Behaviour, Content, Ranges, Resource, World};

const URL: &str = "http://a.example/file.bin";
const LEN: u64 = 6 << 20;

fn content() -> Content {
    Content::generated(1, LEN)
}

fn sum(content: &Content, algorithm: HashAlgorithm) -> ExpectedChecksum {
    content.checksum(algorithm).parse().unwrap()
}

fn world() -> World {
    let mut world = World::new(6);
    world.serve(URL, Resource::new(content())).profile.down_rate = Some(1_000_000);
    world
}

fn complete() -> (World, DownloadId) {
    let mut world = world();
    let options = DownloadOptions::new().checksum(sum(&content(), HashAlgorithm::Sha256));
    let id = world.add(URL, options);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    (world, id)
}

#[test]
fn right_digest_completes() {
    for algorithm in [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
        let mut world = world();
        let id = world.add(URL, DownloadOptions::new().checksum(sum(&content(), algorithm)));
        assert_eq!(world.wait_done(id), DownloadState::Completed, "{algorithm}");
    }
}

#[test]
fn wrong_digest_fails_and_leaves_no_file_of_that_name() {
    let mut world = world();
    let other = sum(&Content::generated(2, LEN), HashAlgorithm::Sha256);
    let id = world.add(URL, DownloadOptions::new().checksum(other));
    assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: false, .. }));
    let mismatch = ProtocolErrorKind::HashMismatch;
    let error = world.failure(id).unwrap();
    assert!(matches!(error, EngineError::Protocol { kind, .. } if *kind == mismatch), "{error:?}");
    assert_eq!(world.file("file.bin"), None);
}

#[test]
fn digest_of_data_that_arrives_in_order_is_taken_from_memory() {
    let mut world = World::new(6);
    let behaviour = Behaviour { ranges: Ranges::None, ..Behaviour::default() };
    world.serve(URL, Resource::new(content()).behave(behaviour)).rate = Some(5_000_000);
    let id = world.add(URL, DownloadOptions::new().checksum(sum(&content(), HashAlgorithm::Sha256)));
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    assert!(world.disk.bytes_read <= LEN / 10, "{} bytes read back", world.disk.bytes_read);
}

#[test]
fn sound_file_verifies() {
    let (mut world, id) = complete();
    let report = world.verify(id).unwrap();
    assert!(report.valid, "{report:?}");
    assert!(report.bad_ranges.is_empty());
}

#[test]
fn damaged_file_does_not_verify_and_is_repaired() {
    let damages: [fn(&mut World); 3] = [
        |world| world.disk.change(World::DIR, "file.bin", 3_000_000, b"rot"),
        |world| world.disk.truncate(World::DIR, "file.bin", 1000),
        |world| world.disk.delete(World::DIR, "file.bin"),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let (mut world, id) = complete();
        damage(&mut world);
        let report = world.verify(id).unwrap();
        assert!(!report.valid && !report.bad_ranges.is_empty(), "damage {number}: {report:?}");
        let report = world.repair(id).unwrap();
        assert!(!report.valid, "damage {number}: the report is from before the repair");
        assert_eq!(world.wait_done(id), DownloadState::Completed, "damage {number}");
        let sound = world.run_until(|world| world.file("file.bin").is_some(), Duration::from_secs(600));
        assert!(sound, "damage {number}");
        assert_eq!(content().first_mismatch(0, &world.file("file.bin").unwrap()), None, "damage {number}");
        assert!(world.verify(id).unwrap().valid, "damage {number}");
    }
}

#[test]
fn repair_of_a_sound_file_fetches_nothing() {
    let (mut world, id) = complete();
    let requests = world.log("a.example").requests.len();
    assert!(world.repair(id).unwrap().valid);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.log("a.example").requests.len(), requests);
    assert_eq!(world.state(id), DownloadState::Completed);
}

#[test]
fn unfinished_download_cannot_be_verified() {
    let mut world = world();
    let id = world.add(URL, DownloadOptions::new());
    world.run_for(Duration::from_millis(500));
    let error = world.verify(id).unwrap_err();
    assert!(matches!(error, EngineError::InvalidState { .. }), "{error:?}");
}
