//! Where everything that happens in the world waits for the engine's next turn.

use crate::waiting::{wait, wake};
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
    /// What the datagrams among them take.
    datagrams: usize,
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
        wake(state, |state| &mut state.waker);
    }

    /// Queues datagrams as long as there is room for them; the rest is lost, as datagrams are.
    pub fn push_datagrams(&self, inputs: &mut Vec<Input>) {
        let mut state = self.state();
        if state.stopped {
            return inputs.clear();
        }
        for input in inputs.drain(..) {
            if state.datagrams >= MAX_DATAGRAMS {
                tracing::trace!("datagrams are dropped: more come than are taken in");
                break;
            }
            state.datagrams += size_of(&input);
            state.inputs.push(input);
        }
        wake(state, |state| &mut state.waker);
    }

    /// Asks for a turn: a command has changed the engine.
    pub fn nudge(&self) {
        let mut state = self.state();
        state.nudged = true;
        wake(state, |state| &mut state.waker);
    }

    /// Ends the driver: nothing is taken in any more.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.inputs = Vec::new();
        wake(state, |state| &mut state.waker);
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Moves everything that is queued into `inputs`.
    pub fn take(&self, inputs: &mut Vec<Input>) {
        let mut state = self.state();
        state.nudged = false;
        state.datagrams = 0;
        std::mem::swap(&mut state.inputs, inputs);
    }

    /// Ready when a turn is due.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.nudged || state.stopped || !state.inputs.is_empty() {
            return Poll::Ready(());
        }
        wait(&mut state.waker, cx);
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a datagram takes in the queue and beside it.
fn size_of(input: &Input) -> usize {
    let bytes = if let Input::Datagram { bytes, .. } = input { bytes.len() } else { 0 };
    bytes + std::mem::size_of::<Input>()
}

/// How much of datagrams may wait for a turn, in bytes: some tens of milliseconds of a fast line.
const MAX_DATAGRAMS: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use gosh_dl_core::engine::UdpKey;

    #[test]
    fn datagrams_beyond_the_bound_are_lost_until_a_turn_takes_the_rest() {
        let inbox = Inbox::default();
        let datagram = || Input::Datagram {
            socket: UdpKey(1),
            from: ([127, 0, 0, 1], 1).into(),
            bytes: BytesMut::from(&[0; 10_000][..]),
        };
        let mut inputs = Vec::new();
        for _ in 0..3 {
            (0..100).for_each(|_| inbox.push_datagrams(&mut (0..32).map(|_| datagram()).collect()));
            inputs.clear();
            inbox.take(&mut inputs);
            assert!((700..900).contains(&inputs.len()), "{}", inputs.len());
        }
    }
}
