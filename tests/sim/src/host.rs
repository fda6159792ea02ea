//! Policy: a host: its lines, its manners towards connections, its resources, and the record of what it was asked.

use crate::behaviour::Resource;
use crate::link::{Dial, LinkProfile, transfer_time};
use crate::reply::{Part, plain, reply};
use crate::request::{AskedRange, Request};
use core::ops::Range;
use core::time::Duration;
use gosh_dl_core::base::link::TlsError;
use gosh_dl_core::base::{Instant, LinkError, RangeSet, WallClock};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A host with its HTTP origin, on every port.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// What connections to it are like.
    pub profile: LinkProfile,
    /// How it answers those who dial, by address; those that are not named accept.
    pub dials: BTreeMap<IpAddr, Dial>,
    /// What the engine's TLS says about its certificate.
    pub tls: Result<(), TlsError>,
    /// Whether it ends TLS connections without `close_notify`.
    pub cuts_tls: bool,
    /// Bytes per second that all connections share; `None` is no limit.
    pub rate: Option<u64>,
    /// How many connections it serves at once.
    pub max_connections: usize,
    /// What those get that are too many.
    pub over_limit: OverLimit,
    /// How long it keeps a connection that asks for nothing.
    pub idle_timeout: Option<Duration>,
    /// What it was asked and what it did.
    pub log: Log,
    resources: BTreeMap<String, Resource>,
    line_free: Instant,
}

/// What connections get that are too many for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverLimit {
    /// They are refused.
    Refuse,
    /// They are accepted, and every request on them gets this status.
    Status(u16),
}

/// What a host was asked and what it did.
#[derive(Debug, Default)]
pub struct Log {
    /// Every request, in order.
    pub requests: Vec<Asked>,
    /// Every connection that was accepted, in order.
    pub connections: Vec<Served>,
    /// How many connections are open.
    pub open: usize,
    /// The most that ever were.
    pub peak: usize,
    /// Bytes sent, heads included.
    pub bytes: u64,
    sent: BTreeMap<String, (RangeSet, u64)>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When it was whole.
    pub at: Instant,
    /// On which connection, by its place in [`Log::connections`].
    pub connection: usize,
    /// Whether over TLS.
    pub secure: bool,
    /// The request.
    pub request: Request,
    /// The range it asked for.
    pub range: Option<AskedRange>,
    /// The status of the answer; 0 where a script answered.
    pub status: u16,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Served {
    /// When it was accepted.
    pub opened: Instant,
    /// When it ended.
    pub closed: Option<Instant>,
    /// Bytes sent on it.
    pub bytes: u64,
    /// Whether it was one too many.
    pub over_limit: bool,
}

impl Host {
    /// A host that accepts everybody and has nothing.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            profile: LinkProfile::default(),
            dials: BTreeMap::new(),
            tls: Ok(()),
            cuts_tls: false,
            rate: None,
            max_connections: usize::MAX,
            over_limit: OverLimit::Refuse,
            idle_timeout: None,
            log: Log::default(),
            resources: BTreeMap::new(),
            line_free: Instant::ZERO,
        }
    }

    /// Puts a resource at a target (a path, with its query).
    pub fn put(&mut self, target: &str, resource: Resource) -> &mut Self {
        self.resources.insert(target.to_owned(), resource);
        self
    }

    /// Takes a resource away, so that its target is not found.
    pub fn take(&mut self, target: &str) -> Option<Resource> {
        self.resources.remove(target)
    }

    /// The resource at a target.
    pub fn resource(&self, target: &str) -> Option<&Resource> {
        self.resources.get(target)
    }

    /// The resource at a target.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn resource_mut(&mut self, target: &str) -> &mut Resource {
        self.resources.get_mut(target).unwrap_or_else(|| panic!("nothing at {target}"))
    }

    /// Makes every address answer those who dial like this.
    pub fn dial_all(&mut self, dial: Dial, addresses: &[IpAddr]) {
        self.dials.extend(addresses.iter().map(|address| (*address, dial)));
    }

    /// How it answers somebody who dials `address` now.
    pub fn answer_dial(&self, address: IpAddr) -> Dial {
        let dial = self.dials.get(&address).copied().unwrap_or_default();
        let full = self.log.open >= self.max_connections && self.over_limit == OverLimit::Refuse;
        if full && dial == Dial::Accept { Dial::Fail(LinkError::Refused) } else { dial }
    }

    /// Accepts a connection: its place in the log.
    pub fn accept(&mut self, now: Instant) -> usize {
        let over_limit = self.log.open >= self.max_connections;
        self.log.open += 1;
        self.log.peak = self.log.peak.max(self.log.open);
        self.log.connections.push(Served { opened: now, closed: None, bytes: 0, over_limit });
        self.log.connections.len() - 1
    }

    /// A connection ended.
    pub fn closed(&mut self, now: Instant, connection: usize) {
        if self.log.connections[connection].closed.replace(now).is_none() {
            self.log.open -= 1;
        }
    }

    /// Answers a request.
    pub fn ask(
        &mut self,
        now: Instant,
        wall: &WallClock,
        (connection, secure): (usize, bool),
        request: Request,
    ) -> Vec<Part> {
        let refused = self.log.connections[connection].over_limit;
        let (status, parts) = match (self.over_limit, self.resources.get_mut(&request.target)) {
            (OverLimit::Status(status), _) if refused => (status, plain(status, now, wall)),
            (_, None) => (404, plain(404, now, wall)),
            (_, Some(resource)) => reply(resource, &request, now, wall),
        };
        let range = request.range();
        self.log.requests.push(Asked { at: now, connection, secure, request, range, status });
        parts
    }

    /// Puts `len` bytes on the line that all connections share: when it has carried them.
    pub fn carry(&mut self, now: Instant, connection: usize, len: u64) -> Instant {
        self.log.bytes += len;
        self.log.connections[connection].bytes += len;
        self.line_free = self.line_free.max(now) + transfer_time(len, self.rate);
        self.line_free
    }

    /// Counts content that was sent.
    pub fn count_content(&mut self, target: &str, range: Range<u64>) {
        let len = range.end - range.start;
        if let Some(resource) = self.resources.get_mut(target) {
            resource.bytes += len;
        }
        let (sent, total) = self.log.sent.entry(target.to_owned()).or_default();
        sent.insert(range);
        *total += len;
    }
}

impl Log {
    /// How many content bytes of a target were sent.
    pub fn content_sent(&self, target: &str) -> u64 {
        self.sent.get(target).map_or(0, |(_, total)| *total)
    }

    /// How many content bytes of a target were sent more than once.
    pub fn content_repeated(&self, target: &str) -> u64 {
        self.sent.get(target).map_or(0, |(sent, total)| total - sent.len())
    }

    /// The requests for one target.
    pub fn of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Asked> {
        self.requests.iter().filter(move |asked| asked.request.target == target)
    }

    /// The statuses that were answered, in order.
    pub fn statuses(&self) -> Vec<u16> {
        self.requests.iter().map(|asked| asked.status).collect()
    }
}
