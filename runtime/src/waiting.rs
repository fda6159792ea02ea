//! Who waits for something that a lock guards.

use std::sync::MutexGuard;
use std::task::{Context, Waker};

/// Keeps the waker of the task that polls, in place of the one before.
pub(crate) fn wait(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

/// Wakes whoever waits, once: the waker is taken, and woken after the lock is open, which the woken one wants.
pub(crate) fn wake<T>(mut state: MutexGuard<'_, T>, slot: impl FnOnce(&mut T) -> &mut Option<Waker>) {
    let waker = slot(&mut state).take();
    drop(state);
    waker.into_iter().for_each(Waker::wake);
}
