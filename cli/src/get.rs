//! `gosh-dl get`: new downloads, or those that the same command left unfinished.

use crate::announced::{Announced, Announcement};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::run::{Job, Leave, run};
use crate::settings::{Get, Request, Show, Source};
use crate::state::{self, Found, Known, State};
use crate::stream::Stream;
use crate::text;
use crate::watch::{Pending, Refused, go_on};
use gosh_dl_core::base::store::StoreError;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadKind, DownloadState, DownloadStatus, EngineError, StorageErrorKind};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What the state says about a request.
#[derive(Debug)]
enum Plan {
    /// Nothing: it is added.
    Add,
    /// It is there, and goes on.
    GoOn(DownloadId),
    /// It is complete, and so is its file.
    Complete(DownloadId),
    /// It was complete once, and is fetched again.
    Replace(DownloadId),
    /// Another process works on it, with this state file.
    Busy(PathBuf),
}

/// Runs the command and returns its exit code.
pub(crate) async fn get(get: Get, show: Show) -> Result<u8, Failure> {
    let is_kept = get.state.is_some();
    let path = match get.state {
        Some(path) => path,
        None => state::directory()?.join(state::file_name(&get.requests, get.storage)),
    };
    let blocked =
        if is_kept { |path: &Path| Failure::state(path, &StoreError::InUse) } else { Failure::running };
    let stream = get.stream.map(Stream::bind).transpose()?;
    let mut state = State::open(&path, get.storage, blocked)?;
    let mut busy = HashMap::new();
    let mut announcement = None;
    if !is_kept {
        let keys: Vec<_> = get.requests.iter().map(Request::key).collect();
        // Before looking at others: of two commands at once at least one must see the other.
        let urls = get.requests.iter().map(|request| &*request.plain_url);
        announcement = Some(Announcement::new(&state, keys.iter().map(|key| &**key).zip(urls)));
        busy = adopt(&mut state, keys);
    }
    let plans = plan(&get.requests, &state.downloads, busy, is_kept);
    let files = plans.len();
    let (mut new, mut old, mut complete) = (Vec::new(), Vec::new(), Vec::new());
    let (mut replaced, mut refused) = (HashSet::new(), Vec::new());
    for (request, plan) in get.requests.into_iter().zip(plans) {
        match plan {
            Plan::Add => new.push(request),
            Plan::GoOn(id) => {
                state.ask_again(id, &request)?;
                announcement.iter_mut().for_each(|told| told.identify(&request.key(), id));
                old.extend(state.status(id).cloned());
            }
            Plan::Complete(id) => complete.extend(state.status(id).cloned()),
            Plan::Replace(id) => {
                replaced.insert(id);
                new.push(request);
            }
            Plan::Busy(path) => refused.push(Refused { url: request.plain_url, error: in_use(path) }),
        }
    }
    state.forget(&replaced)?;
    // What is complete is served to players by the engine, which must know of it then.
    let served = complete.iter().filter(|_| stream.is_some());
    let chosen = old.iter().chain(served).map(|status: &DownloadStatus| status.id).collect();
    let store = state.into_store(&chosen);
    // A recording is whole only if the engine ends in order.
    let at_once = CAN_REMOVE_OPEN && get.config.record.is_none();
    let job = Job { runtime: get.runtime, config: get.config, store, files, complete, show, stream };
    let begin = |engine: &Engine| begin(engine, announcement, refused, old, new);
    let mut is_over = false;
    let at_end = |left: &[DownloadStatus]| {
        is_over = !is_kept && !left.iter().any(state::is_worth_keeping);
        if is_over && at_once {
            state::remove(&path);
            return Leave::AtOnce;
        }
        Leave::Saved
    };
    let result = run(job, begin, at_end).await;
    if is_over && !at_once {
        state::remove(&path);
    }
    result
}

fn begin(
    engine: &Engine,
    announcement: Option<Announcement>,
    refused: Vec<Refused>,
    old: Vec<DownloadStatus>,
    new: Vec<Request>,
) -> Pending {
    let announcement = Rc::new(RefCell::new(announcement));
    let mut pending = Pending::new();
    for refused in refused {
        pending.spawn(std::future::ready(Err(refused)));
    }
    for status in old {
        pending.spawn(go_on(engine.clone(), status));
    }
    // Tasks begin in the order of their spawning, so the queue has the order of the command; none waits for another's
    // record to be durable.
    for request in new {
        let (engine, announcement, key) = (engine.clone(), Rc::clone(&announcement), request.key());
        pending.spawn(async move {
            let added = add(engine, request).await;
            if let (Ok(id), Some(told)) = (&added, &mut *announcement.borrow_mut()) {
                told.identify(&key, *id);
            }
            added
        });
    }
    pending
}

async fn add(engine: Engine, request: Request) -> Result<DownloadId, Refused> {
    let Request { source, url, plain_url, options, .. } = request;
    match source {
        Source::Url => {
            engine.add_http(&url, options).await.map_err(|error| Refused { url: plain_url, error })
        }
        Source::Magnet => engine.add_magnet(&url, options).await.map_err(|error| Refused { url, error }),
        Source::Torrent(metainfo) => {
            engine.add_torrent(metainfo.raw(), options).await.map_err(|error| Refused { url, error })
        }
    }
}

fn in_use(state: PathBuf) -> EngineError {
    let shown = text::path(&state);
    EngineError::Storage {
        kind: StorageErrorKind::InUse,
        path: state,
        message: format!("the same download is already running in another process (state {shown})"),
    }
}

/// What to do for each request, where other processes are `busy` with some. With `again`, what is complete is fetched again.
fn plan(
    requests: &[Request],
    downloads: &[Known],
    mut busy: HashMap<String, PathBuf>,
    again: bool,
) -> Vec<Plan> {
    let mut by_key: HashMap<&str, &Known> = HashMap::new();
    for known in downloads {
        // One that is not complete goes before one that is.
        let kept = by_key.entry(&known.key).or_insert(known);
        if kept.status.state == DownloadState::Completed {
            *kept = known;
        }
    }
    let plan = |request: &Request| {
        let key = request.key();
        let Some(Known { status, .. }) = by_key.get(&*key) else {
            return busy.remove(&key).map_or(Plan::Add, Plan::Busy);
        };
        match status.state {
            DownloadState::Completed if !again && is_there(status) => Plan::Complete(status.id),
            DownloadState::Completed => Plan::Replace(status.id),
            _ => Plan::GoOn(status.id),
        }
    };
    requests.iter().map(plan).collect()
}

fn is_there(status: &DownloadStatus) -> bool {
    let metadata = &status.metadata;
    let Some(name) = &metadata.filename else { return false };
    let is_right = |found: std::fs::Metadata| found.is_file() || status.kind != DownloadKind::Http;
    std::fs::metadata(metadata.save_dir.join(name)).is_ok_and(is_right)
}

/// Takes unfinished downloads over from other commands that asked for one of the same files and stopped.
///
/// Returns the keys that others are busy with, each with their state file.
fn adopt(state: &mut State, keys: Vec<String>) -> HashMap<String, PathBuf> {
    let here: HashSet<&str> = state.downloads.iter().map(|known| &*known.key).collect();
    let mut missing: HashSet<String> = keys.into_iter().filter(|key| !here.contains(&**key)).collect();
    let mut busy = HashMap::new();
    let directory = state.path.parent().unwrap_or(Path::new(".")).to_owned();
    for path in state::files(&directory) {
        if missing.is_empty() {
            break;
        }
        if path == state.path {
            continue;
        }
        match state::look(&path) {
            Found::Open(other) => adopt_from(state, other, &mut missing),
            Found::InUse(path) => {
                let announced = Announced::read(&path);
                busy.extend(missing.extract_if(|key| announced.has(key)).map(|key| (key, path.clone())));
            }
            // What cannot be read is left alone.
            Found::Broken(..) => {}
        }
    }
    busy
}

fn adopt_from(state: &mut State, mut other: State, missing: &mut HashSet<String>) {
    let is_wanted = |known: &&Known| state::is_worth_keeping(&known.status) && missing.contains(&known.key);
    let ids: HashSet<_> = other.downloads.iter().filter(is_wanted).map(|known| known.status.id).collect();
    if ids.is_empty() || state.adopt(&mut other, &ids).is_err() {
        return;
    }
    for known in &state.downloads {
        missing.remove(&known.key);
    }
    if !other.has_unfinished() {
        state::remove(&other.path);
    }
}

/// Whether an open file can be deleted: then the state goes while this process still holds its lock.
const CAN_REMOVE_OPEN: bool = cfg!(unix);
