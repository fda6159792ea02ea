//! `gosh-dl move`: a finished download goes to another directory.

use crate::args::MoveArgs;
use crate::engine::{Engine, Runtime};
use crate::failure::{self, Failure, io_message};
use crate::manage::{Chosen, choose};
use crate::signals::Signals;
use crate::wait::within;
use crate::{json, output, state, text, watch};
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadState, DownloadStatus, EngineConfig, EngineError};
use smol::future::or;
use std::path::Path;
use std::time::Duration;

/// Runs the command and returns its exit code.
pub(crate) async fn move_to(args: &MoveArgs) -> Result<u8, Failure> {
    let dir = std::path::absolute(&args.dir)
        .map_err(|error| Failure(format!("{}: {}", text::path(&args.dir), io_message(&error))))?;
    if dir.exists() && !dir.is_dir() {
        return Err(Failure(format!("{}: this is not a directory", text::path(&dir))));
    }
    let named = [args.id.clone()];
    let mut chosen = choose(args.state.as_deref(), &named, "download", |_| true)?;
    let Some(Chosen { state, ids }) = chosen.pop() else { return Ok(0) };
    let Some(status) = state.statuses(&ids).pop() else { return Ok(0) };
    check(&status)?;
    let mut signals = Signals::new()
        .map_err(|error| Failure(format!("signals cannot be handled: {error}; run the command again")))?;
    let path = state.path.clone();
    let (engine, _) = Engine::start(Runtime::default(), EngineConfig::new(), state.into_store(&ids))
        .await
        .map_err(|error| Failure::engine(&error))?;
    let stopped = async { Err(signals.next().await) };
    let moved = or(stopped, async { Ok(carry(&engine, status.id, &dir).await) }).await;
    let after = engine.status(status.id).unwrap_or_else(|| status.clone());
    if within(STOP_LIMIT, engine.shutdown()).await.is_none() {
        output::error("stopping took too long; the same command goes on");
    }
    drop(engine);
    if args.state.is_none() {
        state::tidy(&path);
    }
    Ok(match moved {
        Ok(Ok(())) => {
            let (from, to) = (watch::path(&status), watch::path(&after));
            let line = if args.json { json::event("moved", &after) } else { format!("moved {from} to {to}") };
            output::result(&line);
            0
        }
        Ok(Err(error)) => {
            if args.json {
                output::result(&json::failed(&after, &error, error.is_retryable()));
            }
            output::error(&failure::not_moved(&watch::path(&after), &error));
            1
        }
        Err(interrupt) => {
            output::error(&format!("{}; run the same command again to go on", interrupt.name()));
            interrupt.exit_code()
        }
    })
}

/// Whether it can be moved at all: starting the engine would go on with one that is not complete.
fn check(status: &DownloadStatus) -> Result<(), Failure> {
    let (id, url) = (status.gid(), failure::name(status));
    if status.completed_at.is_none() {
        return Err(Failure(format!("{id} {url}: it is not complete; gosh-dl resume {id} fetches the rest")));
    }
    if status.metadata.filename.is_none() {
        return Err(Failure(format!("{id} {url}: it has no file of its own, because the name was taken")));
    }
    Ok(())
}

/// Moves it. A move that was broken off earlier ends first, with which the engine goes on by itself.
async fn carry(engine: &Engine, id: DownloadId, dir: &Path) -> Result<(), EngineError> {
    loop {
        let moved = engine.move_to(id, dir).await;
        let Err(EngineError::InvalidState { current_state, .. }) = &moved else { return moved };
        match engine.status(id).map(|status| status.state) {
            _ if current_state == "moving" => _ = smol::Timer::after(LOOK_AGAIN).await,
            Some(DownloadState::Error { message, .. }) => return Err(EngineError::Failed(message)),
            Some(DownloadState::Completed | DownloadState::Paused) | None => return moved,
            // A torrent that was interrupted while it seeded begins to seed again.
            Some(_) => engine.pause(id).await?,
        }
    }
}

/// How often it is looked whether an earlier move has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A step that is under way is ended first; whatever is cut off is gone on with.
const STOP_LIMIT: Duration = Duration::from_millis(1800);
