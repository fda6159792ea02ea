//! The simulated disk by itself: what a driver's executor promises, and what a power cut takes away.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use gosh_dl_core::base::disk::{
    AllocationMode, DirKey, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileKey, HashAlgorithm, HashInput,
    HashKey, OpenMode,
};
use gosh_dl_core::base::{FileName, Rng};
use gosh_dl_core::engine::DiskKey;
use gosh_dl_sim::{Content, CrashMode, Disk, OpClass};

const DIR: DirKey = DirKey(1);
const FILE: FileKey = FileKey(2);

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn run(disk: &mut Disk, op: DiskOp) -> DiskResult {
    let (_, ticket) = disk.submit(DiskKey(0), op).expect("it completes");
    disk.complete(ticket).expect("no crash came between").1
}

fn open(mode: OpenMode) -> DiskOp {
    DiskOp::Open { dir: DIR, name: name("a.part"), file: FILE, mode }
}

fn write(offset: u64, data: &'static [u8]) -> DiskOp {
    DiskOp::Write { file: FILE, offset, data: vec![Bytes::from_static(data)] }
}

fn rename(to: &str, replace: bool) -> DiskOp {
    DiskOp::Rename { dir: DIR, from: name("a.part"), to: name(to), replace }
}

fn disk_with_file() -> Disk {
    let mut disk = Disk::new(Rng::from_seed([0; 32]));
    run(&mut disk, DiskOp::OpenDir { dir: DIR, path: "/d".into() }).unwrap();
    run(&mut disk, open(OpenMode::CreateNew)).unwrap();
    disk
}

fn kind(result: DiskResult) -> DiskErrorKind {
    result.unwrap_err().kind
}

#[test]
fn name_survives_a_power_cut_only_with_its_directory_synced() {
    for (sync_dir, expected) in [(false, None), (true, Some(b"data".to_vec()))] {
        let mut disk = disk_with_file();
        run(&mut disk, write(0, b"data")).unwrap();
        run(&mut disk, DiskOp::Sync { file: FILE }).unwrap();
        if sync_dir {
            run(&mut disk, DiskOp::SyncDir { dir: DIR }).unwrap();
        }
        assert_eq!(disk.is_durable("/d", "a.part"), sync_dir);
        disk.crash(CrashMode::PowerCut);
        assert_eq!(disk.content("/d", "a.part"), expected);
    }
}

#[test]
fn sync_covers_what_was_written_before_it_was_asked_for() {
    let mut disk = disk_with_file();
    run(&mut disk, DiskOp::SyncDir { dir: DIR }).unwrap();
    run(&mut disk, write(0, b"before")).unwrap();
    let (_, sync) = disk.submit(DiskKey(1), DiskOp::Sync { file: FILE }).unwrap();
    run(&mut disk, write(6, b"after")).unwrap();
    disk.complete(sync).unwrap().1.unwrap();
    disk.crash(CrashMode::PowerCut);
    assert_eq!(disk.content("/d", "a.part").unwrap(), b"before");
}

#[test]
fn rename_does_not_take_a_name_that_is_taken() {
    let mut disk = disk_with_file();
    disk.put("/d", "a", b"old");
    assert_eq!(kind(run(&mut disk, rename("a", false))), DiskErrorKind::Exists);
    run(&mut disk, rename("b", false)).unwrap();
    assert_eq!(disk.names("/d"), ["a", "b"]);
}

#[test]
fn file_keeps_its_identity_across_names_and_restarts() {
    let mut disk = disk_with_file();
    run(&mut disk, rename("b", false)).unwrap();
    let stat = |disk: &mut Disk| match run(disk, DiskOp::Stat { dir: DIR, name: name("b") }) {
        Ok(DiskOk::Found(Some(stat))) => stat.identity,
        other => panic!("{other:?}"),
    };
    let before = stat(&mut disk);
    disk.crash(CrashMode::Kill);
    run(&mut disk, DiskOp::OpenDir { dir: DIR, path: "/d".into() }).unwrap();
    assert_eq!(stat(&mut disk), before);
}

#[test]
fn open_file_is_locked_for_everybody_else() {
    let mut disk = disk_with_file();
    let again = DiskOp::Open { dir: DIR, name: name("a.part"), file: FileKey(3), mode: OpenMode::Existing };
    assert_eq!(kind(run(&mut disk, again.clone())), DiskErrorKind::Locked);
    disk.submit(DiskKey(0), DiskOp::Close { file: FILE });
    disk.lock("/d", "a.part", true);
    assert_eq!(kind(run(&mut disk, again.clone())), DiskErrorKind::Locked);
    disk.lock("/d", "a.part", false);
    run(&mut disk, again).unwrap();
}

#[test]
fn links_and_directories_are_not_opened() {
    let mut disk = disk_with_file();
    disk.put_irregular("/d", "link");
    let open = DiskOp::Open { dir: DIR, name: name("link"), file: FileKey(3), mode: OpenMode::Existing };
    assert_eq!(kind(run(&mut disk, open)), DiskErrorKind::NotRegular);
}

#[test]
fn full_disk_takes_no_more_and_recovers() {
    let mut disk = disk_with_file();
    disk.capacity = Some(10);
    run(&mut disk, write(0, b"12345678")).unwrap();
    assert_eq!(kind(run(&mut disk, write(8, b"12345678"))), DiskErrorKind::Full);
    run(&mut disk, write(0, b"overwrit")).unwrap();
    let full = DiskOp::Allocate { file: FILE, len: 100, mode: AllocationMode::Full };
    assert_eq!(kind(run(&mut disk, full.clone())), DiskErrorKind::Full);
    disk.heal();
    run(&mut disk, full).unwrap();
    assert_eq!(disk.find("/d", "a.part").unwrap().current().len(), 100);
}

#[test]
fn nth_operation_of_a_kind_fails() {
    let mut disk = disk_with_file();
    disk.fail(OpClass::Write, 1, 2, DiskErrorKind::Io);
    let results: Vec<_> = (0..4).map(|_| run(&mut disk, write(0, b"x")).is_ok()).collect();
    assert_eq!(results, [true, false, false, true]);
}

#[test]
fn digests_are_the_real_ones_from_memory_and_from_the_file() {
    let content = Content::generated(9, 100_000);
    let mut disk = disk_with_file();
    let data = vec![content.slice(0..100_000)];
    run(&mut disk, DiskOp::Write { file: FILE, offset: 0, data }).unwrap();
    for algorithm in [HashAlgorithm::Md5, HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
        let hash = HashKey(algorithm.digest_len() as u64);
        let input = HashInput::Memory(vec![content.slice(0..10)]);
        let first = DiskOp::Hash { hash, algorithm, input, finish: false };
        assert_eq!(run(&mut disk, first), Ok(DiskOk::Hashed(None)));
        let input = HashInput::File { file: FILE, offset: 10, len: 99_990 };
        let last = DiskOp::Hash { hash, algorithm, input, finish: true };
        assert_eq!(run(&mut disk, last), Ok(DiskOk::Hashed(Some(content.digest(algorithm)))));
    }
    let abc = Content::from("abc").checksum(HashAlgorithm::Md5);
    assert_eq!(abc, "md5:900150983cd24fb0d6963f7d28e17f72");
}

#[test]
fn operation_under_way_in_a_crash_has_happened_or_not() {
    let happened = |seed| {
        let mut disk = Disk::new(Rng::from_seed([seed; 32]));
        run(&mut disk, DiskOp::OpenDir { dir: DIR, path: "/d".into() }).unwrap();
        let (_, ticket) = disk.submit(DiskKey(0), open(OpenMode::CreateNew)).unwrap();
        disk.crash(CrashMode::Kill);
        assert_eq!(disk.complete(ticket), None);
        !disk.names("/d").is_empty()
    };
    let count = (0..20).filter(|seed| happened(*seed)).count();
    assert!((1..20).contains(&count), "{count}");
}

#[test]
#[should_panic(expected = "names a file that is not open")]
fn write_to_a_closed_file_is_a_bug() {
    let mut disk = disk_with_file();
    disk.submit(DiskKey(0), DiskOp::Close { file: FILE });
    run(&mut disk, write(0, b"x")).unwrap();
}
