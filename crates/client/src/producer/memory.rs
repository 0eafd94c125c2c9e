//! `buffer.memory`: the bytes of all records that wait or are under way, and the buffers they lie in.
//!
//! Whoever waits for room is told when an eighth of all was released, or by the sender a few milliseconds later of what
//! there is: a thread that is woken for each buffer costs more than what it then sends, on both sides.
//!
//! Invariant: buffers in use and unused ones that are kept are together never more than `buffer.memory`, but for one
//! record that is larger than all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::state::accumulator::BatchBuffer;

#[derive(Debug)]
pub(crate) struct Memory {
    bytes_max: usize,
    batch_bytes: usize,
    used: AtomicUsize,
    /// Unused buffers, all of `batch_bytes`.
    unused: Mutex<Vec<Vec<u8>>>,
    released: Notify,
    /// Bytes that were released while somebody waited who was not told yet.
    untold: AtomicUsize,
    waiting: AtomicUsize,
    /// What batches are compressed into, before it is known how long they become.
    scratch: Mutex<Vec<Vec<u8>>>,
}

/// As many threads may compress at once without allocating.
const SCRATCH_MAX: usize = 4;

/// A buffer that counts against `buffer.memory` until it is dropped, wherever that happens.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    charge: usize,
    memory: Arc<Memory>,
}

impl Memory {
    pub fn new(bytes_max: usize, batch_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            batch_bytes,
            used: AtomicUsize::new(0),
            unused: Mutex::default(),
            released: Notify::new(),
            untold: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            scratch: Mutex::default(),
        })
    }

    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// A buffer with room for so many bytes, if they are there.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Buffer> {
        let charge = bytes.max(self.batch_bytes);
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            (used + charge <= self.bytes_max || used == 0).then_some(used + charge)
        });
        let used = taken.ok()? + charge;
        let mut unused = self.unused.lock();
        let bytes = match charge == self.batch_bytes {
            true => unused.pop(),
            false => None,
        };
        while used + unused.len() * self.batch_bytes > self.bytes_max && unused.pop().is_some() {}
        drop(unused);
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(charge));
        Some(Buffer { bytes, charge, memory: Arc::clone(self) })
    }

    /// Bytes that take the place of others, which are dropped next: never refused.
    pub fn replace(self: &Arc<Self>, bytes: Vec<u8>) -> Buffer {
        let charge = bytes.capacity();
        self.used.fetch_add(charge, Ordering::AcqRel);
        Buffer { bytes, charge, memory: Arc::clone(self) }
    }

    /// What `write` makes of the buffer's bytes, in a buffer that is no larger than it has to be: this one if it is a
    /// usual one, or if what was made is longer than that.
    pub fn rewrite(self: &Arc<Self>, mut buffer: Buffer, write: impl FnOnce(&[u8], &mut Vec<u8>)) -> Buffer {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        write(&buffer.bytes, &mut scratch);
        if scratch.len() <= self.batch_bytes && buffer.charge > self.batch_bytes {
            let bytes = self.unused.lock().pop().unwrap_or_else(|| Vec::with_capacity(self.batch_bytes));
            buffer = self.replace(bytes);
        }
        if scratch.len() > buffer.charge {
            // It has grown, as what cannot be compressed does a little.
            buffer = self.replace(std::mem::take(&mut scratch));
        } else {
            buffer.bytes.clear();
            buffer.bytes.extend_from_slice(&scratch);
        }
        scratch.clear();
        let mut kept = self.scratch.lock();
        if kept.len() < SCRATCH_MAX {
            kept.push(scratch);
        }
        drop(kept);
        buffer
    }

    /// Tells when memory is released. Register before looking whether there is enough.
    pub fn wait(&self) -> MemoryWait<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        MemoryWait { memory: self }
    }

    /// Tells whoever waits of what was released meanwhile, however little. Called every few milliseconds while somebody
    /// waits ([`Self::is_waited_for`]).
    pub fn tell(&self) {
        if self.untold.swap(0, Ordering::AcqRel) > 0 {
            self.released.notify_waiters();
        }
    }

    /// Whether somebody waits, so that batches should leave without lingering.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

pub(crate) struct MemoryWait<'a> {
    memory: &'a Memory,
}

impl MemoryWait<'_> {
    pub fn released(&self) -> tokio::sync::futures::Notified<'_> {
        self.memory.released.notified()
    }
}

impl Drop for MemoryWait<'_> {
    fn drop(&mut self) {
        self.memory.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = &self.memory;
        let used = memory.used.fetch_sub(self.charge, Ordering::AcqRel) - self.charge;
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() == memory.batch_bytes {
            bytes.clear();
            let mut unused = memory.unused.lock();
            if used + (unused.len() + 1) * memory.batch_bytes <= memory.bytes_max {
                unused.push(bytes);
            }
        }
        if memory.is_waited_for() {
            let untold = memory.untold.fetch_add(self.charge, Ordering::AcqRel) + self.charge;
            if untold >= memory.bytes_max / 8 || used == 0 {
                memory.tell();
            }
        }
    }
}

impl BatchBuffer for Buffer {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_and_kept_is_bounded() {
        let memory = Memory::new(100, 40);
        let (first, second) = (memory.take(1).unwrap(), memory.take(40).unwrap());
        assert!(memory.take(1).is_none());
        drop(first);
        assert_eq!(memory.unused.lock().len(), 1);
        let large = memory.take(60).unwrap();
        assert!(memory.unused.lock().is_empty());
        drop((second, large));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        // Alone, a record may be larger than all.
        assert!(memory.take(1000).is_some());
    }

    #[test]
    fn whoever_waits_is_told_of_much_or_in_time() {
        let memory = Memory::new(1600, 100);
        let mut taken: Vec<_> = (0..16).map(|_| memory.take(1).unwrap()).collect();
        let wait = memory.wait();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for told_by_sender in [true, false] {
            let mut released = std::pin::pin!(wait.released());
            released.as_mut().enable();
            drop(taken.pop());
            assert!(released.as_mut().poll(&mut context).is_pending());
            match told_by_sender {
                true => memory.tell(),
                false => drop(taken.pop()),
            }
            assert!(released.as_mut().poll(&mut context).is_ready());
        }
        // Of the last of it at once: nothing comes after it.
        taken.truncate(1);
        memory.tell();
        let mut released = std::pin::pin!(wait.released());
        released.as_mut().enable();
        drop(taken);
        assert!(released.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn what_is_rewritten_takes_no_more_than_it_needs() {
        let memory = Memory::new(1000, 100);
        let rewritten = |bytes: usize, to: usize| {
            let mut buffer = memory.take(bytes).unwrap();
            buffer.bytes().extend(std::iter::repeat_n(7, bytes));
            let buffer = memory.rewrite(buffer, |from, out| out.extend(std::iter::repeat_n(from[0], to)));
            assert_eq!(buffer.as_ref(), vec![7; to]);
            let used = memory.used.load(Ordering::Relaxed);
            assert_eq!(used, buffer.charge);
            used
        };
        assert_eq!(rewritten(90, 30), 100);
        assert_eq!(rewritten(500, 100), 100);
        assert_eq!(rewritten(500, 101), 500);
        assert!(rewritten(100, 130) >= 130);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
