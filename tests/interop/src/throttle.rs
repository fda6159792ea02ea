//! A slow line: every connection through it gets bytes at an even rate, and it counts them.
//!
//! nginx's own `limit_rate` gives each request a second's worth at once, which no slow line does.

use crate::nginx::Server;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// A slow line to a server; gone when dropped.
#[derive(Debug)]
pub struct Throttle {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    rate: usize,
    bytes: AtomicU64,
    stopped: AtomicBool,
}

impl Throttle {
    /// A line to `server` that gives each connection `rate` bytes per second.
    pub fn new(server: &Server, rate: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Shared {
            upstream: server.authority(),
            rate,
            bytes: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        };
        let shared = Arc::new(shared);
        let inner = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if inner.stopped.load(Relaxed) {
                    return;
                }
                let inner = Arc::clone(&inner);
                thread::spawn(move || inner.serve(&client));
            }
        });
        Self { address, shared }
    }

    /// The address of a path of the server, over this line.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many bytes it has carried to clients, heads included.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Relaxed)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Carries one connection until either side closes.
    fn serve(&self, client: &TcpStream) {
        let Ok(server) = TcpStream::connect(&self.upstream) else { return };
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = io::copy(&mut &*client, &mut &server);
                let _ = server.shutdown(Shutdown::Both);
            });
            let _ = self.carry(&server, client);
            let _ = client.shutdown(Shutdown::Both);
        });
    }

    fn carry(&self, mut server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; (self.rate / SLICES_PER_SECOND).max(1)];
        let mut due = Instant::now();
        loop {
            let len = server.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            client.write_all(&buffer[..len])?;
            self.bytes.fetch_add(len as u64, Relaxed);
            // What was idle time is not made up for.
            due = due.max(Instant::now()) + Duration::from_secs_f64(len as f64 / self.rate as f64);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

const SLICES_PER_SECOND: usize = 100;
