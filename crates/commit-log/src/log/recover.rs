//! Checking what may not have been synced: every batch from the recovery point on, and indexes made anew from there.
//!
//! What is below the recovery point is trusted if the index of its segment is plausible; else the segment is checked as
//! a whole.

use std::ops::ControlFlow;
use std::sync::Arc;

use ottla_model::{Millis, Offset, TopicPartition};

use super::load::Loader;
use super::replay::{load_snapshot, replay, take_over};
use crate::error::{IoContext, StorageError};
use crate::index::{AbortedTxn, IndexEntry, OffsetEntry, SparseIndex, TimeEntry};
use crate::producer_state::ProducerStates;
use crate::scan::Walk;
use crate::segment::Segment;

/// Larger batches make a segment be checked as a whole when its index has few entries; nothing worse.
const PLAUSIBLE_BATCH_BYTES: u64 = 1 << 20;

impl Loader {
    /// Checks every batch from `recovery_point` on and all of the segments from `damaged` on; rebuilds their indexes.
    pub(super) fn recover(
        &mut self,
        recovery_point: Offset,
        damaged: Option<Offset>,
        partition: &TopicPartition,
    ) -> Result<(), StorageError> {
        let first = self.segments.partition_point(|segment| segment.base_offset <= recovery_point).max(1) - 1;
        let first_damaged = damaged
            .map_or(usize::MAX, |base| self.segments.partition_point(|segment| segment.base_offset < base));
        let first = first.min(first_damaged);
        let Some(segment) = self.segments.get(first).cloned() else { return Ok(()) };
        let trusted = if first < first_damaged {
            trusted_end(&segment, recovery_point, self.config.index_interval_bytes)?
        } else {
            None
        };
        let (start_offset, start) = trusted.unwrap_or((segment.base_offset, Kept::default()));
        let disk = self.dir.context.files.disk();
        let expiration_ms = self.config.producer_id_expiration_ms;
        let (mut producers, from) = load_snapshot(
            disk,
            &self.path,
            &mut self.snapshots,
            start_offset,
            self.options.now,
            expiration_ms,
        )?;
        let first_base = self.segments[0].base_offset;
        replay(&self.segments[..=first], from.max(first_base), start_offset, &mut producers)?;
        let mut kept = start;
        for at in first..self.segments.len() {
            let segment = self.segments[at].clone();
            let (complete, end) =
                self.recover_segment(&segment, std::mem::take(&mut kept), &mut producers)?;
            let next_base = self.segments.get(at + 1).map(|next| next.base_offset);
            // The end of a segment may be lost though what came later is there. Only compaction leaves such a hole
            // (and a follower of a compacted log).
            let hole = next_base.is_some_and(|next_base| next_base != end) && !self.may_have_gaps(partition);
            if hole {
                tracing::warn!(path = %segment.log.path().display(), %end, ?next_base,
                    "the next segment does not follow: it was written, but not what is before it");
            }
            if !complete || hole {
                self.remove_segments_from(at + 1)?;
                break;
            }
            if next_base.is_some() {
                segment.become_inactive()?;
            }
        }
        self.producers = Some(producers);
        Ok(())
    }

    fn may_have_gaps(&self, partition: &TopicPartition) -> bool {
        self.config.cleanup_compact || self.dir.is_compacted(partition)
    }

    /// Whether the whole file was good, and the offset behind its last batch.
    fn recover_segment(
        &mut self,
        segment: &Arc<Segment>,
        kept: Kept,
        producers: &mut ProducerStates,
    ) -> Result<(bool, Offset), StorageError> {
        let context = || segment.log.path();
        let reset = || {
            segment.index.truncate(kept.index)?;
            segment.time_index.truncate(kept.time_index)?;
            segment.txn_index.truncate(kept.txn_index)?;
            segment.index.create()?;
            segment.time_index.create()
        };
        reset().during("reset indexes of", context)?;
        let file_size = segment.size_bytes();
        let mut max =
            kept.max_timestamp.unwrap_or(TimeEntry { timestamp: Millis::NONE, offset: segment.base_offset });
        let last_indexed = segment.time_index.last().during("read", context)?;
        let mut last_indexed = last_indexed.map_or(Millis::NONE, |entry| entry.timestamp);
        let mut since_entry = 0;
        let mut scan = segment.scan(kept.position, Walk::Bodies)?;
        let mut next_offset = kept.next_offset.unwrap_or(segment.base_offset);
        let mut good_until = kept.position;
        while let Some(batch) = scan.next().during("read", context)? {
            let last_offset = batch.header.last_offset();
            let in_order = batch.header.base_offset >= next_offset || batch.magic < 2;
            let fits = i32::try_from(last_offset - segment.base_offset).is_ok();
            if !in_order || !fits || !batch.crc_matches() {
                break;
            }
            next_offset = last_offset + 1;
            if batch.header.max_timestamp > max.timestamp {
                max = TimeEntry { timestamp: batch.header.max_timestamp, offset: last_offset };
            }
            if since_entry > u64::from(self.config.index_interval_bytes) {
                let entry = OffsetEntry { offset: last_offset, position: batch.position as u32 };
                segment.index.push(entry).during("write", context)?;
                if max.timestamp > last_indexed {
                    last_indexed = max.timestamp;
                    segment.time_index.push(max).during("write", context)?;
                }
                since_entry = 0;
            }
            since_entry += batch.size() as u64;
            good_until = batch.position + batch.size() as u64;
            self.epochs.observe(batch.header.leader_epoch, batch.header.base_offset);
            if let Some(aborted) = take_over(&batch, producers) {
                segment.txn_index.push(aborted).during("write", context)?;
            }
        }
        segment.set_max_timestamp(max);
        self.report.segments_recovered += 1;
        self.report.bytes_scanned += file_size - kept.position;
        if good_until < file_size {
            tracing::warn!(path = %context().display(), from = good_until, bytes = file_size - good_until,
                "cut off what is no whole batch");
            self.report.bytes_truncated += file_size - good_until;
            segment.set_size(good_until);
            let file = segment.file()?;
            file.set_len(good_until).during("truncate", context)?;
            return Ok((false, next_offset));
        }
        Ok((true, next_offset))
    }
}

/// What of a segment is trusted when the rest is recovered.
#[derive(Default, Clone, Copy, Debug)]
struct Kept {
    position: u64,
    next_offset: Option<Offset>,
    index: usize,
    time_index: usize,
    txn_index: usize,
    max_timestamp: Option<TimeEntry>,
}

/// The batch boundary at the recovery point and the index entries below it, if the segment holds it and its index is
/// plausible.
fn trusted_end(
    segment: &Segment,
    recovery_point: Offset,
    index_interval_bytes: u32,
) -> Result<Option<(Offset, Kept)>, StorageError> {
    let size = segment.size_bytes();
    let context = || segment.log.path();
    if recovery_point <= segment.base_offset || size == 0 {
        return Ok(None);
    }
    let mut last: Option<OffsetEntry> = None;
    let index = count_while(&segment.index, |entry: OffsetEntry| {
        let ascending = last.is_none_or(|last| entry.offset > last.offset && entry.position > last.position);
        let plausible = entry.offset >= segment.base_offset
            && entry.offset < recovery_point
            && u64::from(entry.position) < size
            && (entry.position > 0);
        if ascending && plausible {
            last = Some(entry);
        }
        ascending && plausible
    });
    let index = index.during("read", context)?;
    let mut last_time: Option<TimeEntry> = None;
    let time_index = count_while(&segment.time_index, |entry: TimeEntry| {
        let ascending =
            last_time.is_none_or(|last| entry.timestamp > last.timestamp && entry.offset >= last.offset);
        let plausible = entry.timestamp >= Millis(0)
            && entry.offset >= segment.base_offset
            && entry.offset < recovery_point;
        if ascending && plausible {
            last_time = Some(entry);
        }
        ascending && plausible
    });
    let time_index = time_index.during("read", context)?;
    let txn_index = count_while(&segment.txn_index, |txn: AbortedTxn| {
        txn.last_offset >= segment.base_offset && txn.last_offset < recovery_point
    });
    let txn_index = txn_index.during("read", context)?;
    // Walk from the last entry to the recovery point; the entry must name the batch that is there. (A time entry comes
    // with every offset entry unless it would say nothing new, so the last one covers all up to here.)
    let mut scan = segment.scan(last.map_or(0, |entry| u64::from(entry.position)), Walk::Headers)?;
    let mut position = scan.position();
    let walked_from = position;
    // A restart counts the interval anew, and a batch may be large.
    let gap_max = 2 * u64::from(index_interval_bytes) + 2 * PLAUSIBLE_BATCH_BYTES;
    let mut max = last_time.unwrap_or(TimeEntry { timestamp: Millis::NONE, offset: segment.base_offset });
    let mut next_offset = None;
    let mut check = last;
    while let Some(batch) = scan.next().during("read", context)? {
        if check.take().is_some_and(|entry| entry.offset != batch.header.last_offset()) {
            return Ok(None);
        }
        if batch.header.last_offset() >= recovery_point {
            break;
        }
        if batch.position - walked_from > gap_max {
            return Ok(None); // Entries are missing: a power failure took them.
        }
        next_offset = Some(batch.header.next_offset());
        position = batch.position + batch.size() as u64;
        if batch.header.max_timestamp > max.timestamp {
            max = TimeEntry { timestamp: batch.header.max_timestamp, offset: batch.header.last_offset() };
        }
    }
    if check.is_some() || next_offset.is_none() {
        return Ok(None);
    }
    let kept = Kept { position, next_offset, index, time_index, txn_index, max_timestamp: Some(max) };
    Ok(next_offset.map(|next_offset| (next_offset.max(recovery_point), kept)))
}

fn count_while<E: IndexEntry>(
    index: &SparseIndex<E>,
    mut good: impl FnMut(E) -> bool,
) -> std::io::Result<usize> {
    let mut count = 0;
    index.visit(0, |entry| {
        if good(entry) {
            count += 1;
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(count)
}
