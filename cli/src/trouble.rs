//! What keeps torrents from finding peers, said once: trackers that fail, and no way to any peer.

use crate::engine::Engine;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::{DownloadKind, DownloadState, DownloadStatus};
use std::collections::HashSet;
use std::time::Duration;

/// What was said already.
#[derive(Default)]
pub(crate) struct Trouble {
    trackers: HashSet<(DownloadId, String)>,
    lonely: HashSet<DownloadId>,
}

impl Trouble {
    /// The engine has said this of a download, which speaks of the tracker that it names.
    pub(crate) fn heard(&mut self, engine: &Engine, id: DownloadId, message: &str) {
        let named = engine.trackers(id).into_iter().filter(|tracker| message.contains(&*tracker.url));
        self.trackers.extend(named.map(|tracker| (id, tracker.url)));
    }

    /// What there is to say now; safe to show.
    pub(crate) fn news(&mut self, engine: &Engine) -> Vec<(DownloadStatus, String)> {
        let mut news = Vec::new();
        for status in engine.active().into_iter().filter(|status| status.kind != DownloadKind::Http) {
            let trackers = engine.trackers(status.id);
            let is_alone = trackers.is_empty() && status.progress.peers == 0;
            for tracker in trackers {
                let Some(error) = tracker.last_error else { continue };
                if self.trackers.insert((status.id, tracker.url.clone())) {
                    news.push((status.clone(), format!("{}: {error}", tracker.url)));
                }
            }
            let is_fetching = matches!(status.state, DownloadState::Connecting | DownloadState::Downloading);
            if is_alone
                && is_fetching
                && engine.web_seeds(status.id).is_empty()
                && self.lonely.insert(status.id)
            {
                news.push((status, ALONE.to_owned()));
            }
        }
        news
    }
}

/// How often it is looked. A peer that was named has been reached by the first time.
pub(crate) const LOOK: Duration = Duration::from_secs(3);
const ALONE: &str = "no peer is connected, there is no tracker and no web seed to ask, and there is no DHT yet; \
                     --peer HOST:PORT names a peer";
