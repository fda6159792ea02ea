//! A small HTTP server on plain threads, on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails where something unexpected happens")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers.
    Answers,
    /// Sends a little at a time.
    Dawdles,
}

/// A running server; its threads end with the process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(body: Vec<u8>, manner: Manner) -> Self {
        Self::start_with(body, manner, |socket| Box::new(socket))
    }

    /// Serves over what `secure` makes of each connection.
    pub(crate) fn start_with(
        body: Vec<u8>,
        manner: Manner,
        secure: impl Fn(TcpStream) -> Box<dyn ReadWrite> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (body, secure, counter) = (Arc::new(body), Arc::new(secure), Arc::clone(&requests));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (body, secure, counter) = (Arc::clone(&body), Arc::clone(&secure), Arc::clone(&counter));
                std::thread::spawn(move || serve(&mut *secure(socket), &body, manner, &counter));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

pub(crate) trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn serve(link: &mut dyn ReadWrite, body: &[u8], manner: Manner, requests: &AtomicUsize) {
    while let Some(head) = read_head(link) {
        requests.fetch_add(1, Ordering::Relaxed);
        if answer(link, &head, body, manner).is_err() {
            return;
        }
    }
}

fn read_head(link: &mut dyn ReadWrite) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if link.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn answer(link: &mut dyn ReadWrite, head: &str, body: &[u8], manner: Manner) -> std::io::Result<()> {
    let len = body.len();
    let range = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (status, from, to) = match range.as_deref().and_then(|range| range.split_once('-')) {
        None => ("200 OK".to_owned(), 0, len),
        Some((from, to)) => {
            let from: usize = from.trim().parse().unwrap();
            if from >= len {
                let head = format!(
                    "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nContent-Range: bytes */{len}\r\n\r\n"
                );
                return link.write_all(head.as_bytes());
            }
            let to = to.trim().parse().map_or(len, |to: usize| (to + 1).min(len));
            (format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{len}", to - 1), from, to)
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\nETag: \"one\"\r\n\r\n",
        to - from
    );
    link.write_all(head.as_bytes())?;
    let part = &body[from..to];
    match manner {
        Manner::Dawdles => part.chunks(8192).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(5));
            link.write_all(piece)?;
            link.flush()
        }),
        Manner::Answers => {
            link.write_all(part)?;
            link.flush()
        }
    }
}

/// Content that differs at every place.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
