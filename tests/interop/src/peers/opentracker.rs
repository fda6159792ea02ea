//! opentracker, serving over HTTP and UDP at one port.

use super::{Other, free_address, wait_until};
use crate::lab::skip;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

/// A tracker. It speaks IPv4 only: Debian builds it so, and it says "V4 Tracker is V4 only!" where it is given another
/// address.
#[derive(Debug)]
pub struct Opentracker {
    _running: Other,
    address: SocketAddr,
}

/// What it knows of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scrape {
    /// Peers that have everything.
    pub complete: u32,
    /// Peers that have not.
    pub incomplete: u32,
    /// How many became complete since it began.
    pub downloaded: u32,
}

impl Opentracker {
    /// A tracker of these torrents, or `None` (and a message) where it is not installed and this is not CI.
    pub fn start(dir: &Path, info_hashes: &[String]) -> Option<Self> {
        let program =
            ["/usr/bin/opentracker", "/usr/sbin/opentracker"].into_iter().find(|p| Path::new(p).is_file());
        let Some(program) = program else {
            skip("opentracker not installed");
            return None;
        };
        let list = dir.join("whitelist");
        fs::write(&list, info_hashes.join("\n") + "\n").expect("room for the list");
        let address = free_address("127.0.0.1");
        let port = address.port().to_string();
        let mut command = Command::new(program);
        command
            .args(["-i", "127.0.0.1", "-p", &port, "-P", &port])
            .arg("-d")
            .arg(dir)
            .args(["-w", "whitelist"]);
        let running = Other::start(&mut command);
        wait_until("the tracker answers", || TcpStream::connect(address).is_ok());
        Some(Self { _running: running, address })
    }

    /// Its announce URL over HTTP.
    pub fn http(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// Its announce URL over UDP.
    pub fn udp(&self) -> String {
        format!("udp://{}/announce", self.address)
    }

    /// What it knows of a torrent, by its 40 hexadecimal digits.
    pub fn scrape(&self, info_hash: &str) -> Scrape {
        let escaped: String =
            info_hash.as_bytes().chunks(2).flat_map(|pair| ['%', pair[0].into(), pair[1].into()]).collect();
        let mut stream = TcpStream::connect(self.address).expect("it answers");
        let request = format!("GET /scrape?info_hash={escaped} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let number = |key: &str| {
            let key = format!("{}:{key}i", key.len()).into_bytes();
            let at = answer.windows(key.len()).position(|window| window == key)? + key.len();
            let digits: String = answer[at..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .map(|byte| char::from(*byte))
                .collect();
            digits.parse().ok()
        };
        Scrape {
            complete: number("complete").unwrap_or_default(),
            incomplete: number("incomplete").unwrap_or_default(),
            downloaded: number("downloaded").unwrap_or_default(),
        }
    }
}
