//! `buffer.memory`: the bytes of all records that wait or are under way, and the buffers they lie in.
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
    waiting: AtomicUsize,
}

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
            waiting: AtomicUsize::new(0),
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

    /// Tells when some memory is released. Register before looking whether there is enough.
    pub fn wait(&self) -> MemoryWait<'_> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        MemoryWait { memory: self }
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
            memory.released.notify_waiters();
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
}
