//! Waiting: for a future, a while, several commands. All of it is the same whichever runtime drives the engine.

use crate::engine::Runtime;
use crate::failure::{Failure, io_message};
use smol::LocalExecutor;
use smol::channel::{Receiver, Sender};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Context;
use std::time::{Duration, Instant};

/// Waits on this thread, which is the only one that the runtime needs: the engine's disk, hash and name work has threads
/// of its own.
pub(crate) fn block_on<T>(runtime: Runtime, future: impl Future<Output = T>) -> Result<T, Failure> {
    match runtime {
        Runtime::Smol => Ok(smol::block_on(future)),
        Runtime::Tokio => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                    Failure(format!("the runtime cannot start: {}; try again", io_message(&error)))
                })?;
            let mut future = pin!(future);
            let result = runtime.block_on(poll_fn(|cx| {
                // A clone of tokio's waker does not always know itself in the original (their tables may lie at two
                // addresses), and async-io then takes one for another task's and wakes it: again and again.
                let waker = cx.waker().clone();
                future.as_mut().poll(&mut Context::from_waker(&waker))
            }));
            // What still runs or hangs (a name look-up, a disk) must not keep the process, which ends now.
            std::mem::forget(runtime);
            Ok(result)
        }
    }
}

/// What `future` gives, or `None` where that takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let over = async {
        smol::Timer::after(limit).await;
        None
    };
    smol::future::or(async { Some(future.await) }, over).await
}

/// Tells that a while has passed, again and again; one that nobody waited for is left out.
pub(crate) struct Ticks {
    every: Duration,
    next: Instant,
}

impl Ticks {
    /// The first one comes after `every`.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, next: Instant::now() + every }
    }

    /// The next one. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        smol::Timer::at(self.next).await;
        self.next = Instant::now() + self.every;
    }
}

/// The next of `ticks`, where there are any. Cancel-safe.
pub(crate) async fn next_tick(ticks: &mut Option<Ticks>) {
    match ticks {
        Some(ticks) => ticks.next().await,
        None => std::future::pending().await,
    }
}

/// Futures that run side by side while somebody waits for the [`next`](Self::next) of them to end. They begin in the order
/// of their spawning, and are dropped with this.
pub(crate) struct Tasks<T> {
    executor: LocalExecutor<'static>,
    ended: (Sender<T>, Receiver<T>),
    open: usize,
}

impl<T: 'static> Tasks<T> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { executor: LocalExecutor::new(), ended: smol::channel::unbounded(), open: 0 }
    }

    /// One more.
    pub(crate) fn spawn(&mut self, future: impl Future<Output = T> + 'static) {
        let ended = self.ended.0.clone();
        let run = async move {
            // Nobody listens any more only when this is dropped, too.
            let _ = ended.send(future.await).await;
        };
        self.executor.spawn(run).detach();
        self.open += 1;
    }

    /// Whether all have ended and were returned.
    pub(crate) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// What the next of them gives that ends; never where there is none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> T {
        loop {
            if let Ok(result) = self.executor.run(self.ended.1.recv()).await {
                self.open -= 1;
                return result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn on_smol_there_is_no_tokio() {
        let is_there = |runtime| {
            block_on(runtime, async { tokio::runtime::Handle::try_current().is_ok() }).unwrap_or(true)
        };
        assert!(is_there(Runtime::Tokio));
        assert!(!is_there(Runtime::Smol));
    }

    #[test]
    fn tasks_begin_in_order_and_end_as_they_are_ready() {
        for runtime in [Runtime::Tokio, Runtime::Smol] {
            let begun = Rc::new(RefCell::new(Vec::new()));
            let mut tasks = Tasks::new();
            for number in 0..5_u32 {
                let begun = Rc::clone(&begun);
                tasks.spawn(async move {
                    begun.borrow_mut().push(number);
                    smol::Timer::after(Duration::from_millis(u64::from(10 - 2 * number))).await;
                    number
                });
            }
            let ended = block_on(runtime, async {
                // Waiting may be given up at any time.
                assert!(within(Duration::ZERO, tasks.next()).await.is_none());
                let mut ended = Vec::new();
                while !tasks.is_empty() {
                    ended.push(tasks.next().await);
                }
                ended
            });
            assert_eq!(*begun.borrow(), [0, 1, 2, 3, 4]);
            let mut ended = ended.unwrap_or_default();
            ended.sort_unstable();
            assert_eq!(ended, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn ticks_that_nobody_waited_for_are_left_out() {
        smol::block_on(async {
            let every = Duration::from_millis(20);
            let mut ticks = Ticks::new(every);
            let start = Instant::now();
            smol::Timer::after(every * 5).await;
            ticks.next().await;
            ticks.next().await;
            assert!(start.elapsed() >= every * 6, "{:?}", start.elapsed());
            // One that is given up is not counted.
            assert!(within(Duration::ZERO, ticks.next()).await.is_none());
        });
    }
}
