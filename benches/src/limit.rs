//! The limit: one thread, one epoll, `recv` and `pwrite`, and nothing that a download tool needs besides.

use rustix::event::epoll;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;

const BUFFER: usize = 256 << 10;

struct Part {
    stream: TcpStream,
    at: u64,
    end: u64,
}

/// Fetches `url` (`http://host:port/path`) over `connections` equal parts into `out`.
pub(crate) fn run(url: &str, connections: u64, out: &Path) {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (host, path) = rest.split_once('/').expect("a path");
    let len = length(host, path);
    let file = File::create(out).expect("the file can be made");
    let bound = |i: u64| len * i / connections;
    let mut parts: Vec<Part> =
        (0..connections).map(|i| open(host, path, bound(i), bound(i + 1), &file)).collect();

    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    for (i, part) in parts.iter().enumerate() {
        epoll::add(&poll, &part.stream, epoll::EventData::new_u64(i as u64), epoll::EventFlags::IN)
            .expect("added");
    }
    let mut open_parts = parts.iter().filter(|part| part.at < part.end).count();
    let mut buffer = vec![0; BUFFER];
    let mut events = Vec::with_capacity(64);
    while open_parts > 0 {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).expect("events");
        for event in &events {
            let data = event.data;
            let part = &mut parts[usize::try_from(data.u64()).expect("an index")];
            if part.at < part.end && turn(part, &file, &mut buffer) {
                epoll::delete(&poll, &part.stream).expect("it was added");
                open_parts -= 1;
            }
        }
    }
}

/// Reads once; tells whether the part is whole.
fn turn(part: &mut Part, file: &File, buffer: &mut [u8]) -> bool {
    match part.stream.read(buffer) {
        Ok(0) => panic!("the server closed early"),
        Ok(len) => {
            file.write_all_at(&buffer[..len], part.at).expect("room");
            part.at += len as u64;
            part.at >= part.end
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

fn length(host: &str, path: &str) -> u64 {
    let (head, _, _) = ask(host, &format!("HEAD /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let lower = head.to_ascii_lowercase();
    let value = lower.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
    value.and_then(|text| text.trim().parse().ok()).expect("a length")
}

fn open(host: &str, path: &str, from: u64, end: u64, file: &File) -> Part {
    let range = format!("bytes={from}-{}", end.saturating_sub(1));
    let (head, body, stream) =
        ask(host, &format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nRange: {range}\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    file.write_all_at(&body, from).expect("room");
    stream.set_nonblocking(true).expect("it can be set");
    Part { stream, at: from + body.len() as u64, end }
}

/// Sends a request; returns the head of the answer and what came of the body with it.
fn ask(host: &str, request: &str) -> (String, Vec<u8>, TcpStream) {
    let mut stream = TcpStream::connect(host).expect("the server is there");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).expect("an answer");
        assert!(len > 0, "no answer");
        bytes.extend_from_slice(&buffer[..len]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return (String::from_utf8_lossy(&bytes).into_owned(), body, stream);
        }
    }
}
