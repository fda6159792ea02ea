//! Machine: one TCP connection between the engine and a simulated host, with TLS played by a verdict.
//!
//! It has two faces. The client's speaks the engine's link vocabulary; the server's takes bytes as fast as the line
//! carries them. In between lie a dialling delay, latency, a rate each way, a receive window, and seeded cutting of the
//! bytes. Nothing is delivered to the client without credit for it.

use crate::agenda::Latency;
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use gosh_dl_core::base::link::TlsError;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng};
use std::collections::VecDeque;

/// What a line is like.
#[derive(Clone, Debug)]
pub struct LinkProfile {
    /// One way, drawn for each piece; pieces never overtake each other.
    pub latency: Latency,
    /// Bytes per second towards the engine; `None` is no limit.
    pub down_rate: Option<u64>,
    /// Bytes per second towards the host; `None` is no limit.
    pub up_rate: Option<u64>,
    /// The smallest and the largest piece that is carried and delivered at once, in bytes; at least 1.
    pub pieces: (u64, u64),
    /// How many bytes may be on the way to the engine or wait there unread.
    pub window: u64,
    /// After this many bytes towards the engine nothing moves any more, and nobody says so.
    pub stall_at: Option<u64>,
    /// After this many bytes towards the engine the connection is reset.
    pub reset_at: Option<u64>,
    /// Whether the end of the stream is seen only by a reader that has credit, as with a plain `read`.
    pub eof_needs_credit: bool,
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self {
            latency: Latency::millis(10, 12),
            down_rate: None,
            up_rate: None,
            pieces: (1000, 16 << 10),
            window: 256 << 10,
            stall_at: None,
            reset_at: None,
            eof_needs_credit: true,
        }
    }
}

impl LinkProfile {
    /// The same line with this rate towards the engine, in bytes per second.
    #[must_use]
    pub fn rate(mut self, bytes_per_second: u64) -> Self {
        self.down_rate = Some(bytes_per_second);
        self
    }

    /// The same line with pieces of `min` to `max` bytes.
    #[must_use]
    pub fn pieces(mut self, min: u64, max: u64) -> Self {
        self.pieces = (min.max(1), max.max(min).max(1));
        self
    }
}

/// How a host answers somebody who dials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dial {
    /// It accepts.
    #[default]
    Accept,
    /// It, or the network on its behalf, refuses.
    Fail(LinkError),
    /// It never answers.
    Silent,
}

/// What a link says to the world.
#[derive(Debug, PartialEq)]
pub enum LinkEvent {
    /// This goes into the engine.
    ToClient(LinkInput),
    /// The host sees a connection; secured where TLS was asked for.
    ServerOpened,
    /// These bytes reach the host.
    ServerData(Bytes),
    /// The engine's side closed in an orderly way.
    ServerEof,
    /// The engine's side is gone.
    ServerReset,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    profile: LinkProfile,
    rng: Rng,
    client: bool,
    server: bool,
    credit: u64,
    downward: VecDeque<(Instant, Arrival)>,
    waiting: VecDeque<Arrival>,
    unread: u64,
    upward: VecDeque<(Instant, LinkEvent)>,
    down_free: Instant,
    up_free: Instant,
    carried: u64,
    events: VecDeque<LinkEvent>,
}

#[derive(Debug, PartialEq)]
enum Arrival {
    Opened,
    Secured,
    Data(Bytes),
    End(LinkError),
}

impl Link {
    /// Dials a host that answers as `dial` says; with `tls`, the verdict on its certificate.
    pub fn new(
        now: Instant,
        profile: LinkProfile,
        dial: Dial,
        tls: Option<Result<(), TlsError>>,
        rng: Rng,
    ) -> Self {
        let mut link = Self {
            profile,
            rng,
            client: true,
            server: false,
            credit: 0,
            downward: VecDeque::new(),
            waiting: VecDeque::new(),
            unread: 0,
            upward: VecDeque::new(),
            down_free: now,
            up_free: now,
            carried: 0,
            events: VecDeque::new(),
        };
        link.dial(now, dial, tls);
        link
    }

    fn dial(&mut self, now: Instant, dial: Dial, tls: Option<Result<(), TlsError>>) {
        let half = self.profile.latency.draw(&mut self.rng);
        let opened = now + half + half;
        match dial {
            Dial::Silent => {}
            Dial::Fail(reason) => self.downward.push_back((opened, Arrival::End(reason))),
            Dial::Accept => {
                self.downward.push_back((opened, Arrival::Opened));
                let ready = opened + if tls.is_some() { half + half } else { Duration::ZERO };
                match tls {
                    None => {}
                    Some(Ok(())) => self.downward.push_back((ready, Arrival::Secured)),
                    Some(Err(reason)) => {
                        return self.downward.push_back((ready, Arrival::End(LinkError::Tls(reason))));
                    }
                }
                self.server = true;
                self.upward.push_back((ready, LinkEvent::ServerOpened));
                (self.down_free, self.up_free) = (ready, ready);
            }
        }
    }

    /// The engine asks for something.
    pub fn handle_output(&mut self, now: Instant, output: LinkOutput) {
        match output {
            LinkOutput::Credit(bytes) => {
                self.credit += u64::from(bytes);
                self.deliver();
            }
            LinkOutput::Send(bytes) => self.carry_up(now, bytes),
            // An origin is sent no files.
            LinkOutput::SendFile { .. } => {}
            LinkOutput::Close => self.hang_up(now, LinkEvent::ServerEof),
        }
    }

    /// The engine's process is gone; its system resets the connection.
    pub fn abort(&mut self, now: Instant) {
        self.hang_up(now, LinkEvent::ServerReset);
    }

    /// Moves what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(arrival) = pop_due(&mut self.downward, now) {
            self.waiting.push_back(arrival);
        }
        self.deliver();
        while let Some(event) = pop_due(&mut self.upward, now) {
            self.events.push_back(event);
        }
    }

    /// How many bytes the host may send now; 0 while the line is busy or full.
    pub fn room(&self, now: Instant) -> u64 {
        if !self.server || !self.client || self.down_free > now {
            return 0;
        }
        let until_stall = self.profile.stall_at.map_or(u64::MAX, |at| at.saturating_sub(self.carried));
        self.profile.window.saturating_sub(self.unread).min(until_stall)
    }

    /// The largest piece that fits the line, drawn anew for each.
    pub fn draw_piece(&mut self) -> u64 {
        let (min, max) = self.profile.pieces;
        let piece = min + self.rng.below(max - min + 1);
        // A slow line moves small pieces often, not large ones seldom.
        self.profile.down_rate.map_or(piece, |rate| piece.min((rate / 20).max(1)))
    }

    /// The host sends `bytes`, at most [`room`](Self::room). Whatever it shares with other connections of the host has
    /// carried them away by `shared`; the result is when the line is free again.
    pub fn send(&mut self, now: Instant, mut bytes: Bytes, shared: Instant) -> Instant {
        let reset = self.profile.reset_at.filter(|at| *at <= self.carried + bytes.len() as u64);
        if let Some(at) = reset {
            bytes.truncate((at - self.carried) as usize);
        }
        let len = bytes.len() as u64;
        self.carried += len;
        self.unread += len;
        self.down_free = (now + transfer_time(len, self.profile.down_rate)).max(shared);
        self.arrive(self.down_free, Arrival::Data(bytes));
        if reset.is_some() {
            self.finish(now, LinkError::Reset);
        }
        self.down_free
    }

    /// The host ends the stream, after everything it sent.
    pub fn finish(&mut self, now: Instant, end: LinkError) {
        if core::mem::take(&mut self.server) {
            self.arrive(now.max(self.down_free), Arrival::End(end));
        }
    }

    /// What the link says next.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let down = self.downward.front().map(|(at, _)| *at);
        let up = self.upward.front().map(|(at, _)| *at);
        down.into_iter().chain(up).min()
    }

    /// When the line towards the engine is free.
    pub fn free_at(&self) -> Instant {
        self.down_free
    }

    /// Whether nothing can happen on it any more.
    pub fn is_over(&self) -> bool {
        !self.client && self.upward.is_empty() && self.events.is_empty()
    }

    /// Bytes that the host has put on the line.
    pub fn carried(&self) -> u64 {
        self.carried
    }

    /// Bytes that the engine may still be given.
    pub fn credit(&self) -> u64 {
        self.credit
    }

    fn arrive(&mut self, departs: Instant, arrival: Arrival) {
        let latency = self.profile.latency.draw(&mut self.rng);
        let last = self.downward.back().map_or(Instant::ZERO, |(at, _)| *at);
        self.downward.push_back(((departs + latency).max(last), arrival));
    }

    fn carry_up(&mut self, now: Instant, bytes: Bytes) {
        if !self.client {
            return;
        }
        let len = bytes.len() as u64;
        let first = self.rng.below(len + 1);
        for part in [first, len - first].into_iter().filter(|part| *part > 0) {
            self.events.push_back(LinkEvent::ToClient(LinkInput::Sent(part as u32)));
        }
        self.up_free = self.up_free.max(now) + transfer_time(len, self.profile.up_rate);
        self.rise(LinkEvent::ServerData(bytes));
    }

    fn rise(&mut self, event: LinkEvent) {
        let latency = self.profile.latency.draw(&mut self.rng);
        let last = self.upward.back().map_or(Instant::ZERO, |(at, _)| *at);
        self.upward.push_back(((self.up_free + latency).max(last), event));
    }

    fn hang_up(&mut self, now: Instant, event: LinkEvent) {
        if core::mem::take(&mut self.client) {
            self.downward.clear();
            self.waiting.clear();
            self.up_free = self.up_free.max(now);
            self.rise(event);
        }
    }

    fn deliver(&mut self) {
        while let Some(arrival) = self.waiting.pop_front() {
            match arrival {
                Arrival::Opened => self.tell(LinkInput::Opened),
                Arrival::Secured => self.tell(LinkInput::Secured),
                Arrival::Data(bytes) if self.credit == 0 => {
                    return self.waiting.push_front(Arrival::Data(bytes));
                }
                Arrival::Data(bytes) => self.deliver_data(bytes),
                Arrival::End(LinkError::Eof) if self.credit == 0 && self.profile.eof_needs_credit => {
                    return self.waiting.push_front(Arrival::End(LinkError::Eof));
                }
                Arrival::End(reason) => {
                    self.client = false;
                    self.server = false;
                    self.upward.clear();
                    self.tell(LinkInput::Closed(reason));
                }
            }
        }
    }

    fn deliver_data(&mut self, mut bytes: Bytes) {
        let take = self.credit.min(bytes.len() as u64);
        let part = bytes.split_to(take as usize);
        self.credit -= take;
        self.unread -= take;
        if !bytes.is_empty() {
            self.waiting.push_front(Arrival::Data(bytes));
        }
        if !part.is_empty() {
            self.tell(LinkInput::Data(BytesMut::from(&part[..])));
        }
    }

    fn tell(&mut self, input: LinkInput) {
        self.events.push_back(LinkEvent::ToClient(input));
    }
}

pub(crate) fn pop_due<T>(queue: &mut VecDeque<(Instant, T)>, now: Instant) -> Option<T> {
    queue.front().filter(|(at, _)| *at <= now)?;
    queue.pop_front().map(|(_, due)| due)
}

/// How long a line of `rate` bytes per second needs for `len` bytes.
pub fn transfer_time(len: u64, rate: Option<u64>) -> Duration {
    let Some(rate) = rate else { return Duration::ZERO };
    let nanos = u128::from(len) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(profile: LinkProfile, tls: Option<Result<(), TlsError>>) -> (Link, Vec<LinkEvent>) {
        let mut link = Link::new(Instant::ZERO, profile, Dial::Accept, tls, Rng::from_seed([1; 32]));
        let events = run(&mut link);
        (link, events)
    }

    fn run(link: &mut Link) -> Vec<LinkEvent> {
        let mut events: Vec<_> = core::iter::from_fn(|| link.poll_event()).collect();
        while let Some(at) = link.poll_timeout() {
            link.handle_timeout(at);
            events.extend(core::iter::from_fn(|| link.poll_event()));
        }
        events
    }

    fn data(events: &[LinkEvent]) -> usize {
        let len = |event: &LinkEvent| match event {
            LinkEvent::ToClient(LinkInput::Data(bytes)) => bytes.len(),
            _ => 0,
        };
        events.iter().map(len).sum()
    }

    const LATER: Instant = Instant::from_nanos(1_000_000_000);

    #[test]
    fn nothing_is_delivered_without_credit_and_then_to_the_byte() {
        let (mut link, _) = open(LinkProfile::default(), None);
        link.send(LATER, Bytes::from_static(&[7; 100]), LATER);
        assert_eq!(data(&run(&mut link)), 0);
        link.handle_output(LATER, LinkOutput::Credit(33));
        assert_eq!(data(&run(&mut link)), 33);
        link.handle_output(LATER, LinkOutput::Credit(1000));
        assert_eq!(data(&run(&mut link)), 67);
    }

    #[test]
    fn window_bounds_what_the_host_can_send_ahead() {
        let (mut link, _) = open(LinkProfile { window: 150, ..LinkProfile::default() }, None);
        link.send(LATER, Bytes::from_static(&[7; 100]), LATER);
        assert_eq!(link.room(LATER), 50);
    }

    #[test]
    fn bad_certificate_closes_after_opening() {
        let (_, events) = open(LinkProfile::default(), Some(Err(TlsError::Expired)));
        let closed = LinkInput::Closed(LinkError::Tls(TlsError::Expired));
        assert_eq!(events, [LinkEvent::ToClient(LinkInput::Opened), LinkEvent::ToClient(closed)]);
    }

    #[test]
    fn reset_comes_exactly_after_its_byte() {
        let profile = LinkProfile { reset_at: Some(60), ..LinkProfile::default() };
        let (mut link, _) = open(profile, None);
        link.handle_output(LATER, LinkOutput::Credit(1000));
        link.send(LATER, Bytes::from_static(&[7; 100]), LATER);
        let events = run(&mut link);
        assert_eq!(data(&events), 60);
        assert_eq!(events.last(), Some(&LinkEvent::ToClient(LinkInput::Closed(LinkError::Reset))));
    }

    #[test]
    fn end_of_stream_waits_for_a_reader() {
        let (mut link, _) = open(LinkProfile::default(), None);
        link.finish(LATER, LinkError::Eof);
        assert_eq!(run(&mut link), []);
        link.handle_output(LATER, LinkOutput::Credit(1));
        assert_eq!(run(&mut link), [LinkEvent::ToClient(LinkInput::Closed(LinkError::Eof))]);
    }

    #[test]
    fn closing_sends_what_is_queued_first() {
        let (mut link, _) = open(LinkProfile::default(), None);
        link.handle_output(LATER, LinkOutput::Send(Bytes::from_static(b"bye")));
        link.handle_output(LATER, LinkOutput::Close);
        let events = run(&mut link);
        let tail = &events[events.len() - 2..];
        assert_eq!(tail, [LinkEvent::ServerData(Bytes::from_static(b"bye")), LinkEvent::ServerEof]);
        assert!(link.is_over());
    }

    #[test]
    fn rate_sets_when_the_line_is_free() {
        let (mut link, _) = open(LinkProfile::default().rate(1000), None);
        let free = link.send(LATER, Bytes::from_static(&[7; 500]), LATER);
        assert_eq!(free - LATER, Duration::from_millis(500));
    }
}
