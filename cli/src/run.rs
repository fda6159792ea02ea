//! Running an engine in the foreground: what `get` and `resume` have in common.

use crate::engine::{Engine, Runtime};
use crate::failure::Failure;
use crate::output;
use crate::settings::Show;
use crate::signals::{Interrupt, Signals};
use crate::stream::Stream;
use crate::wait::within;
use crate::watch::{End, Pending, Watch};
use gosh_dl_core::base::store::Store;
use gosh_dl_core::engine::{DownloadStatus, EngineConfig};
use std::time::Duration;

/// What to run.
pub(crate) struct Job {
    /// What drives the engine.
    pub(crate) runtime: Runtime,
    /// The engine's settings.
    pub(crate) config: EngineConfig,
    /// What the engine shall know of.
    pub(crate) store: Box<dyn Store>,
    /// How many downloads the command has.
    pub(crate) files: usize,
    /// Those of them that are complete already.
    pub(crate) complete: Vec<DownloadStatus>,
    /// How much is shown.
    pub(crate) show: Show,
    /// Where players are served.
    pub(crate) stream: Option<Stream>,
}

/// How to leave an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Something may be gone on with: it is saved first.
    Saved,
    /// Everything is complete, which means durable, and no state is wanted: there is nothing to wait for.
    AtOnce,
}

/// Runs an engine until all that `begin` asks of it has ended, and returns the exit code.
///
/// `at_end` is told what is in the engine, and says how to leave it.
pub(crate) async fn run(
    job: Job,
    begin: impl FnOnce(&Engine) -> Pending,
    at_end: impl FnOnce(&[DownloadStatus]) -> Leave,
) -> Result<u8, Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure(format!("signals cannot be handled: {error}; run the command again")))?;
    if job.config.http.accept_invalid_certs {
        output::error(
            "warning: certificates are not checked; whoever sits between can read and change everything",
        );
    }
    let (engine, mut events) =
        Engine::start(job.runtime, job.config, job.store).await.map_err(|error| Failure::engine(&error))?;
    let mut watch = Watch::new(engine.clone(), job.show, job.files, job.stream);
    for status in &job.complete {
        watch.already_complete(status);
    }
    let mut pending = begin(&engine);
    let end = watch.run(&mut events, &mut pending, &mut signals).await;
    drop(pending);
    let stop = match at_end(&engine.list()) {
        Leave::Saved => stop(&engine, &mut signals).await,
        Leave::AtOnce => {
            // Dropping the last handle would wait for the engine's threads, and the process ends now anyway.
            std::mem::forget(engine);
            None
        }
    };
    Ok(match (end, stop) {
        (End::Stopped(interrupt), _) => {
            watch.interrupted(interrupt);
            interrupt.exit_code()
        }
        (End::Done(_), Some(interrupt)) => interrupt.exit_code(),
        (End::Done(tally), None) => u8::from(tally.failed > 0),
    })
}

/// Saves and stops; a further signal ends the wait.
async fn stop(engine: &Engine, signals: &mut Signals) -> Option<Interrupt> {
    let told = async { Some(signals.next().await) };
    let stopped = async {
        match within(STOP_LIMIT, engine.shutdown()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => output::failure(&Failure::engine(&error)),
            None => output::error("stopping took too long; the last moments may be fetched again"),
        }
        None
    };
    smol::future::or(told, stopped).await
}

/// The whole of stopping takes at most 2 s; the rest of the process needs the other 200 ms.
const STOP_LIMIT: Duration = Duration::from_millis(1800);
