//! Every operation against a real directory.

use super::perform::Medium;
use super::*;
use bytes::Bytes;
use gosh_dl_core::base::FileName;
use gosh_dl_core::base::disk::{
    AllocationMode, Digest, DiskError, DiskOk, FileRange, FileStat, HashAlgorithm, HashInput, OpenMode,
};
use std::fs::File;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::sync::mpsc;

struct Fixture {
    disk: DiskExecutor,
    results: mpsc::Receiver<(DiskKey, DiskResult)>,
    dir: tempfile::TempDir,
    next: u64,
}

const DIR: DirKey = DirKey(1);
const FILE: FileKey = FileKey(1);

impl Fixture {
    fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    fn within(dir: tempfile::TempDir) -> Self {
        let (sender, results) = mpsc::channel();
        let sender = Mutex::new(sender);
        let disk = DiskExecutor::new(Arc::new(move |key, result| {
            let _ = sender.lock().unwrap().send((key, result));
        }));
        let mut fixture = Self { disk, results, dir, next: 0 };
        let path = fixture.dir.path().to_owned();
        fixture.run(DiskOp::OpenDir { dir: DIR, path }).unwrap();
        fixture
    }

    fn submit(&mut self, op: DiskOp) -> DiskKey {
        self.next += 1;
        self.disk.submit(DiskKey(self.next), op);
        DiskKey(self.next)
    }

    fn run(&mut self, op: DiskOp) -> DiskResult {
        let key = self.submit(op);
        let (done, result) = self.results.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(done, key);
        result
    }

    fn open(&mut self, file: FileKey, text: &str, mode: OpenMode) -> Result<FileStat, DiskErrorKind> {
        match self.run(DiskOp::Open { dir: DIR, name: name(text), file, mode }) {
            Ok(DiskOk::Opened { stat, .. }) => Ok(stat),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.kind),
        }
    }

    fn create(&mut self, text: &str) -> FileStat {
        self.open(FILE, text, OpenMode::CreateNew).unwrap()
    }

    fn write(&mut self, offset: u64, parts: &[&'static [u8]]) {
        let data = parts.iter().map(|part| Bytes::from_static(part)).collect();
        assert_eq!(self.run(DiskOp::Write { file: FILE, offset, data }), Ok(DiskOk::Done));
    }

    fn hash(&mut self, algorithm: HashAlgorithm, input: HashInput, finish: bool) -> DiskResult {
        self.run(DiskOp::Hash { hash: HashKey(1), algorithm, input, finish })
    }

    fn path(&self, text: &str) -> std::path::PathBuf {
        self.dir.path().join(text)
    }
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn kind(result: DiskResult) -> DiskErrorKind {
    result.unwrap_err().kind
}

#[test]
fn parts_are_written_one_behind_the_other() {
    let mut fixture = Fixture::new();
    assert!(fixture.create("a").regular);
    fixture.write(2, &[b"cd", b"", b"e"]);
    fixture.write(0, &[b"ab"]);
    assert_eq!(std::fs::read(fixture.path("a")).unwrap(), b"abcde");
    let read = fixture.run(DiskOp::Read { file: FILE, offset: 3, len: 100 });
    assert_eq!(read, Ok(DiskOk::Data(Bytes::from_static(b"de"))));
}

#[test]
fn more_parts_than_one_system_call_takes_are_all_written() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    let data: Vec<Bytes> = (0..5000_u32).map(|number| Bytes::from(number.to_le_bytes().to_vec())).collect();
    let whole = data.concat();
    fixture.run(DiskOp::Write { file: FILE, offset: 1, data }).unwrap();
    assert_eq!(&std::fs::read(fixture.path("a")).unwrap()[1..], whole);
}

#[test]
fn opening_checks_whether_the_name_is_taken() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.open(FILE, "a", OpenMode::Existing), Err(DiskErrorKind::NotFound));
    let created = fixture.create("a");
    assert_eq!(fixture.open(FileKey(2), "a", OpenMode::CreateNew), Err(DiskErrorKind::Exists));
    fixture.submit(DiskOp::Close { file: FILE });
    assert_eq!(fixture.open(FileKey(3), "a", OpenMode::Existing), Ok(created));
}

#[test]
fn what_is_not_a_regular_file_is_refused() {
    let mut fixture = Fixture::new();
    std::fs::create_dir(fixture.path("dir")).unwrap();
    std::fs::write(fixture.path("target"), b"keep").unwrap();
    symlink(fixture.path("target"), fixture.path("link")).unwrap();
    symlink(fixture.path("missing"), fixture.path("dangling")).unwrap();
    let fifo = fixture.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo());
    for text in ["dir", "link", "dangling", "fifo"] {
        assert_eq!(fixture.open(FILE, text, OpenMode::Existing), Err(DiskErrorKind::NotRegular), "{text}");
        assert_eq!(fixture.open(FILE, text, OpenMode::CreateNew), Err(DiskErrorKind::Exists), "{text}");
    }
    assert!(!fixture.path("missing").exists());
    assert_eq!(std::fs::read(fixture.path("target")).unwrap(), b"keep");
}

#[test]
fn stat_sees_a_link_as_a_link() {
    let mut fixture = Fixture::new();
    std::fs::write(fixture.path("a"), b"12345").unwrap();
    symlink(fixture.path("a"), fixture.path("link")).unwrap();
    let mut stat = |text: &str| match fixture.run(DiskOp::Stat { dir: DIR, name: name(text) }) {
        Ok(DiskOk::Found(found)) => found.map(|found| (found.regular, found.len)),
        other => panic!("{other:?}"),
    };
    assert_eq!(stat("a"), Some((true, 5)));
    assert!(!stat("link").unwrap().0);
    assert_eq!(stat("none"), None);
}

#[test]
fn a_file_that_somebody_else_has_locked_is_not_opened() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    let other = File::open(fixture.path("a")).unwrap();
    assert!(other.try_lock().is_err());
    assert_eq!(fixture.open(FileKey(2), "a", OpenMode::Existing), Err(DiskErrorKind::Locked));
    fixture.submit(DiskOp::Close { file: FILE });
    fixture.open(FileKey(3), "a", OpenMode::Existing).unwrap();
}

#[test]
fn a_file_can_be_opened_again_right_after_its_closing() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    for round in 2..200 {
        fixture.submit(DiskOp::Close { file: FileKey(round - 1) });
        fixture.open(FileKey(round), "a", OpenMode::Existing).unwrap();
    }
}

#[test]
fn an_unknown_file_or_directory_is_an_error() {
    let mut fixture = Fixture::new();
    assert_eq!(kind(fixture.run(DiskOp::Sync { file: FileKey(9) })), DiskErrorKind::NotFound);
    assert_eq!(kind(fixture.run(DiskOp::SyncDir { dir: DirKey(9) })), DiskErrorKind::NotFound);
    let data = vec![Bytes::from_static(b"x")];
    assert_eq!(
        kind(fixture.run(DiskOp::Write { file: FileKey(9), offset: 0, data })),
        DiskErrorKind::NotFound
    );
}

#[test]
fn directories_are_created_where_they_are_missing() {
    let mut fixture = Fixture::new();
    let path = fixture.path("x/y/z");
    fixture.run(DiskOp::OpenDir { dir: DirKey(2), path: path.clone() }).unwrap();
    assert!(path.is_dir());
    std::fs::write(fixture.path("file"), b"").unwrap();
    let result = fixture.run(DiskOp::OpenDir { dir: DirKey(3), path: fixture.dir.path().join("file") });
    assert_eq!(kind(result), DiskErrorKind::NotADirectory);
    let result = fixture.run(DiskOp::OpenDir { dir: DirKey(4), path: fixture.dir.path().join("file/below") });
    assert_eq!(kind(result), DiskErrorKind::NotADirectory);
}

#[test]
fn a_directory_handle_stays_on_its_directory() {
    let mut fixture = Fixture::new();
    let path = fixture.path("first");
    fixture.run(DiskOp::OpenDir { dir: DirKey(2), path: path.clone() }).unwrap();
    std::fs::rename(&path, fixture.path("moved")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let op = DiskOp::Open { dir: DirKey(2), name: name("a"), file: FILE, mode: OpenMode::CreateNew };
    fixture.run(op).unwrap();
    assert!(fixture.path("moved/a").exists() && !fixture.path("first/a").exists());
}

#[test]
fn allocation_never_shrinks_and_keeps_what_is_there() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    fixture.write(0, &[b"keep"]);
    for (mode, len, expected) in [
        (AllocationMode::None, 100, 4),
        (AllocationMode::Sparse, 2, 4),
        (AllocationMode::Sparse, 1 << 20, 1 << 20),
        (AllocationMode::Full, 1 << 10, 1 << 20),
        (AllocationMode::Full, 3 << 20, 3 << 20),
    ] {
        fixture.run(DiskOp::Allocate { file: FILE, len, mode }).unwrap();
        assert_eq!(fixture.path("a").metadata().unwrap().len(), expected, "{mode:?} {len}");
    }
    assert!(fixture.path("a").metadata().unwrap().blocks() * 512 >= 3 << 20);
    assert!(std::fs::read(fixture.path("a")).unwrap().starts_with(b"keep\0"));
    fixture.run(DiskOp::SetLen { file: FILE, len: 2 }).unwrap();
    assert_eq!(std::fs::read(fixture.path("a")).unwrap(), b"ke");
}

#[test]
fn an_absurd_length_is_too_large() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    for mode in [AllocationMode::Sparse, AllocationMode::Full] {
        let result = fixture.run(DiskOp::Allocate { file: FILE, len: 1 << 62, mode });
        assert!(matches!(kind(result), DiskErrorKind::TooLarge | DiskErrorKind::Full), "{mode:?}");
    }
}

#[test]
fn whoever_may_read_a_file_may_execute_it_then() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut fixture = Fixture::new();
    fixture.create("a");
    let path = fixture.path("a");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    fixture.run(DiskOp::SetExecutable { file: FILE }).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o750);
}

#[test]
fn renaming_replaces_only_where_asked() {
    let mut fixture = Fixture::new();
    std::fs::write(fixture.path("a"), b"a").unwrap();
    std::fs::write(fixture.path("b"), b"b").unwrap();
    let rename = |from, to, replace| DiskOp::Rename { dir: DIR, from: name(from), to: name(to), replace };
    assert_eq!(kind(fixture.run(rename("a", "b", false))), DiskErrorKind::Exists);
    assert_eq!(std::fs::read(fixture.path("b")).unwrap(), b"b");
    fixture.run(rename("a", "c", false)).unwrap();
    fixture.run(rename("c", "b", true)).unwrap();
    assert_eq!(std::fs::read(fixture.path("b")).unwrap(), b"a");
    assert_eq!(kind(fixture.run(rename("none", "x", false))), DiskErrorKind::NotFound);
}

#[test]
fn moving_goes_to_another_directory_and_never_replaces() {
    let mut fixture = Fixture::new();
    let below = DirKey(1 << 63);
    let open = DiskOp::OpenSubdir { parent: DIR, name: name("below"), dir: below, create: true };
    assert_eq!(fixture.run(open), Ok(DiskOk::OpenedDir { created: true }));
    std::fs::write(fixture.path("a"), b"a").unwrap();
    std::fs::write(fixture.path("below/b"), b"b").unwrap();
    let go = |to| DiskOp::Move { dir: DIR, from: name("a"), to_dir: below, to: name(to) };
    assert_eq!(kind(fixture.run(go("b"))), DiskErrorKind::Exists);
    fixture.run(go("c")).unwrap();
    assert_eq!(kind(fixture.run(go("d"))), DiskErrorKind::NotFound);
    assert!(!fixture.path("a").exists());
    assert_eq!(std::fs::read(fixture.path("below/b")).unwrap(), b"b");
    assert_eq!(std::fs::read(fixture.path("below/c")).unwrap(), b"a");
}

#[test]
fn the_rename_of_old_file_systems_never_replaces() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a"), b"a").unwrap();
    std::fs::write(dir.path().join("b"), b"b").unwrap();
    let handle = unix::Dir::at(dir.path()).unwrap();
    let taken = handle.link_and_unlink(&name("a"), &handle, &name("b")).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AlreadyExists);
    handle.link_and_unlink(&name("a"), &handle, &name("c")).unwrap();
    assert!(!dir.path().join("a").exists());
    assert_eq!(std::fs::read(dir.path().join("c")).unwrap(), b"a");
}

#[test]
fn removing_takes_files_and_links_but_no_directory() {
    let mut fixture = Fixture::new();
    std::fs::create_dir(fixture.path("dir")).unwrap();
    std::fs::write(fixture.path("a"), b"a").unwrap();
    symlink(fixture.path("a"), fixture.path("link")).unwrap();
    let remove = |text| DiskOp::Remove { dir: DIR, name: name(text) };
    fixture.run(remove("link")).unwrap();
    assert!(fixture.path("a").exists());
    fixture.run(remove("a")).unwrap();
    assert_eq!(fixture.run(remove("a")), Ok(DiskOk::Done));
    assert!(fixture.run(remove("dir")).is_err());
    assert!(fixture.path("dir").is_dir());
}

#[test]
fn syncing_succeeds() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    fixture.write(0, &[b"x"]);
    assert_eq!(fixture.run(DiskOp::Sync { file: FILE }), Ok(DiskOk::Done));
    assert_eq!(fixture.run(DiskOp::SyncDir { dir: DIR }), Ok(DiskOk::Done));
}

#[test]
fn digests_are_those_of_the_standards() {
    let mut fixture = Fixture::new();
    for (algorithm, expected) in [
        (HashAlgorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
        (HashAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (HashAlgorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ] {
        let memory = HashInput::Memory(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
        assert_eq!(fixture.hash(algorithm, memory, false), Ok(DiskOk::Hashed(None)));
        let last = HashInput::Memory(vec![Bytes::from_static(b"c")]);
        let Ok(DiskOk::Hashed(Some(digest))) = fixture.hash(algorithm, last, true) else { panic!() };
        assert_eq!(digest.to_string(), expected);
    }
    let Ok(DiskOk::Hashed(Some(digest))) =
        fixture.hash(HashAlgorithm::Sha512, HashInput::Memory(vec![Bytes::from_static(b"abc")]), true)
    else {
        panic!()
    };
    assert!(digest.to_string().starts_with("ddaf35a193617abacc417349ae204131"));
}

#[test]
fn a_digest_of_a_file_is_that_of_its_bytes() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    let content: Vec<u8> =
        (0..700_001_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let data = vec![Bytes::from(content.clone())];
    fixture.run(DiskOp::Write { file: FILE, offset: 0, data: data.clone() }).unwrap();
    let Ok(DiskOk::Hashed(Some(memory))) = fixture.hash(HashAlgorithm::Sha256, HashInput::Memory(data), true)
    else {
        panic!()
    };
    let file = |offset, len| HashInput::File { file: FILE, offset, len };
    fixture.hash(HashAlgorithm::Sha256, file(0, 300_000), false).unwrap();
    let Ok(DiskOk::Hashed(Some(disk))) = fixture.hash(HashAlgorithm::Sha256, file(300_000, 400_001), true)
    else {
        panic!()
    };
    assert_eq!(memory, disk);
    assert_eq!(
        kind(fixture.hash(HashAlgorithm::Sha256, file(0, 700_002), false)),
        DiskErrorKind::UnexpectedEof
    );
}

#[test]
fn a_dropped_digest_starts_afresh() {
    let mut fixture = Fixture::new();
    let bytes = || HashInput::Memory(vec![Bytes::from_static(b"abc")]);
    fixture.hash(HashAlgorithm::Md5, bytes(), false).unwrap();
    fixture.submit(DiskOp::HashDrop { hash: HashKey(1) });
    let Ok(DiskOk::Hashed(Some(digest))) = fixture.hash(HashAlgorithm::Md5, bytes(), true) else { panic!() };
    assert_eq!(
        digest,
        Digest::new(&[
            0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0, 0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72
        ])
    );
    assert!(fixture.disk.shared.state().digests.is_empty());
}

#[test]
fn errors_of_the_system_keep_their_meaning() {
    use rustix::io::Errno;
    let of = |errno: Errno| error::disk_error(&errno.into());
    assert_eq!(of(Errno::NOSPC), DiskError { kind: DiskErrorKind::Full, os: Some(28) });
    for (errno, expected) in [
        (Errno::DQUOT, DiskErrorKind::Full),
        (Errno::ROFS, DiskErrorKind::ReadOnly),
        (Errno::PERM, DiskErrorKind::PermissionDenied),
        (Errno::NAMETOOLONG, DiskErrorKind::InvalidName),
        (Errno::ILSEQ, DiskErrorKind::InvalidName),
        (Errno::FBIG, DiskErrorKind::TooLarge),
        (Errno::MFILE, DiskErrorKind::TooManyFiles),
        (Errno::XDEV, DiskErrorKind::CrossDevice),
        (Errno::IO, DiskErrorKind::Io),
    ] {
        assert_eq!(of(errno).kind, expected);
    }
}

#[test]
fn a_full_device_is_full() {
    let Ok(device) = File::options().write(true).open("/dev/full") else { return };
    let error = unix::write_all_at(&device, 0, &[Bytes::from_static(b"x")]).unwrap_err();
    assert_eq!(error::disk_error(&error).kind, DiskErrorKind::Full);
}

#[test]
fn threads_start_with_work_and_are_few() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    let keys: Vec<DiskKey> = (0..500)
        .map(|block| {
            let data = vec![Bytes::from(vec![1; 4096])];
            fixture.submit(DiskOp::Write { file: FILE, offset: block * 4096, data })
        })
        .collect();
    assert!(fixture.disk.threads() <= MAX_THREADS);
    let mut done: Vec<DiskKey> =
        keys.iter().map(|_| fixture.results.recv_timeout(Duration::from_secs(20)).unwrap().0).collect();
    done.sort_unstable();
    assert_eq!(done, keys);
    assert!(fixture.disk.stop(Duration::from_secs(5)));
    assert_eq!(fixture.disk.threads(), 0);
}

#[test]
fn stopping_releases_every_lock() {
    let mut fixture = Fixture::new();
    fixture.create("a");
    assert!(fixture.disk.stop(Duration::from_secs(5)));
    let file = File::open(fixture.path("a")).unwrap();
    assert!(file.try_lock().is_ok());
    fixture.submit(DiskOp::SyncDir { dir: DIR });
    assert!(fixture.results.try_recv().is_err());
}

#[test]
fn the_portable_files_do_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let handle = portable::Dir::at(dir.path()).unwrap();
    let file = handle.open(&name("a"), OpenMode::CreateNew).unwrap();
    assert!(handle.open(&name("a"), OpenMode::CreateNew).is_err());
    portable::set_executable(&file).unwrap();
    portable::write_all_at(&file, 3, &[Bytes::from_static(b"ab"), Bytes::from_static(b"c")]).unwrap();
    let mut read = [9; 8];
    assert_eq!(portable::read_at(&file, 2, &mut read).unwrap(), 4);
    assert_eq!(&read[..4], b"\0abc");
    assert_eq!(portable::stat(&file).unwrap().len, 6);
    assert!(portable::medium(&file) == Medium::Remote && portable::allocate(&file, 1).is_err());
    assert_eq!(
        (handle.make_dir(&name("sub")).unwrap(), handle.make_dir(&name("sub")).unwrap()),
        (true, false)
    );
    let below = handle.subdir(&name("sub")).unwrap();
    handle.open(&name("e"), OpenMode::CreateNew).unwrap();
    handle.move_to(&name("e"), &below, &name("f")).unwrap();
    handle.open(&name("e"), OpenMode::CreateNew).unwrap();
    assert!(handle.move_to(&name("e"), &below, &name("f")).is_err(), "taken");
    handle.remove(&name("e")).unwrap();
    assert!(handle.remove_dir(&name("sub")).is_err(), "not empty");
    below.remove(&name("f")).unwrap();
    handle.remove_dir(&name("sub")).unwrap();
    symlink(dir.path(), dir.path().join("astray")).unwrap();
    assert!(handle.subdir(&name("astray")).is_err() && handle.subdir(&name("sub")).is_err());
    std::fs::write(dir.path().join("b"), b"").unwrap();
    assert!(handle.rename(&name("a"), &name("b"), false).is_err());
    handle.rename(&name("a"), &name("b"), true).unwrap();
    symlink(Path::new("b"), dir.path().join("link")).unwrap();
    assert!(handle.open(&name("link"), OpenMode::Existing).is_err());
    handle.remove(&name("b")).unwrap();
    assert_eq!(handle.stat(&name("b")).unwrap(), None);
    handle.sync().unwrap();
}

#[test]
fn what_was_never_open_is_not_kept() {
    let mut fixture = Fixture::new();
    for number in 2..20 {
        assert_eq!(
            fixture.open(FileKey(number), "missing", OpenMode::Existing),
            Err(DiskErrorKind::NotFound)
        );
        let path = Path::new("/proc/nothing/can/be/made/here").to_owned();
        fixture.run(DiskOp::OpenDir { dir: DirKey(number), path }).unwrap_err();
    }
    fixture.create("a");
    let state = fixture.disk.shared.state();
    assert_eq!((state.files.len(), state.dirs.len()), (1, 1));
}

fn subdir(
    fixture: &mut Fixture,
    parent: DirKey,
    text: &str,
    dir: DirKey,
    create: bool,
) -> Result<bool, DiskErrorKind> {
    match fixture.run(DiskOp::OpenSubdir { parent, name: name(text), dir, create }) {
        Ok(DiskOk::OpenedDir { created }) => Ok(created),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind),
    }
}

#[test]
fn a_directory_in_a_directory_is_made_and_opened_and_no_link_is_followed() {
    let mut fixture = Fixture::new();
    let (a, b) = (DirKey(2), DirKey(3));
    assert_eq!(subdir(&mut fixture, DIR, "a", a, false), Err(DiskErrorKind::NotFound));
    assert_eq!(subdir(&mut fixture, DIR, "a", a, true), Ok(true));
    assert_eq!(subdir(&mut fixture, DIR, "a", DirKey(9), true), Ok(false));
    assert_eq!(subdir(&mut fixture, a, "b", b, true), Ok(true));
    fixture.run(DiskOp::Open { dir: b, name: name("f"), file: FILE, mode: OpenMode::CreateNew }).unwrap();
    assert!(fixture.path("a/b/f").is_file());
    fixture.run(DiskOp::SyncDir { dir: b }).unwrap();
    symlink(fixture.path("a"), fixture.path("link")).unwrap();
    std::fs::write(fixture.path("file"), b"").unwrap();
    for taken in ["link", "file"] {
        for create in [false, true] {
            let refused = subdir(&mut fixture, DIR, taken, DirKey(4), create);
            assert_eq!(refused, Err(DiskErrorKind::NotADirectory), "{taken}");
        }
    }
    // Wherever the name now leads, the handle stays where it was.
    std::fs::rename(fixture.path("a"), fixture.path("elsewhere")).unwrap();
    assert_eq!(subdir(&mut fixture, a, "c", DirKey(5), true), Ok(true));
    assert!(fixture.path("elsewhere/c").is_dir());
}

#[test]
fn only_an_empty_directory_is_removed() {
    let mut fixture = Fixture::new();
    assert_eq!(subdir(&mut fixture, DIR, "a", DirKey(2), true), Ok(true));
    std::fs::write(fixture.path("a/f"), b"").unwrap();
    let remove = |text: &str| DiskOp::RemoveDir { dir: DIR, name: name(text) };
    assert_eq!(kind(fixture.run(remove("a"))), DiskErrorKind::NotEmpty);
    std::fs::remove_file(fixture.path("a/f")).unwrap();
    assert_eq!(fixture.run(remove("a")), Ok(DiskOk::Done));
    assert_eq!(fixture.run(remove("a")), Ok(DiskOk::Done), "gone already");
    std::fs::write(fixture.path("f"), b"").unwrap();
    assert_eq!(kind(fixture.run(remove("f"))), DiskErrorKind::NotADirectory);
}

#[test]
fn what_is_written_is_hashed_in_the_same_operation() {
    let mut fixture = Fixture::new();
    fixture.create("f");
    let write = |offset, data: &'static [u8], finish| DiskOp::WriteHashed {
        file: FILE,
        offset,
        data: vec![Bytes::from_static(data)],
        hash: HashKey(1),
        algorithm: HashAlgorithm::Sha1,
        finish,
    };
    assert_eq!(fixture.run(write(10, b"a", false)), Ok(DiskOk::Hashed(None)));
    let Ok(DiskOk::Hashed(Some(digest))) = fixture.run(write(11, b"bc", true)) else { panic!("no digest") };
    assert_eq!(digest.to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d");
    let Ok(DiskOk::Hashed(Some(digest))) = fixture.run(write(0, b"abc", true)) else { panic!("no digest") };
    assert_eq!(digest.to_string(), "a9993e364706816aba3e25717850c26c9cd0d89d", "the key starts afresh");
    assert_eq!(std::fs::read(fixture.path("f")).unwrap(), b"abc\0\0\0\0\0\0\0abc");
}

#[test]
fn parts_of_a_file_are_hashed_by_themselves() {
    let mut fixture = Fixture::new();
    let content: Vec<u8> = (0..1_000_000u32).map(|at| (at * 7 % 251) as u8).collect();
    std::fs::write(fixture.path("f"), &content).unwrap();
    fixture.open(FILE, "f", OpenMode::ReadOnly).unwrap();
    let spans = [(0, 600_000), (999_999, 2), (600_000, 400_000), (5, 0)];
    let spans = spans.map(|(offset, len)| FileRange { offset, len }).to_vec();
    let result = fixture.run(DiskOp::HashSpans { file: FILE, algorithm: HashAlgorithm::Sha1, spans });
    let Ok(DiskOk::Digests(digests)) = result else { panic!("{result:?}") };
    let sha1 = |bytes: &[u8]| {
        let mut state = digest::State::new(HashAlgorithm::Sha1);
        state.update(bytes);
        state.finish().ok_or(DiskErrorKind::Io.into())
    };
    let short: Result<Digest, DiskError> = Err(DiskErrorKind::UnexpectedEof.into());
    assert_eq!(digests, [sha1(&content[..600_000]), short, sha1(&content[600_000..]), sha1(b"")]);
}

#[test]
fn what_is_opened_for_reading_needs_no_permission_to_write_and_no_lock() {
    let mut fixture = Fixture::new();
    fixture.create("f");
    assert!(fixture.open(FileKey(2), "f", OpenMode::ReadOnly).is_ok(), "locked by the first");
    let write = DiskOp::Write { file: FileKey(2), offset: 0, data: vec![Bytes::from_static(b"x")] };
    assert!(fixture.run(write).is_err());
    assert_eq!(fixture.open(FileKey(3), "g", OpenMode::ReadOnly), Err(DiskErrorKind::NotFound));
    symlink("f", fixture.path("link")).unwrap();
    assert_eq!(fixture.open(FileKey(3), "link", OpenMode::ReadOnly), Err(DiskErrorKind::NotRegular));
    fixture.run(DiskOp::Sync { file: FileKey(2) }).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_is_memory_has_everything_in_memory() {
    let place = Path::new("/dev/shm");
    if !place.is_dir() {
        return;
    }
    let mut fixture = Fixture::within(tempfile::tempdir_in(place).unwrap());
    fixture.create("file");
    let data = vec![Bytes::from(vec![7; 100_000])];
    fixture.run(DiskOp::Write { file: FILE, offset: 0, data }).unwrap();
    assert!(fixture.disk.lend(FILE).unwrap().is_in_memory(16_384, 65_536));
}
