//! What fate does in a scenario, and how often what was met.

use super::play::{ALIEN, Player};
use super::{Act, Meddling};
use crate::link::Dial;
use gosh_dl_core::base::LinkError;
use gosh_dl_core::engine::DownloadState;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

impl Player<'_> {
    pub(super) fn fate(&mut self, act: &Act) {
        match act {
            Act::Jump(millis) => {
                self.meet("clock set");
                self.world.jump_wall_clock(*millis);
            }
            Act::Suspend(length, clock_stands) => {
                self.meet("asleep");
                self.world.suspend(*length, *clock_stands);
            }
            Act::Move(host) => {
                self.meet("moved");
                self.move_away(*host);
            }
            Act::ReadOnly => {
                self.meet("read-only");
                self.world.disk.read_only = true;
            }
            Act::Meddle(which, how) => self.meddle(*which, *how),
            Act::Disconnect(host, end) => {
                self.meet("cut off");
                let name = self.host_name(*host);
                self.world.end_connections(name, *end);
            }
            Act::DiskFault(class, skip, times, kind) => self.world.disk.fail(*class, *skip, *times, *kind),
            Act::DiskFull(room) => {
                self.meet("disk full");
                self.world.disk.capacity = Some(self.world.disk.bytes_in_use() + room);
            }
            Act::StoreFault(skip, times, error) => self.world.store.fail(*skip, *times, error.clone()),
            Act::Crash(mode, down) => self.crash(*mode, *down),
            Act::Restart => {
                self.meet("stopped");
                self.shut_down();
                self.start();
            }
            _ => {
                self.world.disk.heal();
                self.world.store.heal();
            }
        }
    }

    /// The name leads to a new address; at the old ones nobody is.
    fn move_away(&mut self, host: usize) {
        let name = self.host_name(host);
        let old = self.world.network.addresses_of(name);
        let [.., number] = host.to_be_bytes();
        let Ok(place) = u8::try_from(old.len() + 1) else { return };
        let new = address(number, place);
        self.world.addresses(name, &[new]).dial_all(Dial::Fail(LinkError::Unreachable), &old);
    }

    fn meddle(&mut self, which: usize, how: Meddling) {
        let Some(status) = self.ids.get(which).copied().flatten().and_then(|id| self.world.status(id)) else {
            return;
        };
        if status.state == DownloadState::Finishing {
            // Between the look whether the part is still ours and the rename nobody can guard it.
            return;
        }
        let (dir, disk) = (status.metadata.save_dir, &mut self.world.disk);
        let part = format!("{}.part", status.metadata.filename.unwrap_or_default());
        if disk.find(&dir, &part).is_none() {
            return;
        }
        match how {
            Meddling::Remove => disk.delete(&dir, &part),
            Meddling::Replace => disk.put(&dir, &part, ALIEN),
        }
        self.meet("meddled with");
    }

    pub(super) fn meet(&mut self, fault: &'static str) {
        *self.fates.entry(fault).or_default() += 1;
    }

    pub(super) fn has_met(&self, fault: &str) -> bool {
        self.fates.contains_key(fault)
    }

    /// How often which fault was met.
    pub(super) fn faults(&self) -> BTreeMap<&'static str, u64> {
        let mut faults = self.fates.clone();
        let logs = || {
            self.scenario
                .hosts
                .iter()
                .filter_map(|plan| self.world.network.host(&plan.name))
                .map(|host| &host.log)
        };
        let statuses = || logs().flat_map(|log| &log.requests).map(|asked| asked.status);
        let refused = statuses().filter(|status| *status >= 400).count() as u64;
        let redirected = statuses().filter(|status| (300..400).contains(status)).count() as u64;
        faults.insert("refused", refused);
        faults.insert("redirected", redirected);
        faults.insert(
            "too many",
            logs().flat_map(|log| &log.connections).filter(|served| served.over_limit).count() as u64,
        );
        faults.insert("not found by name", self.world.names.failed);
        faults.insert("not on the disk", self.world.disk.failed);
        faults.insert("not in the store", self.world.store.failed);
        faults
    }
}

/// The addresses of a host by their places, of both kinds in turn.
pub(super) fn address(host: u8, place: u8) -> IpAddr {
    match place % 2 {
        0 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, u16::from(host), 0, 0, 0, 0, u16::from(place))),
        _ => IpAddr::V4(Ipv4Addr::new(198, 19, host, place)),
    }
}
