//! Machine: one connection to a host, by racing its addresses (Happy Eyeballs, RFC 8305 sections 4 and 5).
//!
//! ```text
//! Resolving ──addresses──▶ Racing ──first Opened (plain) or Secured (TLS)──▶ Connected
//!     └──error───────────────┴──certificate error, nothing left, time up───▶ Failed
//! ```
//!
//! An attempt is a link that the parent opens. Attempts start one `attempt_delay` apart, or at once when one fails.
//! On a secured dial the first link that opens holds the others back: those still connecting are given up and their
//! addresses wait again. They get their turn if its handshake fails or takes longer than [`HANDSHAKE_PATIENCE`].

use crate::base::link::{ResolveError, TlsError};
use crate::base::{Family, Instant, LinkError, Reach};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

/// Dials one host until one link stands, or nothing is left to try.
///
/// ```
/// use gosh_dl_core::base::Instant;
/// use gosh_dl_core::proto::dial::{DialConfig, DialHost, Dialer, Output};
///
/// let host = DialHost::Ip([192, 0, 2, 1].into());
/// let mut dialer = Dialer::new(Instant::ZERO, host, 80, false, DialConfig::default());
/// let to = "192.0.2.1:80".parse().unwrap();
/// assert_eq!(dialer.poll_output(), Some(Output::Connect { attempt: 0, to }));
/// dialer.handle_opened(Instant::ZERO, 0);
/// assert_eq!(dialer.poll_output(), Some(Output::Connected { attempt: 0 }));
/// ```
#[derive(Debug)]
pub struct Dialer {
    port: u16,
    secure: bool,
    attempt_delay: Duration,
    reach: Reach,
    families: [Option<Family>; 2],
    deadline: Instant,
    state: State,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
enum State {
    Resolving,
    Racing(Race),
    Done,
}

#[derive(Debug)]
struct Race {
    /// Addresses that have no attempt, in the order to try them.
    waiting: VecDeque<IpAddr>,
    live: Vec<Attempt>,
    started: u32,
    /// When the first of `waiting` has its turn.
    next_at: Instant,
    /// The most telling error so far.
    error: Option<LinkError>,
}

#[derive(Debug)]
struct Attempt {
    number: u32,
    address: IpAddr,
    stage: Stage,
}

#[derive(Debug, PartialEq)]
enum Stage {
    Connecting,
    Securing,
}

impl Dialer {
    /// Starts to dial `host`. With `secure`, a link counts only once its TLS handshake is done.
    pub fn new(now: Instant, host: DialHost, port: u16, secure: bool, config: DialConfig) -> Self {
        let mut dialer = Self {
            port,
            secure,
            attempt_delay: config.attempt_delay,
            reach: config.reach,
            families: [config.family, config.own_family],
            deadline: now + config.connect_timeout,
            state: State::Resolving,
            outputs: VecDeque::new(),
        };
        match host {
            DialHost::Ip(address) => dialer.race(now, &[address]),
            DialHost::Known(addresses) => dialer.race(now, &addresses),
            DialHost::Name(name) => match parse_literal(&name) {
                Some(address) => dialer.race(now, &[address]),
                None => dialer.outputs.push_back(Output::Resolve { host: name }),
            },
        }
        dialer
    }

    /// The look-up ended.
    pub fn handle_resolved(&mut self, now: Instant, result: Result<Vec<IpAddr>, ResolveError>) {
        if !matches!(self.state, State::Resolving) {
            return;
        }
        match result {
            Ok(addresses) => self.race(now, &addresses),
            Err(error) => self.finish(Output::Failed(DialError::Resolve(error))),
        }
    }

    /// The link of `attempt` is open (TCP established).
    pub fn handle_opened(&mut self, now: Instant, attempt: u32) {
        let State::Racing(race) = &mut self.state else { return };
        let Some(at) = race.position(attempt) else { return };
        if !self.secure {
            self.finish(Output::Connected { attempt });
        } else if race.live[at].stage == Stage::Connecting {
            race.live[at].stage = Stage::Securing;
            race.hold_back(&mut self.outputs);
            race.next_at = now + HANDSHAKE_PATIENCE;
        }
    }

    /// The TLS handshake of `attempt` is done and the certificate was accepted.
    pub fn handle_secured(&mut self, _now: Instant, attempt: u32) {
        if let State::Racing(race) = &self.state
            && self.secure
            && race.position(attempt).is_some()
        {
            self.finish(Output::Connected { attempt });
        }
    }

    /// The link of `attempt` closed before it was connected.
    pub fn handle_failed(&mut self, now: Instant, attempt: u32, error: LinkError) {
        let State::Racing(race) = &mut self.state else { return };
        let Some(at) = race.position(attempt) else { return };
        race.live.remove(at);
        if is_verdict(error) {
            self.finish(Output::Failed(DialError::Link(error)));
            return;
        }
        race.error = race.error.into_iter().chain([error]).min_by_key(|&error| rank(error));
        race.next_at = now;
        self.start_due(now);
    }

    /// Starts the attempts that are due; ends the dial when its time is up.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.deadline {
            self.start_due(now);
            return;
        }
        match self.state {
            State::Resolving => self.finish(Output::Failed(DialError::Resolve(ResolveError::TimedOut))),
            State::Racing(_) => self.finish(Output::Failed(DialError::TimedOut)),
            State::Done => {}
        }
    }

    /// Gives up: abandons every attempt, without a final output.
    pub fn abandon(&mut self, _now: Instant) {
        self.end(None);
    }

    /// The next thing that the parent must do or know.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; `None` once it is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Resolving => Some(self.deadline),
            State::Racing(race) if race.waiting.is_empty() => Some(self.deadline),
            State::Racing(race) => Some(self.deadline.min(race.next_at)),
            State::Done => None,
        }
    }

    fn race(&mut self, now: Instant, addresses: &[IpAddr]) {
        let is_meant =
            |ip: &IpAddr| self.families.into_iter().flatten().all(|family| Family::of(*ip) == family);
        let reachable = addresses.iter().copied().filter(|ip| is_meant(ip) && self.reach.allows(*ip));
        let reachable: Vec<IpAddr> = reachable.collect();
        let waiting = interleave(&reachable);
        if waiting.is_empty() {
            let nothing = DialError::Resolve(ResolveError::NotFound);
            let error = match () {
                () if addresses.is_empty() => nothing,
                () if addresses.iter().any(|ip| self.reach.allows(*ip)) => {
                    DialError::Link(LinkError::Unreachable)
                }
                () => DialError::OutOfReach,
            };
            self.finish(Output::Failed(error));
            return;
        }
        self.state = State::Racing(Race { waiting, live: Vec::new(), started: 0, next_at: now, error: None });
        self.start_due(now);
    }

    fn start_due(&mut self, now: Instant) {
        let State::Racing(race) = &mut self.state else { return };
        // A loop, so that a delay of zero does not leave a deadline of `now` behind.
        while race.next_at <= now
            && let Some(address) = race.waiting.pop_front()
        {
            let number = race.started;
            race.started += 1;
            race.live.push(Attempt { number, address, stage: Stage::Connecting });
            race.next_at = now + self.attempt_delay;
            let to = SocketAddr::new(address, self.port);
            self.outputs.push_back(Output::Connect { attempt: number, to });
        }
        if race.live.is_empty() && race.waiting.is_empty() {
            let error = race.error.unwrap_or(LinkError::Io);
            self.finish(Output::Failed(DialError::Link(error)));
        }
    }

    fn finish(&mut self, last: Output) {
        self.end(match last {
            Output::Connected { attempt } => Some(attempt),
            _ => None,
        });
        self.outputs.push_back(last);
    }

    fn end(&mut self, winner: Option<u32>) {
        if let State::Racing(race) = core::mem::replace(&mut self.state, State::Done) {
            let losers = race.live.iter().map(|attempt| attempt.number).filter(|&n| Some(n) != winner);
            self.outputs.extend(losers.map(|attempt| Output::Abandon { attempt }));
        }
    }
}

impl Race {
    fn position(&self, attempt: u32) -> Option<usize> {
        self.live.iter().position(|live| live.number == attempt)
    }

    /// Gives up what is still connecting; those addresses proved nothing bad, so they are the next to be tried.
    ///
    /// Every address opens at most once, so this happens at most [`MAX_ADDRESSES`] times.
    fn hold_back(&mut self, outputs: &mut VecDeque<Output>) {
        let (connecting, kept): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.live).into_iter().partition(|live| live.stage == Stage::Connecting);
        self.live = kept;
        outputs.extend(connecting.iter().map(|live| Output::Abandon { attempt: live.number }));
        for live in connecting.into_iter().rev() {
            self.waiting.push_front(live.address);
        }
    }
}

/// Whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialHost {
    /// One address.
    Ip(IpAddr),
    /// A host name, to be looked up. An IP literal, with or without brackets, counts as [`Ip`](Self::Ip).
    Name(Arc<str>),
    /// The addresses that an earlier look-up gave, in the resolver's order.
    Known(Vec<IpAddr>),
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialConfig {
    /// The longest that the whole dial may take: look-up, connecting and TLS.
    pub connect_timeout: Duration,
    /// How long an attempt has before the next one starts beside it.
    pub attempt_delay: Duration,
    /// Which addresses may be dialled; the others are passed over.
    pub reach: Reach,
    /// The family of addresses that it must go over, if only one will do.
    pub family: Option<Family>,
    /// The family of the own address that it comes from, if that is given.
    pub own_family: Option<Family>,
}

impl Default for DialConfig {
    /// 30 seconds for the whole, 250 ms between attempts (RFC 8305 section 8), and no address is passed over.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            attempt_delay: Duration::from_millis(250),
            reach: Reach::Anywhere,
            family: None,
            own_family: None,
        }
    }
}

/// What a [`Dialer`] asks or reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Look up the addresses of a host name. → [`Dialer::handle_resolved`]
    Resolve {
        /// The name; never an IP literal.
        host: Arc<str>,
    },
    /// Open a link. → [`Dialer::handle_opened`], [`Dialer::handle_secured`] or [`Dialer::handle_failed`]
    Connect {
        /// Names the link; counted from 0.
        attempt: u32,
        /// Where to.
        to: SocketAddr,
    },
    /// Close that link: it lost, or the time is up.
    Abandon {
        /// Which.
        attempt: u32,
    },
    /// The last output: this link won and is the parent's now.
    Connected {
        /// Which.
        attempt: u32,
    },
    /// The last output: there is no connection.
    Failed(DialError),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The look-up failed, or did not end in time.
    #[error(transparent)]
    Resolve(ResolveError),
    /// The host has addresses, but none that may be dialled.
    #[error("the host is out of reach")]
    OutOfReach,
    /// Every address failed; this is the most telling of their errors. Or one certificate was refused.
    #[error(transparent)]
    Link(LinkError),
    /// Some address neither connected nor failed in time.
    #[error("the connection was not made in time")]
    TimedOut,
}

/// Alternates the families, the resolver's first address first (RFC 8305 section 4), without repetitions.
fn interleave(addresses: &[IpAddr]) -> VecDeque<IpAddr> {
    let mut families = [VecDeque::new(), VecDeque::new()];
    let first_is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    for address in addresses {
        let family = &mut families[usize::from(address.is_ipv6() != first_is_v6)];
        if family.len() < MAX_ADDRESSES && !family.contains(address) {
            family.push_back(*address);
        }
    }
    let [mut first, mut second] = families;
    let mut mixed = VecDeque::new();
    while !(first.is_empty() && second.is_empty()) {
        mixed.extend(first.pop_front());
        mixed.extend(second.pop_front());
    }
    mixed.truncate(MAX_ADDRESSES);
    mixed
}

fn parse_literal(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.parse().ok()
}

/// Whether every other address would end the same way. A broken handshake is not: one server of many may be ill.
fn is_verdict(error: LinkError) -> bool {
    match error {
        LinkError::Tls(TlsError::Protocol) => false,
        LinkError::Tls(_) => true,
        _ => false,
    }
}

/// How much an error tells the user; the lowest tells most. What came from the host tells more than silence.
fn rank(error: LinkError) -> u8 {
    match error {
        LinkError::Tls(_) => 0,
        LinkError::Refused => 1,
        LinkError::Reset | LinkError::Truncated | LinkError::Eof => 2,
        LinkError::OutOfResources
        | LinkError::AddressInUse
        | LinkError::AddressNotAvailable
        | LinkError::PermissionDenied => 3,
        LinkError::Unreachable => 4,
        LinkError::TimedOut => 5,
        LinkError::Io => 6,
    }
}

/// How many addresses of one host are tried. At 250 ms each, 16 fill 4 seconds; no real host needs more, and a hostile
/// name server must not turn one download into a port scan.
pub const MAX_ADDRESSES: usize = 16;

/// A handshake is two round trips and a signature. One that takes longer than this may be stuck, and the next address
/// is tried beside it.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
