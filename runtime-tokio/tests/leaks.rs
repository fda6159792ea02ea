//! An engine that is gone leaves nothing behind. Alone in its process, because it counts threads.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

#[path = "engine/support.rs"]
mod support;

use gosh_dl_tokio::{DownloadEngine, DownloadOptions, EngineConfig};
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Manner, Server, content};

/// The engine's own threads.
fn threads() -> Vec<String> {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("gosh-")).collect()
}

fn open_files(dir: &std::path::Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(dir))).count()
}

#[test]
fn an_engine_that_is_gone_leaves_no_task_thread_or_file() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for manner in [Manner::Answers, Manner::Dawdles] {
        for in_order in [false, true] {
            runtime.block_on(check(manner, in_order));
            let left = (runtime.metrics().num_alive_tasks(), threads());
            assert_eq!(left, (0, Vec::new()), "{manner:?}, in order: {in_order}");
        }
    }
}

async fn check(manner: Manner, in_order: bool) {
    let server = Server::start(content(2_000_000), manner);
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig::new().download_dir(dir.path()).database_path(dir.path().join("db"));
    let engine = DownloadEngine::new(config).await.unwrap();
    assert_eq!(threads(), Vec::<String>::new(), "an idle engine has no thread");
    engine.add_http(&server.url("f"), DownloadOptions::new()).await.unwrap();
    while server.requests.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!threads().is_empty() && open_files(dir.path()) > 0);
    if in_order {
        engine.shutdown().await.unwrap();
    }
    drop(engine);
    assert_eq!(open_files(dir.path()), 0);
    // The tasks have their last turn, and the threads their last instruction.
    let metrics = tokio::runtime::Handle::current().metrics();
    for _ in 0..200 {
        if metrics.num_alive_tasks() == 0 && threads().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
