//! Downloads one URL into the current directory.
use gosh_dl_tokio::{DownloadEngine, DownloadOptions, EngineConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: simple_download URL")?;
    let engine = DownloadEngine::new(EngineConfig::new()).await?;
    let id = engine.add_http(&url, DownloadOptions::new()).await?;
    engine.wait(id).await?;
    let status = engine.status(id).ok_or("gone")?;
    println!("{}: {} bytes", status.metadata.name, status.progress.completed_size);
    engine.shutdown().await?;
    Ok(())
}
