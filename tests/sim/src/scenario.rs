//! Policy: a whole story as a value: what the world is like, what happens in it and when. Drawn from a seed, run, shrunk.
//!
//! ```
//! use gosh_dl_sim::scenario::{Scenario, run};
//!
//! let outcome = run(&Scenario::generate(5));
//! assert_eq!(outcome.violation, None);
//! ```

mod draw;
mod fate;
mod play;
mod shrink;
pub mod swarm;
mod swarm_play;

pub use play::{Outcome, crash_at, fuzz, run, run_keeping};
pub use shrink::shrink;

use crate::agenda::Latency;
use crate::behaviour::{Behaviour, Version};
use crate::disk::OpClass;
use crate::host::OverLimit;
use crate::image::CrashMode;
use crate::link::{Dial, LinkProfile};
use core::fmt;
use core::time::Duration;
use gosh_dl_core::base::LinkError;
use gosh_dl_core::base::disk::DiskErrorKind;
use gosh_dl_core::base::link::TlsError;
use gosh_dl_core::base::store::StoreError;
use gosh_dl_core::download::{DownloadOptions, DownloadPriority};
use gosh_dl_core::engine::{EngineConfig, ResolveError};

/// A world, and what happens in it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it was drawn from; also the seed of the world.
    pub seed: u64,
    /// Which faults it may have.
    pub kind: Kind,
    /// The engine's settings.
    pub config: EngineConfig,
    /// The hosts.
    pub hosts: Vec<HostPlan>,
    /// The downloads, in the order in which they are added.
    pub downloads: Vec<DownloadPlan>,
    /// Files of other programs in the directory of the downloads.
    pub aliens: Vec<String>,
    /// Whether that directory takes names that differ only in the case of their letters for the same.
    pub folds_case: bool,
    /// How long disk operations take.
    pub disk_latency: Latency,
    /// How long commits take.
    pub store_latency: Latency,
    /// What happens, each some time after the one before.
    pub acts: Vec<(After, Act)>,
    /// Crashes before these steps, in order, on top of everything.
    pub crashes: Vec<(u64, CrashMode)>,
}

/// Which faults a scenario may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// None: honest origins, good lines, a sound disk.
    Calm,
    /// Lines, name servers and hosts that fail.
    Network,
    /// Origins that are clumsy or lie.
    Origins,
    /// A disk and a store that fail.
    Storage,
    /// Kills, power cuts and orderly stops.
    Crashes,
    /// Any of these at once.
    Everything,
}

impl Kind {
    /// All kinds, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Calm, Self::Network, Self::Origins, Self::Storage, Self::Crashes, Self::Everything];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Calm => "calm",
            Self::Network => "network",
            Self::Origins => "origins",
            Self::Storage => "storage",
            Self::Crashes => "crashes",
            Self::Everything => "everything",
        })
    }
}

/// A host.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// Its name.
    pub name: String,
    /// What connections to it are like.
    pub profile: LinkProfile,
    /// Bytes per second that all connections share.
    pub rate: Option<u64>,
    /// How many connections it serves, and what the others get.
    pub limit: Option<(usize, OverLimit)>,
    /// How long it keeps a connection that asks for nothing.
    pub idle_timeout: Option<Duration>,
    /// How each of its addresses answers those who dial, until the world is healed; at least one.
    pub dials: Vec<Dial>,
    /// What TLS says about its certificate, until the world is healed.
    pub tls: Result<(), TlsError>,
    /// Whether it ends TLS without saying so, until the world is healed.
    pub cuts_tls: bool,
    /// The first look-ups of its name fail like this.
    pub lookups: Vec<ResolveError>,
    /// How long look-ups take.
    pub lookup_latency: Latency,
}

/// A download.
#[derive(Clone, Debug)]
pub struct DownloadPlan {
    /// The first URL and its mirrors.
    pub sources: Vec<SourcePlan>,
    /// Its options, without mirrors and checksum.
    pub options: DownloadOptions,
    /// Whether the digest of the last version of the first source is demanded.
    pub checksum: bool,
}

/// Where a download is served.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// The host, by its place.
    pub host: usize,
    /// Whether over TLS.
    pub secure: bool,
    /// The path.
    pub target: String,
    /// What is served, in the order of time.
    pub versions: Vec<Version>,
    /// How it is served until the world is healed.
    pub behaviour: Behaviour,
    /// A redirect of this status, at this host, leads there.
    pub via: Option<(usize, u16)>,
}

/// How long after the act before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Virtual time.
    Time(Duration),
    /// Steps of the world.
    Steps(u64),
}

/// Something that a user, an operator or fate does. Downloads and hosts are named by their places.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// The user pauses.
    Pause(usize),
    /// The user resumes.
    Resume(usize),
    /// The user removes, and with `true` also the files.
    Cancel(usize, bool),
    /// The user changes the place in the queue.
    Priority(usize, DownloadPriority),
    /// The user changes the speed limit of one download.
    Limit(usize, Option<u64>),
    /// The user changes the speed limit of all.
    GlobalLimit(Option<u64>),
    /// The user changes how many downloads run and how many connections they have to one host.
    Counts(usize, usize),
    /// The user has a file checked, and with `true` mended.
    Verify(usize, bool),
    /// The user adds a download that was not added at the beginning.
    Add(usize),
    /// The wall clock jumps by so many milliseconds.
    Jump(i64),
    /// The machine sleeps; with `true` the clock that the engine goes by stands still meanwhile.
    Suspend(Duration, bool),
    /// A host moves to another address, and nobody is at the old ones any more.
    Move(usize),
    /// All connections to a host end.
    Disconnect(usize, LinkError),
    /// After so many operations, some of a kind fail.
    DiskFault(OpClass, u64, u64, DiskErrorKind),
    /// Only so many more bytes fit.
    DiskFull(u64),
    /// The file system is remounted read-only.
    ReadOnly,
    /// Another program does something to what there is of a download's file.
    Meddle(usize, Meddling),
    /// After so many commits, some fail.
    StoreFault(u64, u64, StoreError),
    /// Disk and store are sound again.
    HealStorage,
    /// The process or the machine dies, and the engine starts again after a while.
    Crash(CrashMode, Duration),
    /// The engine is stopped in an orderly way and starts again.
    Restart,
}

/// What another program does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddling {
    /// It is removed.
    Remove,
    /// It is replaced by another file of that name.
    Replace,
}
