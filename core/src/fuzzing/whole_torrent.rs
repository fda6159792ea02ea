//! Fuzzing: a whole torrent between scripted peers, trackers, a web seed and a disk that may be late or fail.

mod world;

use self::world::World;
use super::machines::each;
use super::peers::Said;
use crate::base::disk::DiskErrorKind;
use crate::base::{Instant, LinkError, ResolveError};
use crate::download::DownloadError;
use crate::download::ReadRequest;
use crate::download::torrent::picker::Priority;
use arbitrary::Arbitrary;
use core::time::Duration;

/// What happens to a torrent.
#[derive(Arbitrary, Debug)]
enum Step {
    /// A peer accepts a connection, and greets.
    Open(u8),
    /// A peer connects.
    Arrive(u8),
    Say(u8, Said),
    /// A peer has everything, and lets itself be asked.
    BeSeed(u8),
    /// A peer answers the oldest request, rightly or not.
    Give(u8, bool),
    Sent(u8, u16),
    Lose(u8),
    Disk(u8),
    DiskFails(u8, u8),
    Recorded,
    Due,
    Later(u16),
    /// An exchange gets its connection, or none.
    Lease(u8, bool),
    /// A tracker or web seed answers what it was asked, or something else.
    Answer(u8, u8),
    /// A tracker answers a datagram.
    Datagram(u8, [u8; 8]),
    Resolve(bool),
    Read(u8, u8, u32, u32),
    CloseReader(u8),
    Want(u8, u8),
    AddPeer(u8),
    Upload(u16),
    Checkpoint,
    Check,
    Reannounce,
    Port(u16),
    Stop,
    Discard,
    Fail,
}

/// One byte says what kind of torrent it is. Nobody is told of a piece, and nothing is counted, sent or read, that is not here and
/// right on the disk; nothing comes twice; memory is bounded; every reader is answered once; deadlines move on; and when it
/// is stopped it comes to its end, with everything closed, after which nothing follows.
pub fn torrent(data: &[u8]) {
    let Some((&kind, steps)) = data.split_first() else { return };
    let mut world = World::new(kind);
    let mut left = MAX_STEPS;
    each(steps, |step: Step| {
        if left > 0 && !world.ended {
            left -= 1;
            world.step(step);
            world.check();
        }
    });
    world.come_to_rest();
}

impl World {
    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Open(at) => self.open(at),
            Step::Arrive(bits) => self.arrive(bits),
            Step::Say(at, said) => self.say(at, &said.message()),
            Step::BeSeed(at) => self.be_seed(at),
            Step::Give(at, right) => self.give(at, right),
            Step::Sent(at, bytes) => self.sent(at, bytes.into()),
            Step::Lose(at) => self.lose(at, LinkError::Reset),
            Step::Disk(at) => self.end_operation(at, None),
            Step::DiskFails(at, kind) => {
                let kinds = [DiskErrorKind::Io, DiskErrorKind::Full, DiskErrorKind::NotFound];
                self.end_operation(at, Some(kinds[usize::from(kind) % kinds.len()]));
            }
            Step::Recorded => self.record(),
            Step::Due => self.due(),
            Step::Later(tenths) => self.now += Duration::from_millis(100 * u64::from(tenths)),
            Step::Lease(at, there) => self.lease(at, there),
            Step::Answer(at, how) => self.answer(at, how),
            Step::Datagram(kind, rest) => self.answer_datagram(kind, &rest),
            Step::Resolve(found) => {
                let found = if found { Ok(vec![[192, 0, 2, 99].into()]) } else { Err(ResolveError::Failed) };
                self.resolve(found);
            }
            Step::Read(reader, file, offset, len) => {
                let (reader, file) = (u64::from(reader % 4), usize::from(file % 6));
                self.read(ReadRequest { reader, file, offset: (offset % (200 << 10)).into(), len });
            }
            Step::CloseReader(reader) => self.torrent.close_reader(now, u64::from(reader % 4)),
            Step::Want(file, level) => {
                let levels = [Priority::Skip, Priority::Low, Priority::Normal, Priority::High];
                self.want(u32::from(file % 5), levels[usize::from(level % 4)]);
            }
            Step::AddPeer(host) => self.torrent.add_peer(now, ([192, 0, 2, host], 6881).into()),
            Step::Upload(bytes) => _ = self.torrent.upload(now, bytes.into()),
            Step::Checkpoint => self.torrent.checkpoint(now),
            Step::Check => self.torrent.check(now),
            Step::Reannounce => self.torrent.reannounce(now),
            Step::Port(port) => self.torrent.set_port(now, port),
            Step::Stop => self.torrent.stop(now),
            Step::Discard => self.discard(),
            Step::Fail => self.torrent.fail(now, DownloadError::Deadline { seconds: 1 }),
        }
        self.feed();
        self.drain();
    }

    fn due(&mut self) {
        self.now = self.torrent.poll_timeout().map_or(self.now, |at| at.max(self.now));
        self.torrent.handle_timeout(self.now);
        let next = self.torrent.poll_timeout();
        assert!(next.is_none_or(|at: Instant| at > self.now), "no progress (I2)");
    }

    /// It is stopped, and all that is under way ends.
    fn come_to_rest(&mut self) {
        self.torrent.stop(self.now);
        self.drain();
        for _ in 0..MAX_ROUNDS {
            if self.ended {
                break;
            }
            self.end_operation(0, None);
            self.record();
            self.lease(0, false);
            self.resolve(Err(ResolveError::Failed));
            self.due();
            self.drain();
        }
        assert!(self.ended, "no end: {:?}", self.torrent);
        self.check_end();
        for step in [Step::Due, Step::Stop, Step::Check, Step::AddPeer(1), Step::Arrive(7), Step::Checkpoint]
        {
            self.step(step);
        }
    }
}

/// Longer stories find nothing that shorter ones do not, and each step costs a look at the disk.
const MAX_STEPS: usize = 200;
/// Leave of trackers is taken in a few, and each operation of the disk is one.
const MAX_ROUNDS: usize = 3000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn torrent_keeps_its_promises_whatever_happens(kind: u8, data in proptest::collection::vec(any::<u8>(), 0..600)) {
            super::torrent(&[&[kind], &data[..]].concat());
        }
    }
}
