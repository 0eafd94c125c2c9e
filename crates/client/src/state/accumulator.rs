//! Records on their way into batches: what a partition has collected and nobody has sent yet.
//!
//! Records are encoded once, into the buffer from which they are sent. Owns neither memory accounting nor time: buffers
//! come from outside and return by being dropped.

use std::collections::VecDeque;

use ottla_model::Millis;
use ottla_record::{Codec, encode_record};

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
    /// What the records are compressed with; nothing while some are added.
    pub codec: Codec,
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
        Self {
            buffer,
            records: 0,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            created_ms,
            flush_epoch,
            decider,
            codec: Codec::None,
            limit_bytes,
        }
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
    full: VecDeque<Full<B>>,
    open: Option<OpenBatch<B>>,
    next_place: u64,
    /// The sender has this partition on its list.
    pub listed: bool,
}

#[derive(Debug)]
enum Full<B> {
    Here(OpenBatch<B>),
    /// Lent to whoever compresses it; it comes back to this place, and none behind it goes before.
    Lent(Place),
}

/// Where a batch that was lent belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl<B> Default for PartitionQueue<B> {
    fn default() -> Self {
        Self { full: VecDeque::new(), open: None, next_place: 0, listed: false }
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
        self.full.extend(self.open.take().map(Full::Here));
    }

    /// Lends the batch that became full last, if nobody has compressed it yet, so that this is done without a lock.
    /// [`Self::give_back`] follows, whatever happens.
    ///
    /// Not if it is the next to be sent: whoever sends is then quicker than those who fill, and compresses it.
    pub fn lend(&mut self) -> Option<(Place, OpenBatch<B>)> {
        if self.full.len() < 2 {
            return None;
        }
        let last = self.full.back_mut()?;
        if !matches!(last, Full::Here(batch) if batch.codec == Codec::None) {
            return None;
        }
        let place = Place(self.next_place);
        self.next_place += 1;
        match std::mem::replace(last, Full::Lent(place)) {
            Full::Here(batch) => Some((place, batch)),
            Full::Lent(_) => None,
        }
    }

    /// Puts a batch back to its place; whether it is the next to be sent. Dropped if all was given up meanwhile.
    pub fn give_back(&mut self, place: Place, batch: OpenBatch<B>) -> bool {
        let is_its = |full: &Full<B>| matches!(full, Full::Lent(lent) if *lent == place);
        let at = self.full.iter().position(is_its);
        if let Some(at) = at {
            self.full[at] = Full::Here(batch);
        }
        at == Some(0)
    }

    /// Drops whatever waits, and what is lent when it comes back.
    pub fn give_up(&mut self) {
        self.full.clear();
        self.open = None;
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

    /// The oldest batch, unless that is lent.
    pub fn first(&self) -> Option<&OpenBatch<B>> {
        match self.full.front() {
            Some(Full::Here(batch)) => Some(batch),
            Some(Full::Lent(_)) => None,
            None => self.open.as_ref(),
        }
    }

    /// Takes the oldest batch, full or not, unless it is lent.
    pub fn pop(&mut self) -> Option<OpenBatch<B>> {
        match self.full.pop_front() {
            Some(Full::Here(batch)) => Some(batch),
            Some(lent) => {
                self.full.push_front(lent);
                None
            }
            None => self.open.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Poll, Waker};

    use super::*;
    use crate::error::Error;

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
    fn a_lent_batch_keeps_its_place() {
        let mut queue = PartitionQueue::default();
        let record = Record::to("t").value(&[7; 40]);
        assert!(queue.lend().is_none());
        for timestamp in 1..=3 {
            queue.open_with(batch(), &record, Millis(timestamp));
        }
        let (place, mut second) = queue.lend().unwrap();
        assert_eq!(second.max_timestamp, Millis(5));
        assert!(queue.lend().is_none());
        let max_timestamp =
            |queue: &mut PartitionQueue<Vec<u8>>| queue.pop().map(|batch| batch.max_timestamp.0);
        second.max_timestamp = Millis(20);
        queue.open_with(batch(), &record, Millis(4));
        let (later, third) = queue.lend().unwrap();
        assert!(!queue.give_back(later, third));
        assert_eq!((queue.batches(), max_timestamp(&mut queue)), (4, Some(5)));
        // Nothing passes the one that is still away.
        assert!(queue.first().is_none() && queue.has_full());
        assert_eq!((queue.batches(), max_timestamp(&mut queue)), (3, None));
        second.codec = Codec::Lz4;
        assert!(queue.give_back(place, second));
        assert_eq!(queue.first().map(|first| first.codec), Some(Codec::Lz4));
        assert_eq!(max_timestamp(&mut queue), Some(20));
        assert_eq!((max_timestamp(&mut queue), max_timestamp(&mut queue)), (Some(5), Some(5)));
        assert!(max_timestamp(&mut queue).is_none());
    }

    #[test]
    fn nothing_comes_back_to_what_was_given_up() {
        let mut queue = PartitionQueue::default();
        let record = Record::to("t").value(&[7; 40]);
        for timestamp in 1..=3 {
            queue.open_with(batch(), &record, Millis(timestamp));
        }
        let (place, lent) = queue.lend().unwrap();
        let delivery = Arc::clone(lent.decider.delivery());
        queue.give_up();
        assert!(!queue.give_back(place, lent));
        assert_eq!((queue.batches(), queue.has_full()), (0, false));
        assert_eq!(delivery.poll(0, Waker::noop()), Poll::Ready(Err(Error::Closed)));
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
