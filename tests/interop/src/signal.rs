//! Signals to children.

use rustix::process::{Pid, Signal, kill_process};
use std::process::Child;

/// Sends SIGINT, as Ctrl-C does.
pub fn interrupt(child: &Child) {
    send(child, Signal::INT);
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    kill_process(pid, signal).expect("the child is there");
}
