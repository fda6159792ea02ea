//! A file of a torrent is read with the traits of `futures_io` while it is fetched.

use gosh_dl_core::engine::TorrentConfig;
use gosh_dl_core::wire::torrent::create::NewTorrent;
use gosh_dl_smol::{DownloadEngine, DownloadOptions, EngineConfig};
use sha1::{Digest as _, Sha1};
use smol::io::{AsyncReadExt as _, AsyncSeekExt as _};
use std::io::SeekFrom;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

const LEN: usize = 8 << 20;

fn content() -> Vec<u8> {
    (0..LEN as u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes().into_iter().take(1))
        .collect()
}

fn torrent(content: &[u8]) -> Vec<u8> {
    let mut torrent = NewTorrent::file("file", LEN as u64);
    torrent.piece_len = Some(64 << 10);
    let hashes: Vec<[u8; 20]> = content.chunks(64 << 10).map(|piece| Sha1::digest(piece).into()).collect();
    torrent.finish(&hashes).expect("it works").raw().to_vec()
}

fn config(dir: &Path) -> EngineConfig {
    let torrent = TorrentConfig::new().listen_port_range((0, 0)).listen_address("127.0.0.1".parse().ok());
    EngineConfig::new().download_dir(dir).seed_ratio(0.0).torrent(torrent)
}

#[test]
fn end_of_a_file_is_read_long_before_its_turn() {
    smol::block_on(read_the_end());
}

async fn read_the_end() {
    let (content, dirs) =
        (content(), [tempfile::tempdir().expect("it works"), tempfile::tempdir().expect("it works")]);
    let torrent = torrent(&content);
    std::fs::write(dirs[0].path().join("file"), &content).expect("it works");
    let seed = DownloadEngine::new(config(dirs[0].path())).await.expect("it works");
    seed.add_torrent(&torrent, DownloadOptions::new()).await.expect("it works");
    let port = loop {
        match seed.listen_port() {
            Some(port) => break port,
            None => drop(smol::Timer::after(Duration::from_millis(5)).await),
        }
    };
    // All of it takes eight seconds.
    let options = DownloadOptions::new()
        .sequential(true)
        .max_download_speed(1 << 20)
        .peer(SocketAddr::from(([127, 0, 0, 1], port)));
    let engine = DownloadEngine::new(config(dirs[1].path())).await.expect("it works");
    let id = engine.add_torrent(&torrent, options).await.expect("it works");
    let (mut reader, began) = (engine.open_reader(id, 0).expect("it works"), Instant::now());
    assert_eq!(reader.seek(SeekFrom::End(-1000)).await.expect("it works"), LEN as u64 - 1000);
    let mut end = Vec::new();
    reader.read_to_end(&mut end).await.expect("it works");
    assert!(end == content[LEN - 1000..]);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!(
        engine.status(id).expect("it works").progress.completed_size < LEN as u64,
        "it is still being fetched"
    );
    reader.seek(SeekFrom::Start(100_000)).await.expect("it works");
    let mut some = vec![0; 200_000];
    reader.read_exact(&mut some).await.expect("it works");
    assert!(some == content[100_000..300_000]);
    assert!(reader.seek(SeekFrom::Current(-1_000_000)).await.is_err());
    assert!(engine.open_reader(id, 1).is_err());
    drop(reader);
    engine.shutdown().await.expect("it works");
    seed.shutdown().await.expect("it works");
}
