//! Watching the downloads of a command until all have ended: events in, lines and an exit code out.

use crate::engine::Engine;
use crate::json;
use crate::output;
use crate::progress::Progress;
use crate::rate;
use crate::settings::Show;
use crate::signals::{Interrupt, Signals};
use crate::stream::Stream;
use crate::tally::Tally;
use crate::trouble::{self, Trouble};
use crate::wait::{Tasks, Ticks, next_tick};
use crate::{failure, text};
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadEvent, DownloadKind, DownloadState, DownloadStatus, EngineError};
use gosh_dl_runtime::EventStream;
use smol::future::or;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Commands to the engine that are under way: each gives the id of a download to watch, or says for which URL it failed.
pub(crate) type Pending = Tasks<Result<DownloadId, Refused>>;

/// A download that the engine would not take.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its URL.
    pub(crate) url: String,
    /// Why.
    pub(crate) error: EngineError,
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every download ended.
    Done(Tally),
    /// Somebody wants the process to stop.
    Stopped(Interrupt),
}

/// Watches the downloads of one command.
pub(crate) struct Watch {
    engine: Engine,
    show: Show,
    progress: Progress,
    tally: Tally,
    /// Known, and not ended.
    open: HashSet<DownloadId>,
    /// Ended before they were known.
    early: HashSet<DownloadId>,
    /// When the engine was started.
    start: Instant,
    /// When those that run began.
    began: HashMap<DownloadId, Instant>,
    /// Torrents that are whole and serve others.
    serving: HashSet<DownloadId>,
    /// The bytes of each that were there before, where there were any.
    before: HashMap<DownloadId, u64>,
    /// Where players are served.
    stream: Option<Stream>,
    trouble: Trouble,
}

impl Watch {
    /// Watches over `files` downloads, which [`run`](Self::run) is told of.
    pub(crate) fn new(engine: Engine, show: Show, files: usize, stream: Option<Stream>) -> Self {
        let before = engine.list().iter().map(|status| (status.id, status.progress.completed_size)).collect();
        Self {
            engine,
            show,
            progress: Progress::for_command(show),
            tally: Tally { files, ..Tally::default() },
            open: HashSet::new(),
            early: HashSet::new(),
            start: Instant::now(),
            began: HashMap::new(),
            serving: HashSet::new(),
            before,
            stream,
            trouble: Trouble::default(),
        }
    }

    /// A file of the command that needs no download: it is complete already.
    pub(crate) fn already_complete(&mut self, status: &DownloadStatus) {
        self.tally.done += 1;
        self.skipped(status);
        if let Some(stream) = &mut self.stream {
            stream.serve(&self.engine, status.id);
        }
    }

    /// Watches until every download ended, or somebody wants to stop.
    pub(crate) async fn run(
        &mut self,
        events: &mut EventStream,
        pending: &mut Pending,
        signals: &mut Signals,
    ) -> End {
        let mut ticks = self.progress.interval().map(Ticks::new);
        let mut looks = Ticks::new(trouble::LOOK);
        while !(pending.is_empty() && self.open.is_empty()) {
            match next(signals, &mut ticks, &mut looks, pending, events).await {
                Next::Interrupt(interrupt) => {
                    self.progress.clear();
                    return End::Stopped(interrupt);
                }
                Next::Tick => self.progress.update(&self.engine.active(), &self.tally),
                Next::Look => self.tell_trouble(),
                Next::Answer(answer) => self.on_answer(answer),
                Next::Event(Some(event)) => self.on_event(&event),
                Next::Event(None) => return self.finish(),
            }
            self.tell_stream();
        }
        self.tell_stream();
        self.serve_on(signals).await;
        self.finish()
    }

    /// Tells where the files are found, once they are known.
    fn tell_stream(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let news = stream.news(&self.engine, self.show.json);
        if !news.is_empty() && !self.show.quiet {
            self.progress.aside(|| news.iter().for_each(|line| output::result(line)));
        }
    }

    /// What is complete is served to players until somebody wants to stop.
    async fn serve_on(&mut self, signals: &mut Signals) {
        let is_serving = self.stream.as_ref().is_some_and(Stream::is_serving);
        if !is_serving || self.tally.failed > 0 || self.tally.done == 0 {
            return;
        }
        self.progress.clear();
        if !self.show.quiet && !self.show.json {
            output::note("complete; players are served until interrupted");
        }
        signals.next().await;
    }

    fn on_answer(&mut self, answer: Result<DownloadId, Refused>) {
        match answer {
            Ok(id) => {
                if let Some(stream) = &mut self.stream {
                    stream.serve(&self.engine, id);
                }
                if !self.early.remove(&id) {
                    self.open.insert(id);
                }
            }
            Err(Refused { url, error }) => {
                self.tally.failed += 1;
                if self.show.json {
                    output::result(&json::refused(&url, &error));
                }
                self.progress.aside(|| output::error(&failure::line(&url, &error)));
            }
        }
    }

    fn on_event(&mut self, event: &DownloadEvent) {
        let id = event.id();
        let word = match event {
            DownloadEvent::Started { .. } => "started",
            DownloadEvent::Completed { .. } => return self.on_completed(id),
            DownloadEvent::StateChanged { new_state: DownloadState::Completed, .. } => {
                return self.on_over(id);
            }
            DownloadEvent::Warning { message, .. } => return self.on_warning(id, message),
            DownloadEvent::Waiting { error, delay, .. } => return self.on_waiting(id, error, *delay),
            DownloadEvent::Failed { error, retryable, .. } => return self.on_failed(id, error, *retryable),
            DownloadEvent::Removed { .. } => return self.on_removed(id),
            DownloadEvent::Progress { .. } if self.show.json || self.before.contains_key(&id) => "progress",
            DownloadEvent::Added { .. } if self.show.json => "added",
            DownloadEvent::Paused { .. } if self.show.json => "paused",
            DownloadEvent::Resumed { .. } if self.show.json => "resumed",
            _ => return,
        };
        let Some(status) = self.engine.status(id) else { return };
        if matches!(event, DownloadEvent::Started { .. }) {
            self.began.entry(id).or_insert_with(|| match status.state {
                // This word of it comes late.
                DownloadState::Completed => self.start,
                _ => Instant::now(),
            });
        }
        // What was there before is thrown away where the file changed.
        self.before.entry(id).and_modify(|before| *before = status.progress.completed_size.min(*before));
        if self.show.json {
            output::result(&json::event(word, &status));
        }
    }

    /// A torrent is served for as long as was asked for, and over then.
    fn on_over(&mut self, id: DownloadId) {
        if self.serving.remove(&id) {
            self.end(id);
            self.tally.done += 1;
            self.tally.ended_bytes +=
                self.engine.status(id).map_or(0, |status| status.progress.completed_size);
        } else if self.open.contains(&id)
            && self.engine.status(id).is_some_and(|status| status.kind != DownloadKind::Http)
        {
            // It was complete before this command, which is told of the end of its seeding alone.
            self.on_completed(id);
        }
    }

    fn on_waiting(&mut self, id: DownloadId, error: &EngineError, delay: Duration) {
        let Some(status) = self.engine.status(id) else { return };
        if self.show.json {
            output::result(&json::waiting(&status, error, delay));
        } else if !self.show.quiet {
            let line = failure::retry(&failure::name(&status), error, delay);
            self.progress.aside(|| output::error(&line));
        }
    }

    fn on_warning(&mut self, id: DownloadId, message: &str) {
        self.trouble.heard(&self.engine, id, message);
        if let Some(status) = self.engine.status(id) {
            self.progress.warn(self.show, &status, message);
        }
    }

    fn tell_trouble(&mut self) {
        for (status, message) in self.trouble.news(&self.engine) {
            self.progress.warn(self.show, &status, &message);
        }
    }

    fn on_completed(&mut self, id: DownloadId) {
        let (began, before) = (self.began.remove(&id), self.before.remove(&id));
        let Some(status) = self.engine.status(id) else { return };
        let size = status.progress.completed_size;
        if status.kind != DownloadKind::Http && status.state != DownloadState::Completed {
            // It still counts among those that run.
            self.serving.insert(id);
        } else {
            self.end(id);
            self.tally.done += 1;
            self.tally.ended_bytes += size;
        }
        if status.metadata.filename.is_none() {
            // It never got a name of its own, because the one it should have had is taken.
            return self.skipped(&status);
        }
        let downloaded = status.torrent_info.as_ref().map(|info| info.downloaded);
        if self.show.json {
            output::result(&json::event("completed", &status));
        } else if !self.show.quiet && downloaded == Some(0) {
            let (path, size) = (path(&status), rate::bytes(size));
            self.progress.aside(|| output::result(&format!("{path} is whole ({size})")));
        } else if !self.show.quiet {
            let took = began.unwrap_or(self.start).elapsed();
            let fetched = downloaded.unwrap_or_else(|| size.saturating_sub(before.unwrap_or(0)));
            let speed = match rate::average(fetched, took) {
                0 => String::new(),
                speed => format!(", {}", rate::speed(speed)),
            };
            let (path, size, took) = (path(&status), rate::bytes(size), rate::elapsed(took));
            let line = format!("saved {path} ({size} in {took}{speed})");
            self.progress.aside(|| output::result(&line));
            if status.kind == DownloadKind::Http && path.ends_with(".torrent") {
                self.progress
                    .aside(|| output::note(&format!("gosh-dl get {path} fetches what this torrent has")));
            }
        }
    }

    fn skipped(&mut self, status: &DownloadStatus) {
        self.tally.skipped += 1;
        if self.show.json {
            output::result(&json::event("skipped", status));
        } else if !self.show.quiet {
            let metadata = &status.metadata;
            let what = metadata.filename.as_ref().map_or_else(|| text::url(&metadata.url), |_| path(status));
            let line = format!("skipped {what} (it is already there)");
            self.progress.aside(|| output::result(&line));
        }
    }

    fn on_failed(&mut self, id: DownloadId, error: &EngineError, retryable: bool) {
        self.end(id);
        self.tally.failed += 1;
        self.began.remove(&id);
        let Some(status) = self.engine.status(id) else { return };
        self.tally.ended_bytes += status.progress.completed_size;
        if self.show.json {
            output::result(&json::failed(&status, error, retryable));
        }
        self.progress.aside(|| output::error(&failure::of(&status, error)));
    }

    fn on_removed(&mut self, id: DownloadId) {
        self.end(id);
        self.tally.failed += 1;
        self.began.remove(&id);
    }

    fn end(&mut self, id: DownloadId) {
        if !self.open.remove(&id) {
            self.early.insert(id);
        }
        self.progress.ended(id);
    }

    /// Says what is kept of the downloads that had not ended when it was `interrupt`ed, once that is durable.
    pub(crate) fn interrupted(&self, interrupt: Interrupt) {
        let open: Vec<_> =
            self.engine.list().into_iter().filter(|status| self.open.contains(&status.id)).collect();
        if self.show.json {
            open.iter().for_each(|status| output::result(&json::event("interrupted", status)));
        }
        let kept: u64 = open.iter().map(|status| status.progress.completed_size).sum();
        let kept = if kept == 0 { String::new() } else { format!("; {} are kept", rate::bytes(kept)) };
        output::error(&format!("{}{kept}; run the same command again to resume", interrupt.name()));
    }

    fn finish(&mut self) -> End {
        self.progress.clear();
        // Only an engine that died leaves some open.
        self.tally.failed += self.tally.open();
        if self.tally.files > 1 && !self.show.quiet && !self.show.json {
            output::note(&self.tally.summary());
        }
        End::Done(self.tally)
    }
}

/// Where a download is saved, for people.
pub(crate) fn path(status: &DownloadStatus) -> String {
    let metadata = &status.metadata;
    text::path(&metadata.save_dir.join(metadata.filename.as_ref().unwrap_or(&metadata.name)))
}

/// Waits for `id` to be resumed where it needs that: what was queued or running goes on by itself.
pub(crate) async fn go_on(engine: Engine, status: DownloadStatus) -> Result<DownloadId, Refused> {
    let id = status.id;
    if matches!(status.state, DownloadState::Paused | DownloadState::Error { .. }) {
        let refuse = |error| Refused { url: status.metadata.url.clone(), error };
        engine.resume(id).await.map_err(refuse)?;
    }
    Ok(id)
}

/// What happens next to a watch.
enum Next {
    Interrupt(Interrupt),
    Tick,
    Look,
    Answer(Result<DownloadId, Refused>),
    /// `None` where the engine is gone.
    Event(Option<DownloadEvent>),
}

/// The first of what is ready counts, in this order; nothing of the rest is lost.
async fn next(
    signals: &mut Signals,
    ticks: &mut Option<Ticks>,
    looks: &mut Ticks,
    pending: &mut Pending,
    events: &mut EventStream,
) -> Next {
    let interrupt = async { Next::Interrupt(signals.next().await) };
    let tick = async {
        next_tick(ticks).await;
        Next::Tick
    };
    let look = async {
        looks.next().await;
        Next::Look
    };
    let answer = async { Next::Answer(pending.next().await) };
    let event = async { Next::Event(events.recv().await) };
    or(interrupt, or(tick, or(look, or(answer, event)))).await
}
