//! What was typed.

use crate::engine::Runtime;
use crate::rate::{parse_rate, parse_seconds};
use crate::storage::Storage;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use gosh_dl_core::base::disk::AllocationMode;
use gosh_dl_core::download::{ConflictPolicy, DownloadPriority, ExpectedChecksum};
use gosh_dl_core::wire::http::HttpUrl;
use gosh_dl_core::wire::torrent::MAX_PIECE_LEN;
use gosh_dl_core::wire::torrent::create::MIN_PIECE_LEN;
use gosh_dl_core::wire::tracker::TrackerUrl;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Fetches files over HTTP(S) with many connections, and goes on where it stopped.
#[derive(Debug, Parser)]
#[command(name = "gosh-dl", version, about, after_help = EXIT_CODES, infer_subcommands = false)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download files. Run the same command again to resume an interrupted one
    #[command(after_long_help = format!("{GET_NOTES}\n\n{EXIT_CODES}"))]
    Get(Box<GetArgs>),
    /// Serve a complete torrent to others until interrupted
    #[command(after_long_help = SEED_NOTES)]
    Seed(Box<SeedArgs>),
    /// Show what a torrent or magnet link says
    Show {
        /// A .torrent file or a magnet link
        #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
        torrent: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a torrent of a file or folder
    Create(CreateArgs),
    /// Compare files with a torrent; lists what is wrong
    Verify {
        /// A .torrent file
        #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
        torrent: PathBuf,
        /// The directory that the torrent's file or folder is in [default: the current one]
        #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
        /// Print nothing; the exit code tells
        #[arg(short, long)]
        quiet: bool,
        /// Print one line of JSON for each file that is wrong, and one for all
        #[arg(long)]
        json: bool,
    },
    /// Show the downloads that are not complete
    List(ListArgs),
    /// Go on with downloads that are not complete: all, or those named
    Resume(ResumeArgs),
    /// Forget downloads that are not complete
    Cancel(CancelArgs),
    /// Move the files of a complete download to another directory
    Move(MoveArgs),
    /// Look after state files
    #[command(subcommand)]
    State(StateCommand),
    /// Run what --record wrote through the engine again, and show each step
    Replay {
        /// What was recorded
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Only say whether the same came out, and the hash of it
        #[arg(short, long)]
        quiet: bool,
        /// Log the engine's decisions to standard error; twice and thrice for more
        #[arg(short, long, action = ArgAction::Count)]
        verbose: u8,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `gosh-dl get`
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// What to download: URLs, .torrent files, magnet links
    #[arg(value_name = "URL", required_unless_present = "input_file", value_hint = ValueHint::Url)]
    pub(crate) urls: Vec<String>,
    /// The directory to save in [default: the current one]
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// The name of the file (single file only) [default: the server's or the URL's]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) out: Option<String>,
    /// Another URL of the same file (single file only; repeatable)
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) mirror: Vec<String>,
    /// The digest the file must have (single file only): md5, sha-1, sha-256 or sha-512, as algo=hex or
    /// algo:hex
    #[arg(long, value_name = "ALGO=HEX")]
    pub(crate) checksum: Option<ExpectedChecksum>,
    /// A header to send (repeatable)
    #[arg(short = 'H', long, value_name = "K: V")]
    pub(crate) header: Vec<String>,
    /// A cookie to send (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) cookie: Vec<String>,
    /// The User-Agent to send [default: gosh-dl/VERSION]
    #[arg(long, value_name = "S")]
    pub(crate) user_agent: Option<String>,
    /// The Referer to send
    #[arg(long, value_name = "S")]
    pub(crate) referer: Option<String>,
    /// When a file of that name exists: rename, overwrite, skip or fail [default: rename]
    #[arg(long, value_name = "POLICY", ignore_case = true)]
    #[arg(value_parser = one_of::<ConflictPolicy>(&POLICIES), hide_possible_values = true)]
    pub(crate) on_conflict: Option<ConflictPolicy>,
    /// How room on the disk is reserved: none, sparse or full [default: none]
    #[arg(long, value_name = "MODE", ignore_case = true)]
    #[arg(value_parser = one_of::<AllocationMode>(&MODES), hide_possible_values = true)]
    pub(crate) allocation: Option<AllocationMode>,
    /// The place in the queue: low, normal, high or critical
    #[arg(short, long, value_name = "LEVEL", default_value_t, ignore_case = true)]
    #[arg(value_parser = one_of::<DownloadPriority>(&LEVELS), hide_possible_values = true)]
    pub(crate) priority: DownloadPriority,
    /// Read URLs from a file, or from standard input with -
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) swarm: SwarmArgs,
    /// Torrents: fetch pieces in order
    #[arg(long)]
    pub(crate) sequential: bool,
    /// Torrents: the files to fetch, by their numbers as `show` has them: 0,2,5-7
    #[arg(long, value_name = "IDX,..", value_parser = parse_selection)]
    pub(crate) select_file: Option<Selection>,
    /// Serve the files to players on this machine while they are fetched, at http://127.0.0.1:PORT/ (0 is any free port),
    /// and go on when all is complete until interrupted (single download only)
    #[arg(long, value_name = "PORT")]
    pub(crate) stream: Option<u16>,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `gosh-dl seed`
#[derive(Args, Debug)]
pub(crate) struct SeedArgs {
    /// A .torrent file
    #[arg(value_name = "TORRENT", value_hint = ValueHint::FilePath)]
    pub(crate) torrent: PathBuf,
    /// The directory that the torrent's file or folder is in [default: the current one]
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Look as if there were nothing here and show each peer a piece at a time: for the first seed, who sends little more
    /// than each piece once
    #[arg(long)]
    pub(crate) super_seed: bool,
    #[command(flatten)]
    pub(crate) swarm: SwarmArgs,
    /// What drives the engine: tokio or smol
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) runtime: Runtime,
    /// Write everything that the engine is given to a file, for a report that can be repeated with gosh-dl replay
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `gosh-dl create`
#[derive(Args, Debug)]
pub(crate) struct CreateArgs {
    /// The file or folder
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// The .torrent file to write, which must not be there yet; - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: PathBuf,
    /// Version 1 of the format (the only one there is so far)
    #[arg(long)]
    pub(crate) v1: bool,
    /// An announce URL; each further one is a tier of its own (repeatable)
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, value_parser = parse_tracker)]
    pub(crate) tracker: Vec<String>,
    /// A web server that has the files (repeatable)
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url, value_parser = parse_web_seed)]
    pub(crate) web_seed: Vec<String>,
    /// The length of a piece, a power of two, e.g. 256K [default: by the size of the content]
    #[arg(long, value_name = "N", value_parser = parse_piece_length)]
    pub(crate) piece_length: Option<u32>,
    /// Peers may come from the trackers only
    #[arg(long)]
    pub(crate) private: bool,
    /// Print errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to take part in a swarm.
#[derive(Args, Debug)]
#[command(next_help_heading = "Torrents")]
pub(crate) struct SwarmArgs {
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// A peer to connect to (repeatable)
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_peer)]
    pub(crate) peer: Vec<Addresses>,
    /// Bytes sent for each byte of the torrent before seeding ends; 0 seeds without end [default: get does not seed, seed
    /// goes on until interrupted]
    #[arg(long, value_name = "R", value_parser = parse_ratio)]
    pub(crate) seed_ratio: Option<f64>,
    /// How long to seed at most
    #[arg(long, value_name = "SECS", value_parser = parse_whole_seconds)]
    pub(crate) seed_time: Option<Duration>,
}

/// How peers and trackers are reached, of all torrents together.
#[derive(Args, Debug)]
#[command(next_help_heading = "Torrents")]
pub(crate) struct NetworkArgs {
    /// Where peers may connect to [default: port 6881 to 6889 of all addresses, or of the one of --bind]
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_listen)]
    pub(crate) listen: Option<SocketAddr>,
    /// Do not tell peers of each other
    #[arg(long)]
    pub(crate) no_pex: bool,
    /// Do not take part in the DHT (there is none yet)
    #[arg(long)]
    pub(crate) no_dht: bool,
    /// Do not look for peers in the local network (that is not done yet)
    #[arg(long)]
    pub(crate) no_lpd: bool,
    /// The most bytes per second to all peers together, e.g. 500K, 2.5M, 1G
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) upload_limit: Option<u64>,
    /// Peers per torrent, 1 to 5000 [default: 55]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(crate) max_peers: Option<u16>,
    /// The own address that connections to peers, trackers and web seeds come from
    #[arg(long, value_name = "ADDR")]
    pub(crate) bind: Option<IpAddr>,
    /// Encryption of connections to peers: off (there is none yet)
    #[arg(long, value_name = "POLICY", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) encryption: Encryption,
    /// Transport to peers: tcp (the only one there is so far)
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) transport: Transport,
}

/// All addresses of a host, with the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses(pub(crate) Vec<SocketAddr>);

/// `--encryption`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Encryption {
    /// None.
    #[default]
    #[value(aliases = ["disabled", "allowed", "preferred"])]
    Off,
    /// Only encrypted ones.
    #[value(alias = "require")]
    Required,
}

/// `--transport`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Transport {
    /// TCP.
    #[default]
    #[value(aliases = ["tcp-only", "any", "both"])]
    Tcp,
    /// uTP (BEP 29).
    #[value(alias = "utp-only")]
    Utp,
}

/// The numbers of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection(pub(crate) Vec<usize>);

/// How to fetch.
#[derive(Args, Debug)]
pub(crate) struct TransferArgs {
    /// Connections per file, 1 to 256 [default: 16]
    #[arg(short = 'x', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) connections: Option<u16>,
    /// Files at once [default: 5]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) max_concurrent: Option<u16>,
    /// The most bytes per second for all files together, e.g. 500K, 2.5M, 1G
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) limit_rate: Option<u64>,
    /// Certificates (PEM) to trust besides the system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_certificate: Option<PathBuf>,
    /// DANGEROUS: accept any certificate; whoever sits between can read and change everything
    #[arg(long)]
    pub(crate) insecure_accept_invalid_certs: bool,
    /// Tries in a row that may fail without progress; 0 never gives up [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) max_tries: Option<u32>,
    /// How long a connection may be silent [default: 60]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<Duration>,
    /// How long a host may take to give a connection [default: 30]
    #[arg(long, value_name = "SECS", value_parser = parse_seconds)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Redirects in a row that are followed [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=100))]
    pub(crate) max_redirects: Option<u16>,
    /// Follow redirects of servers elsewhere into the own network, and to this machine
    #[arg(long)]
    pub(crate) allow_local_redirects: bool,
    /// The file that keeps the state; it stays, and lists complete downloads too
    /// [default: a file of this command's own, gone once all is complete]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,
    /// What a new state file is: redb, or sqlite, to be looked at with sqlite3
    #[arg(long, value_name = "KIND", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) storage: Storage,
    /// Write everything that the engine is given to a file, for a report that can be repeated with gosh-dl replay
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) record: Option<PathBuf>,
    /// What drives the engine: tokio or smol
    #[arg(long, value_name = "NAME", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) runtime: Runtime,
}

/// What to show.
#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Print errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print one line of JSON per event on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw no progress bars
    #[arg(long)]
    pub(crate) no_progress: bool,
    /// Log to standard error; twice and thrice for more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// `gosh-dl list`
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// The state file to read [default: all of this user's]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,
    /// Print one line of JSON per download
    #[arg(long)]
    pub(crate) json: bool,
}

/// `gosh-dl resume`
#[derive(Args, Debug)]
pub(crate) struct ResumeArgs {
    /// Ids as `list` shows them, or their first digits (four or more)
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) transfer: TransferArgs,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// `gosh-dl cancel`
#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    /// Ids as `list` shows them, or their first digits (four or more)
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Also delete what was fetched
    #[arg(long)]
    pub(crate) delete_files: bool,
    /// The state file to change [default: whichever of this user's has them]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,
    /// Print one line of JSON per download
    #[arg(long)]
    pub(crate) json: bool,
}

/// `gosh-dl move`
#[derive(Args, Debug)]
#[command(after_long_help = MOVE_NOTES)]
pub(crate) struct MoveArgs {
    /// An id as `list --state` shows it, or its first digits (four or more)
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// The directory to move to; it is made where it is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// The state file that has it [default: whichever of this user's]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `gosh-dl state`
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Copy a state to a new file of another kind, without loss; the old file stays as it is
    Convert {
        /// The state file
        #[arg(value_name = "FROM", value_hint = ValueHint::FilePath)]
        from: PathBuf,
        /// The file to make
        #[arg(value_name = "TO", value_hint = ValueHint::FilePath)]
        to: PathBuf,
        /// What to make, redb or sqlite [default: as TO ends, or else what FROM is not]
        #[arg(long, value_name = "KIND", value_enum, hide_possible_values = true)]
        storage: Option<Storage>,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// `0,2,5-7`
fn parse_selection(text: &str) -> Result<Selection, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<usize>()
            .map_err(|_| format!("\"{text}\" is no number; files are numbered from 0"))
    };
    let mut files = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').map_or((part, part), |ends| ends);
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last - first >= MAX_SELECTED {
            return Err(format!("\"{part}\" is no range of files"));
        }
        files.extend(first..=last);
    }
    files.sort_unstable();
    files.dedup();
    Ok(Selection(files))
}

fn parse_peer(text: &str) -> Result<Addresses, String> {
    if !text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        return Err(
            "a peer is written HOST:PORT, such as 192.0.2.1:6881, [2001:db8::1]:6881 or name:6881".to_owned()
        );
    }
    let found = text.to_socket_addrs().map_err(|_| "there is no such host".to_owned())?;
    Ok(Addresses(found.take(MAX_ADDRESSES).collect()))
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let Addresses(found) = parse_peer(text)?;
    found.first().copied().ok_or_else(|| "the host has no address".to_owned())
}

fn parse_tracker(text: &str) -> Result<String, String> {
    let has_scheme = ["http", "https", "udp"]
        .iter()
        .any(|scheme| text.split_once("://").is_some_and(|(found, _)| found.eq_ignore_ascii_case(scheme)));
    if !has_scheme {
        return Err("a tracker's URL begins with http://, https:// or udp://".to_owned());
    }
    TrackerUrl::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn parse_piece_length(text: &str) -> Result<u32, String> {
    let is_right = |len: &u32| (MIN_PIECE_LEN..=MAX_PIECE_LEN).contains(len) && len.is_power_of_two();
    let len = parse_rate(text).ok().and_then(|len| u32::try_from(len).ok()).filter(is_right);
    let (least, most) = (MIN_PIECE_LEN >> 10, MAX_PIECE_LEN >> 20);
    len.ok_or_else(|| {
        format!("the length of a piece is a power of two from {least}K to {most}M, such as 256K")
    })
}

fn parse_web_seed(text: &str) -> Result<String, String> {
    HttpUrl::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio: &f64| ratio.is_finite() && *ratio >= 0.0);
    ratio.ok_or_else(|| "a ratio is a number of 0 or more, such as 1.5".to_owned())
}

fn parse_whole_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "a time is given in whole seconds".to_owned())?;
    Ok(Duration::from_secs(seconds))
}

/// Of a host with more addresses than these, the others are not needed.
const MAX_ADDRESSES: usize = 16;
/// No torrent has more files.
const MAX_SELECTED: usize = 500_000;

/// Reads what `T` reads, and names the values for completion and help.
fn one_of<T>(values: &[&'static str]) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(values.iter().copied()).try_map(|value| value.parse::<T>())
}

const POLICIES: [&str; 4] = ["rename", "overwrite", "skip", "fail"];
const MODES: [&str; 3] = ["none", "sparse", "full"];
const LEVELS: [&str; 4] = ["low", "normal", "high", "critical"];

const EXIT_CODES: &str = "\
Exit codes: 0 all done, 1 some or all failed, 2 wrong usage, 130 interrupted (143 terminated, 129 hung up).";

const SEED_NOTES: &str = "\
JSON lines are those of get, and {\"event\": \"seeding\", .., \"listen\"} once peers may come; the last, interrupted or \
completed, says what was sent.";

const MOVE_NOTES: &str = "\
Files are renamed, or copied to another file system and then removed. What has its name there already is never replaced: then, \
or if anything else fails, all stays where it was. After Ctrl-C, a crash or a power cut the same command goes on. A torrent that \
was seeding goes on from there with resume.

The JSON line is {\"event\": moved|failed, ..} with the fields of get's.";

const GET_NOTES: &str = "\
Input files: one file a line; URLs separated by tabs on one line are mirrors of one file; lines that begin with a space \
are options of the file above (out=, dir=, checksum=, header=, referer=, user-agent=); # begins a comment.

JSON lines: {\"event\": added|started|progress|completed|skipped|failed|removed|paused|resumed|waiting|warning|\
interrupted, \"id\", \"url\", \"path\", \"total\", \"completed\", \"speed\", \"connections\"}, sizes in bytes, path and total null while \
unknown; of torrents also \"state\", \"peers\", \"seeders\", \"availability\", \"upload_speed\", \"downloaded\", \"uploaded\", \
\"ratio\"; with failed also \"error\", \"kind\", \"retryable\"; with waiting \"error\", \"kind\", \"retry_in\" (seconds); with \
warning \"message\". Interrupted comes last, and says what is kept. With --stream also {\"event\": \"stream\", \"id\", \"file\", \
\"name\", \"url\"} for each file.

Rates and sizes: K, M and G are powers of 1024.

The state is kept in $XDG_STATE_HOME/gosh-dl (or ~/.local/state/gosh-dl) until all files of a command are complete.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn short_forms_are_those_of_aria2_and_curl() {
        let line = "gosh-dl get -d /tmp -o n -x 8 -j 2 -H A:b -i - -q -vv -p high http://a/";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Get(get) = cli.command else { panic!("not get") };
        assert_eq!((get.transfer.connections, get.transfer.max_concurrent), (Some(8), Some(2)));
        assert_eq!((get.out.as_deref(), get.show.quiet, get.show.verbose), (Some("n"), true, 2));
        assert_eq!((get.header.len(), get.priority), (1, DownloadPriority::High));
    }

    #[test]
    fn every_named_value_is_taken() {
        for (option, values) in
            [("--on-conflict", &POLICIES[..]), ("--allocation", &MODES), ("--priority", &LEVELS)]
        {
            for value in values {
                for value in [(*value).to_owned(), value.to_uppercase()] {
                    Cli::try_parse_from(["gosh-dl", "get", option, &value, "http://a/"]).unwrap();
                }
            }
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in [
            "get",
            "get -x 0 http://a/",
            "get -x 257 http://a/",
            "get --limit-rate fast http://a/",
            "get --on-conflict maybe http://a/",
            "get --allocation some http://a/",
            "get --checksum md5=12 http://a/",
            "get --timeout 0 http://a/",
            "get --nonsense http://a/",
            "cancel",
            "move 0123",
            "create a -o b --piece-length 100K",
            "create a -o b --piece-length abc",
            "create a -o b --tracker foo",
            "",
        ] {
            assert!(Cli::try_parse_from(format!("gosh-dl {line}").split(' ')).is_err(), "{line}");
        }
    }
}
