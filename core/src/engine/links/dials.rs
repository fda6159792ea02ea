//! How connections come about: look-ups, and the racing of addresses.

use super::{Host, Link, LinkState, Links, Output, Query, Timer, as_link, as_slab};
use crate::base::link::ResolveError;
use crate::base::{Family, Instant, Key, LinkInput, LinkOutput, Reach};
use crate::download::{Destination, DownloadError, Lease};
use crate::engine::io::{LinkKey, QueryKey, TlsRequest};
use crate::proto::dial::{self, DialConfig, DialError, DialHost, Dialer};
use crate::proto::http::Connection;
use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

/// A connection that is being made.
#[derive(Debug)]
pub(super) struct Dial {
    destination: Destination,
    pub(super) dialer: Dialer,
    attempts: BTreeMap<u32, LinkKey>,
    query: Option<QueryKey>,
}

impl<W: Copy + PartialEq> Links<W> {
    /// A look-up ended.
    pub(in crate::engine) fn handle_resolved(
        &mut self,
        now: Instant,
        query: QueryKey,
        result: Result<Vec<IpAddr>, ResolveError>,
    ) {
        let dial = match self.queries.remove(&query) {
            Some(Query::Dial(dial)) => dial,
            Some(Query::Addresses(who)) => {
                self.outputs.push_back(Output::Resolved { who, result });
                return;
            }
            None => return,
        };
        let Some(entry) = self.dials.get_mut(dial) else { return };
        entry.query = None;
        let destination = entry.destination.clone();
        if let Ok(addresses) = &result {
            let host = self.host(&destination);
            if let Some(host) = self.hosts.get_mut(host) {
                host.addresses = Some((addresses.clone(), now + REMEMBER_ADDRESSES));
            }
        }
        if let Some(entry) = self.dials.get_mut(dial) {
            entry.dialer.handle_resolved(now, result);
        }
        self.drain_dial(now, dial);
    }

    pub(super) fn dial(&mut self, now: Instant, key: Key<Host<W>>) {
        let Some(host) = self.hosts.get_mut(key) else { return };
        let destination = host.destination.clone();
        host.dials += 1;
        let known =
            host.addresses.as_ref().filter(|(_, until)| *until > now).map(|(addresses, _)| addresses.clone());
        let Destination { origin, reach, family, from } = &destination;
        let target = match (origin.ip(), known) {
            (Some(ip), _) => DialHost::Ip(ip),
            (None, Some(addresses)) => DialHost::Known(addresses),
            (None, None) => DialHost::Name(origin.host.clone()),
        };
        let connect_timeout = self.config.connect_timeout;
        let own_family = from.map(Family::of);
        let config = DialConfig {
            connect_timeout,
            reach: *reach,
            family: *family,
            own_family,
            ..DialConfig::default()
        };
        let dialer = Dialer::new(now, target, origin.port, origin.secure, config);
        *self.open.entry(origin.host.clone()).or_default() += 1;
        let dial = self.dials.insert(Dial { destination, dialer, attempts: BTreeMap::new(), query: None });
        self.drain_dial(now, dial);
    }

    pub(super) fn on_dialing(
        &mut self,
        now: Instant,
        link: LinkKey,
        dial: Key<Dial>,
        attempt: u32,
        input: LinkInput,
    ) {
        let Some(entry) = self.dials.get_mut(dial) else { return };
        match input {
            LinkInput::Opened => entry.dialer.handle_opened(now, attempt),
            LinkInput::Secured => entry.dialer.handle_secured(now, attempt),
            LinkInput::Closed(error) => {
                entry.attempts.remove(&attempt);
                entry.dialer.handle_failed(now, attempt, error);
                self.links.remove(as_slab(link));
            }
            LinkInput::Data(_) | LinkInput::Sent(_) => {}
        }
        self.drain_dial(now, dial);
    }

    pub(super) fn drain_dial(&mut self, now: Instant, key: Key<Dial>) {
        while let Some(output) = self.dials.get_mut(key).and_then(|dial| dial.dialer.poll_output()) {
            self.on_dial(now, key, output);
        }
        let deadline = self.dials.get(key).and_then(|dial| dial.dialer.poll_timeout());
        self.deadlines.set(Timer::Dial(key), deadline);
    }

    fn on_dial(&mut self, now: Instant, key: Key<Dial>, output: dial::Output) {
        let Some(dial) = self.dials.get_mut(key) else { return };
        match output {
            dial::Output::Resolve { host } => {
                let query = self.new_query(Query::Dial(key));
                if let Some(dial) = self.dials.get_mut(key) {
                    dial.query = Some(query);
                }
                self.outputs.push_back(Output::Resolve { query, host });
            }
            dial::Output::Connect { attempt, to } => {
                let destination = dial.destination.clone();
                let from = destination.from;
                let origin = &destination.origin;
                let tls = origin.secure.then(|| TlsRequest { server_name: origin.host.clone() });
                let state = LinkState::Dialing { dial: key, attempt };
                let local = !Reach::Elsewhere.allows(to.ip());
                let family = Some(Family::of(to.ip()));
                let link = Link { destination: Some(destination), local, family, state };
                let link = as_link(self.links.insert(link));
                dial.attempts.insert(attempt, link);
                self.outputs.push_back(Output::Connect { link, to, from, tls });
            }
            dial::Output::Abandon { attempt } => {
                if let Some(link) = dial.attempts.remove(&attempt) {
                    self.links.remove(as_slab(link));
                    self.outputs.push_back(Output::Link(link, LinkOutput::Close));
                }
            }
            dial::Output::Connected { attempt } => self.on_connected(now, key, attempt),
            dial::Output::Failed(error) => self.on_dial_failed(now, key, error),
        }
    }

    fn on_connected(&mut self, now: Instant, key: Key<Dial>, attempt: u32) {
        let Some(mut dial) = self.dials.remove(key) else { return };
        self.deadlines.set(Timer::Dial(key), None);
        let host = self.host(&dial.destination);
        let Some(link) = dial.attempts.remove(&attempt) else { return };
        let Some(entry) = self.links.get_mut(as_slab(link)) else { return };
        let connection = Box::new(Connection::new(now, self.config.connection));
        let Some(owner) = self.hosts.get_mut(host) else { return };
        owner.dials = owner.dials.saturating_sub(1);
        let paced = owner.not_before.is_some_and(|at| at > now);
        let next = if paced { None } else { owner.waiting.pop_front() };
        if let Some(who) = next {
            entry.state = LinkState::Leased { who };
            self.leased += 1;
            let other_family = entry.family.and_then(|used| owner.family_beside(used));
            let lease = Lease { link, connection, reused: false, local: entry.local, other_family };
            self.outputs.push_back(Output::Leased { who, lease });
        } else {
            self.deadlines.set(Timer::Idle(link), connection.poll_timeout());
            entry.state = LinkState::Idle { connection };
            owner.idle.push(link);
        }
    }

    fn on_dial_failed(&mut self, now: Instant, key: Key<Dial>, error: DialError) {
        let Some(destination) = self.dials.get(key).map(|dial| dial.destination.clone()) else { return };
        self.remove_dial(key);
        let host = self.host(&destination);
        let origin = destination.origin;
        let Some(owner) = self.hosts.get_mut(host) else { return };
        owner.addresses = None;
        let seconds = self.config.connect_timeout.as_secs();
        let error = match error {
            DialError::Resolve(error) => DownloadError::Resolve { origin, error },
            DialError::OutOfReach => DownloadError::OutOfReach { origin },
            DialError::Link(error) => DownloadError::Connect { origin, error },
            DialError::TimedOut => DownloadError::ConnectTimeout { origin, seconds },
        };
        if let Some(who) = owner.waiting.pop_front() {
            self.outputs.push_back(Output::Failed { who, error });
        }
        self.pump_all_of(now, host);
    }

    pub(super) fn remove_dial(&mut self, key: Key<Dial>) {
        self.deadlines.set(Timer::Dial(key), None);
        let Some(dial) = self.dials.remove(key) else { return };
        if let Some(query) = dial.query {
            self.queries.remove(&query);
        }
        for link in dial.attempts.into_values() {
            self.links.remove(as_slab(link));
            self.outputs.push_back(Output::Link(link, LinkOutput::Close));
        }
        let host = self.by_destination.get(&dial.destination).and_then(|host| self.hosts.get_mut(*host));
        if let Some(host) = host {
            host.dials = host.dials.saturating_sub(1);
        }
        self.count_down(&dial.destination.origin.host);
    }
}

/// A look-up's answer is used this long. The resolver behind it caches for as long as the zone says.
const REMEMBER_ADDRESSES: Duration = Duration::from_secs(60);
