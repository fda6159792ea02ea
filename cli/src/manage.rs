//! `gosh-dl list`, `resume` and `cancel`: the downloads that earlier commands left.

use crate::announced::{Announced, Announcement};
use crate::args::{CancelArgs, ListArgs, ResumeArgs};
use crate::engine::{Engine, Runtime};
use crate::failure::{self, Failure, Refusal};
use crate::run::{Job, Leave, run};
use crate::selection::Selection;
use crate::settings::{self, Show};
use crate::state::{self, Found, Known, State};
use crate::storage::{self, Storage};
use crate::watch::{self, Pending, go_on};
use crate::{json, output, rate, swarm, tally, text};
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadState, DownloadStatus, EngineConfig};
use serde::Serialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The downloads of one state file that a command names.
pub(crate) struct Chosen {
    /// The open file.
    pub(crate) state: State,
    /// Those of its downloads.
    pub(crate) ids: HashSet<DownloadId>,
}

impl Chosen {
    fn announce(&self) {
        let all = self.state.downloads.iter();
        let wanted: Vec<_> = all.filter(|known| self.ids.contains(&known.status.id)).collect();
        let files = wanted.iter().map(|known| (&*known.key, &*known.status.metadata.url));
        let mut announcement = Announcement::new(&self.state, files);
        wanted.iter().for_each(|known| announcement.identify(&known.key, known.status.id));
    }
}

/// Prints what is not complete, and with `--state` what is.
pub(crate) fn list(args: &ListArgs) -> Result<u8, Failure> {
    let mut code = 0;
    let (mut lines, mut running) = (0, 0);
    for found in found(args.state.as_deref())? {
        match found {
            Found::Open(state) => {
                let file = state.path.to_string_lossy().into_owned();
                for Known { status, .. } in &state.downloads {
                    if args.state.is_none() && !state::is_worth_keeping(status) {
                        continue;
                    }
                    lines += 1;
                    let line = if args.json {
                        json::listed(status, state_word(&status.state), &file)
                    } else {
                        list_line(status)
                    };
                    output::result(&line);
                }
            }
            Found::InUse(path) => {
                running += 1;
                lines += list_in_use(&path, args.json);
            }
            Found::Broken(path, error) => {
                code = 1;
                if args.json {
                    let file = path.to_string_lossy();
                    output::result(&json::unreadable(&file, &error.to_string()));
                }
                output::failure(&Failure::state(&path, &error));
            }
        }
    }
    if lines == 0 && code == 0 && !args.json {
        output::note("no unfinished downloads");
    }
    if running > 0 && !args.json {
        output::note(
            "what is running stops with Ctrl-C or kill -INT PROCESS; then resume and cancel take its id",
        );
    }
    Ok(code)
}

/// Prints what another process works on, and returns how many lines that took.
fn list_in_use(path: &Path, json: bool) -> usize {
    let Announced { process, files } = Announced::read(path);
    let mut files: Vec<_> = files.iter().map(Some).collect();
    if files.is_empty() {
        files.push(None);
    }
    for file in &files {
        let id = file.and_then(|file| file.id).map(|id| id.to_gid());
        let line = if json {
            let url = file.map(|file| &*file.url);
            json::running(&path.to_string_lossy(), process, id, url)
        } else {
            let what =
                file.map_or_else(|| format!("state {}", text::path(path)), |file| text::url(&file.url));
            let process = process.map_or("another process".to_owned(), |id| format!("process {id}"));
            format!("{:16}  {:11}  in {process}  {what}", id.as_deref().unwrap_or("-"), "running")
        };
        output::result(&line);
    }
    files.len()
}

/// Goes on with all that is not complete, or with what is named.
pub(crate) async fn resume(args: &ResumeArgs) -> Result<u8, Refusal> {
    let config = settings::config(&args.transfer, EngineConfig::new())?;
    let config = swarm::config(&args.network, config)?;
    swarm::check_addresses(&args.network)?;
    let chosen = choose(args.transfer.state.as_deref(), &args.ids, "unfinished download", |status| {
        status.state != DownloadState::Completed && (!args.ids.is_empty() || state::is_worth_keeping(status))
    })?;
    let show = Show::from(&args.show);
    if chosen.is_empty() {
        if !show.quiet && !show.json {
            output::note("nothing to resume");
        }
        return Ok(0);
    }
    if args.transfer.state.is_none() {
        chosen.iter().for_each(Chosen::announce);
    }
    let paths: Vec<PathBuf> = chosen.iter().map(|chosen| chosen.state.path.clone()).collect();
    let downloads: Vec<_> = chosen.iter().flat_map(|chosen| chosen.state.statuses(&chosen.ids)).collect();
    let parts = chosen.into_iter().map(|chosen| chosen.state.into_part(&chosen.ids)).collect();
    let store = Box::new(Selection::new(parts));
    let job = Job {
        stream: None,
        runtime: args.transfer.runtime,
        config,
        store,
        files: downloads.len(),
        complete: Vec::new(),
        show,
    };
    let begin = |engine: &Engine| {
        let mut pending = Pending::new();
        for status in downloads {
            pending.spawn(go_on(engine.clone(), status));
        }
        pending
    };
    let result = run(job, begin, |_| Leave::Saved).await;
    if args.transfer.state.is_none() {
        paths.iter().for_each(|path| state::tidy(path));
    }
    Ok(result?)
}

/// Forgets what is named.
pub(crate) async fn cancel(args: &CancelArgs) -> Result<u8, Failure> {
    let mut code = 0;
    for Chosen { state, ids } in choose(args.state.as_deref(), &args.ids, "unfinished download", |_| true)? {
        let path = state.path.clone();
        let statuses = state.statuses(&ids);
        let config = EngineConfig::new();
        let (engine, _) = Engine::start(Runtime::default(), config, state.into_store(&ids))
            .await
            .map_err(|error| Failure::engine(&error))?;
        for status in statuses {
            let name = format!("{} {}", status.gid(), failure::name(&status));
            match engine.cancel(status.id, args.delete_files).await {
                Ok(()) if args.json => output::result(&json::event("cancelled", &status)),
                Ok(()) => output::result(&format!("cancelled {name}")),
                Err(error) => {
                    code = 1;
                    if args.json {
                        output::result(&json::failed(&status, &error, error.is_retryable()));
                    }
                    output::error(&failure::line(&name, &error));
                }
            }
        }
        engine.shutdown().await.map_err(|error| Failure::engine(&error))?;
        drop(engine);
        if args.state.is_none() {
            state::tidy(&path);
        }
    }
    Ok(code)
}

/// What `state convert --json` prints.
#[derive(Serialize)]
#[serde(tag = "event", rename = "converted")]
struct Converted {
    from: String,
    path: String,
    storage: &'static str,
    downloads: usize,
}

/// Copies a state to a file of another kind.
pub(crate) fn convert(from: &Path, to: &Path, kind: Option<Storage>, json: bool) -> Result<u8, Failure> {
    let (downloads, kind) = storage::convert(from, to, kind)?;
    let kind = kind.extension();
    output::result(&if json {
        let [from, path] = [from, to].map(|path| path.to_string_lossy().into_owned());
        json::line(&Converted { from, path, storage: kind, downloads })
    } else {
        let (from, to) = (text::path(from), text::path(to));
        format!("{to}: a {kind} state with the {downloads} downloads of {from}, which is as it was")
    });
    Ok(0)
}

/// `0123456789abcdef  paused  27%  12.3 MiB of 45.6 MiB  PATH  URL`
fn list_line(status: &DownloadStatus) -> String {
    let progress = &status.progress;
    let completed = rate::bytes(progress.completed_size);
    let size = match progress.total_size {
        None => completed,
        Some(size) => format!(
            "{completed} of {} ({}%)",
            rate::bytes(size),
            tally::percent(progress.completed_size, size)
        ),
    };
    let (url, path) = (failure::name(status), watch::path(status));
    let why = match &status.state {
        DownloadState::Error { message, .. } => format!("  ({})", failure::why(&url, message)),
        _ => String::new(),
    };
    format!("{}  {:11}  {size}  {path}  {url}{why}", status.gid(), state_word(&status.state))
}

/// Nothing runs in a file that no process has open.
fn state_word(state: &DownloadState) -> &'static str {
    match state {
        DownloadState::Completed => "completed",
        DownloadState::Error { .. } => "failed",
        DownloadState::Paused => "paused",
        _ => "interrupted",
    }
}

fn found(state: Option<&Path>) -> Result<Vec<Found>, Failure> {
    match state {
        // Looking must not make a file.
        Some(path) if !path.exists() => {
            Err(Failure(format!("{}: there is no such state file; check --state", text::path(path))))
        }
        Some(path) => Ok(vec![state::look(path)]),
        None => Ok(state::files(&state::directory()?).iter().map(|path| state::look(path)).collect()),
    }
}

/// The downloads that `ids` name, or without any all that `is_meant`; each id must name exactly one, which `what` says
/// what it is.
pub(crate) fn choose(
    state: Option<&Path>,
    ids: &[String],
    what: &str,
    is_meant: impl Fn(&DownloadStatus) -> bool,
) -> Result<Vec<Chosen>, Failure> {
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut busy = Vec::new();
    for found in found(state)? {
        match found {
            Found::Open(state) => {
                let is_named = |status: &&DownloadStatus| {
                    is_meant(status) && (ids.is_empty() || ids.iter().any(|id| status.id.matches_gid(id)))
                };
                let all = state.downloads.iter().map(|known| &known.status);
                let ids: HashSet<_> = all.filter(is_named).map(|status| status.id).collect();
                if !ids.is_empty() {
                    chosen.push(Chosen { state, ids });
                }
            }
            Found::InUse(path) if state.is_some() => {
                return Err(Failure(format!(
                    "{}: in use by another process; wait for it, or stop it first",
                    text::path(&path)
                )));
            }
            Found::InUse(path) => busy.push(Announced::read(&path)),
            Found::Broken(path, error) => output::failure(&Failure::state(&path, &error)),
        }
    }
    let all: Vec<DownloadId> = chosen.iter().flat_map(|chosen| chosen.ids.iter().copied()).collect();
    for id in ids {
        check_named(id, all.iter().filter(|known| known.matches_gid(id)).count(), what, &busy)?;
    }
    Ok(chosen)
}

fn check_named(given: &str, count: usize, what: &str, busy: &[Announced]) -> Result<(), Failure> {
    let id = text::escape(given);
    if let Some(running) = busy.iter().find(|announced| count == 0 && announced.has_id(given)) {
        let stop = running.process.map_or_else(String::new, |process| format!(" (kill -INT {process})"));
        return Err(Failure(format!("{id}: it is running; stop it first{stop}")));
    }
    match count {
        1 => Ok(()),
        0 if !busy.is_empty() => Err(Failure(format!(
            "{id}: no such {what}, or another process works on it; gosh-dl list shows the ids"
        ))),
        0 => Err(Failure(format!("{id}: no such {what}; gosh-dl list shows the ids"))),
        count => Err(Failure(format!("{id}: {count} downloads begin with this; give more digits"))),
    }
}
