//! Cutting a log: at its end (a follower gives up what its leader does not have), or altogether.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_model::{Millis, Offset};

use super::Log;
use crate::error::{IoContext, StorageError};
use crate::index::TimeEntry;
use crate::names;
use crate::producer_state::ProducerStates;
use crate::scan::Walk;
use crate::segment::{Segment, remove_if_there};

impl Log {
    /// Removes all batches from the one that holds `offset` on; the log then ends at `offset`. Nothing happens at or
    /// behind the log end. Below the log start the log restarts empty at `offset`.
    ///
    /// When it returns the recovery point on the disk is not above `offset`, so that nothing appended later is
    /// believed to be durable.
    pub fn truncate_to(&mut self, offset: Offset, now: Millis) -> Result<(), StorageError> {
        self.check_online()?;
        let result = self.cut_to(offset, now);
        self.or_offline(result)
    }

    /// Removes everything; the log is empty and begins and ends at `offset`.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset, now: Millis) -> Result<(), StorageError> {
        self.check_online()?;
        let result = self.restart_at(offset, now);
        self.or_offline(result)
    }

    fn cut_to(&mut self, offset: Offset, now: Millis) -> Result<(), StorageError> {
        self.staged.batches.clear();
        if offset >= self.log_end_offset() {
            if self.epochs.truncate_from_end(offset) {
                self.publish_epochs();
            }
            return Ok(());
        }
        if self.segments.first().is_none_or(|first| first.base_offset > offset) {
            return self.restart_at(offset, now);
        }
        self.lower_recovery_point(offset)?;
        // Highest first: a crash in between leaves a log without holes.
        let keep = self.segments.partition_point(|segment| segment.base_offset <= offset);
        let removed: Vec<_> = self.segments.drain(keep..).rev().collect();
        for segment in removed {
            self.schedule_removal(segment, now)?;
        }
        let Some(segment) = self.segments.last().cloned() else { return self.restart_at(offset, now) };
        cut_segment(&segment, offset)?;
        self.publish_segments();
        self.activate(segment, offset)?;
        if self.epochs.truncate_from_end(offset) {
            self.publish_epochs();
        }
        self.drop_snapshots(|snapshot| snapshot > offset)?;
        self.rebuild_producers(now)?;
        self.shared.log_start.fetch_min(offset.0, Ordering::AcqRel);
        self.set_high_watermark(self.high_watermark().min(offset));
        self.update_last_stable_offset();
        Ok(())
    }

    fn restart_at(&mut self, offset: Offset, now: Millis) -> Result<(), StorageError> {
        self.staged.batches.clear();
        self.staged.index.clear();
        self.staged.time_index.clear();
        self.lower_recovery_point(offset)?;
        let removed: Vec<_> = self.segments.drain(..).rev().collect();
        for segment in removed {
            self.schedule_removal(segment, now)?;
        }
        let segment = Arc::new(Segment::create(&self.dir.context.files, &self.path, offset, now)?);
        self.segments.push(segment.clone());
        self.publish_segments();
        self.drop_snapshots(|_| true)?;
        self.epochs.clear();
        self.publish_epochs();
        self.producers = ProducerStates::default();
        self.activate(segment, offset)?;
        self.shared.log_start.store(offset.0, Ordering::Release);
        self.shared.high_watermark.store(offset.0, Ordering::Release);
        self.shared.recovery_point.store(offset.0, Ordering::Release);
        self.synced_offset = offset;
        self.update_last_stable_offset();
        let path = self.path.clone();
        self.dir.context.files.disk().sync_dir(&path).during("sync", || path)
    }

    /// The recovery point goes down on the disk before the bytes do.
    fn lower_recovery_point(&mut self, offset: Offset) -> Result<(), StorageError> {
        self.generation += 1;
        self.synced_offset = self.synced_offset.min(offset);
        if offset < self.recovery_point() {
            self.shared.recovery_point.store(offset.0, Ordering::Release);
        }
        self.dir.lower_recovery_point(&self.shared.partition, offset)?;
        self.dir.lower_cleaner_offset(&self.shared.partition, offset)
    }

    /// Removes producer snapshots by offset.
    pub(super) fn drop_snapshots(&mut self, gone: impl Fn(Offset) -> bool) -> Result<(), StorageError> {
        let disk = self.dir.context.files.disk();
        for offset in self.snapshots.iter().filter(|offset| gone(**offset)) {
            remove_if_there(disk, &self.path.join(names::offset_file(*offset, names::SNAPSHOT)))?;
        }
        self.snapshots.retain(|offset| !gone(*offset));
        self.names_dirty = true;
        Ok(())
    }
}

/// Cuts the files of one segment so that they hold only batches below `offset`.
fn cut_segment(segment: &Segment, offset: Offset) -> Result<(), StorageError> {
    let position = segment.locate(offset)?.map_or_else(|| segment.size_bytes(), |located| located.position);
    let file = segment.file()?;
    segment.set_size(position);
    let index = segment.index.partition_point(|entry| entry.offset < offset);
    let time_index = segment.time_index.partition_point(|entry| entry.offset < offset);
    let txn_index = segment.txn_index.partition_point(|txn| txn.last_offset < offset);
    let searched = |result: std::io::Result<usize>| result.during("search", || segment.log.path());
    let (index, time_index, txn_index) = (searched(index)?, searched(time_index)?, searched(txn_index)?);
    let cut = || {
        segment.index.truncate(index)?;
        segment.time_index.truncate(time_index)?;
        segment.txn_index.truncate(txn_index)?;
        file.set_len(position)
    };
    cut().during("truncate", || segment.log.path())?;
    segment.set_max_timestamp(largest_timestamp_by_scan(segment)?);
    if position == 0 {
        segment.set_first_timestamp(Millis::NONE);
    }
    Ok(())
}

/// The largest timestamp: what the time index says, and the batches behind its last entry.
fn largest_timestamp_by_scan(segment: &Segment) -> Result<TimeEntry, StorageError> {
    let last = segment.time_index.last().during("read", || segment.time_index.file().path())?;
    let mut max = last.unwrap_or(TimeEntry { timestamp: Millis::NONE, offset: segment.base_offset });
    let floor = segment.index.floor(|entry| entry.offset <= max.offset);
    let floor = floor.during("search", || segment.index.file().path())?;
    let mut scan = segment.scan(floor.map_or(0, |entry| u64::from(entry.position)), Walk::Headers)?;
    while let Some(batch) = scan.next().during("read", || segment.log.path())? {
        if batch.header.max_timestamp > max.timestamp {
            max = TimeEntry { timestamp: batch.header.max_timestamp, offset: batch.header.last_offset() };
        }
    }
    Ok(max)
}
