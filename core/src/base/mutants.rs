//! Policy: deliberate mistakes, one at a time, that the simulator's checks have to find. Without the feature `mutants`
//! there are none: [`is`] is a constant, and nothing of this is in the program.

/// A mistake that can be turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Says that a file is durable without syncing it.
    SyncNothing,
    /// Does not make the name of a new part durable.
    SkipEntrySync,
    /// Does not make the final name durable.
    SkipFinalSync,
    /// Takes a sync for one that also covers what was written after it was asked for.
    SyncCoversLater,
    /// Gives the final name without a last sync.
    RenameUnsynced,
    /// Does not look at validators.
    IgnoreValidator,
    /// Takes any range for the one that was asked for.
    IgnoreRange,
    /// Takes any digest for the one that was demanded.
    IgnoreDigest,
    /// Knows no most of connections to one host.
    NoHostCap,
    /// Forgets what was in a batch that failed.
    DropFailedBatch,
    /// Closes no files.
    LeakFile,
    /// Closes a directory that is still being opened.
    CloseDirEarly,
    /// Says that a download is in the store before it is.
    AcknowledgeEarly,
    /// Does not wait between retries.
    NoBackoff,
    /// Does not listen to how long a host wants to be let alone.
    IgnoreRetryAfter,
    /// Lets only the mirror rest that a host spoke of, and not the host.
    PaceNobody,
    /// Knows no limit for all downloads together.
    NoGlobalLimit,
    /// Knows no limit for one download.
    NoOwnLimit,
    /// Says that it has a piece as soon as it has a block of it.
    HaveEarly,
    /// Counts blocks that it did not want any more.
    CountWithdrawn,
    /// Asks peers that choke it.
    AskThoughChoked,
    /// Offers peer exchange in private torrents.
    PexInPrivate,
    /// Serves more peers than it has slots.
    IgnoreSlots,
    /// Knows no upload limit.
    NoUploadLimit,
    /// Goes on asking whoever sends wrong pieces.
    NeverBan,
}

impl Mutant {
    /// Those that downloads from hosts show.
    pub const ALL: [Self; 18] = [
        Self::SyncNothing,
        Self::SkipEntrySync,
        Self::SkipFinalSync,
        Self::SyncCoversLater,
        Self::RenameUnsynced,
        Self::IgnoreValidator,
        Self::IgnoreRange,
        Self::IgnoreDigest,
        Self::NoHostCap,
        Self::DropFailedBatch,
        Self::LeakFile,
        Self::CloseDirEarly,
        Self::AcknowledgeEarly,
        Self::NoBackoff,
        Self::IgnoreRetryAfter,
        Self::PaceNobody,
        Self::NoGlobalLimit,
        Self::NoOwnLimit,
    ];

    /// Those that swarms show.
    pub const IN_SWARMS: [Self; 7] = [
        Self::HaveEarly,
        Self::CountWithdrawn,
        Self::AskThoughChoked,
        Self::PexInPrivate,
        Self::IgnoreSlots,
        Self::NoUploadLimit,
        Self::NeverBan,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use core::cell::Cell;

    std::thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Turns one on for this thread, or all off.
    pub fn set(mutant: Option<Mutant>) {
        ON.set(mutant);
    }

    /// Whether this one is on.
    pub fn is(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, set};

/// Whether this one is on: never.
#[cfg(not(feature = "mutants"))]
pub const fn is(_: Mutant) -> bool {
    false
}
