//! A web seed against servers of all kinds.

use super::*;
use crate::base::link::LinkKey;
use crate::base::{LinkError, LinkOutput, Reach};
use crate::download::lease::Destination;
use crate::proto::http::{Connection, ConnectionConfig};
use crate::wire::http::Origin;
use crate::wire::torrent::create::{NewFile, NewTorrent};
use bytes::BytesMut;

const PIECE: u64 = 16 << 10;

/// Byte after byte of the whole: pads are zero.
fn content(files: &[(&str, u64)]) -> Vec<u8> {
    let file = |(name, len): &(&str, u64)| {
        let (is_pad, len) = (name.starts_with(".pad"), *len);
        (0..len).map(move |at| if is_pad { 0 } else { (at % 251) as u8 + 1 }).collect::<Vec<u8>>()
    };
    files.iter().flat_map(file).collect()
}

fn metainfo(files: &[(&str, u64)]) -> Metainfo {
    let file = |(name, len): &(&str, u64)| {
        let mut file = NewFile::new(name, *len);
        file.pad = name.starts_with(".pad");
        file
    };
    let torrent = match files {
        [(name, len)] => NewTorrent::file(name, *len),
        files => NewTorrent::folder("dir", files.iter().map(file).collect()),
    };
    let pieces = torrent.grid().unwrap().pieces() as usize;
    torrent.finish(&vec![[0; 20]; pieces]).unwrap()
}

/// A web seed, its server, and what came of them.
struct World {
    seed: WebSeed,
    now: Instant,
    files: Vec<(String, u64)>,
    data: Vec<u8>,
    requests: Vec<String>,
    said: Vec<String>,
    links: u64,
    slot: Option<SlotKey>,
    /// How many bytes come at once.
    step: usize,
    /// Whether payload arrives as zeros.
    masked: bool,
}

impl World {
    fn new(kind: Kind, url: &str, files: &[(&str, u64)]) -> Self {
        let metainfo = Arc::new(metainfo(files));
        let layout = Arc::new(Layout::new(&metainfo));
        let url = HttpUrl::parse(url).unwrap();
        let plan = WebSeedPlan { kind, url, metainfo, layout, user_agent: "test".to_owned() };
        let total = plan.layout.grid().total();
        Self {
            seed: WebSeed::new(plan, Rng::from_seed([1; 32])),
            now: Instant::ZERO,
            files: files.iter().map(|(name, len)| ((*name).to_owned(), *len)).collect(),
            data: vec![0xff; usize::try_from(total).unwrap()],
            requests: Vec::new(),
            said: Vec::new(),
            links: 0,
            slot: None,
            step: 1000,
            masked: false,
        }
    }

    fn fetch(&mut self, first: u32, count: u32) -> bool {
        let grid = self.seed.plan.layout.grid();
        let [first, last] =
            [first, grid.pieces().min(first + count) - 1].map(|piece| grid.piece(piece).unwrap());
        self.seed.fetch(self.now, grid.piece_range(first).start..grid.piece_range(last).end)
    }

    fn expected(&self) -> Vec<u8> {
        content(&self.files.iter().map(|(name, len)| (name.as_str(), *len)).collect::<Vec<_>>())
    }

    /// Plays until nothing happens; `answer` gets each request, and an empty answer closes the connection.
    fn play(&mut self, mut answer: impl FnMut(&str) -> Vec<u8>) {
        while let Some(output) = self.seed.poll_output() {
            match output {
                Output::Lease(lease::Output::Lease { slot, to }) => self.lease(slot, &to.origin),
                Output::Lease(lease::Output::Unlease { .. }) => self.said.push("unlease".to_owned()),
                Output::Lease(lease::Output::Release(lease)) => {
                    assert!(lease.connection.is_idle() || lease.connection.is_closed());
                    self.slot = None;
                }
                Output::Lease(lease::Output::Link(_, LinkOutput::Send(bytes))) => {
                    let request = String::from_utf8(bytes.to_vec()).unwrap();
                    let answer = answer(&request);
                    self.requests.push(request);
                    self.receive(&answer);
                }
                Output::Lease(lease::Output::Link(..)) => {}
                Output::Block(block, data) => {
                    let range = self.seed.plan.layout.grid().block_range(block);
                    assert_eq!(data.len() as u64, range.end - range.start);
                    self.data[range.start as usize..range.end as usize].copy_from_slice(&data.into_bytes());
                }
                Output::Idle => self.said.push("idle".to_owned()),
                Output::Failed { error, until } => {
                    let until = until.map(|until| (until - self.now).as_secs());
                    self.said.push(format!("{error}, {until:?}"));
                }
                Output::Ready => self.said.push("ready".to_owned()),
            }
        }
    }

    fn lease(&mut self, slot: SlotKey, origin: &Origin) {
        assert!(origin.host.ends_with("host") || origin.ip().is_some());
        let config =
            ConnectionConfig { read_timeout: Duration::from_secs(9), keep_alive: Duration::from_secs(9) };
        self.links += 1;
        let link = LinkKey::from_u64(self.links);
        self.slot = Some(slot);
        let connection = Box::new(Connection::new(self.now, config));
        let lease = Lease { link, connection, reused: self.links > 1, local: false, other_family: None };
        self.seed.leased(self.now, slot, lease);
        self.seed.grant(self.now, slot, u32::MAX);
    }

    fn receive(&mut self, answer: &[u8]) {
        let Some(slot) = self.slot else { return };
        for piece in answer.chunks(self.step) {
            let mut piece = BytesMut::from(piece);
            let payload = if self.masked { self.seed.payload(slot, &piece) } else { Vec::new() };
            payload.into_iter().for_each(|span| piece[span].fill(0));
            self.seed.handle_link(self.now, slot, LinkInput::Data(piece));
        }
        if answer.is_empty() || !answer.windows(15).any(|part| part.eq_ignore_ascii_case(b"content-length:"))
        {
            self.seed.handle_link(self.now, slot, LinkInput::Closed(LinkError::Eof));
        }
    }

    /// Waits for the next deadline.
    fn wait(&mut self) {
        self.now = self.seed.poll_timeout().unwrap();
        self.seed.handle_timeout(self.now);
        assert!(self.seed.poll_timeout().is_none_or(|at| at > self.now));
    }

    fn target(&self, request: usize) -> &str {
        self.requests[request].split(' ').nth(1).unwrap()
    }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn head(status: &str, headers: &str, len: usize) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n{headers}\r\n")
}

/// Answers a request for a range of a file.
fn partial(request: &str, file: &[u8]) -> Vec<u8> {
    let (first, last) = header(request, "Range").unwrap()["bytes=".len()..].split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let range = format!("Content-Range: bytes {first}-{last}/{}\r\n", file.len());
    let body = &file[first..=last];
    [head("206 Partial Content", &range, body.len()).as_bytes(), body].concat()
}

fn whole(file: &[u8]) -> Vec<u8> {
    [head("200 OK", "", file.len()).as_bytes(), file].concat()
}

fn refusal(status: &str, headers: &str, body: &str) -> Vec<u8> {
    [head(status, headers, body.len()), body.to_owned()].concat().into_bytes()
}

const MANY: [(&str, u64); 5] =
    [("a b", 20_000), ("empty", 0), ("sub/c", 100), (".pad/12668", 12_668), ("d", 40_000)];

fn many() -> World {
    World::new(Kind::Files, "http://user:secret@host/base", &MANY)
}

fn file_of(request: &str) -> Vec<u8> {
    let name = request.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().replace("%20", " ");
    let (name, len) = MANY.iter().find(|(path, _)| path.rsplit('/').next() == Some(&name)).unwrap();
    content(&[(name, *len)])
}

#[test]
fn files_are_asked_for_one_behind_the_other_and_padding_is_not() {
    for step in [1, 1000, usize::MAX] {
        let mut world = many();
        world.step = step;
        assert!(world.fetch(0, 5));
        world.play(|request| partial(request, &file_of(request)));
        assert_eq!(world.data, world.expected());
        let targets: Vec<&str> = (0..world.requests.len()).map(|request| world.target(request)).collect();
        assert_eq!(targets, ["/base/dir/a%20b", "/base/dir/sub/c", "/base/dir/d"]);
        assert_eq!(header(&world.requests[2], "Range"), Some("bytes=0-39999"));
        assert_eq!(header(&world.requests[0], "Authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
        assert_eq!(world.said, ["idle"]);
        assert_eq!(world.seed.received(), 60_100);
    }
}

#[test]
fn a_run_in_the_middle_begins_within_a_file() {
    let mut world = many();
    assert!(world.fetch(3, 1));
    world.play(|request| partial(request, &file_of(request)));
    assert_eq!(header(&world.requests[0], "Range"), Some("bytes=16384-32767"));
    let range = 3 * PIECE as usize..4 * PIECE as usize;
    assert_eq!(world.data[range.clone()], world.expected()[range]);
    assert_eq!((world.requests.len(), world.data[0]), (1, 0xff));
}

#[test]
fn single_file_is_at_the_url_itself_unless_that_is_a_folder() {
    for (url, target) in [("http://host/x.bin", "/x.bin"), ("http://host/pub/", "/pub/one")] {
        let mut world = World::new(Kind::Files, url, &[("one", 50_000)]);
        assert!(world.fetch(0, 2) && world.fetch(2, 9) && !world.fetch(0, 1));
        world.play(|request| partial(request, &content(&[("one", 50_000)])));
        assert_eq!((world.data.clone(), world.target(0)), (world.expected(), target));
    }
}

#[test]
fn server_without_ranges_is_read_from_the_beginning_and_cut_off() {
    let file = content(&[("one", 50_000)]);
    let mut world = World::new(Kind::Files, "http://host/x", &[("one", 50_000)]);
    assert!(world.fetch(1, 1));
    world.play(|_| whole(&file));
    assert_eq!(world.data[PIECE as usize..2 * PIECE as usize], file[PIECE as usize..2 * PIECE as usize]);
    assert_eq!((world.said, world.requests.len()), (vec!["idle".to_owned()], 1));
    let mut far = World::new(Kind::Files, "http://host/x", &[("one", 1 << 20)]);
    assert!(far.fetch(60, 1));
    far.play(|_| whole(&content(&[("one", 1 << 20)])));
    assert_eq!(far.said, ["the server does not take ranges, None"]);
    assert!(far.seed.is_gone());
}

#[test]
fn file_that_is_missing_is_not_asked_for_again_but_others_are() {
    let mut world = many();
    assert!(world.fetch(0, 5));
    world.play(|_| refusal("404 Not Found", "", "<html>"));
    assert_eq!(world.said, ["the server answered 404, Some(0)"]);
    assert!(!world.seed.wants(), "a server that has none of many files is not asked in a storm");
    world.now += BETWEEN_FILES;
    world.seed.handle_timeout(world.now);
    assert!(matches!(world.seed.poll_output(), Some(Output::Ready)));
    assert_eq!(world.seed.has().ones().collect::<Vec<_>>(), [2, 3, 4]);
    assert!(world.fetch(2, 3));
    world.play(|request| partial(request, &file_of(request)));
    let from = 2 * PIECE as usize;
    assert_eq!(world.data[from..], world.expected()[from..]);
}

#[test]
fn answers_that_are_not_what_was_asked_for_are_not_believed() {
    let cases = [
        (refusal("206 OK", "Content-Range: bytes 1-16384/50000\r\n", &"x".repeat(16_384)), "another range"),
        (refusal("206 OK", "Content-Range: bytes 0-16383/50001\r\n", &"x".repeat(16_384)), "another length"),
        (refusal("206 OK", "Content-Range: bytes 0-16383/50000\r\n", "short"), "another range"),
        (refusal("206 OK", "", "x"), "another range"),
        (refusal("200 OK", "", "<html>"), "another length"),
        (refusal("200 OK", "Content-Encoding: gzip\r\n", "x"), "encoded"),
        (refusal("416 No", "", ""), "416"),
        (refusal("302 Found", "Location: ftp://x/\r\n", ""), "redirects to"),
        (refusal("302 Found", "Location: /again\r\n", ""), "too many redirects"),
        (refusal("302 Found", "Location: http://127.0.0.1/x\r\n", ""), "into the own network"),
    ];
    for (answer, expected) in cases {
        let mut world = World::new(Kind::Files, "http://host/x", &[("one", 50_000)]);
        assert!(world.fetch(0, 1));
        world.play(|_| answer.clone());
        assert!(world.said.len() == 1 && world.said[0].contains(expected), "{expected}: {:?}", world.said);
        assert!(world.seed.is_gone() && !world.fetch(0, 1) && world.data.iter().all(|byte| *byte == 0xff));
        assert_eq!(world.seed.poll_timeout(), None);
    }
}

#[test]
fn redirect_is_followed_without_the_password() {
    let mut world = many();
    assert!(world.fetch(3, 1));
    world.play(|request| {
        if request.contains("Host: other.host") {
            partial(request, &file_of(request))
        } else {
            refusal("301 Moved", "Location: http://other.host/m/d\r\n", "moved")
        }
    });
    assert_eq!((world.target(1), header(&world.requests[1], "Authorization")), ("/m/d", None));
    assert_eq!(world.said, ["idle"]);
}

#[test]
fn what_breaks_off_is_continued_where_it_ended() {
    let mut world = World::new(Kind::Files, "http://host/x", &[("one", 50_000)]);
    let file = content(&[("one", 50_000)]);
    assert!(world.fetch(0, 4));
    world.play(|request| {
        let answer = partial(request, &file);
        let body = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
        let cut = (body + 7000).min(answer.len());
        let text = String::from_utf8_lossy(&answer[..body]).replace("Content-Length", "X");
        [text.as_bytes(), &answer[body..cut]].concat()
    });
    assert_eq!((world.data.clone(), world.requests.len()), (world.expected(), 8));
    assert_eq!(header(&world.requests[1], "Range"), Some("bytes=7000-49999"));
    let mut dead = World::new(Kind::Files, "http://host/x", &[("one", 50_000)]);
    assert!(dead.fetch(0, 4));
    dead.play(|_| Vec::new());
    assert!(dead.said[0].starts_with("the connection ended"), "{:?}", dead.said);
    assert_eq!(dead.seed.has().count(), 4);
}

#[test]
fn busy_server_is_left_alone_for_as_long_as_it_says() {
    let mut world = many();
    assert!(world.fetch(0, 1));
    world.play(|_| refusal("503 Busy", "Retry-After: 500\r\n", "later"));
    assert_eq!(world.said, ["the server is busy for 500 s, Some(500)"]);
    assert!(!world.fetch(0, 1));
    world.wait();
    assert!(world.now >= Instant::ZERO + Duration::from_secs(500));
    assert!(world.fetch(0, 1));
    world.play(|_| refusal("500 Oops", "", ""));
    let rest = world.seed.poll_timeout().unwrap() - world.now;
    assert!((45..=75).contains(&rest.as_secs()), "twice as long as at first: {rest:?}");
    assert_eq!(world.seed.has().count(), 5);
}

#[test]
fn names_that_lead_into_the_own_network_are_asked_for_files_only() {
    let asked = |kind, url: &str, redirect: Option<&str>| {
        let mut world = World::new(kind, url, &[("one", 50_000), ("two", 50_000)]);
        assert!(world.fetch(0, 4));
        let Some(Output::Lease(lease::Output::Lease { mut slot, mut to })) = world.seed.poll_output() else {
            panic!("it asks for a connection")
        };
        if let Some(location) = redirect {
            world.lease(slot, &to.origin);
            world.receive(&refusal("302 Found", &format!("Location: {location}\r\n"), ""));
            let leased = core::iter::from_fn(|| world.seed.poll_output()).find_map(|output| match output {
                Output::Lease(lease::Output::Lease { slot, to }) => Some((slot, to)),
                _ => None,
            });
            (slot, to) = leased.expect("it follows");
        }
        let Destination { origin, reach, .. } = to;
        world.seed.lease_failed(world.now, slot, DownloadError::OutOfReach { origin });
        let Some(Output::Failed { error, .. }) = world.seed.poll_output() else { panic!("it has failed") };
        (reach, error.to_string(), world.seed.is_gone())
    };
    let query = "a web seed in the own network must have no query".to_owned();
    assert_eq!(asked(Kind::Files, "http://host/x?y=", None), (Reach::Elsewhere, query, true));
    let none = "not the address of a host".to_owned();
    assert_eq!(asked(Kind::Files, "http://host/x", None), (Reach::Host, none.clone(), true));
    assert_eq!(asked(Kind::Script, "http://host/x", None), (Reach::Host, none, true), "the query is ours");
    let astray = "redirects into the own network".to_owned();
    let expected = (Reach::Elsewhere, astray, false);
    assert_eq!(
        asked(Kind::Files, "http://host/x", Some("http://other.host/x")),
        expected,
        "another file may be there"
    );
}

#[test]
fn script_is_asked_for_pieces() {
    let mut world = World::new(Kind::Script, "http://host/seed.php?a=b", &[("one", 40_000)]);
    let file = content(&[("one", 40_000)]);
    assert!(world.fetch(1, 2));
    world.play(|request| {
        let piece = request.split("piece=").nth(1).unwrap().split([' ', '&']).next().unwrap();
        let start = piece.parse::<usize>().unwrap() * PIECE as usize;
        whole(&file[start..(start + PIECE as usize).min(file.len())])
    });
    assert_eq!(world.data[PIECE as usize..], file[PIECE as usize..]);
    assert!(world.target(0).starts_with("/seed.php?a=b&info_hash=%"), "{}", world.target(0));
    assert!(world.target(1).ends_with("&piece=2"), "{}", world.target(1));
    assert!(world.fetch(0, 1));
    world.play(|_| refusal("503 Busy", "", "77\n"));
    assert_eq!(world.said, ["idle", "the server is busy for 77 s, Some(77)"]);
}

#[test]
fn payload_decides_nothing() {
    let file = content(&[("one", 40_000)]);
    let play = |masked: bool, step: usize| {
        let mut world = World::new(Kind::Script, "http://host/s", &[("one", 40_000)]);
        (world.masked, world.step) = (masked, step);
        assert!(world.fetch(0, 1));
        world.play(|_| whole(&file[..PIECE as usize]));
        assert!(world.fetch(1, 1));
        world.play(|_| refusal("503 Busy", "", "77\n"));
        let bytes = world.data.iter().filter(|byte| **byte == 0).count();
        (bytes, world.requests, world.said)
    };
    for step in [1, 50, 1000, usize::MAX] {
        let ((none, requests, said), (zeros, ..)) = (play(false, step), play(true, step));
        assert_eq!(none, 0);
        assert!((PIECE as usize - 20..=PIECE as usize).contains(&zeros), "{zeros} bytes at {step}");
        assert_eq!(play(true, step), (zeros, requests, said.clone()));
        assert_eq!(said[1], "the server is busy for 77 s, Some(77)");
    }
}

#[test]
fn script_is_asked_for_the_rest_of_a_piece() {
    let mut world = World::new(Kind::Script, "http://host/s", &[("one", 16_384)]);
    let file = content(&[("one", 16_384)]);
    assert!(world.fetch(0, 1));
    world.play(|request| {
        let start = if request.contains("ranges=5000-16383") { 5000 } else { 0 };
        let body = &file[start..(start + 5000 + start * 9).min(file.len())];
        [b"HTTP/1.0 200 OK\r\n\r\n", body].concat()
    });
    assert_eq!((world.data.clone(), world.requests.len()), (file, 2));
}

#[test]
fn liar_is_never_asked_again() {
    let mut world = many();
    assert!(world.fetch(0, 5));
    world.seed.condemn(world.now);
    world.play(|_| Vec::new());
    assert_eq!(world.said, ["unlease", "the server sent wrong data, None"]);
    assert!(!world.fetch(0, 1) && world.seed.is_gone());
}

#[test]
fn cancelled_runs_send_nothing_and_late_leases_are_given_back() {
    let mut world = many();
    assert!(world.fetch(0, 5));
    let Some(Output::Lease(lease::Output::Lease { slot, to })) = world.seed.poll_output() else {
        panic!("it asks for a connection")
    };
    world.seed.cancel(world.now);
    world.lease(slot, &to.origin);
    world.play(|_| panic!("nothing is asked"));
    assert_eq!((world.said, world.slot), (vec!["unlease".to_owned()], None));
    assert!(world.seed.wants());
}

#[test]
fn silent_server_and_no_connection_rest() {
    let mut world = many();
    assert!(world.fetch(0, 1));
    let Some(Output::Lease(lease::Output::Lease { slot, to })) = world.seed.poll_output() else {
        panic!("it asks for a connection")
    };
    world.lease(slot, &to.origin);
    world.wait();
    while let Some(output) = world.seed.poll_output() {
        if let Output::Failed { error, until } = output {
            assert!(matches!(error, WebSeedError::Closed(_)) && until > Some(world.now), "{error}");
        }
    }
    world.wait();
    assert!(world.fetch(0, 1));
    assert!(matches!(world.seed.poll_output(), Some(Output::Ready)));
    let Some(Output::Lease(lease::Output::Lease { slot, to })) = world.seed.poll_output() else {
        panic!("it asks for a connection")
    };
    world.seed.lease_failed(world.now, slot, DownloadError::ConnectTimeout { origin: to.origin, seconds: 5 });
    assert!(matches!(world.seed.poll_output(), Some(Output::Failed { until: Some(_), .. })));
    assert_eq!(world.seed.has().count(), 5);
}
