//! A simulated world for the gosh-dl engine: the unchanged engine in virtual time, with everything that can go wrong.
//!
//! A [`World`] holds one engine, a disk, a store, name servers, and hosts with HTTP origins. Everything in it is a
//! machine or a policy of its own, seeded and without a clock: a test is a script, takes no longer than its computing,
//! and gives the same trace hash each time. At every step the rules of [`invariants`] are checked; a broken one panics
//! with the seed, the step, the virtual time and the last actions.
#![forbid(unsafe_code)]

pub mod agenda;
pub mod behaviour;
mod commands;
pub mod content;
pub mod digest;
pub mod disk;
pub mod folder;
pub mod host;
pub mod image;
pub mod invariants;
pub mod link;
pub mod names;
pub mod network;
pub mod origin;
pub mod reply;
pub mod request;
pub mod store;
pub mod trace;
pub mod world;

pub use agenda::Latency;
pub use behaviour::{
    AfterReply, Behaviour, Cut, End, Framing, Ranges, Refusal, Resource, Script, Since, Version,
};
pub use content::Content;
pub use disk::{Disk, OpClass};
pub use host::{Asked, Host, Log, OverLimit, Served};
pub use image::CrashMode;
pub use link::{Dial, LinkProfile};
pub use names::Names;
pub use network::Network;
pub use origin::Pull;
pub use reply::Part;
pub use request::{AskedRange, Request};
pub use store::{OnCrash, Store};
pub use world::World;
