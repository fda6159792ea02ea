//! A small HTTP/1.1 origin: ranges, validators, and a gate that stops every body until the test opens it.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// An origin on a port of its own. Its threads end with the test process.
pub(crate) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What stands behind a path.
#[derive(Clone, Default)]
pub(crate) struct Resource {
    body: Arc<Vec<u8>>,
    status: Option<String>,
    headers: String,
    cookie: Option<String>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    resources: HashMap<String, Resource>,
    heads: Vec<String>,
    /// Body bytes that may still be sent.
    allowed: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self { resources: HashMap::new(), heads: Vec::new(), allowed: u64::MAX }
    }
}

impl Resource {
    /// A body.
    pub(crate) fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: Arc::new(body.into()), ..Self::default() }
    }

    /// An answer with this status line (after the version) and no body.
    pub(crate) fn status(status: &str) -> Self {
        Self { status: Some(status.to_owned()), ..Self::default() }
    }

    /// With a further header.
    pub(crate) fn header(mut self, line: &str) -> Self {
        self.headers.push_str(line);
        self.headers.push_str("\r\n");
        self
    }

    /// Only for requests that send this cookie; 403 for others.
    pub(crate) fn only_with_cookie(mut self, cookie: &str) -> Self {
        self.cookie = Some(cookie.to_owned());
        self
    }
}

impl Origin {
    /// An origin without resources.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = own.clone();
                // A client that goes away is no concern of the origin's.
                std::thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        Self { address, shared }
    }

    /// Puts a resource behind a path and returns its URL.
    pub(crate) fn put(&self, path: &str, resource: Resource) -> String {
        self.shared.lock().resources.insert(path.to_owned(), resource);
        self.url(path)
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Lets `bytes` of bodies pass and then stops them all.
    pub(crate) fn allow(&self, bytes: u64) {
        self.shared.lock().allowed = bytes;
        self.shared.changed.notify_all();
    }

    /// Lets all pass.
    pub(crate) fn open(&self) {
        self.allow(u64::MAX);
    }

    /// The heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.lock().heads.clone()
    }

    /// Waits for a request for `path`.
    pub(crate) fn wait_for_request(&self, path: &str) {
        let line = format!("GET {path} ");
        let missing = |inner: &mut Inner| !inner.heads.iter().any(|head| head.starts_with(&line));
        drop(self.shared.changed.wait_while(self.shared.lock(), missing).unwrap());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            self.answer(&stream, &head)?;
        }
    }

    fn answer(&self, mut stream: &TcpStream, head: &str) -> std::io::Result<()> {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let found = {
            let mut inner = self.lock();
            inner.heads.push(head.to_owned());
            self.changed.notify_all();
            inner.resources.get(path).cloned()
        };
        let refusal = match &found {
            None => Some("404 Not Found"),
            Some(Resource { cookie: Some(cookie), .. }) if !head.contains(cookie) => Some("403 Forbidden"),
            Some(resource) => resource.status.as_deref(),
        };
        let Resource { body, headers, .. } = found.clone().unwrap_or_default();
        if let Some(status) = refusal {
            return stream
                .write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n").as_bytes());
        }
        let range = range(head).filter(|_| !body.is_empty());
        let last = body.len().saturating_sub(1);
        let (from, to) = range.map_or((0, body.len()), |(from, to)| (from, to.unwrap_or(last).min(last) + 1));
        let start = match range {
            None => "200 OK\r\n".to_owned(),
            Some(_) => {
                format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{}\r\n", to - 1, body.len())
            }
        };
        let len = to - from;
        let common = "Accept-Ranges: bytes\r\nETag: \"one\"\r\n";
        let answer = format!("HTTP/1.1 {start}Content-Length: {len}\r\n{common}{headers}\r\n");
        stream.write_all(answer.as_bytes())?;
        if head.starts_with("HEAD ") {
            return Ok(());
        }
        for piece in body[from..to].chunks(PIECE) {
            self.pass(piece.len() as u64);
            stream.write_all(piece)?;
        }
        Ok(())
    }

    /// Waits until `bytes` more may be sent.
    fn pass(&self, bytes: u64) {
        let mut inner = self.changed.wait_while(self.lock(), |inner| inner.allowed < bytes).unwrap();
        inner.allowed -= bytes;
    }
}

/// The first and, where given, the last byte that a request asks for.
fn range(head: &str) -> Option<(usize, Option<usize>)> {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("range").then_some(value.trim())
    })?;
    let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()))
}

const PIECE: usize = 16 * 1024;
