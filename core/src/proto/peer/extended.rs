//! Machine: what a peer and a torrent say by the extension protocol (BEP 9, 10, 11, 21, 54).

use super::incoming::MAX_QUEUE;
use super::{Output, Peer, PeerConfig, Violation};
use crate::base::mutants::{self, Mutant};
use crate::base::{Instant, PieceIndex};
use crate::wire::peer::{Extension, ExtensionHandshake, METADATA_PIECE_LEN, Message, MetadataMessage, Pex};
use bytes::Bytes;
use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

/// What a peer said of itself, and what it was asked.
#[derive(Debug)]
pub(super) struct Extended {
    /// By which numbers it wants to be sent messages; 0 is not at all.
    ids: [u8; Extension::ALL.len()],
    pub(super) client: Option<Box<str>>,
    pub(super) listen_port: Option<u16>,
    pub(super) external_ip: Option<IpAddr>,
    pub(super) request_queue: Option<u32>,
    pub(super) metadata_size: Option<u32>,
    pub(super) upload_only: bool,
    /// Pieces of the metadata that were asked for and not answered.
    asked: Vec<u32>,
    /// How many pieces of the metadata it asked for.
    served: u32,
    pex: PexCount,
}

/// Peer exchange messages in the minute that began then.
#[derive(Debug, Default)]
struct PexCount {
    count: u32,
    since: Instant,
}

impl Default for Extended {
    fn default() -> Self {
        Self {
            ids: [0; Extension::ALL.len()],
            client: None,
            listen_port: None,
            external_ip: None,
            request_queue: None,
            metadata_size: None,
            upload_only: false,
            asked: Vec::new(),
            served: 0,
            pex: PexCount::default(),
        }
    }
}

impl Peer {
    /// Other settings, which are said anew where they differ.
    pub fn configure(&mut self, config: Arc<PeerConfig>) {
        let before = core::mem::replace(&mut self.config, config);
        if self.may_speak() && before != self.config {
            self.introduce(true);
        }
    }

    /// Takes a `have` back, where the peer understands that (BEP 54). What it waits for of that piece is rejected, or
    /// forgotten where there is no Fast extension.
    pub fn dont_have(&mut self, piece: PieceIndex) {
        self.push_extension(Extension::DontHave, &[&piece.get().to_be_bytes()]);
        self.reject_wanted(|block| block.piece == piece);
    }

    /// Says whether nothing more will be asked for, to peers that understand it (BEP 21).
    pub fn upload_only(&mut self, upload_only: bool) {
        if self.push_extension(Extension::UploadOnly, &[&[u8::from(upload_only)]]) || !self.may_speak() {
            return;
        }
        let news = ExtensionHandshake { upload_only: Some(upload_only), ..ExtensionHandshake::default() };
        self.push_handshake(&news);
    }

    /// Asks for a piece of the metadata. `false` where the peer gives none, has no such piece, or is asked for it or
    /// for many others already.
    pub fn request_metadata(&mut self, piece: u32) -> bool {
        let may = self.extended.as_ref().is_some_and(|extended| {
            metadata_len(extended.metadata_size, piece).is_some()
                && extended.asked.len() < MAX_METADATA_ASKED
                && !extended.asked.contains(&piece)
        });
        if !may || !self.push_metadata(&MetadataMessage::Request { piece }, &[]) {
            return false;
        }
        if let Some(extended) = &mut self.extended {
            extended.asked.push(piece);
        }
        true
    }

    /// Answers a request for a piece of the metadata, which has `total_size` bytes in all.
    pub fn send_metadata(&mut self, piece: u32, total_size: u32, data: &Bytes) {
        self.push_metadata(&MetadataMessage::Data { piece, total_size, data: Bytes::new() }, data);
    }

    /// Does not answer a request for a piece of the metadata.
    pub fn reject_metadata(&mut self, piece: u32) {
        self.push_metadata(&MetadataMessage::Reject { piece }, &[]);
    }

    /// Says whom we are connected to; once a minute at most (BEP 11). `false` where the peer does not want to know.
    pub fn pex(&mut self, pex: &Pex) -> bool {
        self.wants_pex() && self.push_extension(Extension::Pex, &[&pex.encode()])
    }

    /// Whether it wants to know whom we are connected to (BEP 11) and we tell; not in a private torrent.
    pub fn wants_pex(&self) -> bool {
        self.offers(Extension::Pex) && self.speaks(Extension::Pex)
    }

    /// The length of its metadata in bytes, where it has some and gives it (BEP 9).
    pub fn metadata_size(&self) -> Option<u32> {
        let size = self.extended.as_ref()?.metadata_size;
        size.filter(|_| self.speaks(Extension::Metadata))
    }

    /// Whether it has every piece or wants no more (BEP 21).
    pub fn is_upload_only(&self) -> bool {
        self.is_seed() || self.extended.as_ref().is_some_and(|extended| extended.upload_only)
    }

    /// Says what we can do; `again` where the peer may know something else.
    pub(super) fn introduce(&mut self, again: bool) {
        let config = &*self.config;
        let id = |extension: Extension| match (self.offers(extension), again) {
            (true, _) => Some(extension.local_id()),
            (false, true) => Some(0),
            (false, false) => None,
        };
        let handshake = ExtensionHandshake {
            ids: Extension::ALL.map(id),
            listen_port: config.listen_port,
            client: Some(config.client.clone()).filter(|client| !client.is_empty()),
            your_ip: Some(self.remote.ip()),
            request_queue: Some(self.wanted_limit()),
            metadata_size: config.metadata_size.filter(|_| !config.private),
            upload_only: (again || config.upload_only).then_some(config.upload_only),
        };
        self.push_handshake(&handshake);
    }

    fn offers(&self, extension: Extension) -> bool {
        match extension {
            // BEP 27: peers come from the tracker alone, and so does the right to know the metadata.
            Extension::Metadata => !self.config.private,
            Extension::Pex => self.config.pex && (!self.config.private || mutants::is(Mutant::PexInPrivate)),
            Extension::DontHave | Extension::UploadOnly => true,
        }
    }

    fn push_handshake(&mut self, handshake: &ExtensionHandshake) {
        if self.features.extended {
            self.outbox.push_extended(0, &[&handshake.encode()]);
        }
    }

    fn push_metadata(&mut self, message: &MetadataMessage, data: &[u8]) -> bool {
        self.push_extension(Extension::Metadata, &[&message.encode_head(), data])
    }

    /// Puts a message aside, where the peer wants such ones.
    fn push_extension(&mut self, extension: Extension, payload: &[&[u8]]) -> bool {
        let id = self.extended.as_ref().map_or(0, |extended| extended.ids[extension.index()]);
        let may = self.may_speak() && id != 0;
        if may {
            self.outbox.push_extended(id, payload);
        }
        may
    }

    fn speaks(&self, extension: Extension) -> bool {
        self.extended.as_ref().is_some_and(|extended| extended.ids[extension.index()] != 0)
    }

    pub(super) fn on_extended(&mut self, now: Instant, id: u8, payload: &Bytes) -> Result<(), Violation> {
        if !self.features.extended {
            return Err(Violation::ExtendedDisabled);
        }
        if id == 0 {
            return self.on_introduction(payload);
        }
        match Extension::of_local_id(id) {
            Some(extension) if !self.offers(extension) => Ok(()),
            Some(Extension::Metadata) => self.on_metadata(payload),
            Some(Extension::Pex) => self.on_pex(now, payload),
            Some(Extension::DontHave) => self.on_dont_have(payload),
            Some(Extension::UploadOnly) => self.on_upload_only(payload),
            None => Ok(()),
        }
    }

    fn on_introduction(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let said = ExtensionHandshake::decode(payload).map_err(|_| Violation::MalformedExtension)?;
        let extended = self.extended.get_or_insert_default();
        for (known, said) in extended.ids.iter_mut().zip(said.ids) {
            *known = said.unwrap_or(*known);
        }
        extended.client = said.client.map(String::into_boxed_str).or(extended.client.take());
        extended.listen_port = said.listen_port.or(extended.listen_port);
        extended.external_ip = said.your_ip.or(extended.external_ip);
        extended.request_queue =
            said.request_queue.map(|queue| queue.clamp(1, MAX_QUEUE)).or(extended.request_queue);
        extended.metadata_size = said.metadata_size.or(extended.metadata_size);
        extended.upload_only = said.upload_only.unwrap_or(extended.upload_only);
        self.outputs.push_back(Output::Extended);
        Ok(())
    }

    fn on_metadata(&mut self, payload: &Bytes) -> Result<(), Violation> {
        let message = MetadataMessage::decode(payload).map_err(|_| Violation::MalformedMetadata)?;
        match message {
            Some(MetadataMessage::Request { piece }) => return self.on_metadata_request(piece),
            Some(MetadataMessage::Data { piece, total_size, data }) if self.was_asked(piece) => {
                let size = self.extended.as_ref().and_then(|extended| extended.metadata_size);
                let right = metadata_len(size, piece).is_some_and(|len| data.len() == len as usize);
                if !right || total_size != 0 && Some(total_size) != size {
                    return Err(Violation::MalformedMetadata);
                }
                let message = MetadataMessage::Data { piece, total_size, data };
                self.outputs.push_back(Output::Metadata(message));
            }
            Some(message @ MetadataMessage::Reject { piece }) if self.was_asked(piece) => {
                self.outputs.push_back(Output::Metadata(message));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a piece of the metadata was asked for; it is not any more.
    fn was_asked(&mut self, piece: u32) -> bool {
        let Some(extended) = &mut self.extended else { return false };
        let at = extended.asked.iter().position(|asked| *asked == piece);
        at.map(|at| extended.asked.swap_remove(at)).is_some()
    }

    fn on_metadata_request(&mut self, piece: u32) -> Result<(), Violation> {
        let size = self.config.metadata_size;
        let pieces = size.unwrap_or(0).div_ceil(METADATA_PIECE_LEN).max(1);
        let busy = self.outbox.unsent() > MAX_UNSENT_METADATA;
        let Some(extended) =
            self.extended.as_mut().filter(|extended| extended.ids[Extension::Metadata.index()] != 0)
        else {
            // It has not said how it wants to be answered.
            return Ok(());
        };
        extended.served = extended.served.saturating_add(1);
        if extended.served > pieces.saturating_mul(METADATA_FLOOD) {
            return Err(Violation::MetadataFlood);
        }
        let id = extended.ids[Extension::Metadata.index()];
        let often = extended.served > pieces.saturating_mul(METADATA_SERVED);
        if metadata_len(size, piece).is_some() && !often && !busy {
            self.outputs.push_back(Output::Metadata(MetadataMessage::Request { piece }));
            return Ok(());
        }
        // BEP 9: "Peers that do not have the entire metadata MUST respond with a reject message".
        let payload = MetadataMessage::Reject { piece }.encode_head().into();
        self.answer(&Message::Extended { id, payload })
    }

    fn on_pex(&mut self, now: Instant, payload: &[u8]) -> Result<(), Violation> {
        let PexCount { count, since } = &mut self.extended.get_or_insert_default().pex;
        if *count == 0 || now - *since >= MINUTE {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count > MAX_PEX {
            return Err(Violation::PexFlood);
        }
        let pex = Pex::decode(payload).map_err(|_| Violation::MalformedPex)?;
        self.outputs.push_back(Output::Pex(pex));
        Ok(())
    }

    fn on_dont_have(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let index = <[u8; 4]>::try_from(payload).map_err(|_| Violation::MalformedExtended)?;
        self.begin_pieces();
        let Some(piece) = self.pieces.on_dont_have(u32::from_be_bytes(index), self.grid)? else {
            return Ok(());
        };
        self.outputs.push_back(Output::DontHave(piece));
        // BEP 54: with the Fast extension it rejects them itself.
        if !self.features.fast {
            self.outputs.extend(self.requests.lose_piece(piece).into_iter().map(Output::Rejected));
        }
        Ok(())
    }

    fn on_upload_only(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let [said] = payload else { return Err(Violation::MalformedExtended) };
        self.extended.get_or_insert_default().upload_only = *said != 0;
        self.outputs.push_back(Output::Extended);
        Ok(())
    }
}

/// The length of a piece of metadata of that size; `None` where there is no such piece.
fn metadata_len(size: Option<u32>, piece: u32) -> Option<u32> {
    let left = size?.checked_sub(piece.checked_mul(METADATA_PIECE_LEN)?)?;
    Some(left.min(METADATA_PIECE_LEN)).filter(|len| *len > 0)
}

/// The most pieces of the metadata that one peer is asked for at once: 256 KiB, after which it has shown that it
/// answers.
const MAX_METADATA_ASKED: usize = 16;

/// How many times over a peer is given the metadata: once, and some more because requests get lost with links.
const METADATA_SERVED: u32 = 4;

/// A peer that asks this many times over is cut off.
const METADATA_FLOOD: u32 = 16;

/// While so many bytes wait to be taken, no metadata is added to them.
const MAX_UNSENT_METADATA: u64 = 1 << 20;

/// The most peer exchange messages in a minute: BEP 11 allows one, and some clients are hasty in the beginning.
const MAX_PEX: u32 = 6;

const MINUTE: Duration = Duration::from_secs(60);
