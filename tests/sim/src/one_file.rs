//! Policy: a torrent of one file, and the engines of a world that have it or fetch it.

use crate::content::Content;
use crate::internet::NodeId;
use crate::scripted_peer::{Conduct, ScriptedPeer};
use crate::station::Station;
use crate::world::World;
use bytes::Bytes;
use core::time::Duration;
use gosh_dl_core::download::{DownloadId, DownloadOptions};
use gosh_dl_core::engine::{DownloadEvent, DownloadStatus, Engine, EngineConfig};
use gosh_dl_core::wire::torrent::Metainfo;
use gosh_dl_core::wire::torrent::create::NewTorrent;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A torrent of one file, and what is in that.
///
/// ```
/// use gosh_dl_core::download::DownloadOptions;
/// use gosh_dl_core::engine::EngineConfig;
/// use gosh_dl_sim::one_file::{OneFile, place};
/// use gosh_dl_sim::{Content, World};
/// use std::time::Duration;
///
/// let file = OneFile::new(Content::generated(1, 1_000_000), 64 << 10);
/// let mut world = World::new(1);
/// file.seed(&mut world, 1, EngineConfig::new(), DownloadOptions::new());
/// let known = DownloadOptions::new().peer(place(1));
/// let (leecher, _) = file.join(&mut world, 2, EngineConfig::new(), known);
/// file.assert_fetched(&mut world, leecher, Duration::from_secs(10));
/// ```
#[derive(Clone, Debug)]
pub struct OneFile {
    /// What is in the file.
    pub content: Content,
    /// The torrent.
    pub metainfo: Metainfo,
}

/// Where the peer of that number listens.
pub const fn place(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, number)), 6881)
}

impl OneFile {
    /// What the file is called.
    pub const NAME: &str = "file";

    /// A torrent with nothing but the file; pieces are `piece_len` bytes long.
    pub fn new(content: Content, piece_len: u32) -> Self {
        Self::with(content, piece_len, |_| {})
    }

    /// A torrent that says what `change` adds.
    ///
    /// # Panics
    ///
    /// Where that is no torrent.
    pub fn with(content: Content, piece_len: u32, change: impl FnOnce(&mut NewTorrent)) -> Self {
        let mut torrent = NewTorrent::file(Self::NAME, content.len());
        torrent.piece_len = Some(piece_len);
        change(&mut torrent);
        let metainfo = torrent.finish(&content.piece_hashes(piece_len));
        Self { content, metainfo: metainfo.unwrap_or_else(|error| panic!("this is no torrent: {error}")) }
    }

    /// The torrent as a file.
    pub fn raw(&self) -> Bytes {
        self.metainfo.raw().clone()
    }

    /// What is in the file.
    pub fn bytes(&self) -> Bytes {
        self.content.slice(0..self.content.len())
    }

    /// An engine at `place(number)` that fetches the file.
    pub fn join(
        &self,
        world: &mut World,
        number: u8,
        config: EngineConfig,
        options: DownloadOptions,
    ) -> (NodeId, DownloadId) {
        let node = world.add_station(&[place(number).ip()], config);
        (node, self.add(world, node, options))
    }

    /// An engine at `place(number)` that has the file.
    pub fn seed(
        &self,
        world: &mut World,
        number: u8,
        config: EngineConfig,
        options: DownloadOptions,
    ) -> (NodeId, DownloadId) {
        let node = world.add_station(&[place(number).ip()], config);
        let bytes = self.bytes();
        world.act(node, |station: &mut Station, _| station.disk.put(World::DIR, Self::NAME, &bytes));
        (node, self.add(world, node, options))
    }

    /// Gives an engine the torrent.
    ///
    /// # Panics
    ///
    /// Where it does not take it.
    pub fn add(&self, world: &mut World, node: NodeId, options: DownloadOptions) -> DownloadId {
        let raw = self.raw();
        let add = |engine: &mut Engine, now, token| engine.add_torrent(now, raw, options, token);
        world.command(node, add).1.unwrap_or_else(|error| panic!("the torrent was not taken: {error}"))
    }

    /// A scripted peer at `place(number)` that has the file.
    pub fn scripted(&self, world: &mut World, number: u8, conduct: Conduct) -> NodeId {
        let (at, piece_len) = (place(number), self.metainfo.grid().piece_len());
        let peer = ScriptedPeer::new(at, self.metainfo.info_hash(), self.content.clone(), piece_len, conduct);
        world.add_actor(&[at.ip()], peer)
    }

    /// Plays until an engine has the file.
    ///
    /// # Panics
    ///
    /// Where that takes longer than `limit`, or the file is not what it should be.
    pub fn assert_fetched(&self, world: &mut World, node: NodeId, limit: Duration) {
        let done = world.run_until(|world| world.has_completed(node), limit);
        assert!(done, "not complete: {}", world.report());
        let file = world.station(node).disk.content(World::DIR, Self::NAME);
        assert!(file.is_some_and(|file| file == self.bytes()), "a complete file is what it should be");
    }
}

impl World {
    /// Whether another engine said that a download is complete.
    pub fn has_completed(&self, node: NodeId) -> bool {
        let events = &self.station(node).events;
        events.iter().any(|(_, event)| matches!(event, DownloadEvent::Completed { .. }))
    }

    /// What another engine says of a download.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn status_of(&mut self, (node, id): (NodeId, DownloadId)) -> DownloadStatus {
        let status = self.command(node, |engine: &mut Engine, now, _| engine.status(now, id)).1;
        status.unwrap_or_else(|| panic!("{id:?} is no download of {node:?}"))
    }
}
