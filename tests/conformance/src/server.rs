//! A small HTTP server on plain threads, on loopback.

use crate::runtime::world::Manner;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A running server; its threads end with the process.
pub(crate) struct Server {
    address: SocketAddr,
    body: Arc<Vec<u8>>,
    /// How many requests there were.
    pub(crate) requests: Arc<AtomicUsize>,
    /// How many connections are open.
    pub(crate) open: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(body: Vec<u8>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (requests, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let body = Arc::new(body);
        let server = Self { address, body, requests, open };
        let (body, counter, gauge) =
            (Arc::clone(&server.body), Arc::clone(&server.requests), Arc::clone(&server.open));
        std::thread::spawn(move || {
            for mut socket in listener.incoming().flatten() {
                let (body, counter, gauge) = (Arc::clone(&body), Arc::clone(&counter), Arc::clone(&gauge));
                gauge.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    serve(&mut socket, &body, manner, &counter);
                    gauge.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    /// What it has under every path.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }
}

fn serve(socket: &mut TcpStream, body: &[u8], manner: Manner, requests: &AtomicUsize) {
    while let Some(head) = read_head(socket) {
        requests.fetch_add(1, Ordering::SeqCst);
        if answer(socket, &head, body, manner).is_err() {
            return;
        }
    }
}

fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn answer(socket: &mut TcpStream, head: &str, body: &[u8], manner: Manner) -> std::io::Result<()> {
    if manner == Manner::Hangs {
        return until_closed(socket);
    }
    let len = body.len();
    let range = head.lines().find_map(|line| {
        let (from, to) =
            line.to_ascii_lowercase().strip_prefix("range: bytes=")?.split_once('-').map(owned)?;
        Some((from.trim().parse::<usize>().ok()?, to.trim().parse::<usize>().ok()))
    });
    let (status, from, to) = match range {
        None => ("200 OK".to_owned(), 0, len),
        Some((from, _)) if from >= len => {
            let head = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0";
            let head = format!("{head}\r\nContent-Range: bytes */{len}\r\n\r\n");
            return socket.write_all(head.as_bytes());
        }
        Some((from, to)) => {
            let to = to.map_or(len, |to| (to + 1).min(len));
            (format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{len}", to - 1), from, to)
        }
    };
    let length = to - from;
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nAccept-Ranges: bytes\r\nETag: \"one\"\r\n\r\n"
    );
    socket.write_all(head.as_bytes())?;
    let part = &body[from..to];
    match manner {
        Manner::Answers => socket.write_all(part),
        Manner::Dawdles => part.chunks(8192).try_for_each(|piece| {
            std::thread::sleep(Duration::from_millis(5));
            socket.write_all(piece)
        }),
        Manner::StopsHalfway | Manner::Hangs => {
            socket.write_all(&part[..part.len() / 2])?;
            until_closed(socket)
        }
    }
}

/// Waits until the client closes.
fn until_closed(socket: &mut TcpStream) -> std::io::Result<()> {
    socket.read(&mut [0]).map(drop)
}

fn owned((from, to): (&str, &str)) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

/// Content that differs at every place.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0])
        .collect()
}
