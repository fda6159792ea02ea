//! More links than there are descriptors.

use super::bench::Bench;
use super::{Rig, until};
use gosh_dl_core::base::{LinkError, LinkInput, LinkOutput};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

/// Runs `child`, the path of the test that calls [`crowd_in_a_child`], in a process that may have 256 descriptors, and
/// accepts its connections.
pub fn crowds_are_answered(child: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        // Each is kept until its other side closes it.
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut socket, &mut std::io::sink()));
        }
    });
    let name = child.split_once("::").map_or(child, |(_, name)| name);
    let program = std::env::current_exe().expect("this program");
    let status = Command::new("sh")
        .args(["-c", "ulimit -n 256 && exec \"$0\" --exact \"$1\" --nocapture --test-threads=1"])
        .arg(program)
        .arg(name)
        .env(CHILD, address.to_string())
        .output()
        .expect("a child");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}

/// Opens 2,000 links: each is opened, or told that resources ran out; when they are closed, there is room again.
pub fn crowd_in_a_child(rig: &impl Rig) {
    let Some(address) = std::env::var(CHILD).ok().and_then(|address| address.parse::<SocketAddr>().ok())
    else {
        return;
    };
    let mut bench = Bench::new(rig);
    (0..CROWD).for_each(|link| bench.connect(link, address));
    until("all are answered", || bench.look().len() as u64 == CROWD);
    let mut opened = Vec::new();
    for (link, input) in &bench.seen {
        match input {
            LinkInput::Opened => opened.push(*link),
            LinkInput::Closed(LinkError::OutOfResources) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((100..256).contains(&opened.len()), "{} were opened", opened.len());
    opened.into_iter().for_each(|link| bench.order(link, LinkOutput::Close));
    let mut next = CROWD;
    until("there is room again", || {
        next += 1;
        bench.connect(next, address);
        until("it is answered", || bench.look().iter().any(|(link, _)| *link == next));
        bench.look().contains(&(next, LinkInput::Opened))
    });
}

const CROWD: u64 = 2000;
const CHILD: &str = "GOSH_DL_CONFORMANCE_CROWD";
