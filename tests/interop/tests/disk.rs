//! The disk: names that are taken, a disk that is full, a disk that is read-only.

use gosh_dl_interop::binary::Gosh;
use gosh_dl_interop::{Lab, lab};
use std::fs;
use std::process::Command;

const MIB: usize = 1 << 20;

#[test]
fn a_name_that_is_taken_is_treated_as_asked() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("name.bin", MIB);
    let server = lab.site().start();
    let old = b"it was here before".as_slice();
    let get = |policy: &str| lab.get(&[server.url("/name.bin")]).args(["--on-conflict", policy]);
    let reset = || {
        for name in lab.listing() {
            fs::remove_file(lab.out().join(name)).expect("it can go");
        }
        fs::write(lab.out().join("name.bin"), old).expect("room");
    };

    reset();
    get("rename").succeed();
    lab.assert_same("name.bin", old);
    let renamed = lab.listing().into_iter().find(|name| name != "name.bin").expect("another name");
    lab.assert_same(&renamed, &content);

    reset();
    get("overwrite").succeed();
    lab.assert_same("name.bin", &content);
    assert_eq!(lab.listing(), ["name.bin"]);

    reset();
    get("skip").run();
    lab.assert_same("name.bin", old);
    assert_eq!(lab.listing(), ["name.bin"]);

    reset();
    get("fail").fail();
    lab.assert_same("name.bin", old);
    assert_eq!(lab.listing(), ["name.bin"]);
}

/// Whether mount namespaces can be made here.
fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "probe", "/mnt"]).output();
    let able = tried.is_ok_and(|output| output.status.success());
    if !able {
        lab::skip("no right to mount");
    }
    able
}

/// The program in a mount namespace of its own, where `prepare` ran before and `after` runs once it has ended.
fn mounted(lab: &Lab, prepare: &str, after: &str) -> Gosh {
    let script = format!("{prepare}; \"$@\"; code=$?; {after}; exit $code");
    Gosh::within(&lab.path(""), &["unshare", "-m", "sh", "-c", &script, "sh"])
}

#[test]
fn a_full_disk_is_said_and_room_is_used() {
    let Some(lab) = Lab::new() else { return };
    if !may_mount() {
        return;
    }
    let content = lab.serve("large.bin", 24 * MIB);
    let server = lab.site().start();
    let (out, kept) = (lab.out(), lab.path("kept"));
    fs::create_dir(&kept).expect("room");
    let (out, kept) = (out.display(), kept.display());
    let mount = |size: &str| format!("mount -t tmpfs -o size={size} small {out}; cp -a {kept}/. {out}/");
    let keep = format!("cp -a {out}/. {kept}/");
    let get = |gosh: Gosh| {
        gosh.args(["get", "-x", "4", "-d"])
            .arg(lab.out())
            .arg("--state")
            .arg(lab.path("state.redb"))
            .arg(server.url("/large.bin"))
    };

    let done = get(mounted(&lab, &mount("8m"), &keep)).fail();
    assert!(done.stderr.contains("space"), "{}", done.stderr);
    assert!(!lab.path("kept/large.bin").exists(), "a file that is not whole has its name");
    get(mounted(&lab, &mount("64m"), &keep)).succeed();
    lab::assert_same(&lab.path("kept/large.bin"), &content);
}

#[test]
fn a_read_only_directory_is_said() {
    let Some(lab) = Lab::new() else { return };
    if !may_mount() {
        return;
    }
    lab.serve("a.bin", MIB);
    let server = lab.site().start();
    let mount = format!("mount -t tmpfs -o ro none {}", lab.out().display());
    let gosh = mounted(&lab, &mount, ":")
        .args(["get", "-d"])
        .arg(lab.out())
        .arg("--state")
        .arg(lab.path("state.redb"));
    let done = gosh.arg(server.url("/a.bin")).fail();
    assert!(done.stderr.contains("read-only"), "{}", done.stderr);
    assert!(done.took.as_secs() < 5, "{:?}", done.took);
}

#[test]
fn a_directory_that_is_missing_is_made() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("a.bin", MIB);
    let server = lab.site().start();
    let gosh = Gosh::new(&lab.path("")).args(["get", "-d"]).arg(lab.path("out/new/deeper"));
    gosh.arg("--state").arg(lab.path("state.redb")).arg(server.url("/a.bin")).succeed();
    lab::assert_same(&lab.path("out/new/deeper/a.bin"), &content);
}

#[test]
fn room_may_be_reserved_before() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("room.bin", 8 * MIB);
    let server = lab.site().start();
    for mode in ["none", "sparse", "full"] {
        lab.get(&[server.url("/room.bin")]).args(["-o", mode, "--allocation", mode, "-x", "4"]).succeed();
        lab.assert_same(mode, &content);
    }
}
