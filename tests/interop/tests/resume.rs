//! Interruptions: by the user, by `kill -9`, by the server; little is fetched twice and nothing is wrong.

use gosh_dl_interop::Lab;
use gosh_dl_interop::throttle::Throttle;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// How much may be fetched twice at the end of any download, so that no slow connection is waited for; and heads.
const AT_THE_END: usize = 2 * MIB;

/// How much may be fetched twice after Ctrl-C: what was on its way.
const AFTER_INTERRUPT: usize = MIB;

/// How much may be fetched twice after `kill -9`: what was on its way or not yet noted.
const AFTER_KILL: usize = 8 * MIB;

fn twice(line: &Throttle, len: usize) -> usize {
    (line.bytes() as usize).checked_sub(len).expect("at least the file was fetched")
}

#[test]
fn little_is_fetched_twice_without_any_interruption() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("whole.bin", 64 * MIB);
    let server = lab.site().start();
    let line = Throttle::new(&server, 2 * MIB);
    lab.get(&[line.url("/whole.bin")]).args(["-x", "8"]).succeed();
    lab.assert_same("whole.bin", &content);
    let twice = twice(&line, content.len());
    eprintln!("without interruption: {twice} bytes fetched twice");
    assert!(twice <= AT_THE_END, "fetched twice: {twice}");
}

#[test]
fn after_an_interrupt_the_rest_is_fetched() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("int.bin", 64 * MIB);
    let server = lab.site().start();
    let line = Throttle::new(&server, 2 * MIB);
    let get = || lab.get(&[line.url("/int.bin")]).args(["-x", "8"]);
    let mut running = get().spawn();
    running.run_for(Duration::from_millis(2200));
    let done = running.interrupt();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(done.took.as_secs() < 10, "{:?}", done.took);
    assert!(!lab.listing().contains(&"int.bin".to_owned()), "half a file has the whole one's name");
    get().succeed();
    lab.assert_same("int.bin", &content);
    assert_eq!(lab.listing(), ["int.bin"]);
    let twice = twice(&line, content.len());
    eprintln!("after an interrupt: {twice} bytes fetched twice");
    assert!(twice <= AFTER_INTERRUPT + AT_THE_END, "fetched twice: {twice}");
}

#[test]
fn after_a_kill_the_rest_is_fetched() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("kill.bin", 64 * MIB);
    let server = lab.site().start();
    let line = Throttle::new(&server, 2 * MIB);
    let get = || lab.get(&[line.url("/kill.bin")]).args(["-x", "8"]);
    let mut running = get().spawn();
    running.run_for(Duration::from_millis(2200));
    running.kill();
    assert!(!lab.listing().contains(&"kill.bin".to_owned()), "half a file has the whole one's name");
    get().succeed();
    lab.assert_same("kill.bin", &content);
    let twice = twice(&line, content.len());
    eprintln!("after a kill: {twice} bytes fetched twice");
    assert!(twice <= AFTER_KILL + AT_THE_END, "fetched twice: {twice}");
}

#[test]
fn killed_again_and_again_it_still_ends_with_the_right_bytes() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("again.bin", 48 * MIB);
    let server = lab.site().start();
    let line = Throttle::new(&server, 2 * MIB);
    let moments = gosh_dl_interop::lab::noise(&format!("{:?}", std::process::id()), 64);
    let mut kills = 0;
    for moment in moments {
        let mut running = lab.get(&[line.url("/again.bin")]).args(["-x", "8"]).spawn();
        running.run_for(Duration::from_millis(100 + 3 * u64::from(moment)));
        if running.ended() {
            assert_eq!(running.wait().code, Some(0));
            break;
        }
        running.kill();
        kills += 1;
    }
    lab.assert_same("again.bin", &content);
    assert_eq!(lab.listing(), ["again.bin"]);
    assert!(kills > 2, "killed {kills} times");
    let twice = twice(&line, content.len());
    eprintln!("after {kills} kills: {twice} bytes fetched twice");
    assert!(twice <= kills * AFTER_KILL + AT_THE_END, "fetched twice: {twice}");
}

#[test]
fn a_file_that_changed_between_two_runs_is_fetched_anew() {
    let Some(lab) = Lab::new() else { return };
    lab.serve("change.bin", 16 * MIB);
    let server = lab.site().under("/slow/", "limit_rate 1m;").start();
    let mut running = lab.get(&[server.url("/slow/change.bin")]).args(["-x", "4"]).spawn();
    running.run_for(Duration::from_millis(1500));
    running.kill();
    // The same length, so that only the validator can tell.
    let changed = gosh_dl_interop::lab::noise("another", 16 * MIB);
    std::thread::sleep(Duration::from_millis(1100));
    std::fs::write(lab.path("www/change.bin"), &changed).expect("room");
    lab.get(&[server.url("/slow/change.bin")]).args(["-x", "8"]).succeed();
    lab.assert_same("change.bin", &changed);
}

#[test]
fn a_server_that_dies_and_comes_back_is_waited_for() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("back.bin", 16 * MIB);
    let mut server = lab.site().under("/slow/", "limit_rate 1m;").start();
    let mut running = lab.get(&[server.url("/slow/back.bin")]).args(["-x", "4"]).spawn();
    running.run_for(Duration::from_millis(1200));
    server.stop();
    running.run_for(Duration::from_millis(800));
    assert!(server.run(), "the server comes back");
    let done = running.wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    lab.assert_same("back.bin", &content);
}

#[test]
fn two_runs_do_not_share_a_state() {
    let Some(lab) = Lab::new() else { return };
    let content = lab.serve("one.bin", 4 * MIB);
    let server = lab.site().under("/slow/", "limit_rate 1m;").start();
    let mut first = lab.get(&[server.url("/slow/one.bin")]).args(["-x", "1"]).spawn();
    first.run_for(Duration::from_millis(700));
    assert!(!first.ended());
    // The second shares the first one's files of words, so the first is judged by its code alone.
    let second = lab.get(&[server.url("/one.bin")]).args(["-o", "two.bin"]).run();
    assert_ne!(second.code, None, "the second neither worked nor said why not");
    assert_eq!(first.wait().code, Some(0));
    lab.assert_same("one.bin", &content);
    if second.code == Some(0) {
        lab.assert_same("two.bin", &content);
    }
}
