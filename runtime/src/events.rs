//! The event hub: what the engine says, to everybody who listens, without ever waiting for anybody.

use crate::waiting::{wait, wake};
use futures_core::Stream;
use gosh_dl_core::download::DownloadId;
use gosh_dl_core::engine::DownloadEvent;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

/// Hands events to every [`EventStream`].
#[derive(Debug, Default)]
pub struct EventHub {
    subscribers: Mutex<Subscribers>,
}

#[derive(Debug, Default)]
struct Subscribers {
    queues: Vec<Weak<Mutex<Queue>>>,
    closed: bool,
}

impl EventHub {
    /// A hub without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stream of everything that is published from now on.
    pub fn subscribe(&self) -> EventStream {
        let mut subscribers = self.subscribers();
        let queue = Arc::new(Mutex::new(Queue { closed: subscribers.closed, ..Queue::default() }));
        subscribers.queues.retain(|other| other.strong_count() > 0);
        subscribers.queues.push(Arc::downgrade(&queue));
        EventStream { queue }
    }

    /// Queues an event for every subscriber.
    pub fn publish(&self, event: &DownloadEvent) {
        let mut wake: Vec<Waker> = Vec::new();
        self.subscribers().queues.retain(|queue| {
            let Some(queue) = queue.upgrade() else { return false };
            let mut queue = lock(&queue);
            queue.push(event.clone());
            wake.extend(queue.waker.take());
            true
        });
        wake.into_iter().for_each(Waker::wake);
    }

    /// Ends every stream, once what is queued has been received.
    pub fn close(&self) {
        let mut subscribers = self.subscribers();
        subscribers.closed = true;
        let queues = std::mem::take(&mut subscribers.queues);
        drop(subscribers);
        for queue in queues.iter().filter_map(Weak::upgrade) {
            let mut queue = lock(&queue);
            queue.closed = true;
            wake(queue, |queue| &mut queue.waker);
        }
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of an engine, in order, from the moment of subscribing.
///
/// A slow reader never slows the engine down. Of each download at most one `Progress` is queued, the newest; and the
/// ends (`Completed`, `Failed`, `Removed`, `Paused`) are never lost, though of two alike of one download only the later is
/// kept: what waits is bounded by the number of downloads. If more than 65,536 other events are queued, the
/// oldest of those are dropped and [`lagged`](Self::lagged) counts them: a reader that sees it grow resynchronises
/// with [`Handle::list`](crate::Handle::list).
///
/// It is also a [`Stream`]. Dropping it unsubscribes.
#[derive(Debug)]
pub struct EventStream {
    queue: Arc<Mutex<Queue>>,
}

impl EventStream {
    /// The next event; `None` once the engine is gone and everything before was received. Cancel-safe.
    pub async fn recv(&mut self) -> Option<DownloadEvent> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next event, if one is queued.
    pub fn try_recv(&mut self) -> Option<DownloadEvent> {
        lock(&self.queue).pop()
    }

    /// How many events were dropped because this reader was too slow.
    pub fn lagged(&self) -> u64 {
        lock(&self.queue).lagged
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<DownloadEvent>> {
        let mut queue = lock(&self.queue);
        match queue.pop() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.closed => Poll::Ready(None),
            None => {
                wait(&mut queue.waker, context);
                Poll::Pending
            }
        }
    }
}

impl Stream for EventStream {
    type Item = DownloadEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<DownloadEvent>> {
        self.get_mut().poll_recv(context)
    }
}

/// One subscriber's events: the ends apart from the rest, numbered so that the order across both is kept.
#[derive(Debug, Default)]
struct Queue {
    ends: BTreeMap<u64, DownloadEvent>,
    /// Of each download, which end of each kind is queued.
    newest: HashMap<(DownloadId, Discriminant<DownloadEvent>), u64>,
    others: VecDeque<(u64, DownloadEvent)>,
    /// How many were ever taken from the front of `others`.
    others_taken: u64,
    /// Of each download, which of the `others` (counted from the very first) is its queued progress.
    progress: HashMap<DownloadId, u64>,
    next: u64,
    lagged: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn push(&mut self, event: DownloadEvent) {
        let number = self.next;
        self.next += 1;
        if is_end(&event) {
            if let Some(older) = self.newest.insert((event.id(), discriminant(&event)), number) {
                self.ends.remove(&older);
            }
            self.ends.insert(number, event);
            return;
        }
        if matches!(event, DownloadEvent::Progress { .. }) {
            let place = self.progress.get(&event.id()).and_then(|at| at.checked_sub(self.others_taken));
            if let Some(queued) = place.and_then(|place| self.others.get_mut(usize::try_from(place).ok()?)) {
                queued.1 = event;
                return;
            }
            self.progress.insert(event.id(), self.others_taken + self.others.len() as u64);
        }
        self.others.push_back((number, event));
        if self.others.len() > MAX_QUEUED {
            self.pop_other();
            self.lagged += 1;
        }
    }

    fn pop(&mut self) -> Option<DownloadEvent> {
        match (self.ends.first_key_value(), self.others.front()) {
            (Some((end, _)), Some((other, _))) if other < end => self.pop_other(),
            (None, _) => self.pop_other(),
            (Some(_), _) => self.pop_end(),
        }
    }

    fn pop_end(&mut self) -> Option<DownloadEvent> {
        let (_, event) = self.ends.pop_first()?;
        self.newest.remove(&(event.id(), discriminant(&event)));
        Some(event)
    }

    fn pop_other(&mut self) -> Option<DownloadEvent> {
        let (_, event) = self.others.pop_front()?;
        if matches!(event, DownloadEvent::Progress { .. }) {
            self.progress.remove(&event.id());
        }
        self.others_taken += 1;
        Some(event)
    }
}

fn is_end(event: &DownloadEvent) -> bool {
    matches!(
        event,
        DownloadEvent::Completed { .. }
            | DownloadEvent::Failed { .. }
            | DownloadEvent::Removed { .. }
            | DownloadEvent::Paused { .. }
    )
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A few hundred bytes each: some megabytes for a subscriber that stopped reading.
const MAX_QUEUED: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use gosh_dl_core::engine::DownloadProgress;

    fn id(number: u8) -> DownloadId {
        DownloadId::from_random_bytes([number; 16])
    }

    fn progress(number: u8, completed_size: u64) -> DownloadEvent {
        let progress = DownloadProgress { completed_size, ..DownloadProgress::default() };
        DownloadEvent::Progress { id: id(number), progress }
    }

    fn drain(stream: &mut EventStream) -> Vec<DownloadEvent> {
        std::iter::from_fn(|| stream.try_recv()).collect()
    }

    #[test]
    fn progress_is_replaced_in_place() {
        let hub = EventHub::new();
        let mut stream = hub.subscribe();
        for event in [progress(1, 1), progress(2, 1), progress(1, 2), DownloadEvent::Completed { id: id(1) }]
        {
            hub.publish(&event);
        }
        let events = drain(&mut stream);
        assert_eq!(events, [progress(1, 2), progress(2, 1), DownloadEvent::Completed { id: id(1) }]);
        hub.publish(&progress(1, 3));
        assert_eq!(drain(&mut stream), [progress(1, 3)]);
    }

    #[test]
    fn order_across_ends_and_others_is_kept() {
        let hub = EventHub::new();
        let mut stream = hub.subscribe();
        let events = [
            DownloadEvent::Added { id: id(1) },
            DownloadEvent::Paused { id: id(1) },
            DownloadEvent::Resumed { id: id(1) },
            DownloadEvent::Started { id: id(1) },
            DownloadEvent::Completed { id: id(1) },
            DownloadEvent::Removed { id: id(1) },
            DownloadEvent::Added { id: id(2) },
        ];
        events.iter().for_each(|event| hub.publish(event));
        assert_eq!(drain(&mut stream), events);
    }

    #[test]
    fn ends_survive_a_reader_that_is_far_behind() {
        let hub = EventHub::new();
        let mut stream = hub.subscribe();
        hub.publish(&DownloadEvent::Completed { id: id(1) });
        for _ in 0..MAX_QUEUED + 10 {
            hub.publish(&DownloadEvent::Added { id: id(2) });
        }
        assert_eq!(stream.lagged(), 10);
        let events = drain(&mut stream);
        assert_eq!(events[0], DownloadEvent::Completed { id: id(1) });
        assert_eq!(events.len(), MAX_QUEUED + 1);
    }

    #[test]
    fn a_reader_that_is_gone_for_good_costs_no_more_than_there_are_downloads() {
        let hub = EventHub::new();
        let mut stream = hub.subscribe();
        for _ in 0..1000 {
            hub.publish(&DownloadEvent::Paused { id: id(1) });
            hub.publish(&DownloadEvent::Resumed { id: id(1) });
        }
        hub.publish(&DownloadEvent::Completed { id: id(1) });
        assert_eq!(lock(&stream.queue).ends.len(), 2);
        assert_eq!(lock(&stream.queue).newest.len(), 2);
        let events = drain(&mut stream);
        let ends: Vec<_> = events.into_iter().filter(is_end).collect();
        assert_eq!(ends, [DownloadEvent::Paused { id: id(1) }, DownloadEvent::Completed { id: id(1) }]);
        assert!(lock(&stream.queue).newest.is_empty());
    }

    #[test]
    fn progress_is_found_after_others_were_dropped() {
        let hub = EventHub::new();
        let mut stream = hub.subscribe();
        hub.publish(&progress(1, 1));
        (0..MAX_QUEUED).for_each(|_| hub.publish(&DownloadEvent::Added { id: id(2) }));
        hub.publish(&progress(1, 2));
        hub.publish(&progress(1, 3));
        let events = drain(&mut stream);
        assert_eq!(events.last(), Some(&progress(1, 3)));
        assert_eq!(events.iter().filter(|event| event.id() == id(1)).count(), 1);
    }

    #[test]
    fn closing_ends_a_stream_after_its_last_event() {
        let hub = EventHub::new();
        let mut stream = hub.subscribe();
        hub.publish(&DownloadEvent::Added { id: id(1) });
        hub.close();
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(stream.poll_recv(&mut context), Poll::Ready(Some(_))));
        assert_eq!(stream.poll_recv(&mut context), Poll::Ready(None));
        assert_eq!(hub.subscribe().poll_recv(&mut context), Poll::Ready(None));
    }

    #[test]
    fn dropping_a_stream_unsubscribes() {
        let hub = EventHub::new();
        drop(hub.subscribe());
        hub.publish(&DownloadEvent::Added { id: id(1) });
        assert!(hub.subscribers().queues.is_empty());
    }
}
