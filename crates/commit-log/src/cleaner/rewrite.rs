//! The second pass: what of a group of segments stays, as a new segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::{Millis, Offset};
use ottla_record::legacy::LegacyEntry;
use ottla_record::{Batch, BatchBuilder, BatchHeader, Codec, Compression, Record};

use super::offset_map::{OffsetMap, parse};
use super::transactions::{CleanedTransactions, collect_aborted};
use super::{Meter, Rules};
use crate::error::{IoContext, StorageError};
use crate::file_cache::FileCache;
use crate::index::{OffsetEntry, TimeEntry};
use crate::names;
use crate::scan::{BatchAt, Walk};
use crate::segment::{Segment, SegmentSizes};

/// How much collects in memory before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// What to do with a batch as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Retention {
    /// Remove it.
    Delete,
    /// Keep its records that stay; remove it if none does.
    DeleteEmpty,
    /// Keep it, even if no record stays.
    RetainEmpty,
}

/// Writes what stays of `group` into `.cleaned` files, durably. `all`: the log's segments.
#[expect(clippy::too_many_arguments, reason = "the pass owns all of them; a struct would only rename them")]
pub(super) fn rewrite_group(
    files: &Arc<FileCache>,
    dir: &Path,
    all: &[Arc<Segment>],
    group: &[Arc<Segment>],
    map: &OffsetMap,
    rules: &Rules,
    transactions: &mut CleanedTransactions,
    meter: &mut Meter<'_>,
) -> Result<Segment, StorageError> {
    let created = group.last().map_or(rules.now, |last| last.created);
    let cleaned =
        Segment::new(files, dir, group[0].base_offset, names::CLEANED, SegmentSizes::default(), created);
    // An interrupted attempt may have left something.
    cleaned.remove_files()?;
    cleaned.create_files()?;
    let mut output = Output::new(cleaned, rules.index_interval_bytes);
    let mut pass = Pass { map, rules, transactions, meter };
    for (at, segment) in group.iter().enumerate() {
        let next = match group.get(at + 1) {
            Some(next) => next.base_offset,
            None => crate::log::next_offset(segment)?,
        };
        // The marker, and with it the entry, may lie in a later segment.
        pass.transactions.add(collect_aborted(all, segment.base_offset, next)?);
        pass.segment(segment, &mut output)?;
    }
    pass.meter.wrote(output.size);
    let modified = group.last().map(|last| last.modified()).transpose()?.unwrap_or(rules.now);
    output.finish(modified)
}

struct Pass<'a, 'm> {
    map: &'a OffsetMap,
    rules: &'a Rules,
    transactions: &'a mut CleanedTransactions,
    meter: &'a mut Meter<'m>,
}

impl Pass<'_, '_> {
    fn segment(&mut self, segment: &Segment, output: &mut Output) -> Result<(), StorageError> {
        let path = || segment.log.path();
        let keep_legacy_deletes = segment.modified()? > self.rules.legacy_horizon;
        let mut scan = segment.scan(0, Walk::Bodies)?;
        while let Some(at) = scan.next().during("read", path)? {
            self.meter.stats.bytes_read += at.size() as u64;
            (self.meter.pace)(at.size() as u64);
            if at.magic < 2 {
                self.legacy(&at, keep_legacy_deletes, output, path)?;
            } else {
                self.batch(&at, output, path)?;
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        at: &BatchAt<'_>,
        output: &mut Output,
        path: impl Fn() -> PathBuf + Copy,
    ) -> Result<(), StorageError> {
        let header = &at.header;
        let can_discard = if header.is_control() {
            self.transactions.on_control_batch(at, Some(&output.segment.txn_index))
        } else {
            self.transactions.on_data_batch(header)
        };
        let discard = can_discard
            && (!header.is_control()
                || header.delete_horizon().is_some_and(|horizon| horizon <= self.rules.now));
        let marker_of_nothing = can_discard && header.is_control();
        let retention = self.retention(header, discard);
        self.meter.stats.records_read += header.record_count as u64;
        if retention == Retention::Delete {
            return Ok(());
        }
        let batch = parse(at.bytes, path)?;
        let corrupt = |error: ottla_record::BatchError| StorageError::corrupt(path(), error.to_string());
        let mut kept: Vec<Record> = Vec::new();
        let mut has_tombstone = false;
        if !discard {
            for record in batch.records_within(self.rules.batch_bytes_max).map_err(corrupt)? {
                let record = record.map_err(corrupt)?;
                if header.is_control() || self.stays(header, &record) {
                    has_tombstone |= record.value.is_none();
                    kept.push(record);
                }
            }
        }
        self.meter.stats.records_kept += kept.len() as u64;
        if kept.is_empty() {
            if retention == Retention::RetainEmpty {
                let mut emptied = *header;
                emptied.attributes = header.attributes.with_codec(Codec::None).with_delete_horizon(false);
                output.add(BatchBuilder::like(&emptied).build())?;
            }
            return Ok(());
        }
        let needs_horizon = (has_tombstone || marker_of_nothing) && header.delete_horizon().is_none();
        if kept.len() == header.record_count as usize && !needs_horizon {
            return output.add(batch.bytes);
        }
        let mut builder = BatchBuilder::like(header);
        if needs_horizon {
            builder = builder.delete_horizon(self.rules.now + self.rules.delete_retention_ms);
        }
        kept.iter().for_each(|record| builder.append_record(record));
        output.add(builder.build())
    }

    fn retention(&self, header: &BatchHeader, discard: bool) -> Retention {
        let last_of_producer =
            self.rules.producers.get(&header.producer_id).filter(|_| header.has_producer_id());
        let is_last = last_of_producer.is_some_and(|last| match last.last_data_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.is_control() && header.producer_epoch == last.epoch,
        });
        if is_last || header.next_offset() == self.rules.upper_bound {
            Retention::RetainEmpty
        } else if discard {
            Retention::Delete
        } else {
            Retention::DeleteEmpty
        }
    }

    fn stays(&self, header: &BatchHeader, record: &Record) -> bool {
        if record.offset > self.map.latest_offset() {
            return true;
        }
        let Some(key) = &record.key else { return false };
        let keeps_deletes = header.delete_horizon().is_none_or(|horizon| self.rules.now < horizon);
        record.offset >= self.map.get(key) && (record.value.is_some() || keeps_deletes)
    }

    /// An entry of format 0 or 1 stays as it is, goes, or becomes a batch of format 2.
    fn legacy(
        &mut self,
        at: &BatchAt<'_>,
        keep_deletes: bool,
        output: &mut Output,
        path: impl Fn() -> PathBuf + Copy,
    ) -> Result<(), StorageError> {
        let records = legacy_records(at, self.rules.batch_bytes_max, path)?;
        let count = records.len();
        let stays = |record: &Record| {
            record.offset > self.map.latest_offset()
                || record.key.as_ref().is_some_and(|key| {
                    record.offset >= self.map.get(key) && (record.value.is_some() || keep_deletes)
                })
        };
        let kept: Vec<Record> = records.into_iter().filter(stays).collect();
        self.meter.stats.records_read += count as u64;
        self.meter.stats.records_kept += kept.len() as u64;
        let Some(first) = kept.first() else { return Ok(()) };
        if kept.len() == count {
            return output.add_legacy(at);
        }
        let codec =
            at.bytes.get(17).and_then(|attributes| Codec::from_id(attributes & 7)).unwrap_or(Codec::None);
        let mut builder = BatchBuilder::new(Compression::of(codec)).base_offset(first.offset);
        kept.iter().for_each(|record| builder.append_record(record));
        output.add(builder.build())
    }
}

/// The records of an entry of format 0 or 1.
pub(super) fn legacy_records(
    at: &BatchAt<'_>,
    bytes_max: usize,
    path: impl Fn() -> PathBuf,
) -> Result<Vec<Record>, StorageError> {
    let bytes = Bytes::copy_from_slice(at.bytes);
    let records = LegacyEntry::split_first(&bytes)
        .and_then(|entry| entry.map_or_else(|| Ok(Vec::new()), |(entry, _)| entry.records(bytes_max)));
    records.map_err(|error| StorageError::corrupt(path(), error.to_string()))
}

/// The new segment while it is written.
struct Output {
    segment: Segment,
    buffer: Vec<u8>,
    /// Bytes of the segment, the buffer included.
    size: u64,
    since_entry: u64,
    max: TimeEntry,
    last_indexed: Millis,
    index_interval_bytes: u64,
}

impl Output {
    fn new(segment: Segment, index_interval_bytes: u32) -> Self {
        let max = TimeEntry { timestamp: Millis::NONE, offset: segment.base_offset };
        Self {
            segment,
            buffer: Vec::new(),
            size: 0,
            since_entry: 0,
            max,
            last_indexed: Millis::NONE,
            index_interval_bytes: u64::from(index_interval_bytes),
        }
    }

    fn add(&mut self, bytes: Bytes) -> Result<(), StorageError> {
        let batch = Batch::parse(&bytes)
            .map_err(|error| StorageError::corrupt(self.segment.log.path(), error.to_string()))?;
        self.add_bytes(&bytes, batch.header.last_offset(), batch.header.max_timestamp)
    }

    fn add_legacy(&mut self, at: &BatchAt<'_>) -> Result<(), StorageError> {
        self.add_bytes(at.bytes, at.header.last_offset(), at.header.max_timestamp)
    }

    fn add_bytes(
        &mut self,
        bytes: &[u8],
        last_offset: Offset,
        max_timestamp: Millis,
    ) -> Result<(), StorageError> {
        let path = || self.segment.log.path();
        if max_timestamp > self.max.timestamp {
            self.max = TimeEntry { timestamp: max_timestamp, offset: last_offset };
        }
        if self.since_entry > self.index_interval_bytes {
            let entry = OffsetEntry { offset: last_offset, position: self.size as u32 };
            self.segment.index.push(entry).during("write", path)?;
            if self.max.timestamp > self.last_indexed {
                self.last_indexed = self.max.timestamp;
                self.segment.time_index.push(self.max).during("write", path)?;
            }
            self.since_entry = 0;
        }
        self.since_entry += bytes.len() as u64;
        self.size += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), StorageError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let position = self.size - self.buffer.len() as u64;
        self.segment
            .file()?
            .write_all_at(&self.buffer, position)
            .during("write", || self.segment.log.path())?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the segment durable; its modification time is that of the last source.
    fn finish(mut self, modified: Millis) -> Result<Segment, StorageError> {
        self.write()?;
        let segment = self.segment;
        segment.set_size(self.size);
        segment.set_max_timestamp(self.max);
        segment.become_inactive()?;
        segment.file()?.sync().during("sync", || segment.log.path())?;
        segment.sync_indexes()?;
        let path = segment.log.path();
        segment.log.disk().set_modified_ms(&path, modified.0).during("stat", || path)?;
        Ok(segment)
    }
}
