//! Memory that batches are decompressed into, used again when their records are gone: steady reading neither allocates
//! nor faults pages, and nothing is zeroed twice.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// What is kept of unused memory.
const UNUSED_BYTES_MAX: usize = 2 << 20;
/// A longer buffer is not kept, as few batches need it.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// Unused buffers of a consumer, the last that was given back on top.
#[derive(Debug, Default)]
pub struct Buffers {
    unused: Mutex<Unused>,
}

#[derive(Debug, Default)]
struct Unused {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that goes back when it is dropped.
struct Lent {
    bytes: Vec<u8>,
    buffers: Arc<Buffers>,
}

impl Buffers {
    /// Lends a buffer to `fill`, which lets it grow and says how much of it is data. That much is shared until the last
    /// reader has dropped it.
    pub fn fill<E>(
        self: &Arc<Self>,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<usize, E>,
    ) -> Result<Bytes, E> {
        let mut lent = Lent { bytes: self.take(), buffers: Arc::clone(self) };
        let len = fill(&mut lent.bytes)?;
        Ok(Bytes::from_owner(lent).slice(..len))
    }

    fn take(&self) -> Vec<u8> {
        let mut unused = self.unused.lock();
        let bytes = unused.buffers.pop().unwrap_or_default();
        unused.bytes -= bytes.capacity();
        bytes
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let size = bytes.capacity();
        let mut unused = self.unused.lock();
        if size <= BUFFER_BYTES_MAX && unused.bytes + size <= UNUSED_BYTES_MAX {
            unused.bytes += size;
            unused.buffers.push(bytes);
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Arc<Buffers>, bytes: usize, with: u8) -> Bytes {
        let fill = |buffer: &mut Vec<u8>| {
            buffer.resize(buffer.len().max(bytes), 0);
            buffer[..bytes].fill(with);
            Ok::<_, ()>(bytes)
        };
        buffers.fill(fill).unwrap()
    }

    #[test]
    fn a_buffer_is_used_again_when_its_last_reader_is_gone() {
        let buffers = Arc::default();
        let first = filled(&buffers, 1000, 1);
        let (address, part) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        assert_ne!(filled(&buffers, 1000, 2).as_ptr(), address);
        assert_eq!(&part[..], [1; 10]);
        drop(part);
        let again = filled(&buffers, 500, 3);
        assert_eq!((again.as_ptr(), again.len()), (address, 500));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let buffers = Arc::default();
        let many: Vec<Bytes> = (0..40).map(|_| filled(&buffers, 128 << 10, 1)).collect();
        drop((many, filled(&buffers, BUFFER_BYTES_MAX + 1, 1)));
        let unused = buffers.unused.lock();
        assert_eq!((unused.buffers.len(), unused.bytes), (16, UNUSED_BYTES_MAX));
    }
}
