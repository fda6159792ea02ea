//! The purity of core: no clock, no randomness, no I/O, no order that differs from run to run.

use crate::Fault;
use crate::paths;
use crate::scan::{line_of, mask, stands_alone, without_tests};
use crate::tree::Source;
use std::collections::BTreeSet;

/// Paths that core may not name; everything below them is meant too.
const PATHS: [(&str, &str); 11] = [
    ("std::fs", "return a `DiskOp`"),
    ("std::net", "take addresses from `core::net`, sockets are the driver's"),
    ("std::thread", "core runs on its caller's thread"),
    ("std::process", "core has no process"),
    ("std::env", "take it as configuration"),
    ("std::io::stdin", "core does no I/O"),
    ("std::io::stdout", "core does no I/O"),
    ("std::io::stderr", "use `tracing`"),
    ("std::time::Instant", "take `now: base::Instant` as an argument"),
    ("std::time::SystemTime", "wall-clock time enters as an input"),
    ("std::os", "core has no operating system"),
];

/// Words that core may not use.
const WORDS: [(&str, &str); 11] = [
    ("TcpStream", "links are the driver's"),
    ("TcpListener", "links are the driver's"),
    ("UdpSocket", "links are the driver's"),
    ("ToSocketAddrs", "return `Output::Resolve`"),
    ("SystemTime", "wall-clock time enters as an input"),
    ("getrandom", "fork `base::Rng`"),
    ("thread_rng", "fork `base::Rng`"),
    ("OsRng", "fork `base::Rng`"),
    ("HashMap", "its order differs from run to run: use `BTreeMap` or `base::Slab`"),
    ("HashSet", "its order differs from run to run: use `BTreeSet`"),
    ("RandomState", "its order differs from run to run"),
];

/// Words that one file may use all the same, and why.
const EXEMPT: [(&str, &str, &str); 1] = [(
    "core/src/wire/http/retry_after.rs",
    "SystemTime",
    "the parser of HTTP dates returns one; no clock is read",
)];

/// Packages that may not stand in core's dependency tree.
const PACKAGES: [&str; 14] = [
    "tokio",
    "smol",
    "mio",
    "async-io",
    "async-std",
    "polling",
    "socket2",
    "rusqlite",
    "libsqlite3-sys",
    "redb",
    "getrandom",
    "rustls",
    "libc",
    "rustix",
];

/// Checks the sources of core, tests left out.
pub fn check(core: &[Source]) -> Vec<Fault> {
    core.iter().filter(|source| !source.is_test()).flat_map(check_source).collect()
}

fn check_source(source: &Source) -> Vec<Fault> {
    let product = without_tests(&mask(&source.text));
    let mut faults = BTreeSet::new();
    for named in paths::named(&product, &[]) {
        let path = named.segments.join("::");
        let banned = |ban: &&(&str, &str)| path == ban.0 || path.starts_with(&format!("{}::", ban.0));
        if let Some((ban, instead)) = PATHS.iter().find(banned) {
            faults.insert((named.line, format!("`{ban}` in core: {instead}")));
        }
    }
    for (word, instead) in WORDS {
        for (offset, _) in
            product.match_indices(word).filter(|found| stands_alone(&product, found.0, word.len()))
        {
            faults.insert((line_of(&product, offset), format!("`{word}` in core: {instead}")));
        }
    }
    let exempt = |message: &str| {
        EXEMPT.iter().any(|(file, word, _)| source.path == *file && message.contains(&format!("{word}`")))
    };
    let faults = faults.into_iter().filter(|(_, message)| !exempt(message));
    faults.map(|(line, message)| Fault { file: source.path.clone(), line, message }).collect()
}

/// Checks the list of core's packages, one `name vVERSION ..` to a line.
pub fn check_packages(listing: &str) -> Vec<Fault> {
    let names = listing.lines().filter_map(|line| line.split_whitespace().next());
    let banned: BTreeSet<&str> = names.filter(|name| PACKAGES.contains(name)).collect();
    let fault = |name: &str| Fault {
        file: "core/Cargo.toml".to_owned(),
        line: 0,
        message: format!(
            "core depends on `{name}`: what needs it belongs in a driver, a store or the runtime"
        ),
    };
    banned.into_iter().map(fault).collect()
}

/// Checks that the crate's root forbids unsafe code.
pub fn check_root(root: &Source) -> Vec<Fault> {
    let forbids = mask(&root.text).contains("#![forbid(unsafe_code)]");
    let fault = || Fault {
        file: root.path.clone(),
        line: 1,
        message: "`#![forbid(unsafe_code)]` is gone".to_owned(),
    };
    (!forbids).then(fault).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> usize {
        check(&[Source::sample("core/src/proto/a.rs", text)]).len()
    }

    #[test]
    fn the_world_is_a_fault() {
        for text in [
            "use std::fs;",
            "use std::{collections::BTreeMap, time::Instant};",
            "fn a() { std::thread::spawn(b) }",
            "use std::time::SystemTime as Clock;",
            "struct A { b: HashMap<u8, u8> }",
            "fn a() { getrandom::fill(b) }",
        ] {
            assert!(faults(text) > 0, "{text}");
        }
    }

    #[test]
    fn words_in_comments_strings_and_tests_are_fine() {
        let text = "//! No HashMap.\nuse core::net::IpAddr;\nuse core::time::Duration;\nconst A: &str = \"std::fs\";\n#[cfg(test)]\nmod tests { use std::collections::HashMap; }";
        assert_eq!(faults(text), 0);
    }

    #[test]
    fn a_runtime_among_the_packages_is_a_fault() {
        assert_eq!(check_packages("bytes v1.0.0\ntokio v1.54.0\ntokio v1.54.0 (*)\n").len(), 1);
        assert!(check_packages("bytes v1.0.0\ntokio-like v1.0.0\n").is_empty());
    }

    #[test]
    fn a_root_that_allows_unsafe_code_is_a_fault() {
        assert_eq!(check_root(&Source::sample("core/src/lib.rs", "// #![forbid(unsafe_code)]")).len(), 1);
    }
}
