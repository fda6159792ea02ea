//! An engine without an async runtime: `cargo run -p gosh-dl-runtime --example plain_threads -- <URL>`
//!
//! `threads.rs` is the whole runtime; the guide in `docs/runtimes.md` walks through it.
#![expect(clippy::print_stdout, reason = "an example shows what happens")]

mod threads;

use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{EngineConfig, EngineError};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use threads::DownloadEngine;

fn main() -> Result<(), EngineError> {
    let url = std::env::args().nth(1).expect("the first argument is a URL");
    let engine = DownloadEngine::start(EngineConfig::new().download_dir("."), None)?;
    let id = block_on(engine.add_http(&url, DownloadOptions::new()))?;
    block_on(engine.wait(id))?;
    println!("{:?}", engine.status(id).and_then(|status| status.metadata.filename));
    block_on(engine.shutdown())
}

/// Waits on this thread: the engine's futures need no runtime of their own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
