//! `get --stream`: the files of a download over HTTP (RFC 9110 and 9112) to players on this machine, while they are fetched.
//!
//! Each connection has a thread of its own: there are few, and a reader of the engine can be waited for on any thread,
//! whichever runtime drives the engine.

mod answer;
mod request;

use self::answer::answer;
use self::request::{MAX_HEAD, Request, parse};
use crate::engine::Engine;
use crate::failure::{Failure, io_message};
use crate::json;
use gosh_dl_core::base::FileName;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::DownloadKind;
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_runtime::FileReader;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where players are served.
pub(crate) struct Stream {
    listener: TcpListener,
    port: u16,
    /// The download, and whether its files were told.
    serving: Option<(DownloadId, bool)>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    number: usize,
    /// Below its directory, with slashes.
    name: String,
}

/// What all connections share.
struct Served {
    engine: Engine,
    id: DownloadId,
    port: u16,
    connections: AtomicUsize,
}

impl Stream {
    /// Listens on this machine only; port 0 is any.
    pub(crate) fn bind(port: u16) -> Result<Self, Failure> {
        let listen = || -> io::Result<Self> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
            let port = listener.local_addr()?.port();
            Ok(Self { listener, port, serving: None })
        };
        listen().map_err(|error| {
            Failure(format!("--stream {port}: {}; choose another port, or 0 for any", io_message(&error)))
        })
    }

    /// Serves the files of that download from now on.
    pub(crate) fn serve(&mut self, engine: &Engine, id: DownloadId) {
        let Ok(listener) = self.listener.try_clone() else { return };
        let served = Served { engine: engine.clone(), id, port: self.port, connections: AtomicUsize::new(0) };
        let served = Arc::new(served);
        if self.serving.is_none() && spawn(move || accept(&listener, &served)) {
            self.serving = Some((id, false));
        }
    }

    /// Whether there is anything to serve: what was skipped has no file of its own.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.serving, Some((_, true)))
    }

    /// The lines that tell where the files are, once they are known; each only once.
    pub(crate) fn news(&mut self, engine: &Engine, is_json: bool) -> Vec<String> {
        let Some((id, told @ false)) = &mut self.serving else { return Vec::new() };
        let files = files(engine, *id);
        *told = !files.is_empty();
        let line = |file: File| {
            let url = format!("http://{}{}", SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), file.path());
            match is_json {
                true => json::stream(*id, file.number, &file.name, &url),
                false => format!("stream {url}"),
            }
        };
        files.into_iter().map(line).collect()
    }
}

impl File {
    /// Its path in a URL. Only the number counts; the name is for people and players.
    fn path(&self) -> String {
        let name = self.name.rsplit('/').next().unwrap_or(&self.name);
        format!("/{}/{}", self.number, utf8_percent_encode(name, ESCAPED))
    }
}

impl Served {
    fn files(&self) -> Vec<File> {
        files(&self.engine, self.id)
    }

    fn open(&self, number: usize) -> Option<FileReader> {
        self.engine.open_reader(self.id, number).ok()
    }
}

/// The files of a download; none while they are not known.
fn files(engine: &Engine, id: DownloadId) -> Vec<File> {
    if let Some(metainfo) = engine.metainfo(id).and_then(|raw| Metainfo::decode(raw.into()).ok()) {
        let files = metainfo.files().iter().filter(|file| !file.pad);
        let name = |path: Vec<FileName>| path.iter().map(FileName::as_str).collect::<Vec<_>>().join("/");
        return files.map(|file| File { number: file.index, name: name(file.path()) }).collect();
    }
    let status = engine.status(id).filter(|status| status.kind == DownloadKind::Http);
    let name = status.and_then(|status| status.metadata.filename);
    name.map(|name| File { number: 0, name }).into_iter().collect()
}

fn accept(listener: &TcpListener, served: &Arc<Served>) {
    loop {
        let Ok((link, _)) = listener.accept() else {
            // Too many open files, as a rule: others may be closed soon.
            std::thread::sleep(ACCEPT_AGAIN);
            continue;
        };
        // Whoever comes when all places are taken is hung up on, and may come again.
        if let Some(place) = Place::take(served) {
            // How a player goes away is its own affair.
            spawn(move || drop(converse(&link, &place.0)));
        }
    }
}

/// A connection's place among those that are served.
struct Place(Arc<Served>);

impl Place {
    fn take(served: &Arc<Served>) -> Option<Self> {
        let place = Self(Arc::clone(served));
        (served.connections.fetch_add(1, Ordering::Relaxed) < MAX_CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> bool {
    std::thread::Builder::new().name("stream".to_owned()).spawn(run).is_ok()
}

/// Answers the requests of one connection, one after the other.
fn converse(link: &TcpStream, served: &Served) -> io::Result<()> {
    link.set_write_timeout(Some(MAX_PAUSE))?;
    link.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let Some(request) = next_request(link, &mut buffer, served.port)? else { return Ok(()) };
        if !answer(link, served, &request)? {
            return Ok(());
        }
    }
}

/// The next request, which has to come within a while; `None` where the connection ended between two.
fn next_request(mut link: &TcpStream, buffer: &mut Vec<u8>, port: u16) -> io::Result<Option<Request>> {
    let until = Instant::now() + HEAD_TIME;
    loop {
        if let Some((request, len)) = parse(buffer, port) {
            buffer.drain(..len);
            return Ok(Some(request));
        }
        // `parse` has an answer to whatever is as long as that.
        let mut part = [0; 1024];
        let room = (MAX_HEAD - buffer.len()).min(part.len());
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        link.set_read_timeout(Some(left))?;
        match link.read(&mut part[..room])? {
            0 => return Ok(None),
            len => buffer.extend_from_slice(&part[..len]),
        }
    }
}

/// All but what RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A player has two or three connections; each has a thread, and each reader has its share of what is fetched.
const MAX_CONNECTIONS: usize = 32;
/// A head comes at once; whoever takes longer only holds the place.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// A player that is paused reads nothing for a while; one that is paused longer asks again.
const MAX_PAUSE: Duration = Duration::from_secs(30 * 60);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
