//! The engine on tokio, as an application meets it. What every runtime must do is in the conformance suite.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

mod support;
mod tls;

use gosh_dl_tokio::{
    DownloadEngine, DownloadEvent, DownloadOptions, EngineConfig, EngineError, HttpConfig, NetworkErrorKind,
    StoreError,
};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::{Manner, Server, content};

/// Runs a test on both runtimes.
fn on_both<F: Future<Output = ()>>(test: impl Fn() -> F) {
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    current.block_on(within_a_minute(test()));
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    multi.block_on(within_a_minute(test()));
}

async fn within_a_minute(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test takes too long");
}

fn config(dir: &Path) -> EngineConfig {
    EngineConfig::new().download_dir(dir)
}

async fn engine(dir: &Path) -> Arc<DownloadEngine> {
    DownloadEngine::new(config(dir)).await.unwrap()
}

#[test]
fn nothing_listening_is_told_as_such() {
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = config(dir.path()).http(HttpConfig::new().max_retries(1_u32));
        let engine = DownloadEngine::new(config).await.unwrap();
        let url = format!("http://127.0.0.1:{port}/x");
        let mut events = engine.subscribe();
        let id = engine.add_http(&url, DownloadOptions::new()).await.unwrap();
        let refused = NetworkErrorKind::ConnectionRefused;
        loop {
            match events.recv().await.unwrap() {
                DownloadEvent::Failed { error: EngineError::Network { kind, .. }, .. } if kind == refused => {
                    break;
                }
                DownloadEvent::Failed { error, .. } => panic!("{error:?}"),
                _ => {}
            }
        }
        assert!(engine.wait(id).await.unwrap_err().to_string().contains("refused"));
    });
}

#[test]
fn a_database_has_one_engine_at_a_time() {
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db.redb");
        let config = config(dir.path()).database_path(path.clone());
        let _first = DownloadEngine::new(config.clone()).await.unwrap();
        let error = DownloadEngine::new(config).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
        assert_eq!(error, EngineError::Database { path: Some(path), error: StoreError::InUse });
    });
}

#[test]
fn cancelling_deletes_the_part_and_nothing_else() {
    let server = Server::start(content(2_000_000), Manner::Dawdles);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), b"mine").unwrap();
        let engine = engine(dir.path()).await;
        let id = engine.add_http(&server.url("file.bin"), DownloadOptions::new()).await.unwrap();
        while engine.status(id).unwrap().progress.completed_size < 200_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(engine.cancel_all(true).await.succeeded, [id]);
        assert!(engine.status(id).is_none());
        assert!(matches!(engine.wait(id).await, Err(EngineError::NotFound(_))));
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
    });
}

#[test]
fn settings_are_checked_and_changed() {
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let bad = engine.get_config().max_concurrent_downloads(0_usize);
        assert!(matches!(engine.set_config(bad), Err(EngineError::InvalidInput { .. })));
        engine.set_config(engine.get_config().max_concurrent_downloads(7_usize)).unwrap();
        assert_eq!(engine.get_config().max_concurrent_downloads, 7);
        let missing = HttpConfig::new().ca_certificate(Some(dir.path().join("missing.pem")));
        let bad = engine.get_config().http(missing.clone());
        assert!(matches!(
            engine.set_config(bad),
            Err(EngineError::InvalidInput { field: "ca_certificate", .. })
        ));
        let started = DownloadEngine::new(config(dir.path()).http(missing)).await;
        assert!(matches!(started, Err(EngineError::InvalidInput { field: "ca_certificate", .. })));
    });
}
