//! One file into the current directory: `cargo run -p gosh-dl-smol --example simple_download -- <URL>`
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

use gosh_dl_smol::{DownloadEngine, DownloadOptions, EngineConfig, EngineError};
use std::path::{Path, PathBuf};

fn main() -> Result<(), EngineError> {
    smol::block_on(async {
        let url = std::env::args().nth(1).expect("the first argument is a URL");
        let path = fetch(&url, Path::new(".")).await?;
        println!("{}", path.display());
        Ok(())
    })
}

async fn fetch(url: &str, dir: &Path) -> Result<PathBuf, EngineError> {
    let engine = DownloadEngine::new(EngineConfig::new().download_dir(dir)).await?;
    let id = engine.add_http(url, DownloadOptions::new().max_connections(8)).await?;
    engine.wait(id).await?;
    let metadata = engine.status(id).ok_or(EngineError::Shutdown)?.metadata;
    engine.shutdown().await?;
    Ok(metadata.save_dir.join(metadata.filename.unwrap_or_default()))
}

#[cfg(test)]
mod server;

#[test]
fn it_runs() {
    smol::block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = fetch(&server::serve(b"hello").await, dir.path()).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"hello");
    });
}
