//! The state of an engine in a place of your own, here in memory and out loud:
//! `cargo run -p gosh-dl-smol --example custom_store -- <URL>`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use gosh_dl_smol::{
    DownloadEngine, DownloadEvent, DownloadOptions, DownloadState, EngineConfig, EngineError,
};
use gosh_dl_smol::{MemoryStore, Record, Store, StoreError, StoreOp};
use std::path::Path;

/// Keeps its records in another store, and says what it is asked.
#[derive(Clone, Default)]
struct Talkative(MemoryStore);

impl Store for Talkative {
    fn load(&mut self) -> Result<Vec<Record>, StoreError> {
        let records = self.0.load()?;
        println!("load: {} records", records.len());
        Ok(records)
    }

    fn commit(&mut self, batch: &[StoreOp]) -> Result<(), StoreError> {
        println!("commit: {} changes", batch.len());
        self.0.commit(batch)
    }
}

fn main() -> Result<(), EngineError> {
    smol::block_on(async {
        let url = std::env::args().nth(1).expect("the first argument is a URL");
        twice(&url, Path::new(".")).await
    })
}

/// One engine adds a download and goes; the next finds it in the store and does it.
async fn twice(url: &str, dir: &Path) -> Result<(), EngineError> {
    let store = Talkative::default();
    let config = EngineConfig::new().download_dir(dir);
    let first = DownloadEngine::with_store(config.clone(), Box::new(store.clone())).await?;
    let id = first.add_http(url, DownloadOptions::new().start_paused(true)).await?;
    first.shutdown().await?;

    let second = DownloadEngine::with_store(config, Box::new(store)).await?;
    let mut events = second.subscribe();
    assert_eq!(second.status(id).map(|status| status.state), Some(DownloadState::Paused));
    second.resume(id).await?;
    while let Some(event) = events.recv().await {
        match event {
            DownloadEvent::Completed { .. } => break,
            DownloadEvent::Failed { error, .. } => return Err(error),
            event => println!("{event:?}"),
        }
    }
    second.shutdown().await
}

#[cfg(test)]
mod server;

#[test]
fn it_runs() {
    smol::block_on(async {
        let dir = tempfile::tempdir().unwrap();
        twice(&server::serve(b"kept").await, dir.path()).await.unwrap();
        assert_eq!(std::fs::read(dir.path().join("file.bin")).unwrap(), b"kept");
    });
}
