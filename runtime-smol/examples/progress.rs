//! Several files at once, with a limit, a pause and their progress:
//! `cargo run -p gosh-dl-smol --example progress -- <URL>...`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use gosh_dl_smol::{
    DownloadEngine, DownloadEvent, DownloadOptions, DownloadPriority, EngineConfig, EngineError,
};
use std::collections::BTreeSet;
use std::path::Path;

fn main() -> Result<(), EngineError> {
    smol::block_on(async {
        let urls: Vec<String> = std::env::args().skip(1).collect();
        let complete = fetch_all(&urls, Path::new(".")).await?;
        println!("{complete} of {} are complete", urls.len());
        Ok(())
    })
}

/// Fetches everything and returns how many were fetched.
async fn fetch_all(urls: &[String], dir: &Path) -> Result<usize, EngineError> {
    let config =
        EngineConfig::new().download_dir(dir).max_concurrent_downloads(3).global_download_limit(50 << 20);
    let engine = DownloadEngine::new(config).await?;
    let mut events = engine.subscribe();
    let mut open = BTreeSet::new();
    for (i, url) in urls.iter().enumerate() {
        // The first one goes before all others.
        let priority = if i == 0 { DownloadPriority::High } else { DownloadPriority::Normal };
        open.insert(engine.add_http(url, DownloadOptions::new().priority(priority)).await?);
    }
    // A pause returns once all that arrived is safe; a resume, once it is in the queue again.
    if let Some(last) = open.last().copied()
        && engine.pause(last).await.is_ok()
    {
        engine.resume(last).await?;
    }

    let mut complete = 0;
    while !open.is_empty() {
        match events.recv().await {
            Some(DownloadEvent::Progress { id, progress }) => {
                println!("{id} {:5.1} % {:>9} B/s", progress.percentage(), progress.download_speed);
            }
            Some(DownloadEvent::Completed { id }) => {
                open.remove(&id);
                complete += 1;
                println!("{id} complete");
            }
            Some(DownloadEvent::Failed { id, error, .. }) => {
                open.remove(&id);
                println!("{id} failed: {error}");
            }
            Some(_) => {}
            None => break,
        }
    }
    engine.shutdown().await?;
    Ok(complete)
}

#[cfg(test)]
mod server;

#[test]
fn it_runs() {
    smol::block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let second = server::serve(b"two").await.replace("file.bin", "other.bin");
        let urls = [server::serve(b"one").await, second];
        assert_eq!(fetch_all(&urls, dir.path()).await, Ok(2));
    });
}
