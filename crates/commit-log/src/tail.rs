//! The last batches of a log, kept in memory: where they lie, and their bytes while memory allows.
//!
//! Owns what a consumer at the log's end needs, so that it reads no file and no index. Positions are kept for more
//! batches than bytes are. The bytes of all logs together stay within a [`TailBudget`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ottla_model::Offset;
use ottla_record::HEADER_BYTES;

use crate::segment::Segment;

/// How many batches of a log have their positions in memory.
const BATCHES_MAX: usize = 128;
/// How many bytes of a log stay in memory.
const BYTES_MAX: usize = 64 << 10;
/// Batches up to this size stay in memory.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// The bound on what all tails of a process hold, in bytes.
#[derive(Debug)]
pub struct TailBudget {
    used: AtomicUsize,
    limit: usize,
}

impl TailBudget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    /// Bytes held at the moment.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// One batch at the log's end.
#[derive(Debug)]
pub(crate) struct TailBatch {
    pub base_offset: Offset,
    pub next_offset: Offset,
    pub position: u64,
    pub size: usize,
    /// The rewritten header, if the batch was stamped; then `body` holds what follows it.
    pub head: Option<[u8; HEADER_BYTES]>,
    /// Empty when the bytes were let go.
    pub body: Bytes,
}

impl TailBatch {
    pub(crate) fn has_bytes(&self) -> bool {
        self.head.is_some() || !self.body.is_empty()
    }
}

/// The end of one log. All its batches lie in the active segment, one behind the other, up to the log's end.
#[derive(Debug)]
pub(crate) struct Tail {
    budget: Arc<TailBudget>,
    /// The active segment.
    pub segment: Arc<Segment>,
    pub batches: VecDeque<TailBatch>,
    /// Bytes held, and from which batch on.
    bytes: usize,
    first_with_bytes: usize,
    pub end_offset: Offset,
    pub end_position: u64,
}

impl Tail {
    pub(crate) fn new(budget: Arc<TailBudget>, segment: Arc<Segment>, end_offset: Offset) -> Self {
        let end_position = segment.size_bytes();
        Self {
            budget,
            segment,
            batches: VecDeque::new(),
            bytes: 0,
            first_with_bytes: 0,
            end_offset,
            end_position,
        }
    }

    /// Takes a written batch in. A small one is copied, so that it does not hold on to the buffer it was received
    /// in; of a large one only the place is kept: sending it from the file costs no more, and its buffer is used
    /// again while it is still in the processor's cache.
    pub(crate) fn push(&mut self, mut batch: TailBatch) {
        let is_small = batch.size <= KEPT_BYTES_MAX;
        self.end_offset = batch.next_offset;
        self.end_position = batch.position + batch.size as u64;
        if self.batches.len() == BATCHES_MAX {
            self.release_first();
            self.batches.pop_front();
            self.first_with_bytes = self.first_with_bytes.saturating_sub(1);
        }
        if !is_small {
            self.release_bytes();
            batch.head = None;
            batch.body = Bytes::new();
            self.batches.push_back(batch);
            self.first_with_bytes = self.batches.len();
            return;
        }
        batch.body = Bytes::copy_from_slice(&batch.body);
        self.bytes += batch.size;
        self.budget.used.fetch_add(batch.size, Ordering::Relaxed);
        self.batches.push_back(batch);
        while self.bytes > BYTES_MAX || (self.bytes > 0 && self.budget.used() > self.budget.limit) {
            self.release_next();
        }
    }

    /// Lets go the bytes of the batch at the front, if it has any.
    fn release_first(&mut self) {
        if self.first_with_bytes == 0 {
            self.release_next();
        }
    }

    fn release_next(&mut self) {
        let Some(batch) = self.batches.get_mut(self.first_with_bytes) else { return };
        batch.head = None;
        batch.body = Bytes::new();
        self.bytes -= batch.size;
        self.budget.used.fetch_sub(batch.size, Ordering::Relaxed);
        self.first_with_bytes += 1;
    }

    /// Lets go all bytes; positions stay.
    pub(crate) fn release_bytes(&mut self) {
        while self.bytes > 0 {
            self.release_next();
        }
    }

    /// Starts over at another place: the segment rolled or the log was cut.
    pub(crate) fn reset(&mut self, segment: Arc<Segment>, end_offset: Offset) {
        self.release_bytes();
        self.end_position = segment.size_bytes();
        self.segment = segment;
        self.batches.clear();
        self.first_with_bytes = 0;
        self.end_offset = end_offset;
    }

    /// The batch that holds `offset` (or the first one behind it), if it is here.
    pub(crate) fn find(&self, offset: Offset) -> Option<usize> {
        if self.batches.front().is_none_or(|first| offset < first.base_offset) || offset >= self.end_offset {
            return None;
        }
        Some(self.batches.partition_point(|batch| batch.next_offset <= offset))
    }

    /// The batch that a read up to `position` would cut, if it is here.
    pub(crate) fn first_cut(&self, position: u64) -> Option<&TailBatch> {
        let at = self.batches.partition_point(|batch| batch.position + batch.size as u64 <= position);
        self.batches.get(at).filter(|batch| batch.position < position)
    }

    /// Where the bytes below `upper_bound` end, if that is here.
    pub(crate) fn position_below(&self, upper_bound: Offset) -> Option<u64> {
        if upper_bound >= self.end_offset {
            return Some(self.end_position);
        }
        self.find(upper_bound).map(|at| self.batches[at].position)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.release_bytes();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ottla_model::Millis;

    use super::*;
    use crate::disk::SimDisk;
    use crate::file_cache::FileCache;
    use crate::segment::SegmentSizes;

    fn batch(n: i64, size: usize) -> TailBatch {
        TailBatch {
            base_offset: Offset(n),
            next_offset: Offset(n + 1),
            position: n as u64 * size as u64,
            size,
            head: None,
            body: Bytes::from(vec![0; size]),
        }
    }

    #[test]
    fn bytes_go_before_positions_and_the_budget_is_kept() {
        let budget = TailBudget::new(100);
        let files = FileCache::new(Arc::new(SimDisk::new()), 8);
        let sizes = SegmentSizes::default();
        let segment = Arc::new(Segment::new(&files, Path::new("/d"), Offset(0), "", sizes, Millis(0)));
        let mut tail = Tail::new(budget.clone(), segment.clone(), Offset(0));
        let mut other = Tail::new(budget.clone(), segment.clone(), Offset(0));
        (0..200).for_each(|n| tail.push(batch(n, 10)));
        assert_eq!(budget.used(), 100);
        assert_eq!(tail.batches.len(), BATCHES_MAX);
        assert_eq!(tail.batches.iter().filter(|batch| batch.has_bytes()).count(), 10);
        other.push(batch(0, 10));
        assert!(!other.batches[0].has_bytes());
        assert_eq!(tail.find(Offset(199)), Some(127));
        assert_eq!(tail.find(Offset(72)), Some(0));
        assert_eq!(tail.find(Offset(71)), None);
        assert_eq!(tail.find(Offset(200)), None);
        assert_eq!(tail.position_below(Offset(200)), Some(2000));
        assert_eq!(tail.position_below(Offset(150)), Some(1500));
        tail.reset(segment, Offset(5));
        assert_eq!(budget.used(), 0);
    }
}
