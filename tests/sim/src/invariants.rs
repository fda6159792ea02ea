//! Policy: what must hold at every step, by name.

use crate::disk::Disk;
use core::fmt;
use core::time::Duration;
use gosh_dl_core::base::disk::DiskOp;
use gosh_dl_core::base::store::{StoreOp, Table};
use gosh_dl_core::base::{Instant, LinkInput, LinkOutput, RangeSet};
use gosh_dl_core::engine::record::{decode_progress, decode_torrent};
use gosh_dl_core::engine::{ArrivalKey, DownloadEvent, EngineConfig, Input, LinkKey, Output, Token};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// What broke it.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// The result of a check.
pub type Checked = Result<(), Violation>;

/// A connection that the engine made.
#[derive(Debug)]
struct Connection {
    host: String,
    to: SocketAddr,
    opened: bool,
}

/// What the checks remember about one life of the engine.
#[derive(Debug, Default)]
pub struct Invariants {
    /// Bytes that each living link was granted and not yet given.
    credit: BTreeMap<LinkKey, u64>,
    answered: BTreeSet<Token>,
    /// Where each link leads that the engine connected, and whether it is there.
    connections: BTreeMap<LinkKey, Connection>,
    /// Connections that wait for the engine's word.
    arrivals: BTreeSet<ArrivalKey>,
    /// Every listener and UDP socket that was asked for, and whether it is still there.
    places: BTreeMap<(bool, u64), bool>,
    closed: bool,
    /// The highest cap of connections per host that was set: connections that were being made when it was lowered
    /// may still come.
    most_connections: usize,
    /// Directories that the user named.
    allowed: BTreeSet<PathBuf>,
    /// When the engine woke by itself, since it was last given something; at most [`MAX_WAKES`].
    wakes: VecDeque<Instant>,
    /// What the store was told of each file, so that only what is new is looked at.
    recorded: BTreeMap<u64, RangeSet>,
}

impl Invariants {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new engine starts; its directory is `dir`. Directories of earlier downloads stay named.
    pub fn restart(&mut self, dir: &Path) {
        let allowed = core::mem::take(&mut self.allowed);
        *self = Self { allowed, ..Self::new() };
        self.allow(dir.to_owned());
    }

    /// The user names a directory.
    pub fn allow(&mut self, dir: PathBuf) {
        self.allowed.insert(dir);
    }

    /// These settings are about to be replaced.
    pub fn on_config(&mut self, old: &EngineConfig) {
        self.most_connections = self.most_connections.max(old.max_connections_per_host);
    }

    /// Before the engine is told to do something.
    pub fn on_command(&mut self) {
        self.wakes.clear();
    }

    /// Before the engine is given something.
    pub fn on_input(&mut self, input: &Input) -> Checked {
        self.wakes.clear();
        match input {
            Input::Link { link, input } => return self.on_link_input(*link, input),
            Input::Accepted { arrival, .. } => {
                self.arrivals.insert(*arrival);
                if self.arrivals.len() > MAX_ARRIVALS {
                    return Err(broken("arrivals are answered", &format!("{} wait", self.arrivals.len())));
                }
            }
            Input::Listening { listener, result: Err(_) } => {
                self.places.insert((true, listener.0), false);
            }
            Input::Bound { socket, result: Err(_) } => {
                self.places.insert((false, socket.0), false);
            }
            _ => {}
        }
        Ok(())
    }

    /// Before the engine is given something on a link.
    pub fn on_link_input(&mut self, link: LinkKey, input: &LinkInput) -> Checked {
        match input {
            LinkInput::Opened => return self.on_opened(link),
            LinkInput::Data(bytes) => {
                let Some(credit) = self.credit.get_mut(&link) else { return Ok(()) };
                let len = bytes.len() as u64;
                let left = credit.checked_sub(len);
                *credit = left.ok_or_else(|| broken("credit respected", &format!("{len} bytes too many")))?;
            }
            LinkInput::Closed(_) => {
                self.credit.remove(&link);
                self.connections.remove(&link);
            }
            _ => {}
        }
        Ok(())
    }

    /// After the engine did what was due.
    pub fn on_timeout(&mut self, now: Instant, next: Option<Instant>) -> Checked {
        if let Some(next) = next.filter(|next| *next <= now) {
            return Err(broken("next deadline in the future", &format!("{next:?} at {now:?}")));
        }
        self.wakes.push_back(now);
        if self.wakes.len() <= MAX_WAKES {
            return Ok(());
        }
        let since = self.wakes.pop_front().map_or(Duration::ZERO, |first| now - first);
        if since < Duration::from_secs(1) {
            return Err(broken(
                "no timer storm",
                &format!("woke {MAX_WAKES} times for nothing in {since:?}"),
            ));
        }
        Ok(())
    }

    /// Before something that the engine put out is done.
    pub fn on_output(&mut self, output: &Output) -> Checked {
        if self.closed {
            return Err(broken("nothing after Closed", &format!("{output:?}")));
        }
        match output {
            Output::Connect { link, .. } if self.credit.insert(*link, 0).is_some() => {
                return Err(broken("keys are not reused", &format!("{link:?}")));
            }
            Output::Link { link, output } => self.on_link_output(*link, output)?,
            Output::Listen { .. }
            | Output::Unlisten { .. }
            | Output::Adopt { .. }
            | Output::Dismiss { .. }
            | Output::Bind { .. }
            | Output::Unbind { .. }
            | Output::Datagram { .. } => self.on_place(output)?,
            Output::Disk { op: DiskOp::OpenDir { path, .. }, .. } if !self.allowed.contains(path) => {
                return Err(broken("only named directories", &format!("{}", path.display())));
            }
            Output::Reply { token, .. } if !self.answered.insert(*token) => {
                return Err(broken("one reply per command", &format!("{token:?}")));
            }
            Output::Event(DownloadEvent::Progress { progress, .. })
                if progress.total_size.is_some_and(|total| progress.completed_size > total) =>
            {
                return Err(broken("progress within the total", &format!("{progress:?}")));
            }
            Output::Closed => self.closed = true,
            _ => {}
        }
        Ok(())
    }

    /// Before the engine is connected to an address of a host.
    pub fn on_connect(
        &mut self,
        link: LinkKey,
        host: &str,
        to: SocketAddr,
        config: &EngineConfig,
    ) -> Checked {
        self.most_connections = self.most_connections.max(config.max_connections_per_host);
        let tried = self.connections.values().filter(|other| other.to == to).count();
        self.connections.insert(link, Connection { host: host.to_owned(), to, opened: false });
        self.within_the_cap(tried + 1, &to)
    }

    /// Several addresses may be tried at once for one connection; of those that are there none is too many.
    fn on_opened(&mut self, link: LinkKey) -> Checked {
        let Some(connection) = self.connections.get_mut(&link) else { return Ok(()) };
        connection.opened = true;
        let host = connection.host.clone();
        let opened = self.connections.values().filter(|other| other.opened && other.host == host).count();
        self.within_the_cap(opened, &host)
    }

    fn within_the_cap(&self, connections: usize, to: &dyn fmt::Display) -> Checked {
        if connections <= self.most_connections {
            return Ok(());
        }
        Err(broken("connections per host within the cap", &format!("{connections} to {to}")))
    }

    /// After an operation was handed to the disk.
    pub fn on_disk(&self, disk: &Disk, config: &EngineConfig) -> Checked {
        // A download holds one file; one more may be open while it is checked or being replaced.
        let most = config.max_concurrent_downloads * 2 + OPEN_FILES_BESIDE;
        if disk.open_files() > most {
            return Err(broken("open files bounded", &format!("{} of {most}", disk.open_files())));
        }
        Ok(())
    }

    /// Before a file gets another name: whatever loses its `.part` must be whole on the disk.
    pub fn on_rename(&self, op: &DiskOp, disk: &Disk) -> Checked {
        let (DiskOp::Rename { dir, from, to, .. } | DiskOp::Move { dir, from, to, .. }) = op else {
            return Ok(());
        };
        let finishes = from.as_str().ends_with(".part") && !to.as_str().ends_with(".part");
        let synced = disk
            .dir_path(*dir)
            .and_then(|path| disk.find(path, from.as_str()))
            .is_none_or(crate::image::File::is_synced);
        if finishes && !synced {
            return Err(broken("no final name before sync", &format!("{from} to {to}")));
        }
        Ok(())
    }

    /// Before a batch goes to the store: what it says of a file is durable already.
    pub fn on_store(&mut self, ops: &[StoreOp], disk: &Disk) -> Checked {
        for op in ops {
            let StoreOp::Put { table: Table::Progress, value, .. } = op else { continue };
            if decode_torrent(value).is_ok() {
                continue;
            }
            let saved = decode_progress(value)
                .map_err(|error| broken("records can be read back", &format!("{error}")))?;
            let Some(part) = saved.part else { continue };
            let Some(identity) = part.identity.filter(|_| !part.durable.is_empty()) else { continue };
            let mut new = part.durable.clone();
            if let Some(known) = self.recorded.insert(identity.inode, part.durable.clone()) {
                known.iter().for_each(|range| new.remove(range));
            }
            if !new.is_empty() && !disk.keeps(identity.inode, &new) {
                return Err(broken("recorded progress is durable", &format!("{} of {part:?}", new.len())));
            }
        }
        Ok(())
    }

    fn on_place(&mut self, output: &Output) -> Checked {
        let reused = match output {
            Output::Listen { listener, .. } => self.places.insert((true, listener.0), true).is_some(),
            Output::Bind { socket, .. } => self.places.insert((false, socket.0), true).is_some(),
            Output::Adopt { link, .. } => self.credit.insert(*link, 0).is_some(),
            _ => false,
        };
        if reused {
            return Err(broken("keys are not reused", &format!("{output:?}")));
        }
        let alive = match output {
            Output::Adopt { arrival, .. } | Output::Dismiss { arrival } => self.arrivals.remove(arrival),
            Output::Unlisten { listener } => self.places.insert((true, listener.0), false) == Some(true),
            Output::Unbind { socket } => self.places.insert((false, socket.0), false) == Some(true),
            Output::Datagram { socket, .. } => self.places.get(&(false, socket.0)) == Some(&true),
            _ => true,
        };
        if alive { Ok(()) } else { Err(broken("no outputs to dead keys", &format!("{output:?}"))) }
    }

    fn on_link_output(&mut self, link: LinkKey, output: &LinkOutput) -> Checked {
        let Some(credit) = self.credit.get_mut(&link) else {
            return Err(broken("no outputs to dead keys", &format!("{output:?} on {link:?}")));
        };
        match output {
            LinkOutput::Credit(bytes) => *credit += u64::from(*bytes),
            LinkOutput::Close => {
                self.credit.remove(&link);
                self.connections.remove(&link);
            }
            LinkOutput::Send(_) | LinkOutput::SendFile { .. } => {}
        }
        Ok(())
    }
}

pub(crate) fn broken(rule: &'static str, detail: &str) -> Violation {
    Violation { rule, detail: detail.to_owned() }
}

/// Verifications, and files that are closed while the next ones open.
const OPEN_FILES_BESIDE: usize = 8;

/// No more connections wait than a driver lets wait.
const MAX_ARRIVALS: usize = 128;

/// More wakes than this in a second, with nothing given to the engine between them, are a storm.
const MAX_WAKES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waking_for_nothing_again_and_again_is_a_storm_and_waking_for_something_is_not() {
        let storm = |step: Duration, given: bool| {
            let mut invariants = Invariants::new();
            (1..=2 * MAX_WAKES as u32).any(|wake| {
                let now = Instant::ZERO + step * wake;
                if given {
                    invariants.on_command();
                }
                invariants.on_timeout(now, Some(now + step)).is_err()
            })
        };
        assert!(storm(Duration::from_micros(10), false));
        assert!(!storm(Duration::from_micros(10), true));
        assert!(!storm(Duration::from_millis(20), false));
    }
}
