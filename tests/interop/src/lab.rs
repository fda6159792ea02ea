//! One test's place: a directory with files to serve, a directory to download to, and a state file.

use crate::binary::Gosh;
use crate::nginx::{self, Site};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One test's place; removed when dropped.
#[derive(Debug)]
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    /// A fresh place, or `None` (and a message) where nginx is not installed and this is not CI.
    pub fn new() -> Option<Self> {
        if nginx::program().is_none() {
            skip("nginx not installed");
            return None;
        }
        let dir = TempDir::with_prefix("gosh-dl-interop-").expect("a temporary directory");
        for sub in ["www", "out", "home"] {
            fs::create_dir(dir.path().join(sub)).expect("a directory");
        }
        Some(Self { dir })
    }

    /// A path in this place.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The directory that downloads go to.
    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// Makes a file to serve; its bytes follow from its name and length.
    pub fn serve(&self, name: &str, len: usize) -> Vec<u8> {
        let bytes = noise(name, len);
        fs::write(self.path("www").join(name), &bytes).expect("room for the file");
        bytes
    }

    /// A web site over `www`, to be completed and started.
    pub fn site(&self) -> Site {
        Site::new(self.dir.path())
    }

    /// The program with `get` and this place's directory and state.
    pub fn get<S: AsRef<str>>(&self, urls: &[S]) -> Gosh {
        Gosh::new(self.dir.path())
            .args(["get", "-d"])
            .arg(self.out())
            .arg("--state")
            .arg(self.path("state.redb"))
            .args(urls.iter().map(AsRef::as_ref))
    }

    /// What lies in the download directory, sorted.
    pub fn listing(&self) -> Vec<String> {
        let entries = fs::read_dir(self.out()).expect("the directory is there");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Fails unless the downloaded file has exactly these bytes.
    pub fn assert_same(&self, name: &str, expected: &[u8]) {
        assert_same(&self.out().join(name), expected);
    }
}

/// Fails unless the file has exactly these bytes.
pub fn assert_same(path: &Path, expected: &[u8]) {
    let found = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found.len(), expected.len(), "length of {}", path.display());
    let wrong = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "first wrong byte of {}", path.display());
}

/// Says why a test does nothing here; fails where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "whoever runs the tests shall see it")]
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI may not skip: {reason}");
    eprintln!("skipped: {reason}");
}

/// Bytes that do not compress and differ by name.
pub fn noise(name: &str, len: usize) -> Vec<u8> {
    let mut state = name
        .bytes()
        .fold(0x9e37_79b9_7f4a_7c15_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
