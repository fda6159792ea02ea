//! The engine on tokio, against a server on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

mod support;
mod tls;

use gosh_dl_tokio::{
    DownloadEngine, DownloadEvent, DownloadId, DownloadOptions, DownloadState, EngineConfig, EngineError,
    HttpConfig, NetworkErrorKind, Result, StoreError,
};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
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

async fn start(engine: &DownloadEngine, server: &Server) -> DownloadId {
    engine.add_http(&server.url("file.bin"), DownloadOptions::new()).await.unwrap()
}

/// Waits until something has arrived, and the file is open for it.
async fn until_data(engine: &DownloadEngine, id: DownloadId) {
    while engine.status(id).unwrap().progress.completed_size < 200_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_file_arrives_whole() {
    let body = content(9_000_001);
    let server = Server::start(body.clone(), Manner::Answers);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let id = start(&engine, &server).await;
        engine.wait(id).await.unwrap();
        assert!(std::fs::read(dir.path().join("file.bin")).unwrap() == body);
        assert_eq!(engine.status(id).unwrap().state, DownloadState::Completed);
        engine.shutdown().await.unwrap();
    });
}

#[test]
fn an_empty_file_arrives() {
    let server = Server::start(Vec::new(), Manner::Answers);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let id = engine.add_http(&server.url("empty"), DownloadOptions::new()).await.unwrap();
        engine.wait(id).await.unwrap();
        assert_eq!(std::fs::read(dir.path().join("empty")).unwrap(), b"");
        engine.shutdown().await.unwrap();
    });
}

#[test]
fn many_downloads_run_side_by_side() {
    let body = content(300_000);
    let server = Server::start(body.clone(), Manner::Answers);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let mut ids = Vec::new();
        for number in 0..40 {
            let url = server.url(&format!("file-{number}"));
            ids.push(engine.add_http(&url, DownloadOptions::new()).await.unwrap());
        }
        for (number, id) in ids.into_iter().enumerate() {
            engine.wait(id).await.unwrap();
            assert!(std::fs::read(dir.path().join(format!("file-{number}"))).unwrap() == body);
        }
        assert_eq!(engine.stopped().len(), 40);
    });
}

#[test]
fn events_tell_the_story_and_end_with_the_engine() {
    let server = Server::start(content(1000), Manner::Answers);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let mut events = engine.subscribe();
        let id = start(&engine, &server).await;
        engine.wait(id).await.unwrap();
        engine.shutdown().await.unwrap();
        let mut seen = Vec::new();
        while let Some(event) = events.recv().await {
            assert_eq!(event.id(), id);
            seen.push(event);
        }
        assert_eq!(seen.first(), Some(&DownloadEvent::Added { id }));
        assert!(seen.contains(&DownloadEvent::Started { id }));
        assert!(seen.contains(&DownloadEvent::Completed { id }));
    });
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
fn pausing_keeps_what_arrived_and_resuming_goes_on() {
    let body = content(2_000_000);
    let server = Server::start(body.clone(), Manner::Dawdles);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let id = start(&engine, &server).await;
        until_data(&engine, id).await;
        engine.pause(id).await.unwrap();
        let paused = engine.status(id).unwrap();
        assert_eq!(paused.state, DownloadState::Paused);
        assert!(paused.progress.completed_size > 0 && paused.progress.completed_size < 2_000_000);
        assert_eq!(engine.pause_all().await.skipped, [id]);
        assert_eq!(engine.resume_all().await.succeeded, [id]);
        engine.wait(id).await.unwrap();
        assert!(std::fs::read(dir.path().join("file.bin")).unwrap() == body);
    });
}

#[test]
fn shutdown_is_quick_while_the_server_hangs() {
    for manner in [Manner::Hangs, Manner::StopsHalfway] {
        let server = Server::start(content(1_000_000), manner);
        on_both(async || {
            let dir = tempfile::tempdir().unwrap();
            let engine = engine(dir.path()).await;
            let id = start(&engine, &server).await;
            while server.requests.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let begun = Instant::now();
            engine.shutdown().await.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
            assert_eq!(engine.shutdown().await, Ok(()), "a second time is fine");
            assert_eq!(engine.pause(id).await, Err(EngineError::Shutdown));
            let added = engine.add_http("http://127.0.0.1/x", DownloadOptions::new()).await;
            assert_eq!(added, Err(EngineError::Shutdown));
        });
    }
}

#[test]
fn a_download_goes_on_in_the_next_engine() {
    let body = content(2_000_000);
    let server = Server::start(body.clone(), Manner::Dawdles);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path()).database_path(dir.path().join("state/db.redb"));
        let first = DownloadEngine::new(config.clone()).await.unwrap();
        let id = start(&first, &server).await;
        until_data(&first, id).await;
        first.shutdown().await.unwrap();
        let second = DownloadEngine::new(config).await.unwrap();
        assert!(second.status(id).unwrap().progress.completed_size > 0);
        second.wait(id).await.unwrap();
        assert!(std::fs::read(dir.path().join("file.bin")).unwrap() == body);
    });
}

#[test]
fn dropping_an_engine_frees_its_database_and_files_at_once() {
    let server = Server::start(content(2_000_000), Manner::Dawdles);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path()).database_path(dir.path().join("db.redb"));
        let first = DownloadEngine::new(config.clone()).await.unwrap();
        let id = start(&first, &server).await;
        until_data(&first, id).await;
        drop(first);
        let second = DownloadEngine::new(config).await.unwrap();
        second.wait(id).await.unwrap();
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
fn a_dropped_future_leaves_the_command_in_force() {
    let server = Server::start(content(1000), Manner::Answers);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let url = server.url("file.bin");
        {
            let mut adding = Box::pin(engine.add_http(&url, DownloadOptions::new()));
            // On a thread of its own, the driver may already have answered.
            let _pending = adding.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        let id = engine.list()[0].id;
        {
            let mut waiting = Box::pin(engine.wait(id));
            let _pending = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        engine.wait(id).await.unwrap();
        drop(Box::pin(engine.cancel(id, true)));
        assert!(engine.status(id).is_some(), "a future that was never polled does nothing");
    });
}

#[test]
fn cancelling_deletes_the_part_and_nothing_else() {
    let server = Server::start(content(2_000_000), Manner::Dawdles);
    on_both(async || {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), b"mine").unwrap();
        let engine = engine(dir.path()).await;
        let id = start(&engine, &server).await;
        until_data(&engine, id).await;
        assert_eq!(engine.cancel_all(true).await.succeeded, [id]);
        assert!(engine.status(id).is_none());
        assert!(matches!(engine.wait(id).await, Err(EngineError::NotFound(_))));
        let left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
    });
}

#[test]
fn settings_are_checked_and_changed() -> Result<()> {
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
    Ok(())
}
