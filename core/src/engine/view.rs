//! How the engine shows its downloads to users.

use super::config::EngineConfig;
use super::entry::{Entry, Kind, Running, TorrentEntry};
use super::status::{
    DownloadKind, DownloadMetadata, DownloadProgress, DownloadState, DownloadStatus, PeerInfo, TorrentFile,
    TorrentStatusInfo,
};
use crate::base::{Bitfield, Instant};
use crate::download::FilePriority;
use crate::download::http::{HttpDownload, HttpSaved};
use crate::download::torrent::Torrent;
use crate::wire::http::HttpUrl;
use crate::wire::torrent::Metainfo;

impl Entry {
    /// How far it is.
    pub(super) fn progress(&self, now: Instant) -> DownloadProgress {
        match &self.running {
            Some(Running::Http(download)) => http_progress(now, download),
            Some(Running::Torrent(torrent)) => torrent_progress(now, torrent),
            Some(Running::Check { .. } | Running::Remove(_) | Running::Move { .. }) | None => {
                self.progress_at_rest()
            }
        }
    }

    fn progress_at_rest(&self) -> DownloadProgress {
        let (total_size, durable) = match &self.kind {
            Kind::Http(saved) => (saved.total, saved.part.as_ref().map_or(0, |part| part.durable.len())),
            Kind::Torrent(torrent) => (torrent.saved.wanted, torrent.saved.completed),
        };
        let done = self.state == DownloadState::Completed;
        let completed_size = if done { total_size.unwrap_or(durable) } else { durable };
        let (uploaded, ratio) = match &self.kind {
            Kind::Http(_) => (0, 0.0),
            Kind::Torrent(torrent) => {
                let uploaded = torrent.saved.uploaded;
                (uploaded, ratio(uploaded, torrent.metainfo.as_deref()))
            }
        };
        DownloadProgress { total_size, completed_size, uploaded, ratio, ..DownloadProgress::default() }
    }

    /// Everything about it but what can be long: the files and peers of a torrent.
    pub(super) fn status(&self, now: Instant, config: &EngineConfig) -> DownloadStatus {
        let progress = self.progress(now);
        let (kind, metadata) = match &self.kind {
            Kind::Http(saved) => (DownloadKind::Http, self.http_metadata(saved, config)),
            Kind::Torrent(torrent) if torrent.metainfo.is_some() => {
                (DownloadKind::Torrent, self.torrent_metadata(torrent, config))
            }
            Kind::Torrent(torrent) => (DownloadKind::Magnet, self.torrent_metadata(torrent, config)),
        };
        DownloadStatus {
            id: self.id,
            kind,
            state: self.state.clone(),
            priority: self.options.priority,
            progress,
            metadata,
            torrent_info: None,
            peers: None,
            created_at: self.created_at,
            completed_at: self.completed_at,
        }
    }

    /// Everything about it.
    pub(super) fn full_status(&self, now: Instant, config: &EngineConfig) -> DownloadStatus {
        let mut status = self.status(now, config);
        if let Kind::Torrent(torrent) = &self.kind {
            let files = torrent.metainfo.as_ref().map_or(0, |metainfo| metainfo.files().len());
            status.torrent_info = torrent_info(now, torrent, self.torrent(), &self.file_priorities(files));
        }
        status.peers = self.torrent().map(|torrent| peers(now, torrent));
        status
    }

    fn http_metadata(&self, saved: &HttpSaved, config: &EngineConfig) -> DownloadMetadata {
        let shown = |text: &str| HttpUrl::parse(text).map_or_else(|_| text.to_owned(), |url| url.to_string());
        let live = self.http().map(HttpDownload::saved);
        let saved = live.as_ref().unwrap_or(saved);
        let final_name = saved.part.as_ref().map(|part| part.final_name.to_string());
        let guess = || {
            HttpUrl::parse(&self.url)
                .ok()
                .and_then(|url| url.file_name())
                .map(|name| name.unassuming().to_string())
        };
        let validator = saved.validator.clone().unwrap_or_default();
        DownloadMetadata {
            name: final_name
                .clone()
                .or_else(|| self.options.filename.clone())
                .or_else(guess)
                .unwrap_or_default(),
            url: shown(&self.url),
            save_dir: self.save_dir(config).to_owned(),
            filename: final_name,
            mirrors: self.options.mirrors.iter().map(|mirror| shown(mirror)).collect(),
            checksum: self.options.checksum.clone(),
            etag: validator.etag,
            last_modified: validator.last_modified,
            ..DownloadMetadata::default()
        }
    }

    fn torrent_metadata(&self, torrent: &TorrentEntry, config: &EngineConfig) -> DownloadMetadata {
        let known = torrent.metainfo.as_ref().map(|metainfo| metainfo.name().to_string());
        let named = || torrent.magnet.as_ref().and_then(|magnet| magnet.name.clone());
        let name = known.clone().or_else(named).unwrap_or_else(|| torrent.info_hash.to_string());
        DownloadMetadata {
            name,
            url: self.url.to_string(),
            magnet_uri: Some(self.url.to_string()),
            info_hash: Some(torrent.info_hash.to_string()),
            save_dir: self.save_dir(config).to_owned(),
            filename: known,
            ..DownloadMetadata::default()
        }
    }
}

fn http_progress(now: Instant, download: &HttpDownload) -> DownloadProgress {
    let (total_size, completed_size) = (download.total(), download.completed());
    let download_speed = download.speed(now);
    DownloadProgress {
        total_size,
        completed_size,
        download_speed,
        connections: count(download.connections()),
        eta_seconds: eta(total_size, completed_size, download_speed),
        ..DownloadProgress::default()
    }
}

fn torrent_progress(now: Instant, torrent: &Torrent) -> DownloadProgress {
    let (total_size, completed_size) = (torrent.wanted(), torrent.completed());
    let (download_speed, upload_speed) = torrent.speeds(now);
    DownloadProgress {
        total_size,
        completed_size,
        download_speed,
        upload_speed,
        connections: count(torrent.connections()),
        seeders: count(torrent.seeders()),
        peers: count(torrent.connected()),
        eta_seconds: eta(total_size, completed_size, download_speed),
        uploaded: torrent.uploaded(),
        ratio: ratio(torrent.uploaded(), torrent.metainfo().map(|metainfo| &**metainfo)),
        availability: torrent.availability(),
    }
}

/// Bytes sent for each byte of the torrent.
fn ratio(uploaded: u64, metainfo: Option<&Metainfo>) -> f64 {
    metainfo.map_or(0.0, |metainfo| uploaded as f64 / metainfo.grid().total().max(1) as f64)
}

/// Seconds until all is here at this speed.
fn eta(total: Option<u64>, completed: u64, speed: u64) -> Option<u64> {
    total.and_then(|total| total.saturating_sub(completed).checked_div(speed))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn torrent_info(
    now: Instant,
    entry: &TorrentEntry,
    running: Option<&Torrent>,
    priorities: &[FilePriority],
) -> Option<TorrentStatusInfo> {
    let metainfo = entry.metainfo.as_ref()?;
    let saved = running.map(|torrent| torrent.saved(now));
    let saved = saved.as_ref().unwrap_or(&entry.saved);
    let folder = (!metainfo.is_single_file()).then_some(metainfo.name());
    let file = |file: crate::wire::torrent::TorrentFile<'_>| TorrentFile {
        index: file.index,
        path: folder.into_iter().chain(&file.path()).map(|name| name.as_str()).collect(),
        size: file.len,
        selected: priorities.get(file.index).is_some_and(|priority| *priority != FilePriority::Skip),
        priority: priorities.get(file.index).copied().unwrap_or_default(),
        completed: saved.completed_of(metainfo, file.index),
    };
    let files = metainfo.files().iter().filter(|file| !file.pad).map(file).collect();
    Some(TorrentStatusInfo {
        files,
        piece_length: metainfo.grid().piece_len().into(),
        pieces_count: metainfo.grid().pieces(),
        pieces_have: running.and_then(Torrent::have).map_or_else(|| saved.pieces_have(), Bitfield::count),
        private: metainfo.is_private(),
        downloaded: saved.downloaded,
        uploaded: saved.uploaded,
        ratio: ratio(saved.uploaded, Some(metainfo)),
        availability: running.map_or(0.0, Torrent::availability),
    })
}

fn peers(now: Instant, torrent: &Torrent) -> Vec<PeerInfo> {
    let shown = |peer: crate::download::torrent::PeerView| PeerInfo {
        id: peer.id.map(|id| format!("{id:?}")).unwrap_or_default(),
        ip: peer.address.ip(),
        port: peer.address.port(),
        client: peer.client,
        download_speed: peer.download_speed,
        upload_speed: peer.upload_speed,
        progress: peer.progress,
        am_choking: peer.am_choking,
        peer_choking: peer.peer_choking,
        incoming: peer.incoming,
    };
    torrent.peers(now).into_iter().map(shown).collect()
}
