//! Codecs: announce and scrape, over HTTP (BEP 3, 23, 48) and UDP (BEP 15), and the URLs of trackers.

mod announce;
pub mod http;
pub mod udp;
mod url;

pub use announce::{AnnounceAnswer, AnnounceRequest, Event, MAX_PEERS, Refusal, Retry, ScrapeAnswer};
pub use url::{TrackerUrl, TrackerUrlError, UdpTracker};
