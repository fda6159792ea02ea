//! Machine: one TCP connection between two equal ends, each of which speaks the vocabulary of links.
//!
//! Each way has a line with a rate and a latency, a window, and seeded cutting of the bytes; nothing is delivered to an
//! end that has given no credit. [`Link`](crate::link::Link) is its sibling for the HTTP origins, which have no credit.

use crate::link::{LinkProfile, pop_due, transfer_time};
use bytes::{Bytes, BytesMut};
use core::time::Duration;
use gosh_dl_core::base::{Instant, LinkError, LinkInput, LinkOutput, Rng};
use std::collections::VecDeque;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The one who dialled.
    Near,
    /// The one who was dialled.
    Far,
}

impl End {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

/// What a connection says to one of its ends.
#[derive(Debug, PartialEq)]
pub enum PipeEvent {
    /// Somebody dials: to the far end, before anything else.
    Arrived,
    /// Something happened on the link.
    Link(LinkInput),
}

/// The line of one end, which all that goes to it and comes from it shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Bytes per second away from it; `None` is no limit.
    pub up: Option<u64>,
    /// Bytes per second towards it; `None` is no limit.
    pub down: Option<u64>,
    up_free: Instant,
    down_free: Instant,
}

impl Line {
    /// A line of these rates, in bytes per second.
    pub const fn new(up: Option<u64>, down: Option<u64>) -> Self {
        Self { up, down, up_free: Instant::ZERO, down_free: Instant::ZERO }
    }

    /// Puts bytes on the way from one line to another: when both have carried them.
    pub fn carry(from: &mut Self, to: &mut Self, now: Instant, len: u64) -> Instant {
        let take = |free: &mut Instant, rate: Option<u64>| {
            if rate.is_some() {
                *free = now.max(*free) + transfer_time(len, rate);
            }
            now.max(*free)
        };
        let up = take(&mut from.up_free, from.up);
        take(&mut to.down_free, to.down).max(up)
    }

    /// How long something that is put on the way from one line to another waits before.
    pub fn backlog(from: &Self, to: &Self, now: Instant) -> Duration {
        from.up_free.max(to.down_free).max(now) - now
    }

    /// What two connections have made of one line in turn.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.up_free = self.up_free.max(other.up_free);
        self.down_free = self.down_free.max(other.down_free);
    }
}

/// One connection.
#[derive(Debug)]
pub struct Pipe {
    profile: LinkProfile,
    /// The lines of the near and the far end, as they are when it is touched.
    pub(crate) lines: [Line; 2],
    rng: Rng,
    /// What each end hears and gave credit for; the far end's first.
    to_far: Way,
    to_near: Way,
    events: VecDeque<(End, PipeEvent)>,
}

/// One way of a connection: towards one end.
#[derive(Debug, Default)]
struct Way {
    /// Whether the end that hears is there.
    hears: bool,
    /// What the other end has sent and the line has not taken.
    queue: VecDeque<Bytes>,
    /// The other end has closed, and with it the way behind what is queued.
    closing: bool,
    flight: VecDeque<(Instant, Arrival)>,
    waiting: VecDeque<Arrival>,
    /// Bytes on the way or waiting.
    unread: u64,
    carried: u64,
    credit: u64,
    free_at: Instant,
}

#[derive(Debug, PartialEq)]
enum Arrival {
    Arrived,
    Opened,
    Data(Bytes),
    End(LinkError),
}

impl Pipe {
    /// Somebody dials somebody who listens.
    pub fn new(now: Instant, profile: LinkProfile, rng: Rng) -> Self {
        let mut pipe = Self {
            profile,
            lines: [Line::default(); 2],
            rng,
            to_far: Way { hears: true, free_at: now, ..Way::default() },
            to_near: Way { hears: true, free_at: now, ..Way::default() },
            events: VecDeque::new(),
        };
        let half = pipe.profile.latency.draw(&mut pipe.rng);
        pipe.to_far.flight.push_back((now + half, Arrival::Arrived));
        pipe.to_near.flight.push_back((now + half + half, Arrival::Opened));
        pipe
    }

    /// An end asks for something. Files are read by whoever owns the disk.
    pub fn handle_output(&mut self, now: Instant, end: End, output: LinkOutput) {
        match output {
            LinkOutput::Credit(bytes) => self.way_to(end).credit += u64::from(bytes),
            LinkOutput::Send(bytes) => {
                let way = self.way_to(end.other());
                if !bytes.is_empty() && !way.closing {
                    way.queue.push_back(bytes);
                }
            }
            LinkOutput::Close => {
                self.leave(end);
                self.way_to(end.other()).closing = true;
            }
            LinkOutput::SendFile { .. } => {}
        }
        self.handle_timeout(now);
    }

    /// An end's process is gone: its system resets the connection.
    pub fn abort(&mut self, now: Instant, end: End) {
        self.leave(end);
        self.reset(now, end.other());
        self.handle_timeout(now);
    }

    /// Moves what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for end in [End::Far, End::Near] {
            self.pump(now, end);
            self.arrive(now, end);
            self.pump(now, end);
        }
    }

    /// What the connection says next, and to whom.
    pub fn poll_event(&mut self) -> Option<(End, PipeEvent)> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ways = [&self.to_far, &self.to_near];
        let due = |way: &&Way| {
            let arrival = way.flight.front().map(|(at, _)| *at);
            let room = self.room(way) > 0 || way.queue.is_empty();
            let wants = (!way.queue.is_empty() || way.closing) && room;
            arrival.into_iter().chain(wants.then_some(way.free_at)).min()
        };
        ways.iter().filter_map(due).min()
    }

    /// Whether nothing can happen on it any more.
    pub fn is_over(&self) -> bool {
        let ended = |way: &Way| !way.hears && way.flight.is_empty();
        ended(&self.to_far) && ended(&self.to_near) && self.events.is_empty()
    }

    /// Bytes that an end has been sent.
    pub fn carried(&self, to: End) -> u64 {
        if to == End::Far { self.to_far.carried } else { self.to_near.carried }
    }

    fn way_to(&mut self, end: End) -> &mut Way {
        if end == End::Far { &mut self.to_far } else { &mut self.to_near }
    }

    fn room(&self, way: &Way) -> u64 {
        let until_stall = self.profile.stall_at.map_or(u64::MAX, |at| at.saturating_sub(way.carried));
        self.profile.window.saturating_sub(way.unread).min(until_stall)
    }

    /// Puts on the line what it takes.
    fn pump(&mut self, now: Instant, to: End) {
        loop {
            let way = if to == End::Far { &self.to_far } else { &self.to_near };
            if way.free_at > now {
                return;
            }
            let room = self.room(way);
            let Some(len) = way.queue.front().map(|bytes| bytes.len() as u64) else {
                if way.closing {
                    self.way_to(to).closing = false;
                    self.depart(now, to, Arrival::End(LinkError::Eof));
                }
                return;
            };
            if room == 0 {
                return;
            }
            let piece = self.draw_piece(to).min(len).min(room);
            self.carry(now, to, piece);
        }
    }

    fn rate(&self, to: End) -> Option<u64> {
        if to == End::Far { self.profile.up_rate } else { self.profile.down_rate }
    }

    fn draw_piece(&mut self, to: End) -> u64 {
        let (min, max) = self.profile.pieces;
        let piece = min + self.rng.below(max - min + 1);
        let [near, far] = self.lines;
        let (from, into) = if to == End::Far { (near, far) } else { (far, near) };
        // A slow line moves small pieces often, not large ones seldom.
        let slowest = [self.rate(to), from.up, into.down].into_iter().flatten().min();
        slowest.map_or(piece, |rate| piece.min((rate / 20).max(1)))
    }

    fn carry(&mut self, now: Instant, to: End, piece: u64) {
        let rate = self.rate(to);
        let [near, far] = &mut self.lines;
        let (from, into) = if to == End::Far { (near, far) } else { (far, near) };
        let shared = Line::carry(from, into, now, piece);
        let reset_at = self.profile.reset_at;
        let way = self.way_to(to);
        let Some(first) = way.queue.front_mut() else { return };
        let bytes = first.split_to(piece as usize);
        if first.is_empty() {
            way.queue.pop_front();
        }
        way.carried += piece;
        way.unread += piece;
        way.free_at = shared.max(now + transfer_time(piece, rate));
        let is_cut = reset_at.is_some_and(|at| way.carried >= at);
        let departs = way.free_at;
        self.depart(departs, to, Arrival::Data(bytes));
        self.tell(to.other(), LinkInput::Sent(piece as u32));
        if is_cut {
            self.reset(departs, End::Near);
            self.reset(departs, End::Far);
        }
    }

    fn depart(&mut self, at: Instant, to: End, arrival: Arrival) {
        let latency = self.profile.latency.draw(&mut self.rng);
        let way = self.way_to(to);
        let last = way.flight.back().map_or(Instant::ZERO, |(at, _)| *at);
        way.flight.push_back(((at + latency).max(last), arrival));
    }

    /// An end hears of a reset behind what is on the line already.
    fn reset(&mut self, now: Instant, to: End) {
        let way = self.way_to(to);
        way.queue.clear();
        way.closing = false;
        if way.hears {
            self.depart(now, to, Arrival::End(LinkError::Reset));
        }
    }

    /// An end is not there any more.
    fn leave(&mut self, end: End) {
        let way = self.way_to(end);
        way.hears = false;
        way.waiting.clear();
        way.queue.clear();
        way.closing = false;
    }

    fn arrive(&mut self, now: Instant, to: End) {
        while let Some(arrival) = pop_due(&mut self.way_to(to).flight, now) {
            let way = self.way_to(to);
            match arrival {
                // Whoever sends to one that is gone is told so.
                Arrival::Data(_) if !way.hears => {
                    way.unread = 0;
                    self.reset(now, to.other());
                }
                _ if !way.hears => {}
                // A reset overtakes what was not read.
                Arrival::End(LinkError::Reset) => way.waiting.push_front(Arrival::End(LinkError::Reset)),
                arrival => way.waiting.push_back(arrival),
            }
        }
        self.deliver(to);
    }

    fn deliver(&mut self, to: End) {
        let eof_needs_credit = self.profile.eof_needs_credit;
        while let Some(arrival) = self.way_to(to).waiting.pop_front() {
            let way = self.way_to(to);
            match arrival {
                Arrival::Arrived => self.events.push_back((to, PipeEvent::Arrived)),
                Arrival::Opened => self.tell(to, LinkInput::Opened),
                Arrival::Data(mut bytes) => {
                    let part = bytes.split_to(way.credit.min(bytes.len() as u64) as usize);
                    let is_all = bytes.is_empty();
                    if !is_all {
                        way.waiting.push_front(Arrival::Data(bytes));
                    }
                    if !part.is_empty() {
                        way.credit -= part.len() as u64;
                        way.unread -= part.len() as u64;
                        self.tell(to, LinkInput::Data(BytesMut::from(&part[..])));
                    }
                    if !is_all {
                        return;
                    }
                }
                Arrival::End(LinkError::Eof) if way.credit == 0 && eof_needs_credit => {
                    return way.waiting.push_front(Arrival::End(LinkError::Eof));
                }
                Arrival::End(reason) => {
                    self.leave(to);
                    // What this end had still to send goes nowhere.
                    let back = self.way_to(to.other());
                    back.queue.clear();
                    back.closing = back.hears;
                    self.tell(to, LinkInput::Closed(reason));
                }
            }
        }
    }

    fn tell(&mut self, end: End, input: LinkInput) {
        if self.way_to(end).hears || matches!(input, LinkInput::Closed(_)) {
            self.events.push_back((end, PipeEvent::Link(input)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pipe: &mut Pipe) -> Vec<(End, PipeEvent)> {
        let mut events: Vec<_> = core::iter::from_fn(|| pipe.poll_event()).collect();
        while let Some(at) = pipe.poll_timeout() {
            pipe.handle_timeout(at);
            events.extend(core::iter::from_fn(|| pipe.poll_event()));
        }
        events
    }

    fn open(profile: LinkProfile) -> Pipe {
        let mut pipe = Pipe::new(Instant::ZERO, profile, Rng::from_seed([1; 32]));
        let opened = (End::Near, PipeEvent::Link(LinkInput::Opened));
        assert_eq!(run(&mut pipe), [(End::Far, PipeEvent::Arrived), opened]);
        pipe
    }

    fn heard(events: &[(End, PipeEvent)], end: End) -> Vec<u8> {
        let mut all = Vec::new();
        for (to, event) in events {
            if let PipeEvent::Link(LinkInput::Data(bytes)) = event
                && *to == end
            {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    fn ends(events: &[(End, PipeEvent)], end: End) -> Vec<LinkError> {
        let of = |(to, event): &(End, PipeEvent)| match event {
            PipeEvent::Link(LinkInput::Closed(reason)) if *to == end => Some(*reason),
            _ => None,
        };
        events.iter().filter_map(of).collect()
    }

    const LATER: Instant = Instant::from_nanos(1_000_000_000);

    fn send(pipe: &mut Pipe, from: End, len: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len).map(|number| (number % 251) as u8).collect();
        pipe.handle_output(LATER, from, LinkOutput::Send(Bytes::from(bytes.clone())));
        bytes
    }

    #[test]
    fn both_ends_hear_exactly_what_they_have_credit_for() {
        let mut pipe = open(LinkProfile::default().pieces(1, 500));
        let sent = [send(&mut pipe, End::Near, 10_000), send(&mut pipe, End::Far, 20_000)];
        let events = run(&mut pipe);
        assert!(heard(&events, End::Far).is_empty() && heard(&events, End::Near).is_empty());
        pipe.handle_output(LATER, End::Far, LinkOutput::Credit(33));
        assert_eq!(heard(&run(&mut pipe), End::Far), sent[0][..33]);
        pipe.handle_output(LATER, End::Far, LinkOutput::Credit(1 << 20));
        pipe.handle_output(LATER, End::Near, LinkOutput::Credit(1 << 20));
        let events = run(&mut pipe);
        assert_eq!(heard(&events, End::Far), sent[0][33..]);
        assert_eq!(heard(&events, End::Near), sent[1]);
    }

    #[test]
    fn what_is_not_read_stops_the_sender_at_the_window() {
        let mut pipe = open(LinkProfile { window: 3000, ..LinkProfile::default() });
        send(&mut pipe, End::Near, 10_000);
        let sent = |events: &[(End, PipeEvent)]| -> u32 {
            events
                .iter()
                .map(|(_, event)| match event {
                    PipeEvent::Link(LinkInput::Sent(bytes)) => *bytes,
                    _ => 0,
                })
                .sum()
        };
        assert_eq!(sent(&run(&mut pipe)), 3000);
        pipe.handle_output(LATER, End::Far, LinkOutput::Credit(10_000));
        let events = run(&mut pipe);
        assert_eq!((sent(&events), heard(&events, End::Far).len()), (7000, 10_000));
    }

    #[test]
    fn closing_sends_what_is_queued_and_then_the_end() {
        let mut pipe = open(LinkProfile::default());
        let sent = send(&mut pipe, End::Near, 50_000);
        pipe.handle_output(LATER, End::Near, LinkOutput::Close);
        pipe.handle_output(LATER, End::Far, LinkOutput::Credit(1 << 20));
        let events = run(&mut pipe);
        assert_eq!((heard(&events, End::Far), ends(&events, End::Far)), (sent, vec![LinkError::Eof]));
        assert!(ends(&events, End::Near).is_empty(), "whoever closes hears nothing more");
        assert!(pipe.is_over());
    }

    #[test]
    fn a_process_that_dies_resets_its_connections() {
        let mut pipe = open(LinkProfile::default());
        send(&mut pipe, End::Far, 1000);
        pipe.abort(LATER, End::Near);
        let events = run(&mut pipe);
        assert_eq!(ends(&events, End::Far), [LinkError::Reset]);
        assert!(pipe.is_over());
    }

    #[test]
    fn sending_to_one_that_has_closed_is_a_reset() {
        let mut pipe = open(LinkProfile::default());
        pipe.handle_output(LATER, End::Near, LinkOutput::Close);
        // It has no credit, so it does not see the end.
        run(&mut pipe);
        send(&mut pipe, End::Far, 10);
        assert_eq!(ends(&run(&mut pipe), End::Far), [LinkError::Reset]);
        assert!(pipe.is_over());
    }

    /// What one end did and heard.
    #[derive(Default)]
    struct Side {
        credit: u64,
        sent: Vec<u8>,
        heard: usize,
        told: u64,
        closed: bool,
        ended: Option<LinkError>,
    }

    fn act(pipe: &mut Pipe, rng: &mut Rng, now: Instant, end: End, side: &mut Side) {
        if side.closed || side.ended.is_some() {
            return;
        }
        let output = match rng.below(10) {
            0..4 => {
                let len = rng.below(3000);
                let bytes: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
                side.sent.extend_from_slice(&bytes);
                LinkOutput::Send(bytes.into())
            }
            4..9 => {
                let credit = rng.below(4000);
                side.credit += credit;
                LinkOutput::Credit(credit as u32)
            }
            _ => {
                side.closed = rng.below(4) == 0;
                if !side.closed {
                    return;
                }
                LinkOutput::Close
            }
        };
        pipe.handle_output(now, end, output);
    }

    fn hear(pipe: &mut Pipe, sides: &mut [Side; 2]) {
        while let Some((end, event)) = pipe.poll_event() {
            let (mine, theirs) = if end == End::Near { (0, 1) } else { (1, 0) };
            let PipeEvent::Link(input) = event else { continue };
            assert!(!sides[mine].closed || matches!(input, LinkInput::Sent(_)), "{input:?} behind a close");
            assert_eq!(sides[mine].ended, None, "{input:?} behind the end");
            match input {
                LinkInput::Data(bytes) => {
                    let at = sides[mine].heard;
                    assert_eq!(bytes, sides[theirs].sent[at..at + bytes.len()]);
                    sides[mine].heard += bytes.len();
                    sides[mine].credit = sides[mine].credit.checked_sub(bytes.len() as u64).unwrap();
                }
                LinkInput::Sent(bytes) => sides[mine].told += u64::from(bytes),
                LinkInput::Closed(LinkError::Eof) => {
                    assert!(sides[theirs].closed && sides[mine].heard == sides[theirs].sent.len());
                    sides[mine].ended = Some(LinkError::Eof);
                }
                LinkInput::Closed(reason) => sides[mine].ended = Some(reason),
                _ => {}
            }
            assert!(sides[mine].told <= sides[mine].sent.len() as u64);
        }
    }

    /// Both ends do anything at any time: what each hears is the beginning of what the other sent, never more than it has
    /// credit for, nothing comes behind an end, and an orderly end comes behind everything.
    #[test]
    fn whatever_the_ends_do_bytes_stay_in_order_and_within_credit() {
        for seed in 0..200_u8 {
            let mut rng = Rng::from_seed([seed; 32]);
            let profile = LinkProfile { window: 1 + rng.below(20_000), ..LinkProfile::default() };
            let mut pipe = Pipe::new(Instant::ZERO, profile.pieces(1, 1 + rng.below(5000)), rng.fork());
            pipe.lines[0] = Line::new(Some(1 + rng.below(1 << 20)), None);
            let mut sides = [Side::default(), Side::default()];
            let mut now = Instant::ZERO;
            for _ in 0..200 {
                let place = rng.below(2) as usize;
                act(&mut pipe, &mut rng, now, [End::Near, End::Far][place], &mut sides[place]);
                hear(&mut pipe, &mut sides);
                if let Some(at) = pipe.poll_timeout().filter(|_| rng.below(2) == 0) {
                    now = now.max(at);
                    pipe.handle_timeout(now);
                    hear(&mut pipe, &mut sides);
                }
            }
            for end in [End::Near, End::Far] {
                let side = &mut sides[usize::from(end == End::Far)];
                if !side.closed && side.ended.is_none() {
                    side.credit += 1 << 30;
                    pipe.handle_output(now, end, LinkOutput::Credit(1 << 30));
                }
            }
            while let Some(at) = pipe.poll_timeout() {
                now = now.max(at);
                pipe.handle_timeout(now);
                hear(&mut pipe, &mut sides);
            }
            let [near, far] = &sides;
            if !near.closed && !far.closed {
                assert_eq!((near.heard, far.heard), (far.sent.len(), near.sent.len()));
            } else {
                assert!(pipe.is_over() && (near.closed || near.ended.is_some()));
            }
        }
    }

    #[test]
    fn a_line_carries_what_its_rate_allows() {
        let profile = LinkProfile { up_rate: Some(1000), ..LinkProfile::default() }.pieces(10, 100);
        let mut pipe = open(profile);
        pipe.handle_output(LATER, End::Far, LinkOutput::Credit(1 << 20));
        send(&mut pipe, End::Near, 2000);
        let mut last = LATER;
        while let Some(at) = pipe.poll_timeout() {
            last = at;
            pipe.handle_timeout(at);
        }
        let took = last - LATER;
        assert!((1950..2100).contains(&took.as_millis()), "{took:?}");
    }
}
