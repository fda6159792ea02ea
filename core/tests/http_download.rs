//! One download over HTTP by its public face: what it asks for, step by step, from the lease to its end.

use bytes::BytesMut;
use gosh_dl_core::base::disk::{
    AllocationMode, DirKey, DiskErrorKind, DiskOk, DiskOp, DiskResult, FileIdentity, FileStat,
};
use gosh_dl_core::base::link::LinkKey;
use gosh_dl_core::base::{FileName, Instant, LinkError, LinkInput, LinkOutput, RangeSet, Rng, WallClock};
use gosh_dl_core::download::http::{HttpDownload, HttpPlan, HttpSaved, Output, Phase, SlotKey, Start};
use gosh_dl_core::download::lease::{self, Lease};
use gosh_dl_core::download::target::{DiskTag, Part, TargetPlan};
use gosh_dl_core::download::{ConflictPolicy, OnChange};
use gosh_dl_core::proto::http::{Connection, ConnectionConfig};
use gosh_dl_core::wire::http::{HttpUrl, Validator};
use std::sync::Arc;
use std::time::Duration;

const NOW: Instant = Instant::from_nanos(1_000_000_000);
const OURS: FileIdentity = FileIdentity { device: 1, inode: 11 };
const DONE: DiskResult = Ok(DiskOk::Done);

fn plan(urls: &[&str]) -> HttpPlan {
    HttpPlan {
        urls: urls.iter().map(|url| HttpUrl::parse(url).expect("it is a URL")).collect(),
        max_connections: 1,
        min_segment: 1 << 20,
        user_agent: "test".to_owned(),
        referer: None,
        headers: Vec::new(),
        cookies: Vec::new(),
        max_redirects: 3,
        allow_local_redirects: false,
        max_retries: 3,
        retry_delay: Duration::from_secs(1),
        max_retry_delay: Duration::from_secs(30),
        read_timeout: Duration::from_secs(60),
        on_change: OnChange::Restart,
        file_name: None,
        deadline: None,
        target: TargetPlan {
            dir_path: "/d".into(),
            on_conflict: ConflictPolicy::Rename,
            allocation: AllocationMode::None,
            checksum: None,
        },
    }
}

/// A download, and the exchange that it asked for last.
struct Play {
    download: HttpDownload,
    slot: Option<SlotKey>,
    links: u64,
}

impl Play {
    fn new(plan: HttpPlan) -> Self {
        Self::resume(plan, HttpSaved::default())
    }

    fn resume(plan: HttpPlan, saved: HttpSaved) -> Self {
        let start = Start {
            saved,
            trusted: RangeSet::new(),
            keys: 100,
            rng: Rng::from_seed([7; 32]),
            wall: WallClock::new(NOW, 0),
        };
        let mut download = HttpDownload::new(NOW, Arc::new(plan), start);
        download.dir_ready(NOW, Ok(DirKey(7)));
        Self { download, slot: None, links: 0 }
    }

    /// A download whose first exchange has its connection and credit.
    fn asking(plan: HttpPlan) -> Self {
        let mut play = Self::new(plan);
        play.said();
        play.lease();
        play
    }

    /// What was asked for since the last time, each in a few words.
    fn said(&mut self) -> Vec<String> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.download.poll_output()).collect();
        outputs.into_iter().map(|output| self.words(output)).collect()
    }

    fn words(&mut self, output: Output) -> String {
        match output {
            Output::Forgotten => "forgotten".to_owned(),
            Output::Lease(output) => self.lease_words(output),
            Output::Disk(_, DiskOp::Close { .. }) => "disk Close".to_owned(),
            Output::Disk(tag, _) => format!("disk {tag:?}"),
            Output::Record => "record".to_owned(),
            Output::Durable => "durable".to_owned(),
            Output::Pace { origin, .. } => format!("pace {origin}"),
            Output::ReadDone(done) => format!("read {:?}", done.result),
            Output::Waiting { error, .. } => format!("waits: {error}"),
            Output::Ended(end) => format!("ended {end:?}"),
        }
    }

    fn lease_words(&mut self, output: lease::Output<SlotKey>) -> String {
        match output {
            lease::Output::Lease { slot, to } => {
                self.slot = Some(slot);
                format!("lease {}", to.origin)
            }
            lease::Output::Unlease { to, .. } => format!("unlease {}", to.origin),
            lease::Output::Release(lease) => {
                format!("release {}", if lease.connection.is_idle() { "idle" } else { "closed" })
            }
            lease::Output::Link(_, LinkOutput::Send(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            lease::Output::Link(_, LinkOutput::Credit(bytes)) => format!("credit {bytes}"),
            lease::Output::Link(_, LinkOutput::SendFile { file, offset, len }) => {
                format!("send {len} at {offset} of {file:?}")
            }
            lease::Output::Link(_, LinkOutput::Close) => "hang up".to_owned(),
        }
    }

    /// Gives the exchange a connection and returns its request.
    fn lease(&mut self) -> String {
        let slot = self.slot.expect("an exchange was asked for");
        self.links += 1;
        let config =
            ConnectionConfig { read_timeout: Duration::from_secs(60), keep_alive: Duration::from_secs(15) };
        let connection = Box::new(Connection::new(NOW, config));
        let lease = Lease {
            link: LinkKey::from_u64(self.links),
            connection,
            reused: false,
            local: false,
            other_family: None,
        };
        self.download.leased(NOW, slot, lease);
        self.download.grant(NOW, slot, 1 << 20);
        let said = self.said();
        assert_eq!(said.last().map(String::as_str), Some("credit 1048576"));
        said.concat()
    }

    fn link(&mut self, input: LinkInput) -> Vec<String> {
        let slot = self.slot.expect("an exchange was asked for");
        self.download.handle_link(NOW, slot, input);
        self.said()
    }

    fn answer(&mut self, wire: &str) -> Vec<String> {
        self.link(LinkInput::Data(BytesMut::from(wire)))
    }

    fn disk(&mut self, tag: DiskTag, result: DiskResult) -> Vec<String> {
        self.download.handle_disk(NOW, tag, result);
        self.said()
    }

    fn opened(&mut self, len: u64) -> Vec<String> {
        let stat = FileStat { identity: OURS, len, regular: true };
        self.disk(DiskTag::Open, Ok(DiskOk::Opened { stat, local: true }))
    }

    fn recorded(&mut self) -> Vec<String> {
        self.download.recorded(NOW);
        self.said()
    }
}

const WHOLE: &str =
    "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\nETag: \"a\"\r\n\r\n0123456789";
const HALF: &str =
    "HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\nETag: \"a\"\r\n\r\n01234";

#[test]
fn simplest_download_goes_from_lease_to_completion() {
    let mut play = Play::new(plan(&["http://a.example/f"]));
    assert_eq!(play.said(), ["lease http://a.example"]);
    let request = play.lease();
    assert!(request.starts_with("GET /f HTTP/1.1\r\nHost: a.example\r\n"), "{request}");
    assert!(request.contains("\r\nRange: bytes=0-\r\n"), "{request}");
    assert_eq!(play.answer(WHOLE), ["release idle", "disk Stat"]);
    assert_eq!(play.download.phase(), Phase::Finishing);
    assert_eq!(play.disk(DiskTag::Stat, Ok(DiskOk::Found(None))), ["record"]);
    assert_eq!(play.recorded(), ["disk Open"]);
    assert_eq!(play.opened(0), ["durable", "disk Write(0)"], "the store learns which file it is");
    assert_eq!(play.disk(DiskTag::Write(0), DONE), ["disk Sync"]);
    assert_eq!(play.disk(DiskTag::Sync, DONE), ["disk SyncEntry"]);
    assert_eq!(play.disk(DiskTag::SyncEntry, DONE), ["durable", "record"]);
    assert_eq!(play.recorded(), ["disk Stat"]);
    let part = FileStat { identity: OURS, len: 10, regular: true };
    assert_eq!(play.disk(DiskTag::Stat, Ok(DiskOk::Found(Some(part)))), ["disk Rename"]);
    assert_eq!(play.disk(DiskTag::Rename, DONE), ["disk SyncDir"]);
    assert_eq!(play.disk(DiskTag::SyncDir, DONE), ["disk Close", "ended Completed"]);
    assert_eq!((play.download.phase(), play.download.poll_timeout()), (Phase::Ended, None));
    assert_eq!((play.download.completed(), play.download.total()), (10, Some(10)));
}

#[test]
fn stop_before_anything_arrived_takes_the_lease_back() {
    let mut play = Play::new(plan(&["http://a.example/f"]));
    play.said();
    play.download.stop(NOW);
    assert_eq!(play.said(), ["unlease http://a.example", "ended Stopped"]);
    play.download.stop(NOW);
    play.download.discard(NOW);
    play.download.handle_timeout(NOW + Duration::from_secs(100));
    assert_eq!(play.said(), Vec::<String>::new(), "it is inert");
}

#[test]
fn stop_keeps_what_arrived() {
    let mut play = Play::asking(plan(&["http://a.example/f"]));
    assert_eq!(play.answer(HALF), ["disk Stat"]);
    play.disk(DiskTag::Stat, Ok(DiskOk::Found(None)));
    play.recorded();
    assert_eq!(play.opened(0), ["durable", "disk Write(0)"]);
    play.download.stop(NOW);
    assert_eq!(play.said(), ["hang up", "release closed"]);
    assert_eq!(play.disk(DiskTag::Write(0), DONE), ["disk Sync"]);
    assert_eq!(play.disk(DiskTag::Sync, DONE), ["disk SyncEntry"]);
    assert_eq!(play.disk(DiskTag::SyncEntry, DONE), ["durable", "disk Close", "ended Stopped"]);
    let saved = play.download.saved();
    assert_eq!(saved.part.map(|part| part.durable), Some(RangeSet::from_iter([0..5])));
    assert_eq!(saved.validator.and_then(|validator| validator.etag).as_deref(), Some("\"a\""));
}

#[test]
fn discarded_download_removes_its_part() {
    let mut play = Play::asking(plan(&["http://a.example/f"]));
    play.answer(HALF);
    play.disk(DiskTag::Stat, Ok(DiskOk::Found(None)));
    play.recorded();
    play.opened(0);
    play.download.discard(NOW);
    assert_eq!(play.said(), ["hang up", "release closed"]);
    assert_eq!(play.disk(DiskTag::Write(0), DONE), ["disk Close", "disk Stat"]);
    let stat = FileStat { identity: OURS, len: 5, regular: true };
    assert_eq!(play.disk(DiskTag::Stat, Ok(DiskOk::Found(Some(stat)))), ["disk Remove"]);
    assert_eq!(play.disk(DiskTag::Remove, DONE), ["ended Stopped"]);
}

#[test]
fn secrets_go_to_the_first_origin_only() {
    let mut plan = plan(&["http://user:pass@a.example/f"]);
    plan.headers = vec![("X-Key".to_owned(), "secret".to_owned())];
    plan.cookies = vec!["c=1".to_owned()];
    plan.referer = Some("http://from.example/".to_owned());
    let mut play = Play::new(plan);
    play.said();
    let first = play.lease();
    for secret in ["X-Key: secret", "Cookie: c=1", "Referer: http://from.example/", "Authorization: Basic"] {
        assert!(first.contains(secret), "{secret} is missing: {first}");
    }
    let moved = "HTTP/1.1 302 Moved\r\nLocation: http://b.example/g\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(play.answer(moved), ["release idle", "lease http://b.example"]);
    let second = play.lease();
    assert!(second.starts_with("GET /g HTTP/1.1\r\nHost: b.example\r\n"), "{second}");
    for secret in ["X-Key", "Cookie", "Referer", "Authorization"] {
        assert!(!second.contains(secret), "{secret} leaked: {second}");
    }
    let back = "HTTP/1.1 302 Moved\r\nLocation: http://a.example/h\r\nContent-Length: 0\r\n\r\n";
    play.answer(back);
    assert!(play.lease().contains("X-Key: secret"), "back at home");
}

#[test]
fn redirects_in_a_row_are_limited() {
    let mut play = Play::asking(plan(&["http://a.example/f"]));
    let moved = "HTTP/1.1 302 Moved\r\nLocation: /f\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..3 {
        assert_eq!(play.answer(moved), ["release idle", "lease http://a.example"]);
        play.lease();
    }
    let said = play.answer(moved).concat();
    assert!(said.contains("TooManyRedirects"), "{said}");
}

#[test]
fn broken_connection_is_taken_up_where_it_broke() {
    let mut play = Play::asking(plan(&["http://a.example/f"]));
    play.answer(HALF);
    let waits = "waits: http://a.example/f: the connection broke: connection reset";
    assert_eq!(play.link(LinkInput::Closed(LinkError::Reset)), ["release closed", waits]);
    let mut due = NOW;
    while play.download.connections() == 0 && play.slot.is_some() {
        due = play.download.poll_timeout().expect("it is tried again");
        play.download.handle_timeout(due);
        assert!(play.download.poll_timeout().is_none_or(|at| at > due), "no progress (I2)");
        if play.said().contains(&"lease http://a.example".to_owned()) {
            break;
        }
    }
    assert!(due > NOW);
    let request = play.lease();
    assert!(request.contains("\r\nRange: bytes=5-9\r\n") && request.contains("If-Range: \"a\""), "{request}");
}

#[test]
fn whole_file_of_an_earlier_life_that_is_gone_is_fetched_again() {
    let name = FileName::new("f").expect("it is a safe name");
    let durable = RangeSet::from_iter([0..10]);
    let part = Part {
        part_name: name.partial(),
        final_name: name,
        identity: Some(OURS),
        durable,
        finalizing: false,
    };
    let validator = Some(Validator { etag: Some("\"a\"".to_owned()), last_modified: None });
    let validators = vec![validator.clone()];
    let saved = HttpSaved { total: Some(10), validator, validators, part: Some(part) };
    let mut play = Play::resume(plan(&["http://a.example/f"]), saved);
    assert_eq!(play.said(), ["disk Open"], "nothing is missing, so nothing is asked for");
    let said = play.disk(DiskTag::Open, Err(DiskErrorKind::NotFound.into()));
    assert_eq!(said, ["forgotten", "disk Open", "lease http://a.example"]);
    assert_eq!(play.opened(0), ["durable", "record"], "the store must not believe in it any more");
    assert_eq!(play.recorded(), ["disk SetLen"]);
    assert_eq!(play.disk(DiskTag::SetLen, DONE), Vec::<String>::new());
    play.lease();
    assert_eq!(play.answer(WHOLE), ["release idle", "disk Write(0)"]);
    assert_eq!(play.disk(DiskTag::Write(0), DONE), ["disk Sync"]);
}

#[test]
fn late_inputs_are_dropped() {
    let mut play = Play::asking(plan(&["http://a.example/f"]));
    play.answer(WHOLE);
    assert_eq!(play.answer("more"), Vec::<String>::new());
    assert_eq!(play.link(LinkInput::Closed(LinkError::Reset)), Vec::<String>::new());
    assert_eq!(play.disk(DiskTag::Write(9), DONE), Vec::<String>::new());
    assert_eq!(play.recorded(), Vec::<String>::new());
    let slot = play.slot.expect("an exchange was asked for");
    play.download.grant(NOW, slot, 5);
    assert_eq!((play.said(), play.download.credit(slot)), (Vec::new(), None));
}
