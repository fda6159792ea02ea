//! What is left of engines that are gone, counted in a process that does nothing else.

use super::home::Home;
use super::world::Manner;
use super::{Rig, until, wait};
use crate::server::{Server, content};
use crate::store::Backend;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::EngineError;
use std::process::Command;
use std::sync::atomic::Ordering;

/// Runs `child`, the path of the test that calls [`engines_in_a_child`], in a process of its own.
pub fn nothing_is_left(child: &str) {
    let name = child.split_once("::").map_or(child, |(_, name)| name);
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Starts and ends engines in every way: after the first, which may set a runtime up, none adds a thread or a descriptor.
pub fn engines_in_a_child(rig: &impl Rig, backend: &impl Backend) {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let servers = [Manner::Answers, Manner::Dawdles, Manner::Hangs]
        .map(|manner| Server::start(content(1_000_000), manner));
    let run = || {
        for server in &servers {
            for in_order in [false, true] {
                live(rig, backend, server, in_order);
            }
            until("the server's connections are closed", || server.open.load(Ordering::SeqCst) == 0);
        }
    };
    run();
    until("the first threads end", || own_threads() == 0);
    let before = (threads(), descriptors());
    run();
    // The threads have their last instruction.
    let mut after = (0, 0);
    until("nothing is left", || {
        after = (threads(), descriptors());
        own_threads() == 0 && after.0 <= before.0 && after.1 <= before.1
    });
}

fn live(rig: &impl Rig, backend: &impl Backend, server: &Server, in_order: bool) {
    let home = Home::new(backend);
    // Counted first: an engine that finds the download in its store asks at once.
    let requests = server.requests.load(Ordering::SeqCst);
    let engine = home.start(rig);
    let added = wait(engine.add_http(&server.url("file"), DownloadOptions::new()));
    // A volatile store is the same for all engines: the one before left the download in it, and it goes on.
    assert!(matches!(added, Ok(_) | Err(EngineError::AlreadyExists(_))), "{added:?}");
    until("a request", || server.requests.load(Ordering::SeqCst) > requests);
    if in_order {
        wait(engine.shutdown()).expect("it ends");
    }
}

/// The engine's own threads.
fn own_threads() -> usize {
    names().filter(|name| name.starts_with("gosh-")).count()
}

fn threads() -> usize {
    names().count()
}

fn names() -> impl Iterator<Item = String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").into_iter().flatten().count()
}

const CHILD: &str = "GOSH_DL_CONFORMANCE_LEFTOVERS";
