//! How a torrent learns what it is (BEP 9), and teaches others.

use super::files::{FilesPlan, TorrentFiles};
use super::layout::Layout;
use super::{Child, Content, Output, PeerKey, Phase, Timer, Torrent};
use crate::base::Instant;
use crate::proto::peer::PeerConfig;
use crate::wire::peer::{METADATA_PIECE_LEN, MetadataMessage};
use crate::wire::torrent::Metainfo;
use std::sync::Arc;

impl Torrent {
    /// The metainfo is known: the files are looked at.
    pub(super) fn know(&mut self, now: Instant, metainfo: Arc<Metainfo>) {
        let layout = Arc::new(Layout::new(&metainfo));
        let plan = FilesPlan {
            dir_path: self.plan.dir_path.clone(),
            allocation: self.plan.allocation,
            metainfo: Arc::clone(&metainfo),
            layout,
            unwanted: self.plan.unwanted(&metainfo),
            overwrite: self.plan.overwrite,
        };
        let files = TorrentFiles::new(plan, self.start.files.take(), self.keys);
        self.phase = Phase::Checking;
        self.content = Some(Content { metainfo, files, picker: None });
        if let Some(dir) = self.dir {
            self.with_files(|files| files.dir_ready(now, dir));
        }
        self.touch_files();
    }

    /// Asks a peer for parts of the info dictionary, if they are wanted.
    pub(super) fn fetch_metadata(&mut self, now: Instant, peer: PeerKey) {
        if self.content.is_some() || self.stop.is_some() {
            return;
        }
        let Some(slot) = self.peers.get_mut(peer) else { return };
        let Some(size) = slot.machine.metadata_size() else { return };
        while let Some(part) = self.metadata.next(now, peer, size) {
            if !slot.machine.request_metadata(part) {
                self.metadata.lost(peer);
                break;
            }
        }
        self.touch_peer(peer);
        self.deadlines.set(Timer::Metadata, self.metadata.poll_timeout());
    }

    /// Parts that did not come are asked of others.
    pub(super) fn fetch_metadata_anew(&mut self, now: Instant) {
        for peer in self.peers.keys() {
            self.fetch_metadata(now, peer);
        }
    }

    pub(super) fn on_metadata(&mut self, now: Instant, peer: PeerKey, message: MetadataMessage) {
        match message {
            MetadataMessage::Request { piece } => self.give_metadata(peer, piece),
            MetadataMessage::Data { piece, data, .. } => match self.metadata.received(peer, piece, data) {
                Some(whole) => self.on_whole_metadata(now, peer, whole),
                None => self.fetch_metadata(now, peer),
            },
            MetadataMessage::Reject { .. } => {
                self.metadata.lost(peer);
                self.deadlines.set(Timer::Metadata, self.metadata.poll_timeout());
            }
        }
    }

    fn give_metadata(&mut self, peer: PeerKey, piece: u32) {
        let info = self.content.as_ref().map(|content| content.metainfo.info_bytes());
        let Some(slot) = self.peers.get_mut(peer) else { return };
        let part = info.and_then(|info| {
            let start =
                (piece as usize).checked_mul(METADATA_PIECE_LEN as usize).filter(|at| *at < info.len())?;
            let end = (start + METADATA_PIECE_LEN as usize).min(info.len());
            Some((u32::try_from(info.len()).ok()?, info.slice(start..end)))
        });
        match part {
            Some((total, bytes)) => slot.machine.send_metadata(piece, total, &bytes),
            None => slot.machine.reject_metadata(piece),
        }
        self.touch_peer(peer);
    }

    fn on_whole_metadata(&mut self, now: Instant, peer: PeerKey, info: bytes::Bytes) {
        let metainfo = match Metainfo::from_info(&info, self.plan.info_hash) {
            Ok(metainfo) => Arc::new(metainfo),
            Err(error) => {
                tracing::debug!(%error, "the info dictionary is wrong");
                if let Some(liar) = self.metadata.wrong() {
                    self.ban_peer(now, liar);
                }
                self.fetch_metadata(now, peer);
                return;
            }
        };
        self.deadlines.set(Timer::Metadata, None);
        let config = PeerConfig {
            private: metainfo.is_private(),
            metadata_size: u32::try_from(metainfo.info_bytes().len()).ok(),
            ..(*self.config).clone()
        };
        let grid = metainfo.grid();
        if metainfo.is_private() {
            self.candidates.go_private();
        }
        self.know(now, metainfo);
        self.configure(now, config);
        for peer in self.peers.keys() {
            if let Some(slot) = self.peers.get_mut(peer) {
                slot.machine.set_pieces(now, grid);
                self.touch_peer(peer);
            }
        }
        self.outputs.push_back(Output::Metainfo);
        self.touched.push_back(Child::Announcer);
    }
}
