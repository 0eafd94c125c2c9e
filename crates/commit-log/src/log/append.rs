//! Appending: batches are staged one by one and written together.

use std::io::IoSlice;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Millis, Offset};
use ottla_record::control::EndTxnMarker;
use ottla_record::control::TransactionResult;
use ottla_record::{Batch, BatchHeader, RecordIter, StampedBatch, TimestampType, ValidBatch};

use super::Log;
use crate::error::{AppendError, IoContext, StorageError};
use crate::index::{OffsetEntry, TimeEntry};
use crate::producer_state::{AppendOrigin, TxnMarker};
use crate::tail::TailBatch;

/// How many slices one vectored write takes (two per batch).
const SLICES_PER_WRITE: usize = 128;
/// How far ahead space is reserved with `preallocate` or for durable appends.
const ALLOCATE_AHEAD_BYTES: u64 = 16 << 20;

/// A batch that was accepted: where it will lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Staged {
    pub base_offset: Offset,
    pub last_offset: Offset,
    /// With `LogAppendTime`: that time; of a duplicate: its batch's largest timestamp; else -1.
    pub log_append_time: Millis,
    /// The batch is in the log already (an idempotent producer repeats itself); nothing was added.
    pub duplicate: bool,
}

/// What one write has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendInfo {
    /// Behind the last batch.
    pub log_end_offset: Offset,
    pub written_bytes: u64,
}

impl Log {
    /// Accepts a leader's batch at the log end: checks its producer, gives it offsets and epoch, rolls if it is time.
    /// Nothing is in the file or visible until [`Self::write_staged`].
    ///
    /// Errors leave the log as it was, but for [`AppendError::Storage`], after which it is offline.
    pub fn stage(
        &mut self,
        batch: ValidBatch,
        leader_epoch: LeaderEpoch,
        origin: AppendOrigin,
        now: Millis,
    ) -> Result<Staged, AppendError> {
        self.check_online()?;
        let header = batch.header();
        if matches!(origin, AppendOrigin::Client { .. })
            && header.has_producer_id()
            && let Some(duplicate) = self.producers.duplicate_of(header)
        {
            return Ok(Staged {
                base_offset: duplicate.first_offset(),
                last_offset: Offset(duplicate.last_offset),
                log_append_time: Millis(duplicate.timestamp),
                duplicate: true,
            });
        }
        self.check_size(batch.size_bytes())?;
        let stamped = batch.stamp(self.next_offset, leader_epoch);
        let marker = self.check_producer(&stamped, origin)?;
        let header = stamped.header;
        let staged = Staged {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time: match header.timestamp_type() {
                TimestampType::LogAppendTime => header.max_timestamp,
                TimestampType::CreateTime => Millis::NONE,
            },
            duplicate: false,
        };
        self.push(stamped, marker, now)?;
        Ok(staged)
    }

    /// Accepts a batch as the leader wrote it: offsets, epoch and timestamps stay. Nothing is visible until
    /// [`Self::write_staged`]. The caller has verified its checksum.
    ///
    /// Errors: [`AppendError::UnexpectedOffset`] if it lies below the log end. An empty log restarts at a first batch
    /// that begins below its end.
    pub fn stage_verbatim(&mut self, batch: Batch, now: Millis) -> Result<Staged, AppendError> {
        self.check_online()?;
        self.check_size(batch.bytes.len())?;
        let header = batch.header;
        if header.base_offset < self.next_offset {
            let holds_no_batch = self.staged.batches.is_empty() && self.size_bytes() == 0;
            if !holds_no_batch || header.last_offset() < self.next_offset {
                return Err(AppendError::UnexpectedOffset {
                    first: header.base_offset,
                    log_end: self.next_offset,
                });
            }
            self.truncate_fully_and_start_at(header.base_offset, now)?;
        }
        let stamped = StampedBatch::from(batch);
        let marker = self.check_producer(&stamped, AppendOrigin::Replication)?;
        self.push(stamped, marker, now)?;
        Ok(Staged {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time: Millis::NONE,
            duplicate: false,
        })
    }

    /// [`Self::stage_verbatim`] of each batch, then [`Self::write_staged`].
    pub fn append_as_follower(
        &mut self,
        batches: impl IntoIterator<Item = Batch>,
        now: Millis,
    ) -> Result<AppendInfo, AppendError> {
        for batch in batches {
            self.stage_verbatim(batch, now)?;
        }
        Ok(self.write_staged()?)
    }

    fn check_size(&self, size: usize) -> Result<(), AppendError> {
        let limit = self.config.segment_bytes as usize;
        if size > limit { Err(AppendError::BatchTooLarge { size, limit }) } else { Ok(()) }
    }

    /// The marker, if it is one.
    fn check_producer(
        &self,
        stamped: &StampedBatch,
        origin: AppendOrigin,
    ) -> Result<Option<TxnMarker>, AppendError> {
        let header = &stamped.header;
        if !header.has_producer_id() {
            return Ok(None);
        }
        if header.is_control() {
            let marker = read_marker(header, &stamped.body);
            if let Some(marker) = marker {
                self.producers.check_marker(header, marker, origin)?;
            }
            return Ok(marker);
        }
        self.producers.check_data(header, origin, self.config.transaction_verification)?;
        Ok(None)
    }

    fn push(
        &mut self,
        batch: StampedBatch,
        marker: Option<TxnMarker>,
        now: Millis,
    ) -> Result<(), StorageError> {
        let header = batch.header;
        let size = batch.size_bytes() as u64;
        if self.is_roll_due(&header, size, now) {
            self.write_staged()?;
            let rolled = self.roll_at(header.base_offset, now);
            self.or_offline(rolled)?;
        }
        let active = &mut self.active;
        let position = active.size;
        if self.staged.batches.is_empty() {
            self.staged.position = position;
        }
        if active.first_timestamp < Millis(0) && position == 0 {
            active.first_timestamp = header.max_timestamp;
            active.segment.set_first_timestamp(header.max_timestamp);
        }
        let last_offset = header.last_offset();
        if header.max_timestamp > active.max_timestamp.timestamp {
            active.max_timestamp = TimeEntry { timestamp: header.max_timestamp, offset: last_offset };
        }
        if active.bytes_since_index_entry > u64::from(self.config.index_interval_bytes) {
            // A segment is smaller than 2 GiB, so its positions fit.
            self.staged.index.push(OffsetEntry { offset: last_offset, position: position as u32 });
            if active.max_timestamp.timestamp > active.last_indexed_timestamp {
                active.last_indexed_timestamp = active.max_timestamp.timestamp;
                self.staged.time_index.push(active.max_timestamp);
            }
            active.bytes_since_index_entry = 0;
        }
        active.bytes_since_index_entry += size;
        active.size += size;
        if self.epochs.latest().is_none_or(|latest| latest.epoch < header.leader_epoch) {
            self.assign_epoch(header.leader_epoch, header.base_offset);
        }
        if header.has_producer_id() {
            if let Some(marker) = marker {
                self.append_marker(&header, marker)?;
            } else if !header.is_control() {
                self.producers.append_data(&header);
            }
        }
        self.next_offset = header.next_offset();
        self.last_append = now;
        self.staged.batches.push(batch);
        Ok(())
    }

    fn append_marker(&mut self, header: &BatchHeader, marker: TxnMarker) -> Result<(), StorageError> {
        let Some(completed) = self.producers.append_marker(header, marker) else { return Ok(()) };
        if completed.aborted {
            let index = &self.active.segment.txn_index;
            let pushed = index.push(crate::index::AbortedTxn {
                producer_id: completed.producer_id,
                first_offset: completed.first_offset,
                last_offset: completed.last_offset,
                last_stable_offset: completed.last_stable_offset,
            });
            let pushed = pushed.during("write", || index.file().path());
            self.or_offline(pushed)?;
        }
        Ok(())
    }

    /// Whether a batch must go into a new segment.
    fn is_roll_due(&self, header: &BatchHeader, size: u64, now: Millis) -> bool {
        let active = &self.active;
        let span = header.last_offset() - active.segment.base_offset;
        if active.size == 0 {
            return span > i64::from(i32::MAX);
        }
        let waited = if active.first_timestamp >= Millis(0) {
            header.max_timestamp - active.first_timestamp
        } else {
            now - active.segment.created
        };
        active.size > u64::from(self.config.segment_bytes).saturating_sub(size)
            || waited > self.config.roll_ms().saturating_sub(active.roll_jitter_ms)
            || span > i64::from(i32::MAX)
            || self.is_index_full()
    }

    fn is_index_full(&self) -> bool {
        // A staged entry counts; asking the index is only needed when it may be close to full.
        let entries_max = self.config.segment_index_bytes as usize / 12;
        let possible = self.active.size / u64::from(self.config.index_interval_bytes.max(1));
        (possible + 2 >= entries_max as u64)
            && self.active.segment.is_index_full(
                self.config.segment_index_bytes.saturating_sub(12 * self.staged.index.len() as u32),
            )
    }

    /// Rolls to a segment that begins at the next batch (which may lie behind the log end in a compacted log).
    fn roll_at(&mut self, base_offset: Offset, now: Millis) -> Result<(), StorageError> {
        self.next_offset = self.next_offset.max(base_offset);
        self.roll(now)
    }

    /// Writes everything staged with one vectored write and makes it visible to readers.
    ///
    /// An error is a fault: the log is offline, nothing of what was staged is visible.
    pub fn write_staged(&mut self) -> Result<AppendInfo, StorageError> {
        self.check_online()?;
        if self.staged.batches.is_empty() {
            return Ok(AppendInfo { log_end_offset: self.log_end_offset(), written_bytes: 0 });
        }
        let written = self.write_batches();
        let written_bytes = self.or_offline(written)?;
        self.publish_written();
        self.shared.dirty_bytes.fetch_add(written_bytes, Ordering::Relaxed);
        Ok(AppendInfo { log_end_offset: self.next_offset, written_bytes })
    }

    fn write_batches(&mut self) -> Result<u64, StorageError> {
        let segment = &self.active.segment;
        let context = || segment.log.path();
        let file = segment.file()?;
        if self.config.preallocate && self.active.size > self.allocated_to {
            let room = u64::from(self.config.segment_bytes).saturating_sub(self.active.size);
            let ahead = ALLOCATE_AHEAD_BYTES.min(room);
            if ahead > 0 {
                file.allocate(self.active.size, ahead).during("allocate", context)?;
            }
            self.allocated_to = self.active.size + ahead.max(1);
        }
        let mut position = self.staged.position;
        for batches in self.staged.batches.chunks(SLICES_PER_WRITE / 2) {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let mut size = 0;
            for (pair, batch) in slices.chunks_exact_mut(2).zip(batches) {
                pair[0] = IoSlice::new(&batch.head);
                pair[1] = IoSlice::new(&batch.body);
                size += batch.size_bytes() as u64;
            }
            let slices = &mut slices[..2 * batches.len()];
            file.write_all_vectored_at(slices, position).during("append to", context)?;
            position += size;
        }
        for entry in self.staged.index.drain(..) {
            segment.index.push(entry).during("write", || segment.index.file().path())?;
        }
        for entry in self.staged.time_index.drain(..) {
            segment.time_index.push(entry).during("write", || segment.time_index.file().path())?;
        }
        Ok(position - self.staged.position)
    }

    /// Lets readers see what was written: bytes first, then offsets.
    fn publish_written(&mut self) {
        let active = &self.active;
        active.segment.set_max_timestamp(active.max_timestamp);
        let mut position = self.staged.position;
        {
            let mut tail = self.shared.tail.lock();
            active.segment.set_size(active.size);
            for batch in self.staged.batches.drain(..) {
                let size = batch.size_bytes();
                tail.push(TailBatch {
                    base_offset: batch.header.base_offset,
                    next_offset: batch.header.next_offset(),
                    position,
                    size,
                    head: Some(batch.head),
                    body: batch.body,
                });
                position += size as u64;
            }
        }
        self.shared.log_end.store(self.next_offset.0, Ordering::Release);
    }
}

/// The end-of-transaction marker in a control batch; `None` for other control records.
pub(crate) fn read_marker(header: &BatchHeader, payload: &Bytes) -> Option<TxnMarker> {
    let record = RecordIter::new(header, payload.clone()).next()?.ok()?;
    let marker = EndTxnMarker::parse(record.key.as_deref()?, record.value.as_deref()?)?;
    Some(TxnMarker {
        aborted: marker.result == TransactionResult::Abort,
        coordinator_epoch: marker.coordinator_epoch,
    })
}
