//! Losing old segments: by time, by size, by log start; and removing files later.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_model::{Millis, Offset};

use super::Log;
use crate::error::{ReadError, StorageError};
use crate::names;
use crate::segment::Segment;

/// Files whose time has come. Removing large files takes long: run it anywhere.
#[derive(Debug)]
#[must_use]
pub struct DeleteJob {
    segments: Vec<Arc<Segment>>,
}

impl DeleteJob {
    pub fn run(self) -> Result<(), StorageError> {
        for segment in &self.segments {
            segment.remove_files()?;
        }
        Ok(())
    }
}

impl Log {
    /// Applies retention: removes a prefix of segments, never past the high watermark. Returns how
    /// many. Files are renamed now and removed by [`Log::delete_job`] after `file.delete.delay.ms`.
    pub fn apply_retention(&mut self, now: Millis) -> Result<usize, StorageError> {
        self.check_online()?;
        let result = self.retain_segments(now);
        self.or_offline(result)
    }

    fn retain_segments(&mut self, now: Millis) -> Result<usize, StorageError> {
        let log_start = self.log_start_offset();
        let mut count = self.deletable(|_, next_base| Ok(next_base.is_some_and(|next| next <= log_start)))?;
        let mut removed = self.delete_prefix(count, now)?;
        if !self.config.cleanup_delete {
            return Ok(removed);
        }
        if self.config.retention_bytes >= 0 {
            let mut excess = (self.size_bytes() as i64).saturating_sub(self.config.retention_bytes);
            count = self.deletable(|segment, _| {
                let fits = excess - segment.size_bytes() as i64 >= 0;
                excess -= segment.size_bytes() as i64;
                Ok(fits)
            })?;
            removed += self.delete_prefix(count, now)?;
        }
        if self.config.retention_ms >= 0 {
            let retention_ms = self.config.retention_ms;
            count = self.deletable(|segment, _| Ok(now - segment.largest_timestamp()? > retention_ms))?;
            removed += self.delete_prefix(count, now)?;
        }
        Ok(removed)
    }

    /// How many segments from the first on are to go by `due`, which is told a segment and the next one's base.
    fn deletable(
        &self,
        mut due: impl FnMut(&Segment, Option<Offset>) -> Result<bool, StorageError>,
    ) -> Result<usize, StorageError> {
        let high_watermark = self.high_watermark();
        for (count, segment) in self.segments.iter().enumerate() {
            let next_base = self.segments.get(count + 1).map(|next| next.base_offset);
            let upper = next_base.unwrap_or(self.log_end_offset());
            let is_last_and_empty = next_base.is_none() && segment.size_bytes() == 0;
            if is_last_and_empty || upper > high_watermark || !due(segment, next_base)? {
                return Ok(count);
            }
        }
        Ok(self.segments.len())
    }

    fn delete_prefix(&mut self, count: usize, now: Millis) -> Result<usize, StorageError> {
        if count == 0 {
            return Ok(0);
        }
        self.write_staged()?;
        if count == self.segments.len() {
            self.roll(now)?;
        }
        let removed: Vec<_> = self.segments.drain(..count.min(self.segments.len() - 1)).collect();
        let new_base = self.segments[0].base_offset;
        self.publish_segments();
        let removed_count = removed.len();
        for segment in removed {
            self.schedule_removal(segment, now)?;
        }
        if new_base > self.log_start_offset() {
            self.raise_log_start(new_base);
        }
        // A snapshot at or below the first segment is never needed: every batch it covers is gone, but it is what the
        // first segment starts from, so that one stays.
        self.drop_snapshots(|snapshot| snapshot < new_base)?;
        Ok(removed_count)
    }

    /// DeleteRecords: the log starts at `offset` from now on; segments below go with the next retention.
    ///
    /// Errors: [`ReadError::OffsetOutOfRange`] above the high watermark.
    pub fn delete_records(&mut self, offset: Offset) -> Result<(), ReadError> {
        self.check_online()?;
        if offset > self.high_watermark() {
            let (log_start, log_end) = (self.log_start_offset(), self.high_watermark());
            return Err(ReadError::OffsetOutOfRange { offset, log_start, log_end });
        }
        self.increment_log_start(offset);
        Ok(())
    }

    /// A follower learns its leader's log start. Never goes down, never goes beyond the high watermark.
    pub fn increment_log_start(&mut self, offset: Offset) {
        let offset = offset.min(self.high_watermark());
        if offset > self.log_start_offset() {
            self.raise_log_start(offset);
        }
    }

    fn raise_log_start(&mut self, offset: Offset) {
        self.shared.log_start.store(offset.0, Ordering::Release);
        if self.high_watermark() < offset {
            self.shared.high_watermark.store(offset.0, Ordering::Release);
        }
        if self.epochs.truncate_from_start(offset) {
            self.publish_epochs();
        }
        self.update_last_stable_offset();
    }

    /// Takes a segment's files out of the way, to be removed later.
    pub(super) fn schedule_removal(
        &mut self,
        segment: Arc<Segment>,
        now: Millis,
    ) -> Result<(), StorageError> {
        segment.change_suffix("", names::DELETED)?;
        self.names_dirty = true;
        self.deleted.push((now + self.config.file_delete_delay_ms, segment));
        Ok(())
    }

    /// Files whose `file.delete.delay.ms` is over; `None` if there are none.
    pub fn delete_job(&mut self, now: Millis) -> Option<DeleteJob> {
        let due =
            self.deleted.extract_if(.., |(at, _)| *at <= now).map(|(_, segment)| segment).collect::<Vec<_>>();
        if due.is_empty() { None } else { Some(DeleteJob { segments: due }) }
    }
}
