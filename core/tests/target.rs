//! The file of one download by its public face: whole lists of outputs, operation by operation.

use bytes::Bytes;
use gosh_dl_core::base::disk::{
    AllocationMode, Digest, DirKey, DiskError, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity,
    FileKey, FileStat, HashInput, HashKey, OpenMode,
};
use gosh_dl_core::base::{FileName, Instant, RangeSet};
use gosh_dl_core::download::error::DiskAction;
use gosh_dl_core::download::target::{DiskTag, Output, Part, Target, TargetPlan};
use gosh_dl_core::download::{ConflictPolicy, DownloadError, ExpectedChecksum};
use std::time::Duration;

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const LATER: Instant = Instant::from_nanos(2_000_000_000);
const DIR: DirKey = DirKey(7);
/// The first of the target's own keys; with a checksum the digest has it.
const KEYS: u64 = 100;
const FILE: FileKey = FileKey(KEYS);
const FILE_BESIDE_DIGEST: FileKey = FileKey(KEYS + 1);
const HASH: HashKey = HashKey(KEYS);
const OURS: FileIdentity = FileIdentity { device: 1, inode: 11 };
const OTHER: FileIdentity = FileIdentity { device: 1, inode: 99 };
const RIGHT: &str = "md5:0123456789abcdef0123456789abcdef";
const WRONG: &str = "md5:ffffffffffffffffffffffffffffffff";

// ----- arranging -----------------------------------------------------------------------------------------------------

fn plan() -> TargetPlan {
    TargetPlan {
        dir_path: "/d".into(),
        on_conflict: ConflictPolicy::Rename,
        allocation: AllocationMode::None,
        checksum: None,
    }
}

fn on_conflict(policy: ConflictPolicy) -> TargetPlan {
    TargetPlan { on_conflict: policy, ..plan() }
}

fn with_checksum() -> TargetPlan {
    TargetPlan { checksum: Some(checksum(RIGHT)), ..plan() }
}

fn checksum(text: &str) -> ExpectedChecksum {
    text.parse().expect("it is a checksum")
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("it is a safe name")
}

fn ranges(of: impl IntoIterator<Item = std::ops::Range<u64>>) -> RangeSet {
    of.into_iter().collect()
}

/// A part of 10 bytes, of which the first 6 are durable.
fn part() -> Part {
    Part {
        final_name: name("f"),
        part_name: name("f.part"),
        identity: Some(OURS),
        durable: ranges([0..6]),
        finalizing: false,
    }
}

fn finalizing() -> Part {
    Part { durable: ranges([0..10]), finalizing: true, ..part() }
}

/// A target that has a directory and looks whether `f` is free.
fn naming(plan: TargetPlan) -> Target {
    let mut target = Target::new(plan, KEYS);
    target.dir_ready(Ok(DIR));
    target.choose(name("f"));
    drain(&mut target);
    target
}

/// A target whose names the store knows, opening `f.part`.
fn opening(plan: TargetPlan) -> Target {
    let mut target = naming(plan);
    target.handle_disk(DiskTag::Stat, FREE);
    target.recorded();
    drain(&mut target);
    target
}

/// A target with an open, empty file.
fn ready(plan: TargetPlan) -> Target {
    let mut target = opening(plan);
    target.handle_disk(DiskTag::Open, opened(OURS, 0));
    drain(&mut target);
    target
}

/// A target that opens a file of an earlier life.
fn resuming(plan: TargetPlan, part: Part) -> Target {
    let mut target = Target::new(plan, KEYS);
    target.set_total(10);
    let trusted = part.durable.clone();
    target.resume(part, trusted);
    target.dir_ready(Ok(DIR));
    drain(&mut target);
    target
}

/// Writes `text` at `offset` and gives it to the disk.
fn put(target: &mut Target, offset: u64, text: &'static str) {
    target.write(NOW, offset, Bytes::from(text));
    target.handle_timeout(LATER);
}

/// A target of which all 10 bytes are with the operating system, finishing.
fn finishing(plan: TargetPlan) -> Target {
    let mut target = ready(plan);
    put(&mut target, 0, "0123456789");
    target.handle_disk(DiskTag::Write(0), DONE);
    target.finish(10);
    drain(&mut target);
    target
}

/// A target that gives its file the final name.
fn renaming(plan: TargetPlan) -> Target {
    let mut target = finishing(plan);
    target.handle_disk(DiskTag::Sync, DONE);
    target.handle_disk(DiskTag::SyncEntry, DONE);
    target.recorded();
    target.handle_disk(DiskTag::Stat, found(OURS));
    drain(&mut target);
    target
}

fn drain(target: &mut Target) -> Vec<Output> {
    std::iter::from_fn(|| target.poll_output()).collect()
}

/// Tells the end of an operation and returns what follows.
fn after(target: &mut Target, tag: DiskTag, result: DiskResult) -> Vec<Output> {
    target.handle_disk(tag, result);
    drain(target)
}

// ----- results -------------------------------------------------------------------------------------------------------

const DONE: DiskResult = Ok(DiskOk::Done);
const FREE: DiskResult = Ok(DiskOk::Found(None));
const FED: DiskResult = Ok(DiskOk::Hashed(None));

fn stat(identity: FileIdentity, len: u64) -> FileStat {
    FileStat { identity, len, regular: true }
}

fn found(identity: FileIdentity) -> DiskResult {
    Ok(DiskOk::Found(Some(stat(identity, 10))))
}

fn opened(identity: FileIdentity, len: u64) -> DiskResult {
    Ok(DiskOk::Opened { stat: stat(identity, len), local: true })
}

fn digest(text: &str) -> DiskResult {
    Ok(DiskOk::Hashed(Some(checksum(text).digest)))
}

fn failed(kind: DiskErrorKind) -> DiskResult {
    Err(kind.into())
}

// ----- outputs -------------------------------------------------------------------------------------------------------

fn stats(text: &str) -> Output {
    Output::Disk(DiskTag::Stat, DiskOp::Stat { dir: DIR, name: name(text) })
}

fn opens(text: &str, file: FileKey, mode: OpenMode) -> Output {
    Output::Disk(DiskTag::Open, DiskOp::Open { dir: DIR, name: name(text), file, mode })
}

fn creates(text: &str) -> Output {
    opens(text, FILE, OpenMode::CreateNew)
}

fn closes(file: FileKey) -> Output {
    Output::Disk(DiskTag::Open, DiskOp::Close { file })
}

fn writes(number: u32, file: FileKey, offset: u64, text: &'static str) -> Output {
    let data = vec![Bytes::from(text)];
    Output::Disk(DiskTag::Write(number), DiskOp::Write { file, offset, data })
}

fn syncs(file: FileKey) -> Output {
    Output::Disk(DiskTag::Sync, DiskOp::Sync { file })
}

fn syncs_entry() -> Output {
    Output::Disk(DiskTag::SyncEntry, DiskOp::SyncDir { dir: DIR })
}

fn syncs_dir() -> Output {
    Output::Disk(DiskTag::SyncDir, DiskOp::SyncDir { dir: DIR })
}

fn sets_len(file: FileKey, len: u64) -> Output {
    Output::Disk(DiskTag::SetLen, DiskOp::SetLen { file, len })
}

fn renames(to: &str, replace: bool) -> Output {
    let (from, to) = (name("f.part"), name(to));
    Output::Disk(DiskTag::Rename, DiskOp::Rename { dir: DIR, from, to, replace })
}

fn removes(text: &str) -> Output {
    Output::Disk(DiskTag::Remove, DiskOp::Remove { dir: DIR, name: name(text) })
}

fn hashes(input: HashInput, finish: bool) -> Output {
    let algorithm = checksum(RIGHT).algorithm;
    Output::Disk(DiskTag::Hash, DiskOp::Hash { hash: HASH, algorithm, input, finish })
}

fn forgets(hash: HashKey) -> Output {
    Output::Disk(DiskTag::Hash, DiskOp::HashDrop { hash })
}

fn stopped_by(action: DiskAction, path: &str, kind: DiskErrorKind) -> Output {
    let error = DiskError::from(kind);
    Output::Stopped(Some(DownloadError::Disk { action, path: path.into(), error }))
}

fn exists(path: &str) -> Output {
    Output::Stopped(Some(DownloadError::Exists { path: path.into() }))
}

const STOPPED: Output = Output::Stopped(None);

// ----- a new file ----------------------------------------------------------------------------------------------------

#[test]
fn new_file_goes_from_its_name_to_its_final_place() {
    let mut t = Target::new(plan(), KEYS);
    t.choose(name("f"));
    assert_eq!(drain(&mut t), [], "without a directory nothing can be done");
    t.dir_ready(Ok(DIR));
    assert_eq!(drain(&mut t), [stats("f")]);
    assert_eq!(after(&mut t, DiskTag::Stat, FREE), [Output::Record]);
    let reserved = Part { identity: None, durable: RangeSet::new(), ..part() };
    assert_eq!(t.part(), Some(&reserved));
    t.recorded();
    assert_eq!(drain(&mut t), [creates("f.part")]);
    assert_eq!(after(&mut t, DiskTag::Open, opened(OURS, 0)), [Output::Opened]);
    assert!(t.is_local());
    put(&mut t, 0, "0123456789");
    assert_eq!(drain(&mut t), [writes(0, FILE, 0, "0123456789")]);
    t.finish(10);
    assert_eq!(drain(&mut t), [], "the last write is under way");
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [syncs(FILE)]);
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [syncs_entry()], "the name must be durable too");
    assert_eq!(after(&mut t, DiskTag::SyncEntry, DONE), [Output::Durable, Output::Record]);
    assert_eq!(t.part(), Some(&finalizing()));
    t.recorded();
    assert_eq!(drain(&mut t), [stats("f.part")], "it must still be ours");
    assert_eq!(after(&mut t, DiskTag::Stat, found(OURS)), [renames("f", false)]);
    assert_eq!(after(&mut t, DiskTag::Rename, DONE), [syncs_dir()]);
    assert_eq!(after(&mut t, DiskTag::SyncDir, DONE), [closes(FILE), Output::Finished]);
    assert_eq!((t.poll_timeout(), t.backlog()), (None, 0));
}

#[test]
fn bytes_that_come_before_the_file_is_open_are_kept_in_memory() {
    let mut t = opening(plan());
    t.write(NOW, 0, Bytes::from_static(b"early"));
    assert_eq!((drain(&mut t), t.backlog(), t.poll_timeout()), (vec![], 5, None));
    t.handle_disk(DiskTag::Open, opened(OURS, 0));
    assert_eq!(drain(&mut t), [Output::Opened, writes(0, FILE, 0, "early")]);
    t.handle_disk(DiskTag::Write(0), DONE);
    assert_eq!((t.backlog(), t.written()), (0, &ranges([0..5])));
}

#[test]
fn slow_bytes_are_written_after_a_while() {
    let mut t = ready(plan());
    t.write(NOW, 0, Bytes::from_static(b"slow"));
    let due = t.poll_timeout().expect("somebody must write them");
    assert_eq!(due, NOW + Duration::from_millis(50));
    t.handle_timeout(NOW);
    assert_eq!(drain(&mut t), [], "not yet");
    t.handle_timeout(due);
    assert_eq!(drain(&mut t), [writes(0, FILE, 0, "slow")]);
    assert_eq!(t.poll_timeout(), None);
}

#[test]
fn room_is_reserved_before_the_first_write() {
    let mut t = opening(TargetPlan { allocation: AllocationMode::Full, ..plan() });
    t.set_total(10);
    t.write(NOW, 0, Bytes::from_static(b"x"));
    let allocates = DiskOp::Allocate { file: FILE, len: 10, mode: AllocationMode::Full };
    let expected = [Output::Opened, Output::Disk(DiskTag::Allocate, allocates)];
    assert_eq!(after(&mut t, DiskTag::Open, opened(OURS, 0)), expected);
    assert_eq!(after(&mut t, DiskTag::Allocate, DONE), [writes(0, FILE, 0, "x")]);
}

#[test]
fn disk_without_room_to_reserve_ends_it() {
    let mut t = opening(TargetPlan { allocation: AllocationMode::Full, ..plan() });
    t.set_total(10);
    t.handle_disk(DiskTag::Open, opened(OURS, 0));
    drain(&mut t);
    let full = stopped_by(DiskAction::Allocate, "/d/f.part", DiskErrorKind::Full);
    assert_eq!(
        after(&mut t, DiskTag::Allocate, failed(DiskErrorKind::Full)),
        [closes(FILE), stats("f.part")]
    );
    assert_eq!(
        after(&mut t, DiskTag::Stat, found(OURS)),
        [removes("f.part")],
        "an empty file is not left behind"
    );
    assert_eq!(after(&mut t, DiskTag::Remove, DONE), [full]);
}

#[test]
fn empty_file_is_made_synced_and_named_too() {
    let mut t = ready(plan());
    t.finish(0);
    assert_eq!(drain(&mut t), [syncs(FILE)]);
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [syncs_entry()]);
    assert_eq!(after(&mut t, DiskTag::SyncEntry, DONE), [Output::Durable, Output::Record]);
}

// ----- names ---------------------------------------------------------------------------------------------------------

#[test]
fn taken_name_gives_way_to_a_numbered_one() {
    let mut t = naming(plan());
    assert_eq!(after(&mut t, DiskTag::Stat, found(OTHER)), [stats("f.1")]);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OTHER)), [stats("f.2")]);
    assert_eq!(after(&mut t, DiskTag::Stat, FREE), [Output::Record]);
    let names = t.part().map(|part| (part.final_name.clone(), part.part_name.clone()));
    assert_eq!(names, Some((name("f.2"), name("f.2.part"))));
}

#[test]
fn taken_part_gives_way_to_a_numbered_one() {
    let mut t = opening(plan());
    assert_eq!(after(&mut t, DiskTag::Open, failed(DiskErrorKind::Exists)), [stats("f.1")]);
    assert_eq!(after(&mut t, DiskTag::Stat, FREE), [Output::Record]);
    t.recorded();
    assert_eq!(drain(&mut t), [opens("f.1.part", FileKey(KEYS + 1), OpenMode::CreateNew)]);
}

#[test]
fn file_to_overwrite_keeps_its_name_though_the_part_is_taken() {
    let mut t = naming(on_conflict(ConflictPolicy::Overwrite));
    assert_eq!(after(&mut t, DiskTag::Stat, found(OTHER)), [Output::Record]);
    t.recorded();
    assert_eq!(drain(&mut t), [creates("f.part")]);
    assert_eq!(after(&mut t, DiskTag::Open, failed(DiskErrorKind::Exists)), [stats("f.1")]);
    assert_eq!(after(&mut t, DiskTag::Stat, FREE), [Output::Record]);
    let names = t.part().map(|part| (part.final_name.clone(), part.part_name.clone()));
    assert_eq!(names, Some((name("f"), name("f.1.part"))));
}

#[test]
fn file_to_overwrite_is_replaced_by_the_rename() {
    let mut t = finishing(on_conflict(ConflictPolicy::Overwrite));
    t.handle_disk(DiskTag::Sync, DONE);
    t.handle_disk(DiskTag::SyncEntry, DONE);
    t.recorded();
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OURS)), [renames("f", true)]);
}

#[test]
fn taken_name_is_skipped_where_that_is_the_policy() {
    let mut t = naming(on_conflict(ConflictPolicy::Skip));
    assert_eq!(after(&mut t, DiskTag::Stat, found(OTHER)), [Output::Skipped]);
}

#[test]
fn taken_name_is_a_failure_where_that_is_the_policy() {
    let mut t = naming(on_conflict(ConflictPolicy::Fail));
    assert_eq!(after(&mut t, DiskTag::Stat, found(OTHER)), [exists("/d/f")]);
}

#[test]
fn name_taken_in_the_meantime_gives_way_once_the_store_knows() {
    let mut t = renaming(plan());
    assert_eq!(after(&mut t, DiskTag::Rename, failed(DiskErrorKind::Exists)), [Output::Record]);
    assert_eq!(t.part().map(|part| part.final_name.clone()), Some(name("f.1")));
    t.recorded();
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OURS)), [renames("f.1", false)]);
}

#[test]
fn name_taken_in_the_meantime_is_a_failure_under_the_other_policies() {
    for policy in [ConflictPolicy::Fail, ConflictPolicy::Skip] {
        let mut t = renaming(on_conflict(policy));
        let outputs = after(&mut t, DiskTag::Rename, failed(DiskErrorKind::Exists));
        assert_eq!(outputs, [closes(FILE), exists("/d/f")]);
    }
}

// ----- failures ------------------------------------------------------------------------------------------------------

#[test]
fn full_disk_ends_it_and_keeps_what_was_written() {
    let mut t = ready(plan());
    put(&mut t, 0, "01234");
    put(&mut t, 8, "89");
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), []);
    let outputs = after(&mut t, DiskTag::Write(1), failed(DiskErrorKind::Full));
    assert_eq!(outputs, [syncs(FILE)], "what is there is made durable first");
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [syncs_entry()]);
    let full = stopped_by(DiskAction::Write, "/d/f.part", DiskErrorKind::Full);
    assert_eq!(after(&mut t, DiskTag::SyncEntry, DONE), [Output::Durable, closes(FILE), full]);
    assert_eq!(t.part().map(|part| part.durable.clone()), Some(ranges([0..5])));
}

#[test]
fn failed_sync_forgets_what_was_not_durable() {
    let mut t = ready(plan());
    put(&mut t, 0, "01234");
    t.handle_disk(DiskTag::Write(0), DONE);
    t.checkpoint();
    t.handle_disk(DiskTag::Sync, DONE);
    t.handle_disk(DiskTag::SyncEntry, DONE);
    put(&mut t, 5, "56789");
    t.handle_disk(DiskTag::Write(1), DONE);
    drain(&mut t);
    t.checkpoint();
    assert_eq!(drain(&mut t), [syncs(FILE)]);
    let error = stopped_by(DiskAction::Sync, "/d/f.part", DiskErrorKind::Io);
    assert_eq!(after(&mut t, DiskTag::Sync, failed(DiskErrorKind::Io)), [closes(FILE), error]);
    assert_eq!((t.written(), t.part().map(|part| &part.durable)), (&ranges([0..5]), Some(&ranges([0..5]))));
}

#[test]
fn first_sync_is_worth_nothing_if_the_name_cannot_be_made_durable() {
    let mut t = ready(plan());
    put(&mut t, 0, "01234");
    t.handle_disk(DiskTag::Write(0), DONE);
    t.checkpoint();
    t.handle_disk(DiskTag::Sync, DONE);
    drain(&mut t);
    let error = stopped_by(DiskAction::Sync, "/d/f.part", DiskErrorKind::Io);
    assert_eq!(after(&mut t, DiskTag::SyncEntry, failed(DiskErrorKind::Io)), [closes(FILE), stats("f.part")]);
    t.handle_disk(DiskTag::Stat, found(OURS));
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Remove, DONE), [error], "nothing in it can be trusted");
    assert_eq!(t.part(), None);
}

#[test]
fn directory_that_cannot_be_opened_ends_it() {
    let mut t = Target::new(plan(), KEYS);
    t.dir_ready(failed(DiskErrorKind::PermissionDenied).map(|_| DIR));
    let error = stopped_by(DiskAction::OpenDirectory, "/d", DiskErrorKind::PermissionDenied);
    assert_eq!(drain(&mut t), [error]);
}

// ----- going on with an earlier life -----------------------------------------------------------------------------------

#[test]
fn file_of_an_earlier_life_goes_on_where_it_stood() {
    let mut t = resuming(plan(), part());
    assert_eq!(after(&mut t, DiskTag::Open, opened(OURS, 6)), [Output::Opened]);
    put(&mut t, 6, "6789");
    assert_eq!(drain(&mut t), [writes(0, FILE, 6, "6789")]);
    t.finish(10);
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [syncs(FILE)]);
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [Output::Durable, Output::Record], "its name is durable");
}

#[test]
fn bytes_behind_the_end_are_cut_off() {
    let mut t = resuming(plan(), part());
    t.handle_disk(DiskTag::Open, opened(OURS, 50));
    put(&mut t, 6, "6789");
    t.finish(10);
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [sets_len(FILE, 10)]);
    assert_eq!(after(&mut t, DiskTag::SetLen, DONE), [syncs(FILE)]);
}

#[test]
fn file_of_somebody_else_under_the_parts_name_is_left_alone() {
    let mut t = resuming(plan(), part());
    let outputs = after(&mut t, DiskTag::Open, opened(OTHER, 10));
    assert_eq!(outputs, [closes(FILE), Output::Lost, Output::Record]);
    let names = t.part().map(|part| (part.final_name.as_str(), part.part_name.as_str()));
    assert_eq!((names, t.written().len()), (Some(("f", "f.1.part")), 0), "the final name stays");
    t.recorded();
    assert_eq!(drain(&mut t), [opens("f.1.part", FILE_BESIDE_DIGEST, OpenMode::CreateNew)]);
}

#[test]
fn missing_part_is_made_again() {
    let mut t = resuming(plan(), part());
    let outputs = after(&mut t, DiskTag::Open, failed(DiskErrorKind::NotFound));
    assert_eq!(outputs, [Output::Lost, opens("f.part", FILE_BESIDE_DIGEST, OpenMode::CreateNew)]);
    assert_eq!(t.part(), Some(&Part { identity: None, durable: RangeSet::new(), ..part() }));
}

#[test]
fn file_that_is_shorter_than_it_was_is_emptied() {
    let mut t = resuming(plan(), part());
    let outputs = after(&mut t, DiskTag::Open, opened(OURS, 5));
    assert_eq!(
        outputs,
        [Output::Lost, Output::Opened, Output::Record],
        "the store must not believe in it any more"
    );
    assert_eq!(t.part(), Some(&Part { durable: RangeSet::new(), ..part() }));
    t.recorded();
    assert_eq!(drain(&mut t), [sets_len(FILE, 0)]);
}

#[test]
fn file_whose_identity_was_never_known_is_used_only_if_it_is_empty() {
    let unknown = || Part { identity: None, durable: RangeSet::new(), ..part() };
    let mut t = resuming(plan(), unknown());
    assert_eq!(after(&mut t, DiskTag::Open, opened(OURS, 0)), [Output::Opened, sets_len(FILE, 0)]);
    assert_eq!(t.part().and_then(|part| part.identity), Some(OURS));
    let mut t = resuming(plan(), unknown());
    assert_eq!(after(&mut t, DiskTag::Open, opened(OTHER, 5)), [closes(FILE), Output::Lost, Output::Record]);
}

#[test]
fn name_that_another_took_before_the_file_was_made_gives_way() {
    let mut t = resuming(plan(), Part { identity: None, durable: RangeSet::new(), ..part() });
    assert_eq!(after(&mut t, DiskTag::Open, failed(DiskErrorKind::Locked)), [stats("f.1")]);
    assert_eq!(after(&mut t, DiskTag::Stat, FREE), [Output::Record]);
    assert_eq!(t.part().map(|part| part.part_name.clone()), Some(name("f.1.part")));
}

#[test]
fn locked_file_is_a_failure() {
    let mut t = resuming(plan(), part());
    let error = stopped_by(DiskAction::Open, "/d/f.part", DiskErrorKind::Locked);
    assert_eq!(after(&mut t, DiskTag::Open, failed(DiskErrorKind::Locked)), [error]);
    assert_eq!(t.part(), Some(&part()));
}

#[test]
fn verified_file_only_has_to_be_renamed() {
    let mut t = resuming(plan(), finalizing());
    t.finish(10);
    assert_eq!(after(&mut t, DiskTag::Open, opened(OURS, 10)), [Output::Opened, renames("f", false)]);
}

#[test]
fn file_that_has_its_final_name_already_is_finished() {
    let mut t = resuming(plan(), finalizing());
    t.finish(10);
    assert_eq!(after(&mut t, DiskTag::Open, failed(DiskErrorKind::NotFound)), [stats("f")]);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OURS)), [syncs_dir()]);
    assert_eq!(after(&mut t, DiskTag::SyncDir, DONE), [Output::Finished]);
}

#[test]
fn another_file_under_the_final_name_is_not_taken_for_ours() {
    let mut t = resuming(plan(), finalizing());
    t.handle_disk(DiskTag::Open, failed(DiskErrorKind::NotFound));
    drain(&mut t);
    let outputs = after(&mut t, DiskTag::Stat, found(OTHER));
    assert_eq!(outputs, [Output::Lost, opens("f.part", FILE_BESIDE_DIGEST, OpenMode::CreateNew)]);
}

// ----- starting again ------------------------------------------------------------------------------------------------

#[test]
fn restart_empties_the_file_once_old_writes_have_ended() {
    let mut t = ready(plan());
    put(&mut t, 0, "old");
    drain(&mut t);
    t.restart();
    put(&mut t, 0, "new!");
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [sets_len(FILE, 0)]);
    assert_eq!(t.written().len(), 0);
    assert_eq!(after(&mut t, DiskTag::SetLen, DONE), [writes(1, FILE, 0, "new!")]);
    t.handle_disk(DiskTag::Write(1), DONE);
    assert_eq!(t.written(), &ranges([0..4]));
}

#[test]
fn restart_forgets_what_waits_in_memory() {
    let mut t = opening(plan());
    t.write(NOW, 0, Bytes::from_static(b"old"));
    t.restart();
    assert_eq!(t.backlog(), 0);
    assert_eq!(after(&mut t, DiskTag::Open, opened(OURS, 0)), [Output::Opened]);
}

// ----- removing --------------------------------------------------------------------------------------------------------

#[test]
fn discarded_file_is_removed() {
    let mut t = ready(plan());
    put(&mut t, 0, "x");
    drain(&mut t);
    t.discard(None);
    assert_eq!(drain(&mut t), [], "a write is under way");
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [closes(FILE), stats("f.part")]);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OURS)), [removes("f.part")]);
    assert_eq!(after(&mut t, DiskTag::Remove, DONE), [STOPPED]);
    assert_eq!(t.part(), None);
}

#[test]
fn file_of_somebody_else_is_not_removed() {
    let mut t = ready(plan());
    t.discard(None);
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OTHER)), [STOPPED]);
}

#[test]
fn file_that_was_never_made_is_not_removed() {
    let mut t = naming(plan());
    t.discard(None);
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Stat, FREE), [STOPPED]);
}

#[test]
fn file_of_an_earlier_life_is_removed_without_being_opened() {
    let mut t = Target::new(plan(), KEYS);
    t.resume(part(), RangeSet::new());
    t.discard(None);
    assert_eq!(drain(&mut t), []);
    t.dir_ready(Ok(DIR));
    assert_eq!(drain(&mut t), [stats("f.part")]);
}

// ----- digests ---------------------------------------------------------------------------------------------------------

#[test]
fn bytes_in_order_are_fed_to_the_digest_from_memory() {
    let mut t = ready(with_checksum());
    t.write(NOW, 0, Bytes::from_static(b"01234"));
    let memory = |text: &'static str| HashInput::Memory(vec![Bytes::from_static(text.as_bytes())]);
    assert_eq!(drain(&mut t), [hashes(memory("01234"), false)]);
    t.write(NOW, 5, Bytes::from_static(b"56789"));
    assert_eq!(drain(&mut t), [], "one operation at a time");
    assert_eq!(after(&mut t, DiskTag::Hash, FED), [hashes(memory("56789"), false)]);
}

#[test]
fn right_digest_lets_the_file_have_its_name() {
    let mut t = finishing(with_checksum());
    assert_eq!(after(&mut t, DiskTag::Hash, FED), [hashes(HashInput::Memory(vec![]), true)]);
    assert_eq!(after(&mut t, DiskTag::Hash, digest(RIGHT)), [syncs(FILE_BESIDE_DIGEST)]);
}

#[test]
fn wrong_digest_waits_for_a_decision() {
    let mut t = finishing(with_checksum());
    t.handle_disk(DiskTag::Hash, FED);
    drain(&mut t);
    let mismatch = Output::Mismatch(checksum(WRONG));
    assert_eq!(after(&mut t, DiskTag::Hash, digest(WRONG)), [mismatch]);
    t.discard(None);
    assert_eq!(drain(&mut t), [closes(FILE_BESIDE_DIGEST), stats("f.part")]);
}

#[test]
fn wrong_digest_may_be_followed_by_another_try() {
    let mut t = finishing(with_checksum());
    t.handle_disk(DiskTag::Hash, FED);
    t.handle_disk(DiskTag::Hash, digest(WRONG));
    drain(&mut t);
    t.restart();
    assert_eq!(drain(&mut t), [sets_len(FILE_BESIDE_DIGEST, 0)]);
    assert_eq!(after(&mut t, DiskTag::SetLen, DONE), []);
    t.write(NOW, 0, Bytes::from_static(b"x"));
    let input = HashInput::Memory(vec![Bytes::from_static(b"x")]);
    let (hash, algorithm) = (HashKey(KEYS + 2), checksum(RIGHT).algorithm);
    let op = DiskOp::Hash { hash, algorithm, input, finish: false };
    assert_eq!(drain(&mut t), [Output::Disk(DiskTag::Hash, op)]);
}

#[test]
fn digest_is_as_many_bytes_as_its_algorithm_gives() {
    assert_eq!(checksum(RIGHT).digest, Digest::new(&[1, 35, 69, 103, 137, 171, 205, 239].repeat(2)));
}

// ----- stopping in each state --------------------------------------------------------------------------------------------

#[test]
fn stop_before_anything_happened_is_over_at_once() {
    let mut t = Target::new(plan(), KEYS);
    t.stop();
    assert_eq!(drain(&mut t), [STOPPED]);
    t.dir_ready(Ok(DIR));
    t.choose(name("f"));
    t.recorded();
    t.finish(0);
    t.stop();
    t.discard(None);
    assert_eq!(drain(&mut t), [], "it is inert");
}

#[test]
fn stop_while_the_name_is_looked_up_waits_for_the_answer() {
    let mut t = naming(plan());
    t.stop();
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Stat, FREE), [STOPPED]);
}

#[test]
fn stop_while_the_store_is_told_does_not_wait_for_it() {
    let mut t = naming(plan());
    t.handle_disk(DiskTag::Stat, FREE);
    drain(&mut t);
    t.stop();
    assert_eq!(drain(&mut t), [STOPPED]);
    t.recorded();
    assert_eq!(drain(&mut t), []);
}

#[test]
fn stop_while_the_file_is_opened_closes_it_and_knows_it() {
    let mut t = opening(plan());
    t.stop();
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Open, opened(OURS, 0)), [closes(FILE), stats("f.part")]);
    assert_eq!(t.part().and_then(|part| part.identity), Some(OURS));
}

#[test]
fn stop_while_the_file_cannot_be_opened_closes_nothing() {
    let mut t = opening(plan());
    t.stop();
    assert_eq!(after(&mut t, DiskTag::Open, failed(DiskErrorKind::Io)), [STOPPED]);
}

#[test]
fn stop_while_room_is_reserved_waits_for_it() {
    let mut t = opening(TargetPlan { allocation: AllocationMode::Sparse, ..plan() });
    t.set_total(10);
    t.handle_disk(DiskTag::Open, opened(OURS, 0));
    drain(&mut t);
    t.stop();
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Allocate, DONE), [closes(FILE), stats("f.part")]);
}

#[test]
fn stop_makes_durable_what_arrived() {
    let mut t = ready(plan());
    t.write(NOW, 0, Bytes::from_static(b"01234"));
    t.stop();
    assert_eq!(drain(&mut t), [writes(0, FILE, 0, "01234")]);
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [syncs(FILE)]);
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [syncs_entry()]);
    assert_eq!(after(&mut t, DiskTag::SyncEntry, DONE), [Output::Durable, closes(FILE), STOPPED]);
}

#[test]
fn stop_while_the_file_is_emptied_waits_for_it() {
    let mut t = resuming(plan(), part());
    t.handle_disk(DiskTag::Open, opened(OURS, 5));
    t.recorded();
    drain(&mut t);
    t.stop();
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::SetLen, DONE), [closes(FILE), stats("f.part")]);
}

#[test]
fn stop_while_the_last_sync_is_under_way_needs_no_other() {
    let mut t = finishing(plan());
    t.stop();
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [syncs_entry()]);
    assert_eq!(after(&mut t, DiskTag::SyncEntry, DONE), [Output::Durable, closes(FILE), STOPPED]);
}

#[test]
fn file_that_is_discarded_while_it_is_renamed_goes_under_its_final_name() {
    let mut t = renaming(plan());
    t.discard(None);
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Rename, DONE), [closes(FILE), stats("f")]);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OURS)), [removes("f")]);
}

#[test]
fn stop_while_the_file_is_renamed_leaves_the_rest_to_the_next_life() {
    let mut t = renaming(plan());
    t.stop();
    assert_eq!(drain(&mut t), []);
    assert_eq!(after(&mut t, DiskTag::Rename, DONE), [closes(FILE), STOPPED]);
    assert_eq!(t.part(), Some(&finalizing()));
}

#[test]
fn stop_while_the_digest_reads_waits_for_it() {
    let mut t = finishing(with_checksum());
    t.stop();
    assert_eq!(drain(&mut t), []);
    let file = FILE_BESIDE_DIGEST;
    assert_eq!(after(&mut t, DiskTag::Hash, FED), [syncs(file)]);
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [syncs_entry()]);
    let expected = [Output::Durable, forgets(HASH), closes(file), STOPPED];
    assert_eq!(after(&mut t, DiskTag::SyncEntry, DONE), expected);
}

// ----- what is under way when something else is asked --------------------------------------------------------------------

#[test]
fn old_writes_do_not_count_after_restart_and_stop() {
    let mut t = ready(plan());
    put(&mut t, 0, "old");
    drain(&mut t);
    t.restart();
    t.stop();
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [closes(FILE), stats("f.part")]);
    assert_eq!((t.written().len(), t.part().map(|part| part.durable.len())), (0, Some(0)));
}

#[test]
fn old_sync_does_not_make_new_writes_durable() {
    let mut t = ready(plan());
    put(&mut t, 0, "old");
    t.handle_disk(DiskTag::Write(0), DONE);
    t.checkpoint();
    drain(&mut t);
    t.restart();
    put(&mut t, 0, "new!");
    assert_eq!(drain(&mut t), [], "the file is not emptied under a sync");
    assert_eq!(after(&mut t, DiskTag::Sync, DONE), [sets_len(FILE, 0)]);
    assert_eq!(after(&mut t, DiskTag::SetLen, DONE), [writes(1, FILE, 0, "new!")]);
    t.handle_disk(DiskTag::Write(1), DONE);
    assert_eq!(t.part().map(|part| part.durable.len()), Some(0));
}

#[test]
fn old_digest_does_not_mix_with_the_new_one() {
    let mut t = ready(with_checksum());
    t.write(NOW, 0, Bytes::from_static(b"old"));
    drain(&mut t);
    t.restart();
    t.write(NOW, 0, Bytes::from_static(b"new!"));
    assert_eq!(drain(&mut t), [], "the file is not emptied while the digest may read it");
    let file = FILE_BESIDE_DIGEST;
    assert_eq!(after(&mut t, DiskTag::Hash, FED), [forgets(HASH), sets_len(file, 0)]);
    let outputs = after(&mut t, DiskTag::SetLen, DONE);
    assert_eq!(outputs.len(), 2, "a write and a digest: {outputs:?}");
    t.write(NOW, 4, Bytes::from_static(b"more"));
    assert_eq!(drain(&mut t), [], "one operation per digest is under way");
}

#[test]
fn stop_stays_a_stop_though_the_digest_ends_meanwhile() {
    for end in [digest(RIGHT), digest(WRONG)] {
        let mut t = finishing(with_checksum());
        t.handle_disk(DiskTag::Hash, FED);
        t.stop();
        drain(&mut t);
        let file = FILE_BESIDE_DIGEST;
        assert_eq!(after(&mut t, DiskTag::Hash, end), [syncs(file)]);
        t.handle_disk(DiskTag::Sync, DONE);
        drain(&mut t);
        assert_eq!(after(&mut t, DiskTag::SyncEntry, DONE), [Output::Durable, closes(file), STOPPED]);
    }
}

#[test]
fn discarded_file_gets_no_name_though_the_digest_ends_meanwhile() {
    let mut t = finishing(with_checksum());
    t.handle_disk(DiskTag::Hash, FED);
    t.discard(None);
    drain(&mut t);
    let outputs = after(&mut t, DiskTag::Hash, digest(RIGHT));
    assert_eq!(outputs, [closes(FILE_BESIDE_DIGEST), stats("f.part")]);
}

#[test]
fn digest_that_is_quicker_than_the_last_write_waits_for_it() {
    let mut t = ready(with_checksum());
    put(&mut t, 0, "0123456789");
    t.finish(10);
    t.handle_disk(DiskTag::Hash, FED);
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Hash, digest(RIGHT)), [], "a write is under way");
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [syncs(FILE_BESIDE_DIGEST)]);
}

#[test]
fn stop_while_the_renamed_file_is_looked_up_removes_and_forgets_nothing() {
    let mut t = resuming(plan(), finalizing());
    t.finish(10);
    t.handle_disk(DiskTag::Open, failed(DiskErrorKind::NotFound));
    t.stop();
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Stat, found(OURS)), [STOPPED]);
    assert_eq!(t.part(), Some(&finalizing()));
}

#[test]
fn file_that_was_whole_but_is_lost_waits_for_its_bytes_again() {
    let mut t = resuming(plan(), Part { durable: ranges([0..10]), ..part() });
    t.finish(10);
    t.handle_disk(DiskTag::Open, failed(DiskErrorKind::NotFound));
    drain(&mut t);
    let opened = after(&mut t, DiskTag::Open, opened(OURS, 0));
    assert_eq!(opened, [Output::Opened, Output::Record], "nothing to finish");
    t.recorded();
    assert_eq!(drain(&mut t), [sets_len(FILE_BESIDE_DIGEST, 0)]);
    t.handle_disk(DiskTag::SetLen, DONE);
    put(&mut t, 0, "0123456789");
    assert_eq!(drain(&mut t), [writes(0, FILE_BESIDE_DIGEST, 0, "0123456789")]);
    t.finish(10);
    assert_eq!(after(&mut t, DiskTag::Write(0), DONE), [syncs(FILE_BESIDE_DIGEST)]);
}

#[test]
fn file_in_a_directory_that_cannot_be_opened_is_not_waited_for() {
    let mut t = Target::new(plan(), KEYS);
    t.resume(part(), RangeSet::new());
    t.discard(None);
    t.dir_ready(Err(DiskErrorKind::PermissionDenied.into()));
    let error = stopped_by(DiskAction::OpenDirectory, "/d", DiskErrorKind::PermissionDenied);
    assert_eq!(drain(&mut t), [error]);
}

#[test]
fn failed_sync_is_not_made_good_by_another_one() {
    let mut t = ready(plan());
    put(&mut t, 0, "01234");
    t.handle_disk(DiskTag::Write(0), DONE);
    t.checkpoint();
    put(&mut t, 5, "56789");
    t.stop();
    drain(&mut t);
    assert_eq!(after(&mut t, DiskTag::Sync, failed(DiskErrorKind::Io)), []);
    let error = stopped_by(DiskAction::Sync, "/d/f.part", DiskErrorKind::Io);
    assert_eq!(after(&mut t, DiskTag::Write(1), DONE), [closes(FILE), error]);
    assert_eq!(t.part().map(|part| part.durable.len()), Some(0));
}
