//! Machine: who is to blame for a wrong piece that came from several (smart ban).
//!
//! Its blocks are read back before it is fetched again, and their digests kept as [`Evidence`]. When the piece is right
//! at last they are read once more: whoever sent something else is banned. Peers go by their address, which outlives
//! a connection.

use super::picker::{Evidence, Parole};
use super::web_seeds::SeedKey;
use super::{PeerKey, Sender, Torrent};
use crate::base::disk::DiskError;
use crate::base::mutants::{self, Mutant};
use crate::base::{BLOCK_LEN, Block, Instant, PieceIndex};
use bytes::Bytes;
use core::net::IpAddr;
use sha1::{Digest as _, Sha1};
use std::collections::VecDeque;

/// Wrong pieces that are looked into.
#[derive(Debug, Default)]
pub(super) struct Blame {
    evidence: Evidence<Culprit>,
    /// Pieces whose blocks are to be read back; the first is being read.
    exams: VecDeque<Exam>,
    /// The number of the read under way.
    reading: Option<u64>,
    /// Where peers were that left a short while ago.
    left: VecDeque<(PeerKey, IpAddr)>,
    /// What those have to do who left as suspects, and may come back.
    paroles: VecDeque<(IpAddr, Parole)>,
}

impl Blame {
    fn leaves(&mut self, peer: PeerKey, ip: IpAddr, parole: Option<Parole>) {
        let ip = ip.to_canonical();
        if self.left.len() == MAX_LEFT {
            self.left.pop_front();
        }
        self.left.push_back((peer, ip));
        let Some(parole) = parole else { return };
        self.paroles.retain(|(known, _)| *known != ip);
        if self.paroles.len() == MAX_LEFT {
            self.paroles.pop_front();
        }
        self.paroles.push_back((ip, parole));
    }

    /// What whoever comes from there has to do.
    pub(super) fn comes(&self, ip: IpAddr) -> Option<Parole> {
        let ip = ip.to_canonical();
        self.paroles.iter().find(|(known, _)| *known == ip).map(|(_, parole)| *parole)
    }
}

/// Who may be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Culprit {
    Host(IpAddr),
    WebSeed(SeedKey),
}

/// A piece whose blocks are digested.
#[derive(Debug)]
struct Exam {
    piece: PieceIndex,
    /// Who sent each block of a wrong piece; `None` where the piece is right.
    senders: Option<Vec<(u32, Culprit)>>,
    digests: Vec<[u8; 20]>,
}

impl Torrent {
    /// A piece is wrong: it is fetched again, and whoever gave it is suspect.
    pub(super) fn on_failed_piece(&mut self, now: Instant, piece: PieceIndex) {
        let Some(picker) = self.content.as_ref().and_then(|content| content.picker.as_ref()) else { return };
        let sent = picker.contributors(piece);
        // What nobody sent is from an earlier life, and as good a suspect as a second peer.
        let whole = self.content.as_ref().map_or(0, |content| content.metainfo.grid().blocks_in(piece));
        let several = sent.windows(2).any(|pair| pair[0].1 != pair[1].1) || sent.len() < whole as usize;
        let senders: Vec<(u32, Culprit)> =
            sent.into_iter().filter_map(|(block, who)| Some((block.number(), self.culprit(who)?))).collect();
        if several && !senders.is_empty() && self.blame.exams.len() < MAX_EXAMS {
            self.blame.exams.push_back(Exam { piece, senders: Some(senders), digests: Vec::new() });
            self.read_evidence(now);
        } else {
            self.fetch_anew(now, piece);
        }
    }

    /// A piece is right that was wrong before.
    pub(super) fn compare_blocks(&mut self, now: Instant, piece: PieceIndex) {
        if self.blame.evidence.has(piece) && self.blame.exams.len() < MAX_EXAMS {
            self.blame.exams.push_back(Exam { piece, senders: None, digests: Vec::new() });
            self.read_evidence(now);
        }
    }

    /// A peer leaves: what it sent may still prove to be wrong, and a suspect stays one.
    pub(super) fn remember_host(&mut self, peer: PeerKey, ip: IpAddr) {
        let picker = self.content.as_ref().and_then(|content| content.picker.as_ref());
        let parole = picker.and_then(|picker| picker.parole(Sender::Peer(peer)));
        self.blame.leaves(peer, ip, parole);
    }

    /// Bytes that were read back, if it was for this.
    pub(super) fn on_evidence(&mut self, now: Instant, token: u64, result: Result<Bytes, DiskError>) {
        if self.blame.reading != Some(token) {
            return;
        }
        self.blame.reading = None;
        let Some(exam) = self.blame.exams.front_mut() else { return };
        let readable = result.is_ok();
        if let Ok(bytes) = result {
            let blocks = bytes.chunks(BLOCK_LEN as usize);
            exam.digests.extend(blocks.map(|block| <[u8; 20]>::from(Sha1::digest(block))));
        }
        let next = self.next_evidence().filter(|_| readable);
        if next.is_none()
            && let Some(exam) = self.blame.exams.pop_front()
        {
            self.conclude(now, exam);
        }
        self.read_evidence(now);
    }

    /// Reads the next part of the piece that is looked into.
    fn read_evidence(&mut self, now: Instant) {
        if self.blame.reading.is_some() {
            return;
        }
        let Some(part) = self.next_evidence() else { return };
        let token = self.reads.token();
        self.blame.reading = Some(token);
        self.with_files(|files| files.read_unproved(now, token, part));
    }

    fn next_evidence(&self) -> Option<Block> {
        let exam = self.blame.exams.front()?;
        let grid = self.content.as_ref()?.metainfo.grid();
        let begin = u32::try_from(exam.digests.len()).ok()?.checked_mul(BLOCK_LEN)?;
        let len = grid.len_of(exam.piece).checked_sub(begin)?.min(READ_AT_ONCE);
        grid.span(exam.piece.get(), begin, len).filter(|_| len > 0)
    }

    fn conclude(&mut self, now: Instant, exam: Exam) {
        let Some(senders) = exam.senders else {
            let guilty = self.blame.evidence.judge(exam.piece, &exam.digests);
            return guilty.into_iter().for_each(|culprit| self.punish(now, culprit));
        };
        let digest = |number: u32| exam.digests.get(number as usize).copied();
        let blocks = senders.into_iter().filter_map(|(number, who)| Some((number, who, digest(number)?)));
        self.blame.evidence.keep(exam.piece, blocks);
        self.fetch_anew(now, exam.piece);
    }

    fn fetch_anew(&mut self, now: Instant, piece: PieceIndex) {
        let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) else { return };
        let guilty = picker.failed(piece);
        self.fetch_what_is_missing(now);
        for culprit in guilty.into_iter().filter_map(|who| self.culprit(who)).collect::<Vec<_>>() {
            self.punish(now, culprit);
        }
    }

    fn culprit(&self, who: Sender) -> Option<Culprit> {
        match who {
            Sender::WebSeed(seed) => Some(Culprit::WebSeed(seed)),
            Sender::Peer(peer) => {
                let here = self.peers.get(peer).map(|slot| slot.address.ip().to_canonical());
                let left = || self.blame.left.iter().find(|(left, _)| *left == peer).map(|(_, ip)| *ip);
                here.or_else(left).map(Culprit::Host)
            }
        }
    }

    /// Nothing more is taken from whoever sent wrong bytes.
    fn punish(&mut self, now: Instant, culprit: Culprit) {
        match culprit {
            Culprit::WebSeed(seed) => self.with_seed(seed, |seed| seed.condemn(now)),
            Culprit::Host(_) if mutants::is(Mutant::NeverBan) => {}
            Culprit::Host(ip) => self.ban_host(now, ip),
        }
    }

    fn ban_host(&mut self, now: Instant, ip: IpAddr) {
        tracing::debug!("a peer sent wrong bytes and is banned");
        self.candidates.ban(now, ip);
        let of_host = self.peers.iter().filter(|(_, slot)| slot.address.ip().to_canonical() == ip);
        for peer in of_host.map(|(peer, _)| peer).collect::<Vec<_>>() {
            self.ban_peer(now, peer);
        }
    }
}

/// More wrong pieces at once mean that most peers lie; those beyond it are fetched again without a trial.
const MAX_EXAMS: usize = 16;
/// Peers that left: more do not leave while one piece is fetched, and hardly more are suspects at a time.
const MAX_LEFT: usize = 256;
/// Bytes that are in memory to be digested; whole blocks.
const READ_AT_ONCE: u32 = 64 * BLOCK_LEN;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Key;

    #[test]
    fn who_left_as_a_suspect_comes_back_as_one_and_so_many_are_kept() {
        let host = |number: u32| IpAddr::from(number.to_be_bytes());
        let mut blame = Blame::default();
        blame.leaves(Key::from_u64(1), host(1), None);
        assert_eq!(blame.comes(host(1)), None);
        for number in 0..10 * MAX_LEFT as u32 {
            let mapped = "::ffff:0.0.0.1".parse().expect("an address");
            blame.leaves(
                Key::from_u64(1),
                if number == 1 { mapped } else { host(number) },
                Some(Parole::FIRST),
            );
            assert_eq!(blame.comes(host(number)), Some(Parole::FIRST));
        }
        blame.leaves(Key::from_u64(1), host(2559), Some(Parole::FIRST));
        assert_eq!((blame.left.len(), blame.paroles.len()), (MAX_LEFT, MAX_LEFT));
        assert_eq!((blame.comes(host(0)), blame.comes(host(2304))), (None, Some(Parole::FIRST)));
    }
}
