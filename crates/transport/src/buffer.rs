//! Reused memory for received bytes, so that steady traffic neither allocates nor faults pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::budget::Charge;

/// Size of the buffer that small frames are received into, many at a time.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;
/// Large buffers are kept in classes of powers of two between these sizes; what is larger is not reused.
const POOLED_BYTES_MIN: usize = 128 * 1024;
const POOLED_BYTES_MAX: usize = 16 * 1024 * 1024;
const CLASSES: usize = (POOLED_BYTES_MAX / POOLED_BYTES_MIN).ilog2() as usize + 1;

/// Unused buffers of a node, bounded in number: chunks for small frames and larger ones for single frames.
#[derive(Debug)]
pub struct BufferPool {
    chunks: Mutex<Vec<BytesMut>>,
    chunks_max: usize,
    large: [Mutex<Vec<Vec<u8>>>; CLASSES],
    large_bytes: AtomicUsize,
    large_bytes_max: usize,
}

impl BufferPool {
    /// A pool that keeps at most `bytes_max` of unused memory.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            chunks: Mutex::new(Vec::new()),
            chunks_max: (bytes_max / 4 / CHUNK_BYTES).max(2),
            large: Default::default(),
            large_bytes: AtomicUsize::new(0),
            large_bytes_max: bytes_max / 4 * 3,
        })
    }

    pub(crate) fn chunk(&self) -> BytesMut {
        self.chunks.lock().pop().unwrap_or_else(|| BytesMut::with_capacity(CHUNK_BYTES))
    }

    /// Takes a chunk back if no frame in it is still in use.
    pub(crate) fn give_back(&self, mut chunk: BytesMut) {
        chunk.clear();
        if !chunk.try_reclaim(CHUNK_BYTES) {
            return;
        }
        let mut chunks = self.chunks.lock();
        if chunks.len() < self.chunks_max {
            chunks.push(chunk);
        }
    }

    /// A zeroed or reused buffer of at least `len` bytes.
    pub(crate) fn large(self: &Arc<Self>, len: usize) -> LargeBuffer {
        let class = class_of(len);
        let bytes = match class {
            Some(class) => {
                let pooled = self.large[class].lock().pop();
                if let Some(bytes) = &pooled {
                    self.large_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                }
                pooled.unwrap_or_else(|| vec![0; POOLED_BYTES_MIN << class])
            }
            None => vec![0; len],
        };
        LargeBuffer { bytes, class, pool: Arc::clone(self), charges: Vec::new() }
    }
}

fn class_of(len: usize) -> Option<usize> {
    let size = len.next_power_of_two().max(POOLED_BYTES_MIN);
    (size <= POOLED_BYTES_MAX).then(|| (size / POOLED_BYTES_MIN).ilog2() as usize)
}

/// Memory for one large frame; goes back to its pool, and its charge to the budget, when dropped.
#[derive(Debug)]
pub(crate) struct LargeBuffer {
    pub(crate) bytes: Vec<u8>,
    class: Option<usize>,
    pool: Arc<BufferPool>,
    pub(crate) charges: Vec<Charge>,
}

impl LargeBuffer {
    /// The first `len` bytes as shared memory.
    pub(crate) fn freeze(self, len: usize) -> Bytes {
        Bytes::from_owner(self).slice(..len)
    }
}

impl AsRef<[u8]> for LargeBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for LargeBuffer {
    fn drop(&mut self) {
        let Some(class) = self.class else { return };
        let len = self.bytes.len();
        if self.pool.large_bytes.fetch_add(len, Ordering::Relaxed) + len <= self.pool.large_bytes_max {
            self.pool.large[class].lock().push(std::mem::take(&mut self.bytes));
        } else {
            self.pool.large_bytes.fetch_sub(len, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However often: the bound is on what lies unused, not on what has passed through.
    #[test]
    fn a_dropped_buffer_is_used_again() {
        let pool = BufferPool::new(64 * 1024 * 1024);
        let first = pool.large(900 * 1024);
        let address = first.bytes.as_ptr();
        assert_eq!(first.bytes.len(), 1024 * 1024);
        drop(first.freeze(900 * 1024));
        for _ in 0..100 {
            let again = pool.large(1024 * 1024);
            assert_eq!(again.bytes.as_ptr(), address);
            drop(again);
        }
    }

    #[test]
    fn a_chunk_with_a_frame_in_use_is_not_given_out_again() {
        let pool = BufferPool::new(0);
        let mut chunk = pool.chunk();
        chunk.extend_from_slice(b"frame");
        let frame = chunk.split_to(5).freeze();
        pool.give_back(chunk);
        assert!(pool.chunks.lock().is_empty());
        assert_eq!(&frame[..], b"frame");
    }
}
