//! What the arguments about torrents mean.

use crate::args::{Addresses, Encryption, NetworkArgs, SeedArgs, SwarmArgs, Transport};
use crate::engine::Runtime;
use crate::failure::{Failure, Refusal, UsageError, io_message};
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{EngineConfig, TorrentConfig};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

/// A `seed` command.
#[derive(Debug)]
pub(crate) struct Seed {
    /// The `.torrent` file.
    pub(crate) torrent: PathBuf,
    /// Everything for the engine.
    pub(crate) options: DownloadOptions,
    /// The engine's settings.
    pub(crate) config: EngineConfig,
    /// `--runtime`
    pub(crate) runtime: Runtime,
}

/// The meaning of `gosh-dl seed`.
pub(crate) fn seed(args: &SeedArgs) -> Result<Seed, Refusal> {
    let dir = std::path::absolute(args.dir.clone().unwrap_or_else(|| PathBuf::from(".")))
        .map_err(|error| UsageError(format!("--dir: {}", io_message(&error))))?;
    let mut options = options(&args.swarm, DownloadOptions::new().save_dir(dir));
    options.super_seeding = args.super_seed.then_some(true);
    if args.swarm.seed_ratio.is_none() {
        // Until it is interrupted.
        options = options.seed_ratio(0.0);
    }
    let config = config(&args.swarm.network, EngineConfig::new().record(args.record.clone()))?;
    check_addresses(&args.swarm.network)?;
    Ok(Seed { torrent: args.torrent.clone(), options, config, runtime: args.runtime })
}

/// The engine's settings with what the arguments say of torrents.
pub(crate) fn config(args: &NetworkArgs, defaults: EngineConfig) -> Result<EngineConfig, UsageError> {
    if args.transport == Transport::Utp {
        return Err(UsageError(
            "--transport utp: there is no uTP yet; peers are reached over TCP".to_owned(),
        ));
    }
    if args.encryption == Encryption::Required {
        return Err(UsageError(
            "--encryption required: connections to peers cannot be encrypted yet".to_owned(),
        ));
    }
    let max_peers = args.max_peers.map_or(defaults.max_peers, usize::from);
    // Who is to be seen at one address only is not to be found at others.
    let mut torrent = TorrentConfig::new().bind_address(args.bind).listen_address(args.bind);
    torrent.max_connections = torrent.max_connections.max(max_peers);
    if let Some(listen) = args.listen {
        torrent = torrent.listen_port_range((listen.port(), listen.port()));
        torrent = torrent.listen_address(Some(listen.ip()).filter(|ip| !ip.is_unspecified()));
    }
    let config = defaults
        .enable_pex(!args.no_pex)
        .max_peers(max_peers)
        .global_upload_limit(args.upload_limit)
        .torrent(torrent);
    config.validate().map_err(|error| UsageError(error.to_string()))?;
    Ok(config)
}

/// Whether the addresses that were given can be had: the engine would go on without, and nobody would know.
pub(crate) fn check_addresses(args: &NetworkArgs) -> Result<(), Failure> {
    if let Some(listen) = args.listen {
        TcpListener::bind(listen)
            .map_err(|error| Failure(format!("--listen {listen}: {}; choose another", io_message(&error))))?;
    }
    if let Some(bind) = args.bind {
        UdpSocket::bind((bind, 0)).map_err(|error| {
            Failure(format!("--bind {bind}: {}; give an address of this machine", io_message(&error)))
        })?;
    }
    Ok(())
}

/// `options` with what the arguments say of torrents.
pub(crate) fn options(args: &SwarmArgs, mut options: DownloadOptions) -> DownloadOptions {
    for peer in args.peer.iter().flat_map(|Addresses(peer)| peer) {
        options = options.peer(*peer);
    }
    options.seed_ratio = args.seed_ratio;
    options.seed_time = args.seed_time;
    if args.seed_ratio.is_none() && args.seed_time.is_some() {
        options = options.seed_ratio(0.0);
    }
    options
}

/// What was asked for is fetched, and not served afterwards unless that was asked for too.
pub(crate) fn get_options(args: &SwarmArgs, options: DownloadOptions) -> DownloadOptions {
    let options = self::options(args, options);
    if args.seed_ratio.is_none() && args.seed_time.is_none() {
        return options.seed_time(Duration::ZERO);
    }
    options
}
