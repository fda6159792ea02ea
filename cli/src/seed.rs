//! `gosh-dl seed`: serves a complete torrent until it is interrupted.

use crate::engine::Engine;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::settings::Show;
use crate::signals::{Interrupt, Signals};
use crate::swarm::Seed;
use crate::tally::Tally;
use crate::trouble::{self, Trouble};
use crate::wait::{Ticks, next_tick, within};
use crate::{json, metainfo, output, rate, text, verify};
use gosh_dl_core::base::store::MemoryStore;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadEvent, DownloadState, DownloadStatus};
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_runtime::EventStream;
use smol::future::or;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Runs the command and returns its exit code.
pub(crate) async fn seed(seed: Seed, show: Show) -> Result<u8, Failure> {
    let metainfo = metainfo::read(&seed.torrent)?;
    let mut signals = Signals::new()
        .map_err(|error| Failure(format!("signals cannot be handled: {error}; run the command again")))?;
    let store = Box::new(MemoryStore::new());
    let (engine, mut events) =
        Engine::start(seed.runtime, seed.config, store).await.map_err(|error| Failure::engine(&error))?;
    let failed = |error| Failure::engine(&error);
    let id = engine.add_torrent(metainfo.raw(), seed.options).await.map_err(failed)?;
    let mut serving = Serving::new(engine.clone(), id, show);
    let result = serving.run(&mut events, &mut signals).await;
    serving.progress.clear();
    if within(STOP_LIMIT, engine.shutdown()).await.is_none() {
        output::error("stopping took too long; trackers may not have been told");
    }
    let interrupt = result?;
    serving.sum_up(interrupt);
    Ok(match interrupt {
        // To be interrupted is how it is meant to end.
        Some(Interrupt::Interrupted) | None => 0,
        Some(interrupt) => interrupt.exit_code(),
    })
}

/// What is wrong with the files: all that is taken for those of somebody else is not told by the engine.
fn damage(engine: &Engine, status: &DownloadStatus) -> Option<Failure> {
    let metainfo = Metainfo::decode(engine.metainfo(status.id)?.into()).ok()?;
    let dir = &status.metadata.save_dir;
    let (_, verdict) = verify::compare(&metainfo, dir);
    let (name, dir) = (text::escape(metainfo.name().as_str()), text::path(dir));
    (!verdict.valid).then(|| {
        let verdict = verdict.sentence();
        Failure(format!("{name}: {verdict} in {dir}; gosh-dl verify says which, gosh-dl get fetches them"))
    })
}

/// A torrent that is served.
struct Serving {
    engine: Engine,
    id: DownloadId,
    show: Show,
    progress: Progress,
    /// Whether it was said where peers may come to.
    is_told: bool,
    trouble: Trouble,
}

/// What happens next.
enum Next {
    Interrupt(Interrupt),
    Tick,
    /// `None` where the engine is gone.
    Event(Option<DownloadEvent>),
    /// The port becomes known without an event.
    Port,
    Look,
}

impl Serving {
    fn new(engine: Engine, id: DownloadId, show: Show) -> Self {
        Self {
            engine,
            id,
            show,
            progress: Progress::for_command(show),
            is_told: false,
            trouble: Trouble::default(),
        }
    }

    /// Serves until the goal is met, or somebody wants to stop.
    async fn run(
        &mut self,
        events: &mut EventStream,
        signals: &mut Signals,
    ) -> Result<Option<Interrupt>, Failure> {
        let tally = Tally { files: 1, ..Tally::default() };
        let mut ticks = self.progress.interval().map(Ticks::new);
        let mut looks = Ticks::new(trouble::LOOK);
        while !self.look()? {
            match next(signals, &mut ticks, &mut looks, events, !self.is_told).await {
                Next::Interrupt(interrupt) => return Ok(Some(interrupt)),
                Next::Tick => self.progress.update(&self.engine.active(), &tally),
                Next::Event(Some(event)) => self.on_event(&event),
                Next::Event(None) => break,
                Next::Port => {}
                Next::Look => {
                    for (status, message) in self.trouble.news(&self.engine) {
                        self.progress.warn(self.show, &status, &message);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether the goal is met; says where it is served as soon as it is.
    fn look(&mut self) -> Result<bool, Failure> {
        let Some(status) = self.engine.status(self.id) else { return Ok(true) };
        let name = text::escape(&status.metadata.name).into_owned();
        match &status.state {
            DownloadState::Seeding if !self.is_told => {
                if let Some(port) = self.engine.listen_port() {
                    self.is_told = true;
                    let ip = self.engine.get_config().torrent.listen_address;
                    let listen = SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port);
                    self.say_where(&status, &name, listen);
                }
                Ok(false)
            }
            DownloadState::Connecting | DownloadState::Downloading => {
                let info = status.torrent_info.as_ref();
                let missing = info.map_or(0, |info| info.pieces_count - info.pieces_have);
                let missing = match missing {
                    1 => "1 piece is".to_owned(),
                    missing => format!("{missing} pieces are"),
                };
                let dir = text::path(&status.metadata.save_dir);
                Err(Failure(format!("{name}: {missing} missing or wrong in {dir}; gosh-dl get fetches them")))
            }
            DownloadState::Completed => Ok(true),
            DownloadState::Error { message, .. } => {
                let failure = || Failure(format!("{name}: {}", text::escape(message)));
                Err(damage(&self.engine, &status).unwrap_or_else(failure))
            }
            _ => Ok(false),
        }
    }

    fn say_where(&mut self, status: &DownloadStatus, name: &str, listen: SocketAddr) {
        if self.show.json {
            output::result(&json::seeding(status, listen));
        } else if !self.show.quiet {
            self.progress.aside(|| output::result(&format!("seeding {name} on {listen}")));
        }
    }

    fn on_event(&mut self, event: &DownloadEvent) {
        let Some(status) = self.engine.status(self.id) else { return };
        match event {
            DownloadEvent::Warning { message, .. } => {
                self.trouble.heard(&self.engine, self.id, message);
                self.progress.warn(self.show, &status, message);
            }
            DownloadEvent::Progress { .. } if self.show.json => {
                output::result(&json::event("progress", &status));
            }
            _ => {}
        }
    }

    /// What has been given, at the end.
    fn sum_up(&self, interrupt: Option<Interrupt>) {
        let Some(status) = self.engine.status(self.id) else { return };
        if self.show.json {
            let word = if interrupt.is_some() { "interrupted" } else { "completed" };
            output::result(&json::event(word, &status));
        } else if !self.show.quiet {
            let name = text::escape(&status.metadata.name);
            let (sent, ratio) = (rate::bytes(status.progress.uploaded), status.progress.ratio);
            output::note(&format!("{name}: sent {sent}, ratio {ratio:.2}"));
        }
    }
}

/// The first of what is ready counts, in this order; nothing of the rest is lost.
async fn next(
    signals: &mut Signals,
    ticks: &mut Option<Ticks>,
    looks: &mut Ticks,
    events: &mut EventStream,
    port: bool,
) -> Next {
    let interrupt = async { Next::Interrupt(signals.next().await) };
    let tick = async {
        next_tick(ticks).await;
        Next::Tick
    };
    let event = async { Next::Event(events.recv().await) };
    let look = async {
        looks.next().await;
        Next::Look
    };
    let port = async {
        match port {
            true => smol::Timer::after(LOOK_AGAIN).await,
            false => std::future::pending().await,
        };
        Next::Port
    };
    or(interrupt, or(tick, or(look, or(event, port)))).await
}

/// Trackers are taken leave of within this time.
const STOP_LIMIT: Duration = Duration::from_secs(4);
/// How soon it is looked again, until it was said where it is served.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
