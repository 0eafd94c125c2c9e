//! Records on their way into batches: what a partition has collected and nobody has sent yet.
//!
//! Records are encoded once, into the buffer from which they are sent. Owns neither memory accounting nor time: buffers
//! come from outside and return by being dropped.

use std::collections::VecDeque;

use ottla_model::Millis;
use ottla_record::encode_record;

use super::delivery::Decider;
use crate::record::Record;

/// A batch that collects records.
#[derive(Debug)]
pub struct OpenBatch<B> {
    pub buffer: B,
    pub records: u32,
    pub base_timestamp: Millis,
    pub max_timestamp: Millis,
    /// On the producer's clock.
    pub created_ms: u64,
    /// Flushes asked for up to this number wait for the batch.
    pub flush_epoch: u64,
    pub decider: Decider,
    /// The batch is full when it would grow beyond this.
    limit_bytes: usize,
}

/// A buffer that batches are written to.
pub trait BatchBuffer {
    fn bytes(&mut self) -> &mut Vec<u8>;
    fn size_bytes(&self) -> usize;
}

impl<B: BatchBuffer> OpenBatch<B> {
    pub fn new(
        buffer: B,
        timestamp: Millis,
        created_ms: u64,
        flush_epoch: u64,
        decider: Decider,
        limit_bytes: usize,
    ) -> Self {
        let (records, base_timestamp, max_timestamp) = (0, timestamp, timestamp);
        Self { buffer, records, base_timestamp, max_timestamp, created_ms, flush_epoch, decider, limit_bytes }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.records == 0 || self.buffer.size_bytes() + bytes <= self.limit_bytes
    }

    fn append(&mut self, record: &Record<'_>, timestamp: Millis) {
        let headers = record.headers.iter().map(|header| (header.key.as_bytes(), header.value));
        encode_record(
            self.buffer.bytes(),
            0,
            timestamp - self.base_timestamp,
            self.records as i32,
            record.key,
            record.value,
            headers,
        );
        self.records += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }
}

/// What a partition has collected: full batches, and one that is not.
#[derive(Debug)]
pub struct PartitionQueue<B> {
    full: VecDeque<OpenBatch<B>>,
    open: Option<OpenBatch<B>>,
    /// The sender has this partition on its list.
    pub listed: bool,
}

impl<B> Default for PartitionQueue<B> {
    fn default() -> Self {
        Self { full: VecDeque::new(), open: None, listed: false }
    }
}

/// How an attempt to append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// As the record of this index in [`PartitionQueue::open`].
    Done(u32),
    /// There is no open batch with room for it: hand in a buffer.
    NeedsBatch,
}

impl<B: BatchBuffer> PartitionQueue<B> {
    /// Appends to the open batch, which `bytes` is the record's largest possible size for. A batch without room is
    /// full from now on.
    pub fn append(&mut self, record: &Record<'_>, timestamp: Millis, bytes: usize) -> Append {
        match &mut self.open {
            Some(open) if open.has_room(bytes) => {
                open.append(record, timestamp);
                Append::Done(open.records - 1)
            }
            _ => {
                self.seal();
                Append::NeedsBatch
            }
        }
    }

    /// Opens a batch with a first record.
    pub fn open_with(&mut self, mut batch: OpenBatch<B>, record: &Record<'_>, timestamp: Millis) {
        self.seal();
        batch.append(record, timestamp);
        self.open = Some(batch);
    }

    fn seal(&mut self) {
        self.full.extend(self.open.take());
    }

    pub fn open(&self) -> Option<&OpenBatch<B>> {
        self.open.as_ref()
    }

    /// Batches that wait.
    pub fn batches(&self) -> usize {
        self.full.len() + usize::from(self.open.is_some())
    }

    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// The oldest batch.
    pub fn first(&self) -> Option<&OpenBatch<B>> {
        self.full.front().or(self.open.as_ref())
    }

    /// Takes the oldest batch, full or not.
    pub fn pop(&mut self) -> Option<OpenBatch<B>> {
        self.full.pop_front().or_else(|| self.open.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl BatchBuffer for Vec<u8> {
        fn bytes(&mut self) -> &mut Vec<u8> {
            self
        }
        fn size_bytes(&self) -> usize {
            self.len()
        }
    }

    fn batch() -> OpenBatch<Vec<u8>> {
        OpenBatch::new(Vec::new(), Millis(5), 0, 0, Decider::new("t".into(), 0), 100)
    }

    #[test]
    fn batches_fill_up_and_leave_in_order() {
        let mut queue = PartitionQueue::default();
        let record = Record::to("t").value(&[7; 40]);
        assert_eq!(queue.append(&record, Millis(5), 60), Append::NeedsBatch);
        queue.open_with(batch(), &record, Millis(5));
        assert_eq!((queue.batches(), queue.has_full()), (1, false));
        assert_eq!(queue.append(&record, Millis(3), 50), Append::Done(1));
        assert_eq!(queue.append(&record, Millis(9), 50), Append::NeedsBatch);
        queue.open_with(batch(), &record, Millis(9));
        assert_eq!((queue.batches(), queue.has_full()), (2, true));
        let first = queue.pop().unwrap();
        assert_eq!((first.records, first.max_timestamp), (2, Millis(5)));
        assert_eq!(queue.pop().unwrap().records, 1);
        assert!(queue.pop().is_none());
    }

    #[test]
    fn a_record_larger_than_a_batch_goes_alone() {
        let mut queue = PartitionQueue::default();
        let record = Record::to("t").value(&[7; 400]);
        queue.open_with(batch(), &record, Millis(5));
        assert_eq!(queue.append(&record, Millis(5), 420), Append::NeedsBatch);
        assert_eq!(queue.pop().unwrap().records, 1);
    }
}
