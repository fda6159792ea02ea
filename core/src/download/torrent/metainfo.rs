//! How a torrent learns what it is (BEP 9), and teaches others.

use super::files::{FilesPlan, TorrentFiles};
use super::layout::Layout;
use super::metadata::MetadataFetch;
use super::{Child, Content, Output, PeerKey, Phase, Timer, Torrent};
use crate::base::Instant;
use crate::download::{DownloadError, End};
use crate::proto::peer::PeerConfig;
use crate::wire::peer::{METADATA_PIECE_LEN, MetadataMessage};
use crate::wire::torrent::{Metainfo, MetainfoError};
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
            // Whatever is there is looked at.
            overwrite: self.plan.overwrite || self.plan.offline,
            look_only: self.plan.offline,
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
                self.metadata.refused(now, peer);
                break;
            }
        }
        self.touch_peer(peer);
        self.deadlines.set(Timer::Metadata, self.metadata.poll_timeout());
    }

    /// Parts that did not come, or were wrong, are asked of all that may have them.
    pub(super) fn fetch_metadata_anew(&mut self, now: Instant) {
        if self.content.is_some() {
            return;
        }
        for peer in self.peers.keys() {
            self.fetch_metadata(now, peer);
        }
    }

    pub(super) fn on_metadata(&mut self, now: Instant, peer: PeerKey, message: MetadataMessage) {
        match message {
            MetadataMessage::Request { piece } => self.give_metadata(peer, piece),
            MetadataMessage::Data { piece, data, .. } => match self.metadata.received(peer, piece, data) {
                Some(whole) => self.on_whole_metadata(now, whole),
                None => self.fetch_metadata(now, peer),
            },
            MetadataMessage::Reject { .. } => {
                self.metadata.refused(now, peer);
                self.fetch_metadata_anew(now);
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

    fn on_whole_metadata(&mut self, now: Instant, info: bytes::Bytes) {
        let metainfo = match Metainfo::from_info(&info, self.plan.info_hash) {
            Ok(metainfo) => Arc::new(metainfo),
            Err(MetainfoError::HashMismatch) => return self.on_wrong_metadata(now),
            // It is what the link names, and all peers have the same.
            Err(error) => return self.leave(now, End::Failed(DownloadError::Metainfo(error))),
        };
        self.deadlines.set(Timer::Metadata, None);
        self.metadata = MetadataFetch::new();
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

    /// Somebody gave something else.
    fn on_wrong_metadata(&mut self, now: Instant) {
        if let Some(liar) = self.metadata.wrong() {
            self.ban_peer(now, liar);
        }
        self.fetch_metadata_anew(now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Lane;
    use super::super::tests::torrent;
    use super::*;
    use crate::base::link::LinkKey;
    use crate::base::{InfoHash, LinkInput, LinkOutput, PeerId};
    use crate::proto::peer::Arrival;
    use crate::wire::peer::{Extension, ExtensionHandshake, Features, Handshake, Message};
    use bytes::{Bytes, BytesMut};
    use sha1::{Digest as _, Sha1};

    fn extended(id: u8, payload: Vec<u8>) -> BytesMut {
        let mut out = BytesMut::new();
        Message::Extended { id, payload: payload.into() }.encode(&mut out);
        out
    }

    /// A peer comes and gives `info`, of one part; returns all that the torrent does then.
    fn give(torrent: &mut Torrent, info: &'static [u8]) -> Vec<Output> {
        let features = Features { extended: true, fast: true, dht: false };
        let handshake = Handshake { features, info_hash: torrent.plan.info_hash, peer_id: PeerId([2; 20]) };
        let arrival = Arrival { handshake, rest: BytesMut::new(), credit: 1 << 20 };
        let from = ([192, 0, 2, 1], 50_000).into();
        let peer = torrent.accept(Instant::ZERO, LinkKey::from_u64(1), from, arrival).unwrap();
        let said = ExtensionHandshake {
            ids: Extension::ALL.map(|extension| Some(extension.local_id())),
            metadata_size: Some(info.len() as u32),
            ..ExtensionHandshake::default()
        };
        let mut data = MetadataMessage::Data { piece: 0, total_size: info.len() as u32, data: Bytes::new() }
            .encode_head();
        data.extend_from_slice(info);
        for message in [extended(0, said.encode()), extended(Extension::Metadata.local_id(), data)] {
            torrent.handle_link(Instant::ZERO, Lane::Peer(peer), LinkInput::Data(message));
        }
        core::iter::from_fn(|| torrent.poll_output()).collect()
    }

    #[test]
    fn liar_is_banned_and_the_torrent_goes_on() {
        let mut torrent = torrent(InfoHash([7; 20]), |_| {});
        let outputs = give(&mut torrent, b"d4:name1:xe");
        assert!(outputs.iter().any(|output| matches!(output, Output::Link(_, LinkOutput::Close))));
        assert_eq!(torrent.phase(), Phase::Connecting);
        assert!(!torrent.candidates.may_connect(
            Instant::ZERO,
            ([192, 0, 2, 1], 50_000).into(),
            core::iter::empty()
        ));
    }

    #[test]
    fn what_the_link_names_and_cannot_be_downloaded_is_nobodys_lie() {
        let info = b"d4:name1:xe";
        let mut torrent = torrent(InfoHash(Sha1::digest(info).into()), |_| {});
        let outputs = give(&mut torrent, info);
        let Some(Output::Ended(End::Failed(error))) = outputs.last() else { panic!("{outputs:?}") };
        assert_eq!(error.to_string(), "what the link leads to is refused: the torrent has no `info.length`");
        assert!(!error.is_retryable());
        assert!(torrent.candidates.may_connect(
            Instant::ZERO,
            ([192, 0, 2, 1], 50_000).into(),
            core::iter::empty()
        ));
    }
}
