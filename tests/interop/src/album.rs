//! A torrent of a folder, with its content, and our own program as its seed and leecher.

use crate::Lab;
use crate::binary::{Gosh, Running};
use crate::lab::{assert_same, noise};
use crate::peers::{Opentracker, free_address};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A torrent of a folder: files that share pieces, an empty one, folders in folders. The content lies in `www`.
#[derive(Debug)]
pub struct Album {
    /// Where everything is.
    pub lab: Lab,
    /// The files with their content, in the torrent's order.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// The `.torrent` file.
    pub torrent: PathBuf,
    /// Its 40 hexadecimal digits.
    pub info_hash: String,
}

impl Album {
    /// A fresh one, or `None` (and a message) where nginx is not installed and this is not CI.
    pub fn new(trackers: &[String]) -> Option<Self> {
        let options = trackers.iter().flat_map(|url| ["--tracker", url]).collect::<Vec<_>>();
        Self::with(&options)
    }

    /// The same with other options of `create`.
    pub fn with(options: &[&str]) -> Option<Self> {
        let lab = Lab::new()?;
        let files = [("a.bin", 3_000_000), ("empty", 0), ("sub/b.bin", 777_777), ("sub/deep/c.bin", 70_000)];
        let files: Vec<_> = files.into_iter().map(|(name, len)| (name, noise(name, len))).collect();
        for (name, content) in &files {
            let path = lab.path("www/album").join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            fs::write(path, content).expect("room for it");
        }
        let torrent = lab.path("album.torrent");
        let mut album = Self { lab, files, torrent, info_hash: String::new() };
        album.create(options);
        Some(album)
    }

    /// A tracker, and one that names it; or `None` (and a message) where there is no tracker or no nginx.
    pub fn tracked() -> Option<(Opentracker, Self)> {
        let mut album = Self::new(&[])?;
        let tracker = Opentracker::start(&album.lab.path("."), std::slice::from_ref(&album.info_hash))?;
        let before = album.info_hash.clone();
        album.create(&["--tracker", &tracker.http()]);
        assert_eq!(album.info_hash, before, "the same content is the same torrent");
        Some((tracker, album))
    }

    /// Makes the torrent anew, with these options of `create`.
    pub fn create(&mut self, options: &[&str]) {
        let _ = fs::remove_file(&self.torrent);
        let create = Gosh::new(&self.lab.path(".")).arg("create").arg(self.lab.path("www/album"));
        create.arg("-o").arg(&self.torrent).args(options).succeed();
        let shown = Gosh::new(&self.lab.path(".")).arg("show").arg(&self.torrent).succeed().stdout;
        let info_hash = shown.lines().find_map(|line| line.strip_prefix("info hash: "));
        self.info_hash = info_hash.expect("it is shown").to_owned();
    }

    /// The bytes of all files.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|(_, content)| content.len() as u64).sum()
    }

    /// The path of the torrent.
    pub fn path(&self) -> &str {
        self.torrent.to_str().expect("it is UTF-8")
    }

    /// A link that says nothing but which torrent it is.
    pub fn magnet(&self) -> String {
        format!("magnet:?xt=urn:btih:{}", self.info_hash)
    }

    /// A directory of this place, made.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.lab.path(name);
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// Our own program downloads to `out`.
    pub fn get(&self, what: &str, peer: Option<SocketAddr>) -> Gosh {
        let get = self.lab.get(&[what]).args(["--listen", &free_address("127.0.0.1").to_string()]);
        get.args(peer.iter().flat_map(|peer| ["--peer".to_owned(), peer.to_string()]))
    }

    /// Our own program downloads to a directory of its own, which is its home too, so that there can be several.
    pub fn leech(&self, name: &str, what: &str) -> Gosh {
        let dir = self.dir(name);
        Gosh::new(&dir).args(["get", "-d"]).arg(&dir).arg(what)
    }

    /// Our own program serves it; back once it does.
    pub fn seed(&self, listen: SocketAddr) -> Running {
        self.seed_with(listen, &[])
    }

    /// The same with more options.
    pub fn seed_with(&self, listen: SocketAddr, options: &[&str]) -> Running {
        let home = self.dir("seeder");
        let _ = fs::remove_file(home.join("stdout"));
        let seed = Gosh::new(&home).arg("seed").arg(&self.torrent).arg("-d").arg(self.lab.path("www"));
        let mut running = seed.args(["--listen", &listen.to_string()]).args(options).spawn();
        for _ in 0..500 {
            running.run_for(Duration::from_millis(20));
            let said = fs::read_to_string(home.join("stdout")).unwrap_or_default();
            if said.starts_with("seeding") {
                let port = said.trim_end().rsplit(':').next().map(str::to_owned);
                assert!(listen.port() == 0 || port == Some(listen.port().to_string()), "{said}");
                return running;
            }
            if said.contains("\"event\":\"seeding\"") {
                return running;
            }
        }
        panic!("it does not seed: {}", fs::read_to_string(home.join("stderr")).unwrap_or_default());
    }

    /// Where the last of our own seeds says that it listens.
    pub fn seed_address(&self) -> SocketAddr {
        let said = fs::read_to_string(self.lab.path("seeder/stdout")).unwrap_or_default();
        said.split_whitespace().last().and_then(|word| word.parse().ok()).expect("it says so")
    }

    /// Fails unless every file below `dir` has exactly its bytes.
    pub fn assert_whole(&self, dir: &str) {
        for (name, content) in &self.files {
            assert_same(&self.lab.path(dir).join("album").join(name), content);
        }
    }
}

/// The number that a line of JSON has for a key.
pub fn number(line: &str, key: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("\"{key}\":"))?;
    rest[..rest.find([',', '}'])?].parse().ok()
}
