//! Disks and stores that are full, broken, slow or read-only: no failure is ever reported as success.

use core::time::Duration;
use gosh_dl_core::base::Instant;
use gosh_dl_core::base::disk::{AllocationMode, DiskErrorKind};
use gosh_dl_core::base::store::StoreError;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadState, EngineError, StorageErrorKind};
use gosh_dl_sim::{Content, CrashMode, Latency, OpClass, Resource, World};

const URL: &str = "http://a.example/file.bin";
const MIB: u64 = 1 << 20;

fn world() -> World {
    let mut world = World::new(10);
    world.serve(URL, Resource::new(Content::generated(1, 8 * MIB))).rate = Some(4_000_000);
    world
}

fn add(world: &mut World) -> DownloadId {
    world.add(URL, DownloadOptions::new())
}

fn storage_kind(world: &World, id: DownloadId) -> StorageErrorKind {
    match world.failure(id) {
        Some(EngineError::Storage { kind, .. }) => *kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn full_disk_is_an_error_and_resumes_when_there_is_room() {
    for mode in [AllocationMode::None, AllocationMode::Sparse, AllocationMode::Full] {
        let mut world = world();
        world.disk.capacity = Some(3 * MIB);
        let id = world.add(URL, DownloadOptions::new().allocation_mode(mode));
        assert!(matches!(world.wait_done(id), DownloadState::Error { retryable: true, .. }), "{mode:?}");
        assert_eq!(storage_kind(&world, id), StorageErrorKind::DiskFull, "{mode:?}");
        assert_eq!(world.file("file.bin"), None);
        world.disk.heal();
        world.resume(id);
        assert_eq!(world.wait_done(id), DownloadState::Completed, "{mode:?}");
    }
}

#[test]
fn full_allocation_finds_a_full_disk_before_anything_is_fetched() {
    let mut world = world();
    world.disk.capacity = Some(3 * MIB);
    let id = world.add(URL, DownloadOptions::new().allocation_mode(AllocationMode::Full));
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
    assert_eq!(world.disk.bytes_written, 0);
}

#[test]
fn every_failing_operation_fails_the_download_or_is_harmless_and_it_resumes() {
    let classes = [
        OpClass::OpenDir,
        OpClass::Stat,
        OpClass::Open,
        OpClass::Resize,
        OpClass::Write,
        OpClass::Sync,
        OpClass::SyncDir,
        OpClass::Rename,
    ];
    for class in classes {
        for skip in 0..4 {
            for kind in [DiskErrorKind::Io, DiskErrorKind::PermissionDenied] {
                let mut world = world();
                world.disk.fail(class, skip, 1, kind);
                let id = add(&mut world);
                // Completing is checked against the origin and the disk by the world itself.
                let state = world.wait_done(id);
                let ended = matches!(state, DownloadState::Completed | DownloadState::Error { .. });
                assert!(ended, "{class:?} {skip} {kind:?}: {state:?}");
                if state != DownloadState::Completed {
                    world.resume(id);
                    let state = world.wait_done(id);
                    assert_eq!(state, DownloadState::Completed, "{class:?} {skip} {kind:?}");
                }
            }
        }
    }
}

#[test]
fn failed_sync_is_never_trusted_again() {
    for skip in 0..3 {
        let mut world = world();
        world.disk.fail(OpClass::Sync, skip, 1, DiskErrorKind::Io);
        let id = add(&mut world);
        world.wait_done(id);
        world.crash(CrashMode::PowerCut);
        world.restart();
        world.resume(id);
        assert_eq!(world.wait_done(id), DownloadState::Completed, "after {skip} syncs");
        // What the power cut left is what was promised.
        world.crash(CrashMode::PowerCut);
        let content = Content::generated(1, 8 * MIB);
        assert_eq!(content.first_mismatch(0, &world.file("file.bin").unwrap()), None, "after {skip} syncs");
    }
}

#[test]
fn read_only_disk_is_an_error() {
    let mut world = world();
    world.disk.read_only = true;
    let id = add(&mut world);
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
    assert_eq!(storage_kind(&world, id), StorageErrorKind::PermissionDenied);
}

#[test]
fn disk_that_becomes_read_only_midway_is_an_error() {
    let mut world = world();
    let id = add(&mut world);
    world.run_for(Duration::from_secs(1));
    world.disk.read_only = true;
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
    world.disk.heal();
    world.resume(id);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn part_that_another_process_has_locked_is_left_alone() {
    let mut world = world();
    let id = add(&mut world);
    world.run_for(Duration::from_secs(1));
    let token = world.pause(id);
    world.wait_reply(token).unwrap();
    world.crash(CrashMode::Kill);
    world.disk.lock(World::DIR, "file.bin.part", true);
    let before = world.file("file.bin.part");
    world.restart();
    world.resume(id);
    assert!(matches!(world.wait_done(id), DownloadState::Error { .. }));
    assert_eq!(storage_kind(&world, id), StorageErrorKind::InUse);
    assert_eq!(world.file("file.bin.part"), before);
    world.disk.lock(World::DIR, "file.bin.part", false);
    world.resume(id);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
}

#[test]
fn very_slow_disk_only_takes_longer() {
    for class in [OpClass::Open, OpClass::Write, OpClass::Sync, OpClass::SyncDir, OpClass::Rename] {
        let mut world = world();
        world.disk.slow(class, Latency::millis(3000, 10_000));
        assert_eq!(world.fetch(URL), DownloadState::Completed, "{class:?}");
        assert!(world.now() < Instant::ZERO + Duration::from_secs(400), "{class:?}: {:?}", world.now());
    }
}

#[test]
fn failing_store_is_never_silent() {
    for error in [StoreError::Full, StoreError::Io("broken".to_owned())] {
        let mut world = world();
        world.store.fail(0, u64::MAX, error);
        // Either the addition fails, or the download does; it must not end as if it were recorded.
        let id = add(&mut world);
        world.run_for(Duration::from_secs(60));
        let status = world.status(id);
        assert!(status.is_none_or(|status| status.state != DownloadState::Completed));
    }
}

#[test]
fn store_that_recovers_lets_the_download_complete() {
    let mut world = world();
    let id = add(&mut world);
    world.run_for(Duration::from_millis(500));
    world.store.fail(0, 2, StoreError::Full);
    if world.wait_done(id) != DownloadState::Completed {
        world.resume(id);
        assert_eq!(world.wait_done(id), DownloadState::Completed);
    }
    world.run_for(Duration::from_secs(10));
    world.crash(CrashMode::PowerCut);
    world.restart();
    assert_eq!(world.state(id), DownloadState::Completed);
}

#[test]
fn damaged_or_newer_state_is_refused_and_not_replaced() {
    let mut world = world();
    let id = add(&mut world);
    assert_eq!(world.wait_done(id), DownloadState::Completed);
    world.run_for(Duration::from_secs(10));
    world.crash(CrashMode::Kill);
    let sound = world.store.records().clone();
    for ((table, key), value) in &sound {
        for damaged in [Vec::new(), value[..value.len() / 2].to_vec(), vec![0xff; value.len().max(4)]] {
            let record = (*table, key.clone());
            world.store.records_mut().insert(record.clone(), damaged.clone());
            // A start that succeeds must not panic and must leave the others; most often it is refused.
            if world.try_restart().is_ok() {
                world.run_for(Duration::from_secs(1));
                world.crash(CrashMode::Kill);
            }
            *world.store.records_mut() = sound.clone();
        }
    }
    world.restart();
    assert_eq!(world.state(id), DownloadState::Completed);
}
