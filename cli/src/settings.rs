//! What the arguments mean: checked, and in the engine's terms. What is wrong here is wrong usage (exit code 2).

use crate::args::{GetArgs, ShowArgs, TransferArgs};
use crate::engine::Runtime;
use crate::failure::{Failure, Refusal, UsageError, io_message};
use crate::input_file::{self, Entry};
use crate::storage::Storage;
use crate::{metainfo, swarm, text};
use gosh_dl_core::base::InfoHash;
use gosh_dl_core::download::DownloadOptions;
use gosh_dl_core::engine::{EngineConfig, HttpConfig, RESERVED_HEADERS};
use gosh_dl_core::wire::torrent::{Magnet, Metainfo};
use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use url::Url;

/// A `get` command.
#[derive(Debug)]
pub(crate) struct Get {
    /// The files to fetch, each once.
    pub(crate) requests: Vec<Request>,
    /// The engine's settings.
    pub(crate) config: EngineConfig,
    /// `--state`
    pub(crate) state: Option<PathBuf>,
    /// `--storage`
    pub(crate) storage: Storage,
    /// `--runtime`
    pub(crate) runtime: Runtime,
    /// `--stream`
    pub(crate) stream: Option<u16>,
}

/// What a request is for.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file at a URL.
    Url,
    /// A torrent, by its metainfo.
    Torrent(Box<Metainfo>),
    /// A torrent, by its magnet link.
    Magnet,
}

/// One file or torrent to fetch.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What it is for.
    pub(crate) source: Source,
    /// The first URL, or the magnet link, as given; of a torrent file its path.
    pub(crate) url: String,
    /// The first URL without user name and password, as its parser writes it; of a torrent its name.
    pub(crate) plain_url: String,
    /// The directory, absolute.
    pub(crate) dir: PathBuf,
    /// The name that was asked for.
    pub(crate) out: Option<String>,
    /// Everything for the engine.
    pub(crate) options: DownloadOptions,
}

impl Request {
    /// What tells it from others: the URL, the directory, and the name where one was asked for.
    pub(crate) fn key(&self) -> String {
        key(&self.plain_url, &self.dir, self.out.as_deref())
    }
}

/// Joined by what none of the parts can hold. Records keep paths as text, so this does too.
pub(crate) fn key(plain_url: &str, dir: &Path, out: Option<&str>) -> String {
    format!("{plain_url}\0{}\0{}", dir.to_string_lossy(), out.unwrap_or_default())
}

/// How much is shown, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Show {
    /// Errors only.
    pub(crate) quiet: bool,
    /// JSON lines on standard output.
    pub(crate) json: bool,
    /// Bars may be drawn, if there is a terminal.
    pub(crate) bars: bool,
}

impl From<&ShowArgs> for Show {
    fn from(args: &ShowArgs) -> Self {
        // Log lines and bars would overwrite one another.
        Self { quiet: args.quiet, json: args.json, bars: !args.no_progress && args.verbose == 0 }
    }
}

/// The meaning of `gosh-dl get`.
pub(crate) fn get(args: &GetArgs) -> Result<Get, Refusal> {
    let (mut requests, mut seen) = (Vec::new(), HashSet::new());
    let entries = args.input_file.as_deref().map_or(Ok(Vec::new()), read_list)?;
    only_for_one_file(args, args.urls.len() + entries.len())?;
    let typed = args.urls.iter().map(|url| Entry { urls: vec![url.clone()], ..Entry::default() });
    for entry in typed.chain(entries) {
        let request = request(args, &entry).map_err(|refusal| at_line(args, &entry, refusal))?;
        // The same file asked for twice is fetched once.
        if seen.insert(request.key()) {
            requests.push(request);
        }
    }
    if requests.is_empty() {
        return Err(UsageError("there is no URL in the input file".to_owned()).into());
    }
    let network = &args.swarm.network;
    let config = swarm::config(network, config(&args.transfer, EngineConfig::new())?)?;
    if requests.iter().all(|request| matches!(request.source, Source::Url)) {
        only_for_torrents(args)?;
    } else {
        swarm::check_addresses(network)?;
    }
    let TransferArgs { state, storage, runtime, .. } = &args.transfer;
    if args.stream.is_some() && requests.len() > 1 {
        return Err(UsageError(format!(
            "--stream is for a single download, and there are {}",
            requests.len()
        ))
        .into());
    }
    let stream = args.stream;
    Ok(Get { requests, config, state: state.clone(), storage: *storage, runtime: *runtime, stream })
}

/// The engine's settings that `args` ask for.
pub(crate) fn config(args: &TransferArgs, defaults: EngineConfig) -> Result<EngineConfig, UsageError> {
    let EngineConfig { max_concurrent_downloads, max_connections_per_download, .. } = defaults;
    let concurrent = args.max_concurrent.map_or(max_concurrent_downloads, usize::from);
    let connections = args.connections.map_or(max_connections_per_download, usize::from);
    // Whoever asks for more connections or files means it, so one host may take as many.
    let per_host = defaults.max_connections_per_host.max(connections).max(concurrent);
    if let Some(file) = &args.ca_certificate {
        std::fs::File::open(file).map_err(|error| {
            UsageError(format!("--ca-certificate {}: {}", text::path(file), io_message(&error)))
        })?;
    }
    let http = defaults.http.clone();
    let http = HttpConfig::new()
        .read_timeout(args.timeout.unwrap_or(http.read_timeout))
        .connect_timeout(args.connect_timeout.unwrap_or(http.connect_timeout))
        .max_redirects(args.max_redirects.map_or(http.max_redirects, usize::from))
        .allow_local_redirects(args.allow_local_redirects)
        .max_retries(args.max_tries.unwrap_or(http.max_retries))
        .ca_certificate(args.ca_certificate.clone())
        .accept_invalid_certs(args.insecure_accept_invalid_certs);
    let config = defaults
        .max_concurrent_downloads(concurrent)
        .max_connections_per_download(connections)
        .max_connections_per_host(per_host)
        .global_download_limit(args.limit_rate)
        .record(args.record.clone())
        .http(http);
    config.validate().map_err(|error| UsageError(error.to_string()))?;
    Ok(config)
}

fn read_list(file: &Path) -> Result<Vec<Entry>, UsageError> {
    let mut content = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().read_to_string(&mut content)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut content))
    };
    let name = text::path(file);
    read.map_err(|error| UsageError(format!("--input-file {name}: {}", io_message(&error))))?;
    input_file::parse(&content).map_err(|why| UsageError(format!("--input-file {name}: {why}")))
}

fn only_for_one_file(args: &GetArgs, files: usize) -> Result<(), UsageError> {
    let given = [
        (args.out.is_some(), "--out"),
        (!args.mirror.is_empty(), "--mirror"),
        (args.checksum.is_some(), "--checksum"),
    ];
    match given.into_iter().find(|(given, _)| *given && files > 1) {
        None => Ok(()),
        Some((_, option)) => Err(UsageError(format!(
            "{option} is for a single file, and there are {files}; an input file can give each its own"
        ))),
    }
}

/// What the first of an entry's addresses is.
fn source(first: &str) -> Result<(Source, String), Refusal> {
    let wrong = |error: &dyn std::fmt::Display| UsageError(format!("{}: {error}", text::escape(first)));
    if metainfo::is_magnet(first) {
        let magnet = Magnet::parse(first).map_err(|error| wrong(&error))?;
        return Ok((Source::Magnet, torrent_name(magnet.info_hash)));
    }
    if metainfo::is_file(first) {
        let torrent = metainfo::read(Path::new(first))?;
        let name = torrent_name(torrent.info_hash());
        return Ok((Source::Torrent(Box::new(torrent)), name));
    }
    Ok((Source::Url, text::without_user_info(&checked_url(first)?)))
}

/// What tells a torrent from others.
pub(crate) fn torrent_name(info_hash: InfoHash) -> String {
    format!("urn:btih:{info_hash}")
}

fn request(args: &GetArgs, entry: &Entry) -> Result<Request, Refusal> {
    let mut urls = entry.urls.iter().chain(&args.mirror);
    let url = urls.next().ok_or_else(|| UsageError("there is no URL".to_owned()))?.clone();
    let (source, plain_url) = source(&url)?;
    if !matches!(source, Source::Url) {
        not_for_torrents(args, entry)?;
    }
    let out = entry.out.clone().or_else(|| args.out.clone());
    if let Some(name) = &out {
        check_name(name)?;
    }
    let dir = entry.dir.as_ref().map(PathBuf::from).or_else(|| args.dir.clone());
    let dir = std::path::absolute(dir.unwrap_or_else(|| PathBuf::from(".")))
        .map_err(|error| UsageError(format!("--dir: {}", io_message(&error))))?;
    let mut options = DownloadOptions::new().priority(args.priority).save_dir(dir.clone());
    options.filename = out.clone();
    options.allocation_mode = args.allocation;
    options.on_conflict = args.on_conflict;
    options.user_agent = header_value("user-agent", entry.user_agent.as_ref().or(args.user_agent.as_ref()))?;
    options.referer = header_value("referer", entry.referer.as_ref().or(args.referer.as_ref()))?;
    for mirror in urls {
        options = options.mirror(checked_url(mirror)?);
    }
    let typed = args.header.iter().map(|header| ("--header ", header));
    for (option, header) in typed.chain(entry.headers.iter().map(|header| ("header=", header))) {
        let (name, value) = parse_header(option, header)?;
        options = options.header(name, value);
    }
    if !args.cookie.is_empty() {
        if options.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("cookie")) {
            let why = "there are --cookie and a Cookie header; put all into one of them";
            return Err(UsageError(why.to_owned()).into());
        }
        options = options
            .cookies(args.cookie.iter().map(|cookie| checked_cookie(cookie)).collect::<Result<Vec<_>, _>>()?);
    }
    options.checksum = match &entry.checksum {
        None => args.checksum.clone(),
        Some(checksum) => Some(checksum.parse().map_err(|why| UsageError(format!("checksum: {why}")))?),
    };
    if !matches!(source, Source::Url) {
        options = swarm::get_options(&args.swarm, options);
        options.sequential = args.sequential.then_some(true);
        options.selected_files = args.select_file.as_ref().map(|selection| selection.0.clone());
    }
    Ok(Request { source, plain_url, url, dir, out, options })
}

/// Options that are about one file of a web server.
fn not_for_torrents(args: &GetArgs, entry: &Entry) -> Result<(), UsageError> {
    let given = [
        (args.out.is_some() || entry.out.is_some(), "--out"),
        (!args.mirror.is_empty() || entry.urls.len() > 1, "--mirror"),
        (args.checksum.is_some() || entry.checksum.is_some(), "--checksum"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        None => Ok(()),
        Some((_, option)) => Err(UsageError(format!("{option} is for a URL, not for a torrent"))),
    }
}

/// Options that would do nothing without a torrent, and be missed.
fn only_for_torrents(args: &GetArgs) -> Result<(), UsageError> {
    let given = [
        (args.select_file.is_some(), "--select-file"),
        (args.sequential, "--sequential"),
        (!args.swarm.peer.is_empty(), "--peer"),
        (args.swarm.network.bind.is_some(), "--bind"),
    ];
    match given.into_iter().find(|(given, _)| *given) {
        None => Ok(()),
        Some((_, option)) => Err(UsageError(format!("{option} is for torrents, and there is none"))),
    }
}

fn checked_url(url: &str) -> Result<String, UsageError> {
    let shown = text::escape(url);
    match Url::parse(url) {
        Ok(parsed) if !matches!(parsed.scheme(), "http" | "https") => {
            let scheme = parsed.scheme();
            let hint = if url.contains("://") { "" } else { "; did you mean https:// in front of it?" };
            Err(UsageError(format!("{shown}: \"{scheme}\" is not supported, only http and https{hint}")))
        }
        Ok(_) => Ok(url.to_owned()),
        Err(url::ParseError::RelativeUrlWithoutBase) => Err(UsageError(format!(
            "{shown}: a URL begins with http:// or https://, and there is no .torrent file of this name"
        ))),
        Err(error) => Err(UsageError(format!("{shown}: not a URL ({error})"))),
    }
}

fn check_name(name: &str) -> Result<(), UsageError> {
    let shown = text::escape(name);
    if name.contains(['/', std::path::MAIN_SEPARATOR]) {
        return Err(UsageError(format!(
            "--out {shown}: this is a file name, not a path; use --dir for the directory"
        )));
    }
    if gosh_dl_core::base::FileName::sanitise(name).is_none() {
        return Err(UsageError(format!("--out \"{shown}\": this cannot be a file name")));
    }
    Ok(())
}

/// RFC 9110 section 5.6.2: a name is a token; section 5.5: a value has no control characters but the tab.
fn parse_header(option: &str, header: &str) -> Result<(String, String), UsageError> {
    let bad = |why: &str| UsageError(format!("{option}\"{}\": {why}", text::escape(header)));
    let (name, value) = header.split_once(':').ok_or_else(|| bad("a header is written \"Name: value\""))?;
    let name = name.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(bad("the name has a character that no header name may have"));
    }
    if !is_field_value(value) {
        return Err(bad("the value has a control character"));
    }
    if RESERVED_HEADERS.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return Err(bad("this header is set by the program itself and cannot be given"));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn header_value(option: &str, value: Option<&String>) -> Result<Option<String>, UsageError> {
    match value {
        Some(value) if !is_field_value(value) => {
            Err(UsageError(format!("--{option} \"{}\": there is a control character", text::escape(value))))
        }
        value => Ok(value.cloned()),
    }
}

fn checked_cookie(cookie: &str) -> Result<String, UsageError> {
    let is_pair = cookie.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
    if !is_pair || !is_field_value(cookie) || cookie.contains(';') {
        let shown = text::escape(cookie);
        return Err(UsageError(format!(
            "--cookie \"{shown}\": a cookie is written NAME=VALUE, one each time"
        )));
    }
    Ok(cookie.trim().to_owned())
}

fn is_field_value(value: &str) -> bool {
    value.chars().all(|c| c == '\t' || !c.is_control())
}

fn at_line(args: &GetArgs, entry: &Entry, refusal: Refusal) -> Refusal {
    let Some(file) = args.input_file.as_ref().filter(|_| entry.line > 0) else { return refusal };
    let at = |why: &str| format!("--input-file {}: line {}: {why}", text::path(file), entry.line);
    match refusal {
        Refusal::Usage(UsageError(why)) => UsageError(at(&why)).into(),
        Refusal::Failure(Failure(why)) => Failure(at(&why)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser as _;
    use std::time::Duration;

    fn parse(arguments: &[&str]) -> Result<Get, Refusal> {
        let cli = Cli::try_parse_from(["gosh-dl", "get"].iter().chain(arguments)).expect("clap takes it");
        let Command::Get(args) = cli.command else { panic!("not get") };
        get(&args)
    }

    fn error(arguments: &[&str]) -> String {
        let Err(Refusal::Usage(UsageError(why))) = parse(arguments) else {
            panic!("it is right: {arguments:?}")
        };
        why
    }

    #[test]
    fn defaults_are_the_engines() {
        let get = parse(&["http://h.example/a"]).unwrap();
        assert_eq!(get.config, EngineConfig::new());
        assert!(get.requests[0].dir.is_absolute());
        assert_eq!(get.state, None);
    }

    #[test]
    fn more_peers_than_usual_have_room() {
        let places = |arguments: &[&str]| {
            let config = parse(arguments).unwrap().config;
            (config.max_peers, config.torrent.max_connections)
        };
        assert_eq!(places(&["--max-peers", "400", "http://h.example/a"]), (400, 400));
        assert_eq!(places(&["--max-peers", "4", "http://h.example/a"]), (4, 300));
    }

    #[test]
    fn options_reach_the_engine() {
        let arguments = "-x 32 -j 3 --limit-rate 2M --max-tries 0 --timeout 7 --connect-timeout 0.5 \
                         --max-redirects 2 --insecure-accept-invalid-certs --state s http://u:p@h.example/a";
        let get = parse(&arguments.split_whitespace().collect::<Vec<_>>()).unwrap();
        let config = &get.config;
        assert_eq!((config.max_connections_per_download, config.max_connections_per_host), (32, 32));
        assert_eq!((config.max_concurrent_downloads, config.global_download_limit), (3, Some(2 << 20)));
        assert_eq!((config.http.max_retries, config.http.max_redirects), (0, 2));
        assert_eq!(config.http.read_timeout, Duration::from_secs(7));
        assert_eq!(config.http.connect_timeout, Duration::from_millis(500));
        assert!(config.http.accept_invalid_certs);
        assert_eq!(get.state, Some(PathBuf::from("s")));
        assert_eq!(get.requests[0].url, "http://u:p@h.example/a");
        assert_eq!(get.requests[0].plain_url, "http://h.example/a");
    }

    #[test]
    fn few_connections_per_file_leave_the_host_its_default() {
        let config = parse(&["-x", "4", "http://a/"]).unwrap().config;
        assert_eq!((config.max_connections_per_download, config.max_connections_per_host), (4, 16));
    }

    #[test]
    fn request_options_are_taken_over() {
        let sum = format!("sha-256={}", "ab".repeat(32));
        let get = parse(&[
            "http://a/1",
            "-d",
            "/tmp/x/../y",
            "-o",
            "n",
            "--mirror",
            "http://b/1",
            "--checksum",
            &sum,
            "-H",
            "X-A: b: c",
            "--cookie",
            "k=v=w",
            "--user-agent",
            "u",
            "--referer",
            "http://r/",
            "--on-conflict",
            "skip",
            "--allocation",
            "full",
        ])
        .unwrap();
        let options = &get.requests[0].options;
        assert_eq!(options.headers, [("X-A".to_owned(), "b: c".to_owned())]);
        assert_eq!(options.cookies.as_deref(), Some(&["k=v=w".to_owned()][..]));
        assert_eq!(options.mirrors, ["http://b/1"]);
        assert_eq!(
            (options.user_agent.as_deref(), options.referer.as_deref()),
            (Some("u"), Some("http://r/"))
        );
        assert!(
            options.checksum.is_some() && options.on_conflict.is_some() && options.allocation_mode.is_some()
        );
    }

    #[test]
    fn the_same_file_twice_is_fetched_once() {
        let get = parse(&["http://a/1", "http://a/2", "http://me:x@a/1"]).unwrap();
        assert_eq!(get.requests.len(), 2);
    }

    #[test]
    fn wrong_usage_says_what_is_wrong() {
        let cases: [(&[&str], &str); 18] = [
            (&["-o", "n", "http://a/1", "http://a/2"], "--out is for a single file, and there are 2"),
            (&["--mirror", "http://b/", "http://a/1", "http://a/2"], "--mirror is for a single file"),
            (
                &["--stream", "0", "http://a/1", "http://a/2"],
                "--stream is for a single download, and there are 2",
            ),
            (&["-o", "../n", "http://a/1"], "use --dir for the directory"),
            (&["-o", "..", "http://a/1"], "cannot be a file name"),
            (&["a.example/file"], "begins with http:// or https://"),
            (&["localhost:80/file"], "did you mean https://"),
            (&["ftp://a/file"], "\"ftp\" is not supported"),
            (&["http://a:x/"], "not a URL"),
            (&["--select-file", "1", "http://a/"], "--select-file is for torrents"),
            (&["--bind", "127.0.0.1", "http://a/"], "--bind is for torrents"),
            (&["-H", "no colon", "http://a/"], "\"Name: value\""),
            (&["-H", "A: b\nC: d", "http://a/"], "control character"),
            (&["-H", "Host: x", "http://a/"], "--header \"Host: x\": this header is set by the program"),
            (
                &["-H", "accept-encoding: gzip", "http://a/"],
                "--header \"accept-encoding: gzip\": this header",
            ),
            (&["--cookie", "k", "http://a/"], "NAME=VALUE"),
            (&["--cookie", "k=v", "-H", "cookie: l=w", "http://a/"], "--cookie and a Cookie header"),
            (&["--ca-certificate", "/does/not/exist", "http://a/"], "No such file"),
        ];
        for (arguments, part) in cases {
            let message = error(arguments);
            assert!(message.contains(part), "{arguments:?}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn an_input_file_gives_each_file_its_own_options() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        std::fs::write(&list, "http://a/1\thttp://b/1\n out=one\n dir=/tmp\nhttp://a/2\n").unwrap();
        let get = parse(&["-i", list.to_str().unwrap(), "-d", "/var", "http://a/0"]).unwrap();
        let seen: Vec<_> = get
            .requests
            .iter()
            .map(|r| (r.url.as_str(), r.dir.to_str().unwrap(), r.out.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [("http://a/0", "/var", None), ("http://a/1", "/tmp", Some("one")), ("http://a/2", "/var", None)]
        );
        assert_eq!(get.requests[1].options.mirrors, ["http://b/1"]);

        std::fs::write(&list, "http://a/1\n\nnonsense\n").unwrap();
        let message = error(&["-i", list.to_str().unwrap()]);
        assert!(message.contains("line 3: nonsense: a URL begins with"), "{message}");
        std::fs::write(&list, "http://a/1\n header=Range: bytes=0-1\n").unwrap();
        let message = error(&["-i", list.to_str().unwrap()]);
        assert!(message.contains("line 1: header=\"Range: bytes=0-1\": this header"), "{message}");
        std::fs::write(&list, "# nothing\n").unwrap();
        assert!(error(&["-i", list.to_str().unwrap()]).contains("no URL in the input file"));
        assert!(error(&["-i", "/does/not/exist"]).contains("No such file"));
    }
}
