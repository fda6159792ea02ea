//! Files of torrents are read with the traits of `futures_io`. What is read, and when, is the business of the conformance suite.

use gosh_dl_smol::{DownloadEngine, DownloadOptions, EngineConfig};
use smol::io::{AsyncReadExt as _, AsyncSeekExt as _};
use std::io::{ErrorKind, SeekFrom};

#[test]
fn a_file_is_read_with_the_traits_of_futures_io() {
    smol::block_on(read());
}

async fn read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("file"), "0123456789").expect("the file is written");
    let engine = DownloadEngine::new(EngineConfig::new().download_dir(dir.path())).await.expect("it starts");
    let id = engine.add_torrent(TORRENT, DownloadOptions::new()).await.expect("it is added");
    let mut reader = engine.open_reader(id, 0).expect("it can be read");
    let mut part = [0; 3];
    reader.read_exact(&mut part).await.expect("it is read");
    assert_eq!(&part, b"012");
    assert_eq!(reader.seek(SeekFrom::Current(0)).await.expect("it stays"), 3);
    assert_eq!(reader.seek(SeekFrom::End(-4)).await.expect("it goes there"), 6);
    assert_eq!(reader.len(), Some(10));
    let mut rest = String::new();
    reader.read_to_string(&mut rest).await.expect("it is read");
    assert_eq!(rest, "6789");
    let before = reader.seek(SeekFrom::Current(-11)).await.map_err(|error| error.kind());
    assert_eq!(before, Err(ErrorKind::InvalidInput));
    engine.shutdown().await.expect("it ends");
    reader.seek(SeekFrom::Start(1)).await.expect("it goes there");
    assert_eq!(reader.read(&mut part).await.map_err(|error| error.kind()), Err(ErrorKind::Other));
}

/// One piece: the ten digits.
const TORRENT: &[u8] = b"d4:infod6:lengthi10e4:name4:file12:piece lengthi16384e6:pieces20:\
\x87\xac\xec\x17\xcd\x9d\xcd\x20\xa7\x16\xcc\x2c\xf6\x74\x17\xb7\x1c\x8a\x70\x16ee";
