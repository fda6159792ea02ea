//! Where everything that happens in the world waits for the engine's next turn.

use gosh_dl_core::engine::Input;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A queue of inputs that wakes the driver once per batch.
#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    inputs: Vec<Input>,
    /// Whether a turn is due although there may be no input.
    nudged: bool,
    stopped: bool,
    waker: Option<Waker>,
}

impl Inbox {
    /// Queues an input.
    pub fn push(&self, input: Input) {
        let mut state = self.state();
        if state.stopped {
            return;
        }
        state.inputs.push(input);
        wake(state);
    }

    /// Asks for a turn: a command has changed the engine.
    pub fn nudge(&self) {
        let mut state = self.state();
        state.nudged = true;
        wake(state);
    }

    /// Ends the driver: nothing is taken in any more.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.inputs = Vec::new();
        wake(state);
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Moves everything that is queued into `inputs`.
    pub fn take(&self, inputs: &mut Vec<Input>) {
        let mut state = self.state();
        state.nudged = false;
        std::mem::swap(&mut state.inputs, inputs);
    }

    /// Ready when a turn is due.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.nudged || state.stopped || !state.inputs.is_empty() {
            return Poll::Ready(());
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker is taken, so that a batch wakes once.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
