//! A disk without room.
#![expect(clippy::print_stdout, reason = "a check that cannot be made is told")]

use super::{Backend, Place, commit, open, put, sorted};
use gosh_dl_core::base::store::{StoreError, Table};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the disk is full the store says so, keeps what it acknowledged, and works again once there is room. Needs to
/// mount a file system of its own; says so and checks nothing where it may not.
pub fn a_full_disk_loses_nothing(backend: &impl Backend) {
    let place = Place::new();
    let Some(disk) = SmallDisk::mount(place.dir.path()) else {
        println!("not checked: no file system can be mounted here");
        return;
    };
    let path = disk.path.join("state");
    let mut store = open(backend, &path);
    commit(&mut store, &[put(Table::Download, &[0; 16], b"kept")]);
    let ballast = disk.fill();
    let mut kept = 1;
    let error = (1..200_u8).find_map(|number| {
        let answer = store.commit(&[put(Table::Download, &[number; 16], &[number; 20_000])]);
        kept += usize::from(answer.is_ok());
        answer.err()
    });
    assert_eq!(error, Some(StoreError::Full));
    fs::remove_file(ballast).expect("a file");
    let again = store.commit(&[put(Table::Download, &[0xff; 16], b"again")]);
    assert_eq!(again, Ok(()), "there is room again");
    drop(store);
    let mut store = open(backend, &path);
    assert_eq!(sorted(&mut store).len(), kept + 1);
}

/// A file system of 8 MiB, unmounted at the end.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(below: &Path) -> Option<Self> {
        let path = below.join("disk");
        fs::create_dir(&path).ok()?;
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&path).output().ok()?;
        mount.status.success().then_some(Self { path })
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.path.join("ballast");
        let mut file = fs::File::create(&ballast).expect("a file");
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Where it stays mounted, the temporary directory stays too.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
