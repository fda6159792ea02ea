//! Machine: those who have an address in the simulated world, and the loop that runs them.

use crate::internet::{Internet, Node, NodeId};
use crate::trace::Trace;
use core::fmt;
use core::time::Duration;
use gosh_dl_core::base::{Deadlines, Instant, Rng};
use gosh_dl_core::engine::{Input, Output, QueryKey};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Somebody with an address: a peer, a tracker, a node of a DHT, or a whole engine.
///
/// It has the face of a machine, and speaks the part of the engine's vocabulary that is about the network: what it puts
/// out may be `Listen`, `Connect`, `Adopt`, `Link`, `Bind`, `Datagram`, `Resolve` and their like.
pub trait Actor: Any + fmt::Debug {
    /// Something happened to it.
    fn handle_input(&mut self, now: Instant, input: Input);

    /// Does what is due. Called once at the beginning, too.
    fn handle_timeout(&mut self, now: Instant);

    /// What it does next.
    fn poll_output(&mut self) -> Option<Output>;

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// Actors, and the internet between them and the one who is played from outside.
pub struct Actors {
    /// What lies between them.
    pub internet: Internet,
    actors: BTreeMap<NodeId, Box<dyn Actor>>,
    deadlines: Deadlines<NodeId>,
    /// What happens to the one who is played from outside.
    inputs: VecDeque<Input>,
    look_ups: VecDeque<(NodeId, QueryKey, Arc<str>)>,
    /// The hash, and the last actions where they are kept.
    pub trace: Trace,
    next: u32,
}

/// The one who is played from outside: the world's own engine.
pub const OUTSIDE: NodeId = NodeId(0);

impl Actors {
    /// Nobody but the one outside, who has these addresses.
    pub fn new(rng: Rng, outside: &[IpAddr]) -> Self {
        let mut internet = Internet::new(rng);
        internet.add(OUTSIDE, outside);
        let mut trace = Trace::new();
        trace.kept = 0;
        Self {
            internet,
            actors: BTreeMap::new(),
            deadlines: Deadlines::new(),
            inputs: VecDeque::new(),
            look_ups: VecDeque::new(),
            trace,
            next: OUTSIDE.0,
        }
    }

    /// Somebody comes; what it does at once is done in this call.
    pub fn add(&mut self, now: Instant, addresses: &[IpAddr], actor: impl Actor) -> NodeId {
        self.next += 1;
        let id = NodeId(self.next);
        self.internet.add(id, addresses);
        self.actors.insert(id, Box::new(actor));
        self.with(now, id, |actor| actor.handle_timeout(now));
        self.settle(now);
        id
    }

    /// Somebody goes, as if its process had died.
    pub fn remove(&mut self, now: Instant, id: NodeId) -> Option<Box<dyn Actor>> {
        self.internet.abort(now, id);
        self.deadlines.set(id, None);
        let gone = self.actors.remove(&id);
        self.settle(now);
        gone
    }

    /// An actor as what it is.
    pub fn get<A: Actor>(&self, id: NodeId) -> Option<&A> {
        let actor: &dyn Any = &**self.actors.get(&id)?;
        actor.downcast_ref()
    }

    /// Does something with an actor, and what comes of it.
    pub fn act<A: Actor, T>(&mut self, now: Instant, id: NodeId, act: impl FnOnce(&mut A) -> T) -> Option<T> {
        let actor: &mut dyn Any = &mut **self.actors.get_mut(&id)?;
        let result = act(actor.downcast_mut()?);
        self.drain(now, id);
        self.settle(now);
        Some(result)
    }

    /// The line of somebody.
    pub fn node(&mut self, id: NodeId) -> Option<&mut Node> {
        self.internet.node_mut(id)
    }

    /// What the one outside does; gives back what is not for the internet.
    pub fn handle_output(&mut self, now: Instant, output: Output) -> Option<Output> {
        let rest = self.internet.handle_output(now, OUTSIDE, output);
        if rest.is_none() {
            self.settle(now);
        }
        rest
    }

    /// The process of somebody is gone; its actor, if it is one, stays.
    pub fn abort(&mut self, now: Instant, id: NodeId) {
        self.internet.abort(now, id);
        if id == OUTSIDE {
            self.inputs.clear();
        }
        self.settle(now);
    }

    /// Moves what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.internet.handle_timeout(now);
        self.settle(now);
        while let Some(id) = self.deadlines.pop_due(now) {
            self.with(now, id, |actor| actor.handle_timeout(now));
        }
        self.settle(now);
    }

    /// What happens to the one outside next.
    pub fn poll_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Which name an actor wants to know; [`answer`](Self::answer) tells it.
    pub fn poll_look_up(&mut self) -> Option<(NodeId, QueryKey, Arc<str>)> {
        self.look_ups.pop_front()
    }

    /// An input for an actor, later.
    pub fn answer(&mut self, now: Instant, id: NodeId, after: Duration, input: Input) {
        self.internet.plan(now + after, id, input);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.internet.poll_timeout().into_iter().chain(self.deadlines.next()).min()
    }

    /// The hash of all that happened to actors and of all that they did; 0 where there was nothing.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash() ^ Trace::new().hash()
    }

    /// Hands out what happened, until nothing happens any more at this instant.
    fn settle(&mut self, now: Instant) {
        while let Some((id, input)) = self.internet.poll_input() {
            if id == OUTSIDE {
                self.inputs.push_back(input);
                continue;
            }
            self.trace.note(now, format_args!("{}", id.0));
            self.trace.input(now, &input);
            self.with(now, id, |actor| actor.handle_input(now, input));
        }
    }

    fn with(&mut self, now: Instant, id: NodeId, touch: impl FnOnce(&mut dyn Actor)) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        touch(&mut **actor);
        self.drain(now, id);
    }

    fn drain(&mut self, now: Instant, id: NodeId) {
        while let Some(output) = self.actors.get_mut(&id).and_then(|actor| actor.poll_output()) {
            self.trace.output(now, &output);
            match self.internet.handle_output(now, id, output) {
                Some(Output::Resolve { query, host }) => self.look_ups.push_back((id, query, host)),
                Some(Output::Connect { link, .. }) => {
                    let closed =
                        gosh_dl_core::base::LinkInput::Closed(gosh_dl_core::base::LinkError::Unreachable);
                    self.internet.plan(now, id, Input::Link { link, input: closed });
                }
                _ => {}
            }
        }
        let deadline = self.actors.get(&id).and_then(|actor| actor.poll_timeout());
        self.deadlines.set(id, deadline);
    }
}

impl fmt::Debug for Actors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actors").field("actors", &self.actors.len()).finish_non_exhaustive()
    }
}
