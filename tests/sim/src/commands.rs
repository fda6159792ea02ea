//! What a test does to a world: commands to the engine, crashes, and looking at what came of it.

use crate::actor::OUTSIDE;
use crate::behaviour::Resource;
use crate::content::Content;
use crate::host::{Host, Log};
use crate::image::CrashMode;
use crate::invariants::{Checked, broken};
use crate::world::{Truth, World};
use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::base::Instant;
use gosh_dl_core::download::ReadRequest;
use gosh_dl_core::download::torrent::announcer::TrackerStatus;
use gosh_dl_core::download::{DownloadId, DownloadOptions, DownloadPriority, FilePriority};
use gosh_dl_core::engine::recording::RecordedEngine;
use gosh_dl_core::engine::{
    Answer, DownloadEvent, DownloadState, DownloadStatus, EngineConfig, EngineError, EngineStart,
    GlobalStats, Token, VerifyReport,
};

impl World {
    /// Adds a download.
    ///
    /// # Panics
    ///
    /// Where the engine does not take it, or is not there.
    pub fn add(&mut self, url: &str, options: DownloadOptions) -> DownloadId {
        self.try_add(url, options).unwrap_or_else(|error| panic!("{url} was not added: {error}"))
    }

    /// Lets the host of `url` serve `resource` there.
    ///
    /// # Panics
    ///
    /// Where `url` is not an HTTP URL.
    pub fn serve(&mut self, url: &str, resource: Resource) -> &mut Host {
        let (host, target) = split_url(url).unwrap_or_else(|| panic!("{url} is no HTTP URL"));
        self.host(host).put(target, resource)
    }

    /// Adds a download with default options and steps until it ends.
    pub fn fetch(&mut self, url: &str) -> DownloadState {
        let id = self.add(url, DownloadOptions::new());
        self.wait_done(id)
    }

    /// Adds a download, or says why not.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn try_add(&mut self, url: &str, options: DownloadOptions) -> Result<DownloadId, EngineError> {
        let urls: Vec<String> =
            core::iter::once(url.to_owned()).chain(options.mirrors.iter().cloned()).collect();
        if let Some(dir) = &options.save_dir {
            self.invariants.allow(dir.clone());
        }
        let (now, token) = (self.engine_now(), self.token(format_args!("add {url}")));
        self.entrust(url, &options);
        let limit = options.max_download_speed;
        self.manners.allow(options.max_connections.unwrap_or(self.config.max_connections_per_download));
        let added = self.engine_mut().add_http(now, url, options, token);
        if let Ok(id) = added {
            self.speed.add(self.now, id, limit);
            for (host, target) in urls.iter().filter_map(|url| split_url(url)) {
                self.manners.expect(host, target);
            }
            self.truth.insert(id, Truth::Urls(urls));
            self.added.insert(id, token);
        }
        self.finish_command();
        added
    }

    /// What is marked as a [`SECRET`] may be seen by the origin of `url` only.
    fn entrust(&mut self, url: &str, options: &DownloadOptions) {
        let Some(((named, _), port)) = split_url(url).zip(port_of(url)) else { return };
        let host = self.network.host(named).map_or(named, |host| &host.name).to_owned();
        let fields = options.headers.iter().map(|(_, value)| value).chain(options.cookies.iter().flatten());
        for secret in fields.filter(|value| value.contains(SECRET)) {
            self.manners.entrust(secret, &host, port);
        }
    }

    /// Adds a torrent whose web seeds are at `urls`; the test looks itself at its files.
    ///
    /// # Panics
    ///
    /// Where the engine does not take it, or is not there.
    pub fn add_torrent(&mut self, metainfo: Bytes, urls: &[&str], options: DownloadOptions) -> DownloadId {
        let (now, token) = (self.engine_now(), self.token(format_args!("add a torrent")));
        let id = match self.engine_mut().add_torrent(now, metainfo, options, token) {
            Ok(id) => id,
            Err(error) => panic!("the torrent was not added: {error}"),
        };
        for (host, target) in urls.iter().filter_map(|url| split_url(url)) {
            self.manners.expect(host, target);
        }
        self.truth.insert(id, Truth::Anything);
        self.added.insert(id, token);
        self.finish_command();
        id
    }

    /// Whether the engine has said that this download is in the store.
    pub fn is_acknowledged(&self, id: DownloadId) -> bool {
        self.added.get(&id).and_then(|token| self.replies.get(token)).is_some_and(Result::is_ok)
    }

    /// Pauses; the token is for [`wait_reply`](Self::wait_reply).
    pub fn pause(&mut self, id: DownloadId) -> Token {
        let (now, token) = (self.engine_now(), self.token(format_args!("pause {id}")));
        self.engine_mut().pause(now, id, token);
        self.finish_command();
        token
    }

    /// Queues a paused or failed download again.
    pub fn resume(&mut self, id: DownloadId) -> Token {
        let (now, token) = (self.engine_now(), self.token(format_args!("resume {id}")));
        self.engine_mut().resume(now, id, token);
        self.finish_command();
        token
    }

    /// Moves a finished download to another directory.
    pub fn move_to(&mut self, id: DownloadId, dir: &str) -> Token {
        self.invariants.allow(dir.into());
        let (now, token) = (self.engine_now(), self.token(format_args!("move {id} to {dir}")));
        self.engine_mut().move_to(now, id, dir.as_ref(), token);
        self.finish_command();
        token
    }

    /// Removes a download, and with `delete_files` what it created.
    pub fn cancel(&mut self, id: DownloadId, delete_files: bool) -> Token {
        let (now, token) = (self.engine_now(), self.token(format_args!("cancel {id} {delete_files}")));
        self.engine_mut().cancel(now, id, delete_files, token);
        self.finish_command();
        token
    }

    /// Checks a complete file.
    pub fn verify(&mut self, id: DownloadId) -> Result<VerifyReport, EngineError> {
        let token = self.ask_check(id, false);
        self.wait_report(token)
    }

    /// Begins to check a complete file.
    pub fn verify_begin(&mut self, id: DownloadId) -> Token {
        let (now, token) = (self.engine_now(), self.token(format_args!("verify {id}")));
        self.engine_mut().verify(now, id, token);
        self.finish_command();
        token
    }

    /// Checks a complete file and fetches again what is wrong; the report is from before.
    pub fn repair(&mut self, id: DownloadId) -> Result<VerifyReport, EngineError> {
        let token = self.ask_check(id, true);
        self.wait_report(token)
    }

    /// Changes how much files of a torrent are wanted.
    pub fn set_file_priorities(
        &mut self,
        id: DownloadId,
        priorities: &[(usize, FilePriority)],
    ) -> Result<(), EngineError> {
        let now = self.engine_now();
        self.trace.note(self.now, format_args!("** file priorities {priorities:?}"));
        let result = self.engine_mut().set_file_priorities(now, id, priorities);
        self.finish_command();
        result
    }

    /// Begins to read a file of a torrent; [`reply`](Self::reply) has the bytes when they are there.
    pub fn read_begin(&mut self, id: DownloadId, request: ReadRequest) -> Token {
        let (now, token) = (self.engine_now(), self.token(format_args!("read {id} {request:?}")));
        self.engine_mut().read(now, id, request, token);
        self.finish_command();
        token
    }

    /// Lets a reader go.
    pub fn close_reader(&mut self, id: DownloadId, reader: u64) {
        let now = self.engine_now();
        self.trace.note(self.now, format_args!("** close reader {reader} of {id}"));
        self.engine_mut().close_reader(now, id, reader);
        self.finish_command();
    }

    /// Changes a download's place in the queue.
    pub fn set_priority(&mut self, id: DownloadId, priority: DownloadPriority) -> Result<(), EngineError> {
        let now = self.engine_now();
        let result = self.engine_mut().set_priority(now, id, priority);
        self.finish_command();
        result
    }

    /// Changes the speed limit of one download.
    pub fn set_limit(&mut self, id: DownloadId, limit: Option<u64>) -> Result<(), EngineError> {
        let now = self.engine_now();
        self.trace.note(self.now, format_args!("** limit {id} {limit:?}"));
        let result = self.engine_mut().set_download_limit(now, id, limit);
        if result.is_ok() {
            self.speed.change(self.now, id, limit, self.config.buffer_budget);
        }
        self.finish_command();
        result
    }

    /// Begins to check a complete file, and with `mend` to fetch again what is wrong.
    pub fn ask_check(&mut self, id: DownloadId, mend: bool) -> Token {
        let (now, token) = (self.engine_now(), self.token(format_args!("check {id} {mend}")));
        if mend {
            self.engine_mut().repair(now, id, token);
        } else {
            self.engine_mut().verify(now, id, token);
        }
        self.finish_command();
        token
    }

    /// Changes the settings of the engine and of those that follow it.
    pub fn set_config(&mut self, config: EngineConfig) -> Result<(), EngineError> {
        let now = self.engine_now();
        self.invariants.on_config(&self.config);
        self.manners.allow(config.max_connections_per_download);
        self.speed.limit_all(self.now, config.global_download_limit);
        self.config = config.clone();
        let result = self.engine_mut().set_config(now, config);
        self.finish_command();
        result
    }

    /// Stops the engine in an orderly way, and steps until it is gone; whether it was gone within `limit`.
    pub fn shutdown(&mut self, limit: Duration) -> bool {
        let now = self.engine_now();
        self.trace.note(self.now, format_args!("** shutdown"));
        self.engine_mut().shutdown(now);
        self.finish_command();
        let gone = self.run_until(|world| world.engine.is_none(), limit);
        if gone {
            let at = self.moment();
            self.network.abort_all(at);
            self.actors.abort(self.now, OUTSIDE);
            self.plan_network();
        }
        gone
    }

    /// The engine is gone from one moment to the next, with everything that `mode` takes away.
    pub fn crash(&mut self, mode: CrashMode) {
        self.trace.note(self.now, format_args!("** crash {mode:?}"));
        self.engine = None;
        self.life += 1;
        if mode != CrashMode::Kill {
            self.boot += 1;
        }
        self.disk.crash(mode);
        self.store.crash(mode);
        let at = self.moment();
        self.network.abort_all(at);
        self.actors.abort(self.now, OUTSIDE);
        self.plan_network();
    }

    /// Starts an engine on what the store holds.
    ///
    /// # Panics
    ///
    /// Where one runs already, or it does not start.
    pub fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|error| panic!("the engine did not start: {error}"));
    }

    /// Starts an engine on what the store holds, or says why not.
    ///
    /// # Errors
    ///
    /// What the engine says.
    ///
    /// # Panics
    ///
    /// Where one runs already.
    pub fn try_restart(&mut self) -> Result<(), EngineError> {
        assert!(self.engine.is_none(), "an engine runs already");
        self.trace.note(self.now, format_args!("** start"));
        self.life += 1;
        self.born = self.now;
        self.has_closed = false;
        self.replies.clear();
        self.invariants.restart(&self.config.download_dir);
        self.manners.restart(self.wall);
        self.speed.restart(self.now, self.config.global_download_limit);
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&self.boot.to_le_bytes());
        let start = EngineStart {
            config: self.config.clone(),
            seed: self.rng.bytes(),
            unix_millis: self.wall.unix_millis(self.now),
            boot_id: Some(boot_id),
            records: self.store.load(),
            note: self.store.load_note(),
        };
        self.recording.clear();
        self.engine = Some(if self.config.record.is_some() {
            RecordedEngine::recorded(self.engine_now(), start)?
        } else {
            RecordedEngine::unrecorded(self.engine_now(), start)?
        });
        self.finish_command();
        Ok(())
    }

    /// Whether an engine runs.
    pub fn is_running(&self) -> bool {
        self.engine.is_some()
    }

    /// Steps until a download is complete, paused or failed (or gone), and returns its state then.
    ///
    /// # Panics
    ///
    /// Where that takes more than a virtual day, or there is no such download.
    pub fn wait_done(&mut self, id: DownloadId) -> DownloadState {
        let mut seen = usize::MAX;
        let mut rested = false;
        let done = self.run_until(
            |world| {
                // A look at the state costs more than a step, so it is taken after events only.
                if core::mem::replace(&mut seen, world.events.len()) != world.events.len() {
                    rested = world.status(id).is_none_or(|status| is_at_rest(&status.state));
                }
                rested
            },
            Duration::from_secs(24 * 3600),
        );
        assert!(done, "{id} did not end: {:?}", self.status(id));
        self.state(id)
    }

    /// Steps until a command is answered.
    ///
    /// # Errors
    ///
    /// What the engine says.
    ///
    /// # Panics
    ///
    /// Where that takes more than a virtual hour.
    pub fn wait_reply(&mut self, token: Token) -> Result<Answer, EngineError> {
        let done = self.run_until(|world| world.replies.contains_key(&token), Duration::from_secs(3600));
        assert!(done, "{token:?} is not answered");
        self.replies.get(&token).cloned().unwrap_or(Err(EngineError::Shutdown))
    }

    /// The answer to a command, if there is one.
    pub fn reply(&self, token: Token) -> Option<&Result<Answer, EngineError>> {
        self.replies.get(&token)
    }

    /// Everything about a download.
    pub fn status(&mut self, id: DownloadId) -> Option<DownloadStatus> {
        let now = self.engine_now();
        self.engine.as_mut()?.status(now, id)
    }

    /// The state of a download.
    ///
    /// # Panics
    ///
    /// Where there is no such download.
    pub fn state(&mut self, id: DownloadId) -> DownloadState {
        self.status(id).unwrap_or_else(|| panic!("no download {id}")).state
    }

    /// All downloads.
    pub fn list(&mut self) -> Vec<DownloadStatus> {
        let now = self.engine_now();
        self.engine.as_mut().map(|engine| engine.list(now)).unwrap_or_default()
    }

    /// How the trackers of a torrent that runs stand.
    pub fn trackers(&self, id: DownloadId) -> Vec<TrackerStatus> {
        self.engine.as_ref().and_then(|engine| engine.trackers(id)).unwrap_or_default()
    }

    /// Sums over all downloads.
    pub fn global_stats(&mut self) -> GlobalStats {
        let now = self.engine_now();
        self.engine.as_mut().map(|engine| engine.global_stats(now)).unwrap_or_default()
    }

    /// The last failure of a download.
    pub fn failure(&self, id: DownloadId) -> Option<&EngineError> {
        self.events.iter().rev().find_map(|(_, event)| match event {
            DownloadEvent::Failed { id: failed, error, .. } if *failed == id => Some(error),
            _ => None,
        })
    }

    /// What a host was asked and what it did.
    ///
    /// # Panics
    ///
    /// Where there is no such host.
    pub fn log(&self, host: &str) -> &Log {
        &self.network.host(host).unwrap_or_else(|| panic!("no host {host}")).log
    }

    /// The content of a file in a folder of [`World::DIR`].
    pub fn file_in(&self, folder: &str, name: &str) -> Option<Vec<u8>> {
        self.disk.content(std::path::Path::new(Self::DIR).join(folder), name)
    }

    /// The content of a file in [`World::DIR`].
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        self.disk.content(Self::DIR, name)
    }

    /// A complete file of this download must hold `content`, whatever its URLs lead to.
    pub fn expect(&mut self, id: DownloadId, content: Content) {
        self.truth.insert(id, Truth::Contents(vec![content]));
    }

    /// A complete file of this download must hold one of these, whatever its URLs lead to.
    pub fn expect_one_of(&mut self, id: DownloadId, contents: Vec<Content>) {
        self.truth.insert(id, Truth::Contents(contents));
    }

    /// A complete file of this download may hold anything: the test looks itself.
    pub fn expect_anything(&mut self, id: DownloadId) {
        self.truth.insert(id, Truth::Anything);
    }

    /// The most bytes that the engine was given in any stretch of time of this length, from `since` on.
    pub fn most_received_in(&self, length: Duration, since: Instant) -> u64 {
        let received: Vec<_> = self.received.iter().filter(|(at, _)| *at >= since).collect();
        let (mut first, mut sum, mut most) = (0, 0, 0);
        for (at, bytes) in &received {
            sum += bytes;
            while *at - received[first].0 >= length {
                sum -= received[first].1;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    /// How many bytes the engine was given since then.
    pub fn received_since(&self, since: Instant) -> u64 {
        self.received.iter().filter(|(at, _)| *at >= since).map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn check_complete(&mut self, id: DownloadId) -> Checked {
        if matches!(self.truth.get(&id), Some(Truth::Anything)) {
            return Ok(());
        }
        let status = self.status(id).ok_or_else(|| broken("completed downloads exist", &format!("{id}")))?;
        let dir = status.metadata.save_dir.clone();
        let Some(name) = status.metadata.filename.clone() else {
            return Err(broken("completed downloads have a name", &format!("{status:?}")));
        };
        let Some(file) = self.disk.content(&dir, &name) else {
            return Err(broken("complete file has its final name", &format!("{name} is not there")));
        };
        if !self.disk.is_durable(&dir, &name) {
            return Err(broken("complete file is durable", &name));
        }
        let versions = match self.truth.get(&id) {
            None | Some(Truth::Anything) => return Ok(()),
            Some(Truth::Contents(contents)) => contents.clone(),
            Some(Truth::Urls(urls)) => urls.iter().flat_map(|url| self.versions(url, 0)).collect(),
        };
        let equal = |content: &Content| {
            content.len() == file.len() as u64 && content.first_mismatch(0, &file).is_none()
        };
        if versions.is_empty() || versions.iter().any(equal) {
            return Ok(());
        }
        let wrong = versions.iter().filter_map(|content| content.first_mismatch(0, &file)).max();
        let detail = format!("{name} has {} bytes, first wrong at {wrong:?}", file.len());
        Err(broken("complete file equals the origin", &detail))
    }

    /// Every version of what a URL leads to.
    fn versions(&self, url: &str, hops: u32) -> Vec<Content> {
        let Some((host, target)) = split_url(url) else { return Vec::new() };
        let Some(resource) = self.network.host(host).and_then(|host| host.resource(target)) else {
            return Vec::new();
        };
        let refusals = resource.behaviour.first.iter().chain(&resource.behaviour.always);
        let locations = refusals
            .flat_map(|refusal| refusal.headers.iter().filter(|(name, _)| name == "Location"))
            .map(|(_, location)| location);
        let mut versions: Vec<Content> =
            resource.versions.iter().map(|version| version.content.clone()).collect();
        for location in locations.filter(|_| hops < 10) {
            let absolute =
                if location.starts_with('/') { format!("http://{host}{location}") } else { location.clone() };
            versions.extend(self.versions(&absolute, hops + 1));
        }
        if resource.behaviour.always.is_some() {
            // What is behind the refusal itself is never served.
            versions.drain(..resource.versions.len());
        }
        versions
    }

    fn wait_report(&mut self, token: Token) -> Result<VerifyReport, EngineError> {
        match self.wait_reply(token)? {
            Answer::Verified(report) => Ok(report),
            other => Err(EngineError::Internal(format!("{other:?} for a verification"))),
        }
    }

    fn engine_mut(&mut self) -> &mut RecordedEngine {
        self.invariants.on_command();
        self.engine.as_mut().expect("no engine runs")
    }

    fn token(&mut self, what: core::fmt::Arguments<'_>) -> Token {
        self.next_token += 1;
        self.trace.note(self.now, format_args!("** {what}"));
        Token(self.next_token)
    }

    fn finish_command(&mut self) {
        self.turn();
        self.plan_network();
    }
}

fn is_at_rest(state: &DownloadState) -> bool {
    state.is_finished() || *state == DownloadState::Paused
}

/// Fields and cookies that hold this word are told to nobody but the origin that they are given for.
pub const SECRET: &str = "canary";

/// The port of a URL, its own or that of its scheme.
fn port_of(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let own = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    own.or(if scheme == "https" { Some(443) } else { Some(80) })
}

/// The host and the target of a URL.
fn split_url(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let rest = rest.split('#').next()?;
    let (authority, target) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let host = authority.rsplit('@').next()?;
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    Some((host.trim_matches(['[', ']']), target))
}
