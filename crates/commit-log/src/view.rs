//! What readers see of a log, without asking its owner.
//!
//! Owns the published state of one log: the list of segments (replaced as a whole when it changes), the offsets
//! (atomics) and the tail. The owner publishes in an order in which a reader never sees an offset whose bytes are not
//! there. Must not know how a log is written.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use ottla_model::{LeaderEpoch, Millis, Offset, TopicPartition};
use parking_lot::Mutex;

use crate::disk::DiskFile;
use crate::epoch_cache::EpochCache;
use crate::error::{IoContext, ReadError, StorageError};
use crate::index::AbortedTxn;
use crate::segment::Segment;
use crate::tail::Tail;

/// The published state of one log.
#[derive(Debug)]
pub(crate) struct LogShared {
    pub partition: TopicPartition,
    pub segments: ArcSwap<Vec<Arc<Segment>>>,
    pub epochs: ArcSwap<EpochCache>,
    pub log_start: AtomicI64,
    pub log_end: AtomicI64,
    pub high_watermark: AtomicI64,
    pub last_stable: AtomicI64,
    pub recovery_point: AtomicI64,
    pub dirty_bytes: AtomicU64,
    pub offline: AtomicBool,
    pub tail: Mutex<Tail>,
}

/// How far a reader may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadLimit {
    /// Followers: everything that is written.
    LogEnd,
    /// Consumers.
    HighWatermark,
    /// Consumers that want nothing of open transactions.
    LastStableOffset,
}

/// What to do with a first batch that is larger than the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstBatch {
    /// Return it whole, and alone: a consumer must get ahead.
    Whole,
    /// Return nothing.
    WithinLimit,
}

/// The bytes that answer a read: to be sent one part after the other. The last batch may be cut, except at the end of
/// the log, where it is known where batches begin.
#[derive(Debug, Default)]
pub struct ReadPlan {
    pub parts: Vec<ReadPart>,
    /// Sum of all parts.
    pub size_bytes: usize,
    /// The bytes that were found within the limit: `size_bytes` and, where it is left out, the begin of a batch that
    /// would be cut. What a reader waits for is counted so.
    pub found_bytes: usize,
    /// Base offset of the first batch; `None` if there is nothing.
    pub base_offset: Option<Offset>,
    /// Nothing at or behind this offset is in the parts (it may be more than needed): the upper bound for
    /// [`LogView::aborted_transactions`].
    pub upper_bound: Offset,
}

/// A piece of a [`ReadPlan`].
#[derive(Clone, Debug)]
pub enum ReadPart {
    /// `len` bytes of a file that stays readable as long as the part is held.
    File {
        file: Arc<dyn DiskFile>,
        position: u64,
        len: usize,
    },
    Memory(Bytes),
}

/// How much there is to read for a waiting fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Available {
    /// So many bytes (within one segment).
    Bytes(u64),
    /// The offset lies in an older segment than the limit: counts as enough.
    OlderSegment,
}

/// A reader's handle on a log. Cheap to clone; always shows the present state. Reads may touch files and so block.
#[derive(Clone, Debug)]
pub struct LogView {
    pub(crate) shared: Arc<LogShared>,
}

impl LogShared {
    pub(crate) fn get(&self, offset: &AtomicI64) -> Offset {
        Offset(offset.load(Ordering::Acquire))
    }
}

impl LogView {
    pub fn partition(&self) -> &TopicPartition {
        &self.shared.partition
    }

    pub fn log_start_offset(&self) -> Offset {
        self.shared.get(&self.shared.log_start)
    }

    pub fn log_end_offset(&self) -> Offset {
        self.shared.get(&self.shared.log_end)
    }

    pub fn high_watermark(&self) -> Offset {
        self.shared.get(&self.shared.high_watermark)
    }

    pub fn last_stable_offset(&self) -> Offset {
        self.shared.get(&self.shared.last_stable)
    }

    /// Below this offset everything is durable, indexes included.
    pub fn recovery_point(&self) -> Offset {
        self.shared.get(&self.shared.recovery_point)
    }

    /// Bytes written since the recovery point was last moved: about what a restart after a crash has to check.
    pub fn dirty_bytes(&self) -> u64 {
        self.shared.dirty_bytes.load(Ordering::Relaxed)
    }

    /// Whether a fault made the log unusable.
    pub fn is_offline(&self) -> bool {
        self.shared.offline.load(Ordering::Acquire)
    }

    pub fn limit(&self, limit: ReadLimit) -> Offset {
        match limit {
            ReadLimit::LogEnd => self.log_end_offset(),
            ReadLimit::HighWatermark => self.high_watermark(),
            ReadLimit::LastStableOffset => self.last_stable_offset(),
        }
    }

    /// The leader epochs of the log.
    pub fn epochs(&self) -> Arc<EpochCache> {
        self.shared.epochs.load_full()
    }

    /// OffsetForLeaderEpoch: see [`EpochCache::end_offset_for`].
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.shared.epochs.load().end_offset_for(epoch, self.log_end_offset())
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.shared.segments.load().iter().map(|segment| segment.size_bytes()).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.shared.segments.load().len()
    }

    /// Plans a read from the batch that holds `fetch_offset` on, below `upper_bound` (as [`LogView::limit`] gave it),
    /// of at most `max_bytes`, within one segment.
    ///
    /// Errors: [`ReadError::OffsetOutOfRange`] outside of log start to log end.
    pub fn read(
        &self,
        fetch_offset: Offset,
        upper_bound: Offset,
        max_bytes: usize,
        first_batch: FirstBatch,
    ) -> Result<ReadPlan, ReadError> {
        let (log_start, log_end) = (self.log_start_offset(), self.log_end_offset());
        if fetch_offset < log_start || fetch_offset > log_end {
            return Err(ReadError::OffsetOutOfRange { offset: fetch_offset, log_start, log_end });
        }
        let upper_bound = upper_bound.min(log_end);
        let nothing = ReadPlan { upper_bound: fetch_offset, ..ReadPlan::default() };
        if fetch_offset >= upper_bound {
            return Ok(nothing);
        }
        let wish = Wish { fetch_offset, upper_bound, max_bytes, first_batch };
        if let Some(plan) = self.read_tail(&wish)? {
            return Ok(plan);
        }
        let segments = self.shared.segments.load_full();
        let mut at = segments.partition_point(|segment| segment.base_offset <= fetch_offset).max(1) - 1;
        while let Some(segment) = segments.get(at) {
            let next_base = segments.get(at + 1).map(|next| next.base_offset);
            if let Some(plan) = self.read_segment(segment, next_base, &wish)? {
                return Ok(plan);
            }
            at += 1;
        }
        Ok(nothing)
    }

    /// The usual read: the consumer is at the log's end, everything it wants is in memory.
    fn read_tail(&self, wish: &Wish) -> Result<Option<ReadPlan>, StorageError> {
        let tail = self.shared.tail.lock();
        let Some(first) = tail.find(wish.fetch_offset) else { return Ok(None) };
        let Some(end) = tail.position_below(wish.upper_bound) else { return Ok(None) };
        let batch = &tail.batches[first];
        let available = end.saturating_sub(batch.position) as usize;
        let found = wish.size(batch.size).min(available);
        let size = match tail.first_cut(batch.position + found as u64) {
            Some(cut) => (cut.position - batch.position) as usize,
            None => found,
        };
        let mut plan = ReadPlan {
            base_offset: Some(batch.base_offset),
            upper_bound: wish.upper_bound,
            size_bytes: size,
            found_bytes: found,
            parts: Vec::new(),
        };
        if size == 0 {
            return Ok(Some(plan));
        }
        if !batch.has_bytes() {
            plan.parts.push(ReadPart::File {
                file: tail.segment.file()?,
                position: batch.position,
                len: size,
            });
        } else {
            let mut left = size;
            // Small batches are copied together: a part costs more than its bytes.
            let mut together = BytesMut::new();
            for batch in tail.batches.range(first..) {
                if left == 0 {
                    break;
                }
                let head = batch.head.as_ref().map_or(&[][..], |head| &head[..]);
                let head = &head[..head.len().min(left)];
                together.extend_from_slice(head);
                left -= head.len();
                let body_len = batch.body.len().min(left);
                left -= body_len;
                if body_len <= COPIED_BYTES_MAX {
                    together.extend_from_slice(&batch.body[..body_len]);
                } else {
                    if !together.is_empty() {
                        plan.parts.push(ReadPart::Memory(together.split().freeze()));
                    }
                    plan.parts.push(ReadPart::Memory(batch.body.slice(..body_len)));
                }
            }
            if !together.is_empty() {
                plan.parts.push(ReadPart::Memory(together.freeze()));
            }
        }
        Ok(Some(plan))
    }

    fn read_segment(
        &self,
        segment: &Arc<Segment>,
        next_base: Option<Offset>,
        wish: &Wish,
    ) -> Result<Option<ReadPlan>, StorageError> {
        let Some(first) = segment.locate(wish.fetch_offset)? else { return Ok(None) };
        let end = self.end_position(segment, next_base, wish.upper_bound)?;
        let available = end.saturating_sub(first.position) as usize;
        if available == 0 {
            return Ok(None);
        }
        let len = wish.size(first.size).min(available);
        let end = first.position + len as u64;
        let mut upper_bound = next_base.unwrap_or(wish.upper_bound);
        if !segment.txn_index.is_empty() {
            // Worth a search: every transaction below the bound goes to the consumer.
            let context = || segment.index.file().path();
            let beyond = segment.index.partition_point(|entry| u64::from(entry.position) < end);
            let entry = segment.index.get(beyond.during("search", context)?).during("search", context)?;
            upper_bound = entry.map_or(upper_bound, |entry| entry.offset);
        }
        let mut plan = ReadPlan {
            base_offset: Some(first.base_offset),
            upper_bound: upper_bound.min(wish.upper_bound),
            size_bytes: len,
            found_bytes: len,
            parts: Vec::new(),
        };
        if len > 0 {
            plan.parts.push(ReadPart::File { file: segment.file()?, position: first.position, len });
        }
        Ok(Some(plan))
    }

    /// Where the bytes of a segment below `upper_bound` end.
    fn end_position(
        &self,
        segment: &Arc<Segment>,
        next_base: Option<Offset>,
        upper_bound: Offset,
    ) -> Result<u64, StorageError> {
        let size = segment.size_bytes();
        if next_base.is_some_and(|next_base| upper_bound >= next_base) {
            return Ok(size);
        }
        {
            let tail = self.shared.tail.lock();
            if Arc::ptr_eq(&tail.segment, segment)
                && let Some(position) = tail.position_below(upper_bound)
            {
                return Ok(position);
            }
        }
        // Nothing at or behind the bound: the segment was active when its size was read.
        Ok(segment.locate(upper_bound)?.map_or(size, |located| located.position))
    }

    /// How much a fetch from `fetch_offset` below `upper_bound` would find, without planning it.
    pub fn available(&self, fetch_offset: Offset, upper_bound: Offset) -> Result<Available, StorageError> {
        if fetch_offset >= upper_bound {
            return Ok(Available::Bytes(0));
        }
        {
            let tail = self.shared.tail.lock();
            if let (Some(first), Some(end)) = (tail.find(fetch_offset), tail.position_below(upper_bound)) {
                return Ok(Available::Bytes(end.saturating_sub(tail.batches[first].position)));
            }
        }
        let segments = self.shared.segments.load_full();
        let at = segments.partition_point(|segment| segment.base_offset <= fetch_offset).max(1) - 1;
        let Some(segment) = segments.get(at) else { return Ok(Available::Bytes(0)) };
        let next_base = segments.get(at + 1).map(|next| next.base_offset);
        if next_base.is_some_and(|next_base| upper_bound > next_base) {
            return Ok(Available::OlderSegment);
        }
        let Some(first) = segment.locate(fetch_offset)? else { return Ok(Available::OlderSegment) };
        let end = self.end_position(segment, next_base, upper_bound)?;
        Ok(Available::Bytes(end.saturating_sub(first.position)))
    }

    /// Aborted transactions that overlap `[from, upper_bound)`, for read-committed consumers.
    pub fn aborted_transactions(
        &self,
        from: Offset,
        upper_bound: Offset,
    ) -> Result<Vec<AbortedTxn>, StorageError> {
        let segments = self.shared.segments.load_full();
        let at = segments.partition_point(|segment| segment.base_offset <= from).max(1) - 1;
        let mut aborted = Vec::new();
        let mut done = false;
        for segment in segments.iter().skip(at) {
            if segment.txn_index.is_empty() {
                continue;
            }
            let context = || segment.txn_index.file().path();
            let first = segment.txn_index.partition_point(|txn| txn.last_offset < from);
            let first = first.during("search", context)?;
            segment
                .txn_index
                .visit(first, |txn| {
                    if txn.first_offset < upper_bound && txn.last_offset >= from {
                        aborted.push(txn);
                    }
                    done = txn.last_stable_offset >= upper_bound;
                    if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .during("search", context)?;
            if done {
                break;
            }
        }
        Ok(aborted)
    }

    /// ListOffsets by time: the first record with at least this timestamp, from the log start on. The caller compares
    /// the offset with its limit.
    pub fn offset_for_timestamp(&self, timestamp: Millis) -> Result<Option<(Millis, Offset)>, StorageError> {
        let log_start = self.log_start_offset();
        for segment in self.shared.segments.load_full().iter() {
            if segment.max_timestamp()?.timestamp >= timestamp
                && let Some(found) = segment.locate_timestamp(timestamp, log_start)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// ListOffsets MAX_TIMESTAMP: the largest timestamp and the first record that has it.
    pub fn max_timestamp(&self) -> Result<Option<(Millis, Offset)>, StorageError> {
        let segments = self.shared.segments.load_full();
        let mut best: Option<(Millis, &Arc<Segment>)> = None;
        for segment in segments.iter() {
            let timestamp = segment.max_timestamp()?.timestamp;
            if timestamp.0 >= 0 && best.is_none_or(|(best, _)| timestamp > best) {
                best = Some((timestamp, segment));
            }
        }
        let Some((timestamp, segment)) = best else { return Ok(None) };
        segment.locate_timestamp(timestamp, self.log_start_offset())
    }
}

/// Bodies up to this size are copied rather than sent as a part of their own.
const COPIED_BYTES_MAX: usize = 1024;

struct Wish {
    fetch_offset: Offset,
    upper_bound: Offset,
    max_bytes: usize,
    first_batch: FirstBatch,
}

impl Wish {
    /// How many bytes are wanted, given the size of the first batch.
    fn size(&self, first_batch_size: usize) -> usize {
        match self.first_batch {
            FirstBatch::Whole => self.max_bytes.max(first_batch_size),
            FirstBatch::WithinLimit if self.max_bytes < first_batch_size => 0,
            FirstBatch::WithinLimit => self.max_bytes,
        }
    }
}

impl ReadPlan {
    /// All parts as one buffer (copies).
    pub fn to_bytes(&self) -> Result<Bytes, std::io::Error> {
        if let [ReadPart::Memory(bytes)] = &self.parts[..] {
            return Ok(bytes.clone());
        }
        let mut all = BytesMut::with_capacity(self.size_bytes);
        for part in &self.parts {
            match part {
                ReadPart::Memory(bytes) => all.extend_from_slice(bytes),
                ReadPart::File { file, position, len } => {
                    let start = all.len();
                    all.resize(start + len, 0);
                    file.read_exact_at(&mut all[start..], *position)?;
                }
            }
        }
        Ok(all.freeze())
    }
}
