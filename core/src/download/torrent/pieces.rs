//! What a torrent does with blocks and pieces, and how it becomes whole.

use super::files::{self, TorrentFiles};
use super::picker::Picker;
use super::super_seed::SuperSeed;
use super::{Child, Output, Phase, Sender, Timer, Torrent};
use crate::base::mutants::{self, Mutant};
use crate::base::{Block, BlockData, Instant, PieceIndex};
use crate::proto::peer::PeerConfig;

impl Torrent {
    /// A block that a peer or a web seed was asked for.
    pub(super) fn on_block(&mut self, now: Instant, from: Sender, block: Block, data: BlockData) {
        let Some(content) = &mut self.content else { return };
        let Some(picker) = &mut content.picker else { return };
        let received = picker.received(from, block);
        for other in received.cancel {
            // What a web seed sends is part of a longer answer.
            let Sender::Peer(other) = other else { continue };
            if let Some(slot) = self.peers.get_mut(other) {
                slot.machine.cancel(block);
                self.touch_peer(other);
            }
        }
        if received.fresh {
            if mutants::is(Mutant::HaveEarly) {
                self.tell_have(block.piece);
            }
            content_files(&mut self.content).write(now, block, data);
            self.touch_files();
            if self.phase == Phase::Connecting {
                self.phase = Phase::Downloading;
            }
        }
    }

    pub(super) fn touch_files(&mut self) {
        if self.touched.back() != Some(&Child::Files) {
            self.touched.push_back(Child::Files);
        }
    }

    /// Does something with the files, if there are any.
    pub(super) fn with_files(&mut self, act: impl FnOnce(&mut TorrentFiles)) {
        if let Some(content) = &mut self.content {
            act(&mut content.files);
            self.touch_files();
        }
    }

    pub(super) fn drain_files(&mut self, now: Instant) {
        while let Some(output) = self.content.as_mut().and_then(|content| content.files.poll_output()) {
            self.on_files(now, output);
        }
        let deadline = self.content.as_ref().and_then(|content| content.files.poll_timeout());
        self.deadlines.set(Timer::Files, deadline);
    }

    fn on_files(&mut self, now: Instant, output: files::Output) {
        match output {
            files::Output::Disk(tag, op) => self.outputs.push_back(Output::Disk(tag, op)),
            files::Output::Ready => self.on_ready(now),
            files::Output::Piece { piece, good: true } => self.on_passed(now, piece),
            files::Output::Piece { piece, good: false } => self.on_failed_piece(now, piece),
            files::Output::Found(piece) => self.on_passed(now, piece),
            files::Output::Lost(piece) => self.on_lost(now, piece),
            files::Output::Read { token, result } => self.on_read(now, token, result),
            files::Output::Spans { token, result } => self.on_spans(now, token, result),
            files::Output::Checked { bad } => self.outputs.push_back(Output::Checked { bad }),
            files::Output::Record => self.outputs.push_back(Output::Record),
            files::Output::Durable => self.outputs.push_back(Output::Durable),
            files::Output::Finished => self.on_finished(now),
            files::Output::Stopped(why) => self.on_files_stopped(now, why),
            files::Output::CheckProgress { .. } | files::Output::FileDone(_) => {}
        }
    }

    /// It is known what is there: the swarm can be joined.
    fn on_ready(&mut self, now: Instant) {
        let rng = self.rng.fork();
        let Some(content) = &mut self.content else { return };
        let grid = content.metainfo.grid();
        let mut picker = Picker::new(grid, content.files.have(), rng);
        picker.set_sequential(self.plan.sequential);
        content.picker = Some(picker);
        self.prioritize();
        self.urge(now);
        self.serve_readers(now);
        let picker = self.content.as_ref().and_then(|content| content.picker.as_ref());
        let whole = picker.is_some_and(Picker::is_complete);
        if self.stop.is_some() {
            return;
        }
        if self.plan.offline {
            content_files(&mut self.content).check(now, files::CheckScope::All);
            self.touch_files();
            return;
        }
        self.tell_early_peers(now);
        if whole {
            self.finish(now);
        } else {
            self.phase = Phase::Connecting;
            self.recount_offers();
            self.join_swarm(now);
            self.meet_web_seeds(now);
        }
    }

    /// Peers that connected before it was known what is here have heard of nothing.
    fn tell_early_peers(&mut self, now: Instant) {
        for peer in self.peers.keys() {
            let (Some(content), Some(slot)) = (&self.content, self.peers.get_mut(peer)) else { continue };
            let Some(has) = slot.machine.has() else { continue };
            let (grid, have) = (content.metainfo.grid(), content.files.have());
            let news: Vec<PieceIndex> =
                grid.all().filter(|piece| have.has(*piece) && !has.has(*piece)).collect();
            if news.len() > MAX_LATE_HAVES {
                self.close_peer(now, peer);
                continue;
            }
            news.into_iter().for_each(|piece| slot.machine.have(piece));
            self.touch_peer(peer);
        }
    }

    /// A piece is here and right.
    fn on_passed(&mut self, now: Instant, piece: PieceIndex) {
        let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) else { return };
        let wanted = picker.wants(piece);
        picker.passed(piece);
        let whole = picker.is_complete();
        if wanted {
            self.offer_less(piece);
        }
        self.compare_blocks(now, piece);
        self.tell_have(piece);
        if whole && matches!(self.phase, Phase::Connecting | Phase::Downloading) {
            self.finish(now);
        } else {
            self.serve_readers(now);
        }
    }

    fn tell_have(&mut self, piece: PieceIndex) {
        for peer in self.peers.keys() {
            let Some(slot) = self.peers.get_mut(peer) else { continue };
            // Whoever has it does not need to know.
            if slot.machine.has().is_some_and(|has| !has.has(piece)) {
                slot.machine.have(piece);
                self.touch_peer(peer);
            }
        }
    }

    /// All that is wanted is here.
    pub(super) fn finish(&mut self, now: Instant) {
        self.phase = Phase::Finishing;
        self.rest_seeds(now);
        self.tell_totals();
        self.serve_readers(now);
    }

    /// A piece that was here is not any more.
    fn on_lost(&mut self, now: Instant, piece: PieceIndex) {
        if let Some(picker) = self.content.as_mut().and_then(|content| content.picker.as_mut()) {
            picker.lost(piece);
        }
        for peer in self.peers.keys() {
            if let Some(slot) = self.peers.get_mut(peer) {
                slot.machine.dont_have(piece);
                self.touch_peer(peer);
            }
        }
        self.fetch_what_is_missing(now);
    }

    /// Something else is wanted than before, or less is here: it is fetched, also where all was here.
    pub(super) fn fetch_what_is_missing(&mut self, now: Instant) {
        let picker = self.content.as_ref().and_then(|content| content.picker.as_ref());
        let whole = picker.is_some_and(Picker::is_complete);
        if !whole && matches!(self.phase, Phase::Finishing | Phase::Seeding) {
            self.phase = Phase::Downloading;
            self.start.seeded = self.seeded(now);
            self.seeding_since = None;
            self.super_seed = None;
            let config = PeerConfig { upload_only: false, ..(*self.config).clone() };
            self.configure(now, config);
            self.join_swarm(now);
            self.meet_web_seeds(now);
        }
        self.recount_offers();
        self.blocks_freed = true;
        self.tell_totals();
    }

    /// All that is wanted is verified, synced and has its name.
    fn on_finished(&mut self, now: Instant) {
        if self.stop.is_some() || self.plan.offline {
            return;
        }
        self.outputs.push_back(Output::Durable);
        if self.phase == Phase::Seeding {
            // It was looked at again.
            return;
        }
        // BEP 3 and 21: the last byte of all, not of those that are wanted.
        let picker = self.content.as_ref().and_then(|content| content.picker.as_ref());
        let all = picker.is_some_and(|picker| picker.left() == 0);
        let completed = all && self.downloaded > self.start.downloaded;
        self.phase = Phase::Seeding;
        self.seeding_since = Some(now);
        self.outputs.push_back(Output::Completed);
        self.tell_totals();
        if self.goal_is_met(now) {
            if completed {
                self.announcer.completed(now);
                self.touched.push_back(Child::Announcer);
            }
            self.end_seeding(now);
            return;
        }
        self.join_swarm(now);
        if completed {
            self.announcer.completed(now);
            self.touched.push_back(Child::Announcer);
        }
        if self.plan.super_seeding {
            let grid = self.content.as_ref().map(|content| content.metainfo.grid());
            self.super_seed = grid.map(SuperSeed::new);
        } else {
            let config = PeerConfig { upload_only: true, ..(*self.config).clone() };
            self.configure(now, config);
        }
        self.peers.keys().into_iter().for_each(|peer| self.part_if_redundant(now, peer));
        self.deadlines.set(Timer::Goal, self.goal_at());
    }
}

fn content_files(content: &mut Option<super::Content>) -> &mut TorrentFiles {
    &mut content.as_mut().expect("a picker stands beside its files").files
}

/// Where there is more to tell one by one, half a megabyte, a peer had better come again and be greeted with all of it.
const MAX_LATE_HAVES: usize = 1 << 16;
