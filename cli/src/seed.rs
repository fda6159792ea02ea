//! `gosh-dl seed`: serves a complete torrent until it is interrupted.

use crate::engine::Engine;
use crate::failure::Failure;
use crate::signals::{Interrupt, Signals};
use crate::swarm::Seed;
use crate::wait::within;
use crate::{metainfo, output, text};
use gosh_dl_core::base::store::MemoryStore;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadEvent, DownloadState};
use gosh_dl_runtime::EventStream;
use std::time::Duration;

/// Runs the command and returns its exit code.
pub(crate) async fn seed(seed: Seed) -> Result<u8, Failure> {
    let metainfo = metainfo::read(&seed.torrent)?;
    let mut signals = Signals::new()
        .map_err(|error| Failure(format!("signals cannot be handled: {error}; run the command again")))?;
    let store = Box::new(MemoryStore::new());
    let (engine, mut events) =
        Engine::start(seed.runtime, seed.config, store).await.map_err(|error| Failure::engine(&error))?;
    let failed = |error| Failure::engine(&error);
    let id = engine.add_torrent(metainfo.raw(), seed.options).await.map_err(failed)?;
    let told = async { Ok(Some(signals.next().await)) };
    let served = async { serve(&engine, id, &mut events).await.map(|()| None) };
    let result = smol::future::or(told, served).await;
    let stopped = within(STOP_LIMIT, engine.shutdown()).await;
    if stopped.is_none() {
        output::error("stopping took too long; trackers may not have been told");
    }
    match result? {
        // To be interrupted is how it is meant to end.
        Some(Interrupt::Interrupted) | None => Ok(0),
        Some(interrupt) => Ok(interrupt.exit_code()),
    }
}

/// Waits until it is seeded, says where, and goes on until the goal is met.
async fn serve(engine: &Engine, id: DownloadId, events: &mut EventStream) -> Result<(), Failure> {
    let name = engine.status(id).map(|status| text::escape(&status.metadata.name).into_owned());
    let name = name.unwrap_or_default();
    let mut is_told = false;
    loop {
        match engine.status(id).map(|status| status.state) {
            Some(DownloadState::Seeding) if !is_told => {
                if let Some(port) = engine.listen_port() {
                    is_told = true;
                    let address = engine.get_config().torrent.listen_address;
                    let address = address.map_or_else(
                        || "0.0.0.0".to_owned(),
                        |address| match address {
                            std::net::IpAddr::V6(address) => format!("[{address}]"),
                            address => address.to_string(),
                        },
                    );
                    output::result(&format!("seeding {name} on {address}:{port}"));
                }
            }
            Some(DownloadState::Connecting | DownloadState::Downloading) => {
                let status = engine.status(id);
                let info = status.as_ref().and_then(|status| status.torrent_info.as_ref());
                let missing = info.map_or(0, |info| info.pieces_count - info.pieces_have);
                return Err(Failure(format!(
                    "{name}: {missing} pieces are missing or wrong in that directory; fetch them with gosh-dl get"
                )));
            }
            Some(DownloadState::Completed) => return Ok(()),
            Some(DownloadState::Error { message, .. }) => {
                return Err(Failure(format!("{name}: {}", text::escape(&message))));
            }
            None => return Ok(()),
            _ => {}
        }
        // The port becomes known without an event.
        let event = within(LOOK_AGAIN, events.recv()).await;
        if let Some(Some(DownloadEvent::Warning { message, .. })) = &event {
            output::error(&text::escape(message));
        }
        if matches!(event, Some(None)) {
            return Ok(());
        }
    }
}

/// Trackers are taken leave of within this time.
const STOP_LIMIT: Duration = Duration::from_secs(4);
/// How soon it is looked again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
