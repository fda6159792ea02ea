//! Torrents against libtorrent.

use gosh_dl_interop::binary::Gosh;
use gosh_dl_interop::lab::{Lab, noise, skip};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// Seeds `argv[2]` for the torrent `argv[1]`; prints its port.
const SEED: &str = "
import libtorrent as lt, sys, time
s = lt.session({'listen_interfaces': '127.0.0.1:0', 'enable_dht': False, 'enable_lsd': False})
i = lt.torrent_info(sys.argv[1])
h = s.add_torrent({'ti': i, 'save_path': sys.argv[2]})
while not h.status().is_seeding: time.sleep(0.05)
print(s.listen_port(), flush=True)
time.sleep(170)
";

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn downloads_from_libtorrent() {
    let python = "/usr/bin/python3";
    let there = Command::new(python).args(["-c", "import libtorrent"]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return skip("python3-libtorrent not installed");
    }
    let Some(lab) = Lab::new() else { return };
    let bytes = noise("film", 3_000_001);
    fs::write(lab.path("www/film"), &bytes).expect("room for the file");
    let torrent = lab.path("film.torrent");
    Gosh::new(&lab.path("")).args(["create", "-o"]).arg(&torrent).arg(lab.path("www/film")).succeed();
    let mut command = Command::new(python);
    command.args(["-c", SEED]).arg(&torrent).arg(lab.path("www")).stdout(Stdio::piped());
    let mut seed = Ended(command.spawn().expect("python runs"));
    let mut port = String::new();
    BufReader::new(seed.0.stdout.take().expect("piped")).read_line(&mut port).expect("it speaks");
    let peer = format!("127.0.0.1:{}", port.trim());
    lab.get(&[torrent.to_str().expect("a plain path")])
        .args(["--listen", "127.0.0.1:0", "--peer", &peer])
        .succeed();
    lab.assert_same("film", &bytes);
}
