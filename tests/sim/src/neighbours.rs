//! What a test does with everybody else in a world: actors, and engines beside the world's own.

use crate::actor::Actor;
use crate::image::CrashMode;
use crate::internet::NodeId;
use crate::station::Station;
use crate::world::World;
use gosh_dl_core::base::Instant;
use gosh_dl_core::engine::{Engine, EngineConfig, Token};
use std::net::IpAddr;

impl World {
    /// Somebody comes who has these addresses.
    pub fn add_actor(&mut self, addresses: &[IpAddr], actor: impl Actor) -> NodeId {
        let id = self.actors.add(self.now, addresses, actor);
        self.plan_network();
        id
    }

    /// Somebody goes, as if its process had died; its addresses stay, and nobody listens there.
    pub fn remove_actor(&mut self, id: NodeId) -> Option<Box<dyn Actor>> {
        let gone = self.actors.remove(self.now, id);
        self.plan_network();
        gone
    }

    /// An actor as what it is.
    ///
    /// # Panics
    ///
    /// Where there is none, or it is something else.
    pub fn actor<A: Actor>(&self, id: NodeId) -> &A {
        self.actors.get(id).unwrap_or_else(|| panic!("{id:?} is no such actor"))
    }

    /// Does something with an actor; what it puts out then is done.
    ///
    /// # Panics
    ///
    /// Where there is none, or it is something else.
    pub fn act<A: Actor, T>(&mut self, id: NodeId, act: impl FnOnce(&mut A, Instant) -> T) -> T {
        let now = self.now;
        let result = self.actors.act(now, id, |actor| act(actor, now));
        self.plan_network();
        result.unwrap_or_else(|| panic!("{id:?} is no such actor"))
    }

    /// Another engine, with a disk and a store of its own; it is started.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn add_station(&mut self, addresses: &[IpAddr], config: EngineConfig) -> NodeId {
        let mut station = Station::new(self.rng.fork(), self.wall, config);
        station.start(self.now).unwrap_or_else(|error| panic!("the engine did not start: {error}"));
        self.add_actor(addresses, station)
    }

    /// Another engine.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn station(&self, id: NodeId) -> &Station {
        self.actor(id)
    }

    /// Gives another engine a command, with a token for the answer.
    ///
    /// # Panics
    ///
    /// Where there is none, or it does not run.
    pub fn command<T>(
        &mut self,
        id: NodeId,
        command: impl FnOnce(&mut Engine, Instant, Token) -> T,
    ) -> (Token, T) {
        self.act(id, |station: &mut Station, now| station.command(now, command))
    }

    /// Another engine is gone from one moment to the next, with everything that `mode` takes away.
    pub fn crash_station(&mut self, id: NodeId, mode: CrashMode) {
        self.act(id, |station: &mut Station, _| station.crash(mode));
        self.actors.abort(self.now, id);
        self.plan_network();
    }

    /// Another engine starts again on what its store holds.
    ///
    /// # Panics
    ///
    /// Where it runs, or does not start.
    pub fn restart_station(&mut self, id: NodeId) {
        let started = self.act(id, |station: &mut Station, now| station.start(now));
        started.unwrap_or_else(|error| panic!("the engine did not start: {error}"));
    }
}
