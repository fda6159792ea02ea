//! What can be seen of a tracker.

use crate::base::Instant;

/// One tracker, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerStatus {
    /// Its URL without what looks like a password or a passkey; safe to show.
    pub url: String,
    /// Which tier it is in, from 0.
    pub tier: usize,
    /// How it does.
    pub state: TrackerState,
    /// When it is asked next; `None` while it is being asked, and where it is not going to be unless others fail.
    pub next_announce: Option<Instant>,
    /// When it answered last.
    pub last_answer: Option<Instant>,
    /// Why the last announce failed, if it did; safe to show.
    pub last_error: Option<String>,
    /// What it had to say with its last answer; safe to show.
    pub warning: Option<String>,
    /// How many announces in a row failed.
    pub failures: u32,
    /// Peers that have everything, by its last announce or scrape.
    pub seeders: Option<u32>,
    /// Peers that do not.
    pub leechers: Option<u32>,
    /// How many ever completed, by its last scrape (BEP 48).
    pub completed: Option<u32>,
    /// How many addresses of peers it sent so far, repeated ones included.
    pub peers_received: u64,
}

/// How a tracker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackerState {
    /// Not asked yet: its tier has others before it, or nothing was started.
    Idle,
    /// Being asked.
    Announcing,
    /// The last announce succeeded.
    Working,
    /// The last announce failed; it is asked again later.
    Failing,
    /// It is never asked: its URL is of no known kind, or it said so (BEP 31).
    Disabled,
}
