//! A simulated world for the gosh-dl engine: the unchanged engine in virtual time, with everything that can go wrong.
//!
//! A [`World`] holds one engine, a disk, a store, name servers, and hosts with HTTP origins. Everything in it is a
//! machine or a policy of its own, seeded and without a clock: a test is a script, takes no longer than its computing,
//! and gives the same trace hash each time. At every step the rules of [`invariants`] are checked; a broken one panics
//! with the seed, the step, the virtual time and the last actions.
//!
//! ```
//! use gosh_dl_core::download::DownloadOptions;
//! use gosh_dl_core::engine::DownloadState;
//! use gosh_dl_sim::{Behaviour, Content, CrashMode, Cut, End, Resource, World};
//! use std::time::Duration;
//!
//! // An origin whose answers break off after 300,000 bytes, on a line of 2 MB/s.
//! let content = Content::generated(1, 4 << 20);
//! let cut = Some(Cut::always(300_000, End::Reset));
//! let mut world = World::new(42);
//! let url = "http://origin.example/file.bin";
//! let host = world.serve(url, Resource::new(content).behave(Behaviour { cut, ..Behaviour::default() }));
//! host.rate = Some(2_000_000);
//!
//! // The power fails in the middle of the download, and any part of what was not synced is lost.
//! let id = world.add(url, DownloadOptions::new());
//! world.run_for(Duration::from_secs(1));
//! world.crash(CrashMode::Torn);
//! world.restart();
//!
//! // It goes on. That the file equals the origin and is durable was checked when it was reported complete.
//! assert_eq!(world.wait_done(id), DownloadState::Completed);
//! assert_eq!(world.file("file.bin").map(|file| file.len()), Some(4 << 20));
//! assert_eq!(world.log("origin.example").peak, world.log("origin.example").peak.min(16));
//! println!("trace {:016x} after {} steps", world.trace_hash(), world.steps());
//! ```
#![forbid(unsafe_code)]

pub mod actor;
pub mod agenda;
pub mod behaviour;
mod commands;
pub mod content;
pub mod digest;
pub mod disk;
pub mod folder;
pub mod host;
pub mod image;
pub mod internet;
pub mod invariants;
pub mod link;
pub mod manners;
pub mod names;
mod neighbours;
pub mod network;
pub mod one_file;
pub mod origin;
pub mod pipe;
pub mod reply;
pub mod request;
pub mod rogue;
pub mod scenario;
pub mod scripted_peer;
pub mod speed;
pub mod station;
pub mod store;
pub mod swarm;
pub mod swarm_rules;
pub mod trace;
pub mod tracker;
pub mod world;

pub use actor::{Actor, Actors};
pub use agenda::Latency;
pub use behaviour::{
    AfterReply, Behaviour, Cut, End, Framing, Ranges, Refusal, Resource, Script, Since, Version,
};
pub use commands::SECRET;
pub use content::Content;
pub use disk::{Disk, OpClass};
pub use host::{Asked, Host, Log, OverLimit, Served};
pub use image::CrashMode;
pub use internet::{DatagramProfile, NodeId};
pub use link::{Dial, LinkProfile};
pub use names::Names;
pub use network::Network;
pub use one_file::OneFile;
pub use origin::Pull;
pub use pipe::Line;
pub use reply::Part;
pub use request::{AskedRange, Request};
pub use rogue::{Mouth, Rogue, Turn};
pub use scripted_peer::{Conduct, ScriptedPeer};
pub use station::Station;
pub use store::{OnCrash, Store};
pub use tracker::{Announced, Tracker, TrackerConduct};
pub use world::World;
