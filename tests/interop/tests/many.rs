//! Many files, many servers.

use gosh_dl_interop::throttle::Throttle;
use gosh_dl_interop::{Lab, log};
use std::time::Duration;

const MIB: usize = 1 << 20;

#[test]
fn a_thousand_small_files_come_over_sixteen_connections() {
    const FILES: usize = 1000;
    let Some(lab) = Lab::new() else { return };
    let server = lab.site().start();
    let contents: Vec<Vec<u8>> = (0..FILES).map(|i| lab.serve(&format!("small-{i}"), 4096 + i)).collect();
    let list: Vec<String> = (0..FILES).map(|i| server.url(&format!("/small-{i}"))).collect();
    std::fs::write(lab.path("list"), list.join("\n")).expect("room");
    lab.get::<&str>(&[]).arg("-i").arg(lab.path("list")).args(["-j", "16"]).succeed();
    for (i, content) in contents.iter().enumerate() {
        lab.assert_same(&format!("small-{i}"), content);
    }
    assert_eq!(lab.listing().len(), FILES);
    let requests = server.into_requests();
    let connections = log::connections(&requests);
    eprintln!("{FILES} files: {} requests over {connections} connections", requests.len());
    // One more is the test's own, made to see that the server answers; it sends no request.
    assert!(connections <= 16, "{connections} connections");
}

#[test]
fn two_mirrors_work_side_by_side() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("mirrored.bin", 32 * MIB);
    let servers = [lab.site().start(), lab.site().start()];
    let [one, other] = servers.each_ref().map(|server| Throttle::new(server, 2 * MIB));
    let get = lab.get(&[one.url("/mirrored.bin")]).arg("--mirror").arg(other.url("/mirrored.bin"));
    get.args(["-x", "8"]).succeed();
    lab.assert_same("mirrored.bin", &content);
    let shares = [one, other].map(|line| line.bytes() as usize);
    assert!(shares.iter().all(|share| *share > 4 * MIB), "shares {shares:?}");
}

#[test]
fn a_mirror_that_dies_is_replaced_by_the_other() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("mirrored.bin", 32 * MIB);
    let (mut dying, living) = (lab.site().start(), lab.site().start());
    let [one, other] = [&dying, &living].map(|server| Throttle::new(server, 2 * MIB));
    let get = lab.get(&[one.url("/mirrored.bin")]).arg("--mirror").arg(other.url("/mirrored.bin"));
    let mut running = get.args(["-x", "8"]).spawn();
    running.run_for(Duration::from_millis(1000));
    assert!(!running.ended());
    dying.stop();
    let done = running.wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    lab.assert_same("mirrored.bin", &content);
}

#[test]
fn a_mirror_without_the_file_does_no_harm() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("here.bin", 8 * MIB);
    let server = lab.site().rule("location /nothing/ { return 404; }").start();
    let get = lab.get(&[server.url("/here.bin")]).arg("--mirror").arg(server.url("/nothing/here.bin"));
    get.args(["-x", "4"]).succeed();
    lab.assert_same("here.bin", &content);
}
