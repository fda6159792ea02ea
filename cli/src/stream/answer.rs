//! Answers to players: heads, and bytes as they come.

use super::request::{ByteRange, Request, What};
use super::{File, Served};
use gosh_dl_runtime::FileReader;
use smol::future::{block_on, or};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

/// Answers a request; says whether another may follow.
pub(super) fn answer(link: &TcpStream, served: &Served, request: &Request) -> io::Result<bool> {
    match request.what {
        What::List => {
            let page = list(&served.files());
            send(link, request, 200, "Content-Type: text/html; charset=utf-8\r\n", &page)
        }
        What::Bad(status) => refuse(link, request, status, ""),
        What::File(number, range) => match served.open(number) {
            Some(reader) => send_file(link, served, request, reader, (number, range)),
            None => refuse(link, request, 404, ""),
        },
    }
}

fn send_file(
    link: &TcpStream,
    served: &Served,
    request: &Request,
    mut reader: FileReader,
    (number, range): (usize, Option<ByteRange>),
) -> io::Result<bool> {
    let known = served.files();
    let name = known.iter().find(|file| file.number == number).map_or("", |file| &file.name);
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let fields = format!("Content-Type: {kind}\r\n");
    let Some(len) = length(link, &mut reader)? else {
        // Without a length there are no ranges, and the end of the connection is that of the file (RFC 9112 section 6.3).
        let request = Request { keep_alive: false, ..request.clone() };
        write_head(link, &request, 200, &fields)?;
        return if request.head_only { Ok(false) } else { copy(link, reader, 0..u64::MAX).map(|()| false) };
    };
    let fields = format!("{fields}Accept-Ranges: bytes\r\n");
    let (status, part, fields) = match range.map(|range| range.of(len)) {
        None => (200, 0..len, fields),
        Some(Some(part)) => {
            let last = part.end - 1;
            (206, part.clone(), format!("{fields}Content-Range: bytes {}-{last}/{len}\r\n", part.start))
        }
        Some(None) => return refuse(link, request, 416, &format!("Content-Range: bytes */{len}\r\n")),
    };
    write_head(link, request, status, &format!("{fields}Content-Length: {}\r\n", part.end - part.start))?;
    if !request.head_only {
        copy(link, reader, part)?;
    }
    Ok(request.keep_alive)
}

/// The length of a file: a server tells it with its first bytes, if at all.
fn length(link: &TcpStream, reader: &mut FileReader) -> io::Result<Option<u64>> {
    if reader.len().is_none() {
        read(link, reader, 1)?;
        reader.seek(0);
    }
    Ok(reader.len())
}

/// Sends a part of a file as it comes. Where it ends early, so does the connection, and the player knows.
fn copy(mut link: &TcpStream, mut reader: FileReader, part: Range<u64>) -> io::Result<()> {
    reader.seek(part.start);
    let mut left = part.end - part.start;
    while left > 0 {
        let bytes = read(link, &mut reader, u32::try_from(left).unwrap_or(u32::MAX).min(MAX_READ))?;
        if bytes.is_empty() {
            return if part.end == u64::MAX { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        link.write_all(&bytes)?;
        left -= bytes.len() as u64;
    }
    Ok(())
}

/// The next bytes; what nobody waits for any more is not waited for.
fn read(link: &TcpStream, reader: &mut FileReader, max: u32) -> io::Result<bytes::Bytes> {
    loop {
        let came = async { Some(reader.read(max).await.map_err(io::Error::other)) };
        let waited = async {
            smol::Timer::after(LOOK).await;
            None
        };
        if let Some(result) = block_on(or(came, waited)) {
            return result;
        }
        if has_gone(link)? {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

/// Whether the player hung up.
fn has_gone(link: &TcpStream) -> io::Result<bool> {
    link.set_nonblocking(true)?;
    let seen = link.peek(&mut [0]);
    link.set_nonblocking(false)?;
    Ok(match seen {
        Ok(len) => len == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    })
}

fn refuse(link: &TcpStream, request: &Request, status: u16, fields: &str) -> io::Result<bool> {
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let fields = format!("Content-Type: text/plain\r\n{allow}{fields}");
    send(link, request, status, &fields, &format!("{status} {}\n", reason(status)))
}

fn send(mut link: &TcpStream, request: &Request, status: u16, fields: &str, body: &str) -> io::Result<bool> {
    write_head(link, request, status, &format!("{fields}Content-Length: {}\r\n", body.len()))?;
    if !request.head_only {
        link.write_all(body.as_bytes())?;
    }
    Ok(request.keep_alive)
}

fn write_head(mut link: &TcpStream, request: &Request, status: u16, fields: &str) -> io::Result<()> {
    let connection = if request.keep_alive { "keep-alive" } else { "close" };
    let reason = reason(status);
    let head = format!("HTTP/1.1 {status} {reason}\r\nConnection: {connection}\r\n{fields}\r\n");
    link.write_all(head.as_bytes())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        416 => "Range Not Satisfiable",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        _ => "Error",
    }
}

/// A page that leads to each file.
fn list(files: &[File]) -> String {
    let mut page = "<!doctype html>\n<title>gosh-dl</title>\n<ul>\n".to_owned();
    for file in files {
        // A path has only letters, digits, slashes and percent signs.
        let _ = writeln!(page, "<li><a href=\"{}\">{}</a>", file.path(), escape(&file.name));
    }
    page.push_str("</ul>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// How often it is looked whether somebody still waits.
const LOOK: Duration = Duration::from_millis(500);
/// As much as the engine gives at once.
const MAX_READ: u32 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_files_escapes_what_they_are_called() {
        let file = File { number: 2, name: "a/<b> & \"c\".mkv".to_owned() };
        assert_eq!(file.path(), "/2/%3Cb%3E%20%26%20%22c%22.mkv");
        assert!(list(&[file]).contains("\">a/&lt;b&gt; &amp; \"c\".mkv</a>"));
    }
}
