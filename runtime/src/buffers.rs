//! Pooled read buffers: one allocation serves many reads of many links, and comes back when its bytes are written.

use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers of [`BufferPool::SIZE`] bytes that links read into.
///
/// A link [`take`](Self::take)s a buffer when there is something to read, splits off what it read, and gives the rest
/// [back](Self::give_back) at once. So an idle link holds no memory, small reads of different links share one buffer,
/// and the buffer used last, still in the cache, is used next. A buffer without room is retired; when the last slice of
/// it is dropped (its bytes are on disk), it is used again from its start. Memory is never zeroed and, in steady
/// state, never allocated.
#[derive(Debug)]
pub struct BufferPool {
    pool: Mutex<Pool>,
    retain: usize,
}

#[derive(Debug, Default)]
struct Pool {
    /// Buffers with room; the last is the one used last.
    open: Vec<BytesMut>,
    /// Buffers without room, oldest first.
    retired: VecDeque<BytesMut>,
}

impl BufferPool {
    /// The size of one buffer in bytes.
    pub const SIZE: usize = 256 << 10;

    /// The least room of a buffer that [`take`](Self::take) returns.
    pub const LEAST_ROOM: usize = 64 << 10;

    /// A pool that keeps at most `retain` bytes of buffers for later use. What is beyond that is freed as soon as it
    /// is no longer needed.
    pub fn new(retain: usize) -> Self {
        Self { pool: Mutex::default(), retain }
    }

    /// An empty buffer with at least [`LEAST_ROOM`](Self::LEAST_ROOM) bytes of room behind it.
    pub fn take(&self) -> BytesMut {
        let mut pool = self.pool();
        if let Some(buffer) = pool.open.pop() {
            return buffer;
        }
        pool.reclaim().unwrap_or_else(|| {
            drop(pool);
            BytesMut::with_capacity(Self::SIZE)
        })
    }

    /// Gives back what is left of a buffer after the bytes read were split off, even if that is no room at all.
    pub fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut pool = self.pool();
        let full = (pool.open.len() + pool.retired.len() + 1) * Self::SIZE > self.retain;
        if buffer.capacity() >= Self::LEAST_ROOM {
            pool.open.push(buffer);
        } else if !full {
            pool.retired.push_back(buffer);
        }
        // Else it is freed with its last slice.
    }

    /// Frees every buffer; slices that are still in use free theirs when they are dropped. For when nothing is read.
    pub fn trim(&self) {
        let freed = std::mem::take(&mut *self.pool());
        drop(freed);
    }

    /// How many bytes the pool keeps, slices still in use included.
    pub fn retained(&self) -> usize {
        let pool = self.pool();
        (pool.open.len() + pool.retired.len()) * Self::SIZE
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// The oldest retired buffer of which no slice is left.
    fn reclaim(&mut self) -> Option<BytesMut> {
        let free = self.retired.iter_mut().position(|buffer| buffer.try_reclaim(BufferPool::SIZE))?;
        self.retired.remove(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pool: &BufferPool, len: usize) -> (usize, BytesMut) {
        let mut buffer = pool.take();
        assert!(buffer.capacity() >= BufferPool::LEAST_ROOM && buffer.is_empty());
        buffer.resize(len, 7);
        let data = buffer.split();
        pool.give_back(buffer);
        (data.as_ptr() as usize, data)
    }

    #[test]
    fn small_reads_share_one_buffer_and_lie_side_by_side() {
        let pool = BufferPool::new(1 << 20);
        let (first, _data) = read(&pool, 1000);
        let (second, _more) = read(&pool, 1000);
        assert_eq!(second, first + 1000);
        assert_eq!(pool.retained(), BufferPool::SIZE);
    }

    #[test]
    fn a_retired_buffer_is_used_again_once_its_slices_are_gone() {
        let pool = BufferPool::new(1 << 20);
        let (first, data) = read(&pool, 200 << 10);
        let half = data.freeze().slice(1000..2000);
        let (other, _other_data) = read(&pool, 1000);
        assert!(other.abs_diff(first) >= BufferPool::SIZE, "a slice is still in use");
        drop(half);
        let (_rest, _rest_data) = read(&pool, 254 << 10);
        let (again, _again_data) = read(&pool, 1000);
        assert_eq!(again, first);
    }

    #[test]
    fn nothing_grows_in_steady_state() {
        let pool = BufferPool::new(2 << 20);
        let mut in_flight = VecDeque::new();
        for round in 0..10_000_usize {
            in_flight.push_back(read(&pool, 1 + round * 7919 % (64 << 10)).1);
            if in_flight.len() > 16 {
                in_flight.pop_front();
            }
            assert!(pool.retained() <= 2 << 20);
        }
        assert!(pool.retained() <= 12 * BufferPool::SIZE, "{}", pool.retained());
    }

    #[test]
    fn no_more_is_retained_than_allowed() {
        let pool = BufferPool::new(4 * BufferPool::SIZE);
        let held: Vec<BytesMut> = (0..40).map(|_| read(&pool, 250 << 10).1).collect();
        assert!(pool.retained() <= 4 * BufferPool::SIZE);
        drop(held);
        pool.trim();
        assert_eq!(pool.retained(), 0);
    }
}
