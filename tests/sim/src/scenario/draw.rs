//! Policy: draws a scenario from a seed. Each class of faults is off in half of the scenarios of kind
//! [`Kind::Everything`], so that every pair of faults meets often and every fault also meets a world without the others.

use super::{Act, After, DownloadPlan, HostPlan, Kind, Meddling, Scenario, SourcePlan};
use crate::agenda::Latency;
use crate::behaviour::{AfterReply, Behaviour, Cut, End, Framing, Ranges, Refusal, Since, Version};
use crate::commands::SECRET;
use crate::content::Content;
use crate::disk::OpClass;
use crate::host::OverLimit;
use crate::image::CrashMode;
use crate::link::{Dial, LinkProfile};
use core::time::Duration;
use gosh_dl_core::base::disk::{AllocationMode, DiskErrorKind};
use gosh_dl_core::base::link::TlsError;
use gosh_dl_core::base::store::StoreError;
use gosh_dl_core::base::{LinkError, Rng};
use gosh_dl_core::download::{ConflictPolicy, DownloadOptions, DownloadPriority};
use gosh_dl_core::engine::{EngineConfig, HttpConfig, ResolveError};
use std::sync::LazyLock;

impl Scenario {
    /// The scenario of this seed.
    pub fn generate(seed: u64) -> Self {
        Self::generate_kind(seed, Kind::ALL[(seed % Kind::ALL.len() as u64) as usize])
    }

    /// The scenario of this seed, with the faults of `kind`.
    pub fn generate_kind(seed: u64, kind: Kind) -> Self {
        let mut dice = Dice::new(seed, 0x5a);
        let mut on = |of: Kind| kind == of || (kind == Kind::Everything && dice.one_in(2));
        let faults = Faults {
            network: on(Kind::Network),
            origins: on(Kind::Origins),
            storage: on(Kind::Storage),
            crashes: on(Kind::Crashes),
        };
        let config = dice.config();
        let hosts: Vec<_> = (0..dice.between(1, 3)).map(|number| dice.host(number, faults.network)).collect();
        let mut downloads: Vec<_> = (0..dice.between(1, 4))
            .map(|number| dice.download(number, hosts.len(), faults.origins))
            .collect();
        if config.on_conflict == ConflictPolicy::Overwrite {
            // Of two downloads that replace each other's file, one is not there in the end.
            downloads.iter_mut().for_each(|plan| plan.options.filename = None);
        }
        let aliens =
            if dice.one_in(4) { vec![dice.pick(&["f0.bin", "Same.Bin"]).to_owned()] } else { Vec::new() };
        let acts = dice.acts(&faults, &downloads, hosts.len());
        let slow = dice.one_in(4);
        Self {
            seed,
            kind,
            config,
            hosts,
            downloads,
            aliens,
            folds_case: dice.one_in(4),
            disk_latency: if slow { Latency::millis(1, 80) } else { Latency::micros(50, 3000) },
            store_latency: if slow { Latency::millis(1, 400) } else { Latency::millis(1, 8) },
            acts,
            crashes: Vec::new(),
        }
    }
}

/// Which classes of faults are on.
struct Faults {
    network: bool,
    origins: bool,
    storage: bool,
    crashes: bool,
}

pub(super) struct Dice(pub(super) Rng);

impl Dice {
    /// Dice that fall otherwise for every seed, and for every `salt`.
    pub(super) fn new(seed: u64, salt: u8) -> Self {
        let mut bytes = [salt; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(Rng::from_seed(bytes))
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.0.below(n) == 0
    }

    /// Evenly, both ends included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// Each order of magnitude (of two) as often as the others.
    fn size(&mut self, low_bits: u64, high_bits: u64) -> u64 {
        let bits = self.between(low_bits, high_bits);
        self.between(1 << bits, (2 << bits) - 1)
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.0.below(from.len() as u64) as usize].clone()
    }

    pub(super) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    fn config(&mut self) -> EngineConfig {
        let http = HttpConfig::new()
            .read_timeout(self.millis(5_000, 30_000))
            .connect_timeout(self.millis(3_000, 20_000))
            .max_retries(self.pick(&[2, 5, 5, 0]))
            .retry_delay(self.millis(100, 2000))
            .keep_alive(self.millis(500, 20_000));
        let limit = self.one_in(4).then(|| self.between(200_000, 5_000_000));
        EngineConfig::new()
            .max_concurrent_downloads(self.pick(&[1, 2, 5]))
            .max_connections_per_download(self.pick(&[1, 3, 8, 16]))
            .max_connections_per_host(self.pick(&[1, 4, 16]))
            .min_segment_size(self.pick(&[16 << 10, 64 << 10, 256 << 10, 1 << 20]))
            .global_download_limit(limit)
            .allocation_mode(self.pick(&[AllocationMode::None, AllocationMode::Sparse, AllocationMode::Full]))
            .on_conflict(self.pick(&[
                ConflictPolicy::Rename,
                ConflictPolicy::Rename,
                ConflictPolicy::Overwrite,
            ]))
            .buffer_budget(self.pick(&[1 << 20, 8 << 20]))
            .http(http)
    }

    fn host(&mut self, number: u64, faults: bool) -> HostPlan {
        let piece = self.pick(&[1460, 4096, 16 << 10, 64 << 10]);
        let mut profile = LinkProfile {
            latency: self.pick(&[Latency::millis(0, 1), Latency::millis(10, 12), Latency::millis(20, 200)]),
            down_rate: if self.one_in(2) { Some(self.size(18, 22)) } else { None },
            window: self.pick(&[16 << 10, 64 << 10, 256 << 10]),
            eof_needs_credit: self.one_in(2),
            ..LinkProfile::default()
        }
        .pieces(self.between(1, piece), piece);
        let mut plan = HostPlan {
            name: format!("h{number}.example"),
            rate: if self.one_in(2) { Some(self.size(19, 22)) } else { None },
            limit: None,
            idle_timeout: self.one_in(3).then(|| self.millis(200, 20_000)),
            dials: vec![Dial::Accept; self.pick(&[1, 1, 2, 4])],
            tls: Ok(()),
            cuts_tls: false,
            lookups: Vec::new(),
            lookup_latency: Latency::millis(1, 20),
            profile: LinkProfile::default(),
        };
        if faults {
            profile.stall_at = self.one_in(4).then(|| self.size(8, 20));
            profile.reset_at = self.one_in(3).then(|| self.size(8, 20));
            for dial in &mut plan.dials {
                *dial = match self.between(0, 9) {
                    0 => Dial::Silent,
                    1 => Dial::Fail(LinkError::Refused),
                    2 => Dial::Fail(LinkError::Unreachable),
                    3 => Dial::Fail(LinkError::TimedOut),
                    _ => Dial::Accept,
                };
            }
            plan.cuts_tls = self.one_in(4);
            profile.up_rate = self.one_in(4).then(|| self.size(10, 16));
            if self.one_in(6) {
                plan.tls = Err(self.pick(&[TlsError::UnknownIssuer, TlsError::Expired, TlsError::Protocol]));
            }
            let failures = [ResolveError::NotFound, ResolveError::Failed, ResolveError::TimedOut];
            plan.lookups = (0..self.0.below(3)).map(|_| self.pick(&failures)).collect();
            plan.lookup_latency = self.pick(&[Latency::millis(1, 20), Latency::millis(100, 9000)]);
            let over = self.pick(&[OverLimit::Refuse, OverLimit::Status(503), OverLimit::Status(429)]);
            plan.limit = self.one_in(3).then(|| (self.between(1, 4) as usize, over));
        }
        HostPlan { profile, ..plan }
    }

    fn download(&mut self, number: u64, hosts: usize, faults: bool) -> DownloadPlan {
        let checksum = self.one_in(3);
        let len = if self.one_in(20) { self.between(0, 2) } else { self.size(6, 21) };
        let content = Content::generated(self.0.next_u64(), len);
        let mut sources = vec![self.source(number, 0, hosts, &content)];
        let mirrors = if self.one_in(3) { self.between(1, 3) } else { 0 };
        sources.extend((1..=mirrors).map(|mirror| self.source(number, mirror, hosts, &content)));
        if faults {
            for source in &mut sources {
                source.behaviour = self.behaviour(checksum, len);
                self.add_fields(&mut source.behaviour.headers);
            }
            if sources.len() > 1 && self.one_in(4) {
                // A mirror of something else; of the same length nobody could tell without a digest.
                let (seed, more) = (self.0.next_u64(), self.between(1, 5000));
                let other = Content::generated(seed, length_apart(&sources, len, len + more));
                sources[1].versions = vec![version(1, Since::Start, other)];
            } else if (sources.len() == 1 || checksum) && self.one_in(3) {
                self.change(&mut sources[0], len);
            }
        }
        let mut options = DownloadOptions::new()
            .priority(self.pick(&[
                DownloadPriority::Low,
                DownloadPriority::Normal,
                DownloadPriority::High,
                DownloadPriority::Critical,
            ]))
            .start_paused(self.one_in(10));
        if self.one_in(5) {
            options = options.max_download_speed(self.between(50_000, 2_000_000));
        }
        if self.one_in(5) {
            options = options.max_connections(self.between(1, 4) as usize);
        }
        if self.one_in(3) {
            options = options.filename(self.pick(&["same.bin", "same.bin", "SAME.bin", &LONG_NAME]));
        }
        if self.one_in(3) {
            options = self.secretive(options, number);
        }
        DownloadPlan { sources, options, checksum }
    }

    /// With what nobody but the origin may see.
    fn secretive(&mut self, options: DownloadOptions, number: u64) -> DownloadOptions {
        let secret = format!("{SECRET}{number}");
        match self.between(0, 2) {
            0 => options.header("Authorization", format!("Bearer {secret}")),
            1 => options.header("X-Api-Key", secret),
            _ => options.cookies(vec![format!("session={secret}")]),
        }
    }

    /// Fields of a head that are many, long, or say that the body is coded although nobody asked for that.
    fn add_fields(&mut self, headers: &mut Vec<(String, String)>) {
        match self.between(0, 15) {
            0 => headers.push(("Content-Encoding".to_owned(), "gzip".to_owned())),
            1 => headers.push(("X-Long".to_owned(), "x".repeat(self.size(10, 17) as usize))),
            2 => headers.extend((0..self.size(3, 9)).map(|field| (format!("X-{field}"), "x".to_owned()))),
            _ => {}
        }
    }

    fn source(&mut self, number: u64, mirror: u64, hosts: usize, content: &Content) -> SourcePlan {
        let mut first = version(1, Since::Start, content.clone());
        match self.between(0, 5) {
            0 => first.etag = None,
            1 => first.last_modified = None,
            2 => first.etag = Some("W/\"weak\"".to_owned()),
            3 => (first.etag, first.last_modified) = (None, None),
            _ => {}
        }
        let behaviour = Behaviour {
            ranges: if self.one_in(6) { Ranges::None } else { Ranges::Honest },
            ..Behaviour::default()
        };
        let path = if mirror == 0 { format!("/f{number}.bin") } else { format!("/m{mirror}/f{number}.bin") };
        SourcePlan {
            host: self.0.below(hosts as u64) as usize,
            secure: self.one_in(4),
            target: path,
            versions: vec![first],
            behaviour,
            via: self
                .one_in(6)
                .then(|| (self.0.below(hosts as u64) as usize, self.pick(&[301, 302, 303, 307, 308]))),
        }
    }

    /// The resource becomes another one while it is fetched; strong validators tell.
    fn change(&mut self, source: &mut SourcePlan, len: u64) {
        let len = if self.one_in(2) { len } else { self.size(6, 20) };
        let since = match self.between(0, 2) {
            0 => Since::Bytes(self.size(4, 19)),
            1 => Since::Requests(self.between(1, 6)),
            _ => Since::At(gosh_dl_core::base::Instant::ZERO + self.millis(10, 5000)),
        };
        let old = version(1, Since::Start, source.versions[0].content.clone());
        source.versions = vec![old, version(2, since, Content::generated(self.0.next_u64(), len))];
    }

    fn behaviour(&mut self, checksum: bool, len: u64) -> Behaviour {
        let mut behaviour = Behaviour { honours_if_range: !self.one_in(4), ..Behaviour::default() };
        behaviour.ranges = self.ranges(checksum);
        behaviour.framing = self.framing(checksum);
        // Where only the end of the connection marks the end of the body, a cut is the end.
        let may_cut = checksum || behaviour.framing != Framing::UntilClose;
        if may_cut && self.one_in(3) {
            let end = self.pick(&[End::Close, End::Reset, End::Stall]);
            behaviour.cut = Some(Cut { answers: self.between(1, 8), after: self.between(0, len), end });
        }
        if self.one_in(4) {
            behaviour.interim = self.pick(&[vec![100], vec![102, 103], vec![103; 9], vec![100; 600]]);
        }
        behaviour.first = (0..self.0.below(4)).map(|_| self.refusal()).collect();
        if self.one_in(8) {
            behaviour.always = Some(self.refusal());
        }
        if self.one_in(8) {
            let at = gosh_dl_core::base::Instant::ZERO + self.millis(10, 5000);
            behaviour.expires = Some((at, self.pick(&[403, 410])));
        }
        if checksum && self.one_in(6) {
            let first = self.between(0, 5);
            behaviour.pages = first..first + self.between(1, 3);
        }
        behaviour.delay = self.pick(&[Duration::ZERO, Duration::from_millis(30), Duration::from_secs(2)]);
        behaviour.rate = match self.between(0, 11) {
            0 => Some(self.between(1, 100)),
            1..=4 => Some(self.size(15, 20)),
            _ => None,
        };
        behaviour.after = self.pick(&[
            AfterReply::KeepAlive,
            AfterReply::KeepAlive,
            AfterReply::Close,
            AfterReply::CloseSilently,
        ]);
        behaviour
    }

    /// Lies that nobody can see through without a digest are told only where there is one.
    fn ranges(&mut self, checksum: bool) -> Ranges {
        match self.between(0, if checksum { 13 } else { 10 }) {
            0 => Ranges::None,
            1 => Ranges::Claimed,
            2 => Ranges::Shifted(self.pick(&[-4096, -1, 1, 4096])),
            3 => Ranges::Mislabelled(self.pick(&[-4096, -1, 1, 4096])),
            4 => Ranges::UnknownTotal,
            5 => Ranges::Unlabelled,
            6 => Ranges::AtMost(self.size(12, 20)),
            7 => Ranges::Refused,
            11 => Ranges::WrongBytes(self.between(1, 5000)),
            12 => Ranges::WrongTotal(self.pick(&[-5, 5, 1 << 40])),
            _ => Ranges::Honest,
        }
    }

    fn framing(&mut self, checksum: bool) -> Framing {
        match self.between(0, if checksum { 8 } else { 7 }) {
            0 => Framing::Chunked { size: self.size(0, 15), extension: "", trailers: Vec::new() },
            1 => Framing::Chunked {
                size: self.size(8, 15),
                extension: ";name=\"value\"",
                trailers: vec![("X-Sum".to_owned(), "1".to_owned())],
            },
            2 => Framing::BrokenChunks(self.size(4, 16)),
            3 => Framing::UntilClose,
            4 => Framing::WrongLength(self.between(1, 2000) as i64),
            8 => Framing::WrongLength(-(self.between(1, 2000) as i64)),
            _ => Framing::Length,
        }
    }

    fn refusal(&mut self) -> Refusal {
        let refusal = Refusal::new(self.pick(&[500, 502, 503, 429, 408, 404, 403, 410]));
        match self.between(0, 3) {
            0 => refusal.retry_after(self.between(0, 15)),
            1 => refusal.retry_at(self.millis(0, 15_000)),
            _ => refusal,
        }
    }

    fn acts(&mut self, faults: &Faults, downloads: &[DownloadPlan], hosts: usize) -> Vec<(After, Act)> {
        let mut acts = Vec::new();
        for _ in 0..self.0.below(8) {
            acts.push((self.after(), self.command(downloads.len() as u64)));
        }
        for later in 1..downloads.len() {
            if self.one_in(4) {
                acts.push((self.after(), Act::Add(later)));
            }
        }
        for _ in 0..if faults.network { self.0.below(5) } else { 0 } {
            let host = self.0.below(hosts as u64) as usize;
            let end = self.pick(&[LinkError::Reset, LinkError::Eof, LinkError::TimedOut, LinkError::Io]);
            // An orderly close is the end of a body without a length, and nobody could tell that it came too early.
            let end = if ends_by_closing(downloads, host) && end == LinkError::Eof {
                LinkError::Reset
            } else {
                end
            };
            let jump = self.between(0, 800 * 24 * 3_600_000) as i64 - 400 * 24 * 3_600_000;
            let asleep = Act::Suspend(self.millis(1000, 9 * 3_600_000), self.one_in(2));
            let cut = Act::Disconnect(host, end);
            let act = self.pick(&[cut.clone(), cut, Act::Jump(jump), asleep, Act::Move(host)]);
            acts.push((self.after(), act));
        }
        for _ in 0..if faults.storage { self.between(1, 5) } else { 0 } {
            let act = if self.one_in(3) { self.meddling(downloads) } else { self.storage_fault() };
            acts.push((self.after(), act));
        }
        for _ in 0..if faults.crashes { self.between(1, 6) } else { 0 } {
            let mode = self.pick(&[CrashMode::Kill, CrashMode::PowerCut, CrashMode::Torn]);
            let act = if self.one_in(6) { Act::Restart } else { Act::Crash(mode, self.millis(0, 500)) };
            acts.push((self.after(), act));
        }
        // Fate has no order.
        for end in (1..acts.len()).rev() {
            acts.swap(end, self.0.below(end as u64 + 1) as usize);
        }
        acts
    }

    fn after(&mut self) -> After {
        match self.between(0, 3) {
            0 => After::Steps(self.size(0, 11)),
            1 => After::Time(Duration::ZERO),
            2 => After::Time(self.millis(1, 500)),
            _ => After::Time(self.millis(1, 5000)),
        }
    }

    fn command(&mut self, downloads: u64) -> Act {
        let which = self.0.below(downloads) as usize;
        let limit = self.one_in(2).then(|| self.between(50_000, 3_000_000));
        match self.between(0, 12) {
            0..=2 => Act::Pause(which),
            3..=5 => Act::Resume(which),
            6 => Act::Cancel(which, self.one_in(2)),
            7 => Act::Priority(which, self.pick(&[DownloadPriority::Low, DownloadPriority::Critical])),
            8 => Act::Limit(which, limit),
            9 => Act::GlobalLimit(limit),
            10 => Act::Counts(self.between(1, 4) as usize, self.between(1, 16) as usize),
            11 => Act::Verify(which, false),
            _ => Act::Verify(which, true),
        }
    }

    /// That a file was changed in place nobody can tell: a digest is taken of what is in memory.
    fn meddling(&mut self, downloads: &[DownloadPlan]) -> Act {
        let which = self.0.below(downloads.len() as u64) as usize;
        Act::Meddle(which, self.pick(&[Meddling::Remove, Meddling::Replace]))
    }

    fn storage_fault(&mut self) -> Act {
        let classes = [
            OpClass::OpenDir,
            OpClass::Stat,
            OpClass::Open,
            OpClass::Resize,
            OpClass::Write,
            OpClass::Write,
            OpClass::Read,
            OpClass::Hash,
            OpClass::Sync,
            OpClass::Sync,
            OpClass::SyncDir,
            OpClass::Rename,
            OpClass::Remove,
        ];
        let kinds = [
            DiskErrorKind::Io,
            DiskErrorKind::Full,
            DiskErrorKind::PermissionDenied,
            DiskErrorKind::ReadOnly,
            DiskErrorKind::TooManyFiles,
        ];
        let errors = [
            StoreError::Full,
            StoreError::Io("broken".to_owned()),
            StoreError::InUse,
            StoreError::Corrupt("broken".to_owned()),
        ];
        match self.between(0, 9) {
            0 => Act::DiskFull(self.size(10, 20)),
            1 => Act::StoreFault(self.0.below(6), self.between(1, 3), self.pick(&errors)),
            2 => Act::ReadOnly,
            3 => Act::HealStorage,
            _ => {
                let skip = self.0.below(12);
                Act::DiskFault(self.pick(&classes), skip, self.between(1, 4), self.pick(&kinds))
            }
        }
    }
}

/// As long as a name may be, in letters of two bytes.
static LONG_NAME: LazyLock<String> = LazyLock::new(|| format!("{}.bin", "\u{e4}".repeat(125)));

fn version(number: u32, since: Since, content: Content) -> Version {
    Version {
        since,
        content,
        etag: Some(format!("\"v{number}\"")),
        last_modified: Some(format!("Tue, 02 Jan 2024 00:00:{number:02} GMT")),
    }
}

/// Whether a body that this host sends ends where the connection does, and no digest tells whether it is whole.
fn ends_by_closing(downloads: &[DownloadPlan], host: usize) -> bool {
    let by_closing =
        |source: &SourcePlan| source.host == host && source.behaviour.framing == Framing::UntilClose;
    downloads.iter().any(|download| !download.checksum && download.sources.iter().any(by_closing))
}

/// The next length, from `other` on, that the second source neither has nor claims where the others have or claim it.
fn length_apart(sources: &[SourcePlan], len: u64, mut other: u64) -> u64 {
    let claim = |source: &SourcePlan, len: u64| match source.behaviour.framing {
        Framing::WrongLength(more) => len.saturating_add_signed(more),
        _ => len,
    };
    let others = || sources.iter().enumerate().filter(|(number, _)| *number != 1).map(|(_, source)| source);
    let is_theirs = |length: u64| length == len || others().any(|source| claim(source, len) == length);
    while is_theirs(other) || is_theirs(claim(&sources[1], other)) {
        other += 1;
    }
    other
}
