//! One segment: a log file and its three indexes, shared by the log that owns it and any number of readers.
//!
//! Owns how offsets and times are found in one segment. Must not know leader epochs or producers. What readers may see
//! of the active segment ends at `size`, which the owner raises after the bytes are written.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use ottla_model::{Millis, Offset};
use ottla_record::Batch;
use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};
use crate::error::{IoContext, StorageError};
use crate::file_cache::{FileCache, FileHandle};
use crate::index::{AbortedTxn, IndexEntry, OffsetEntry, SparseIndex, TimeEntry};
use crate::names::{self, offset_file};
use crate::scan::{BatchScan, Walk};

/// A segment.
#[derive(Debug)]
pub struct Segment {
    pub(crate) base_offset: Offset,
    pub(crate) log: Arc<FileHandle>,
    pub(crate) index: SparseIndex<OffsetEntry>,
    pub(crate) time_index: SparseIndex<TimeEntry>,
    pub(crate) txn_index: SparseIndex<AbortedTxn>,
    size: AtomicU64,
    max_timestamp: Mutex<Option<TimeEntry>>,
    /// Timestamp of the first batch, `i64::MIN` while nobody has looked.
    first_timestamp: AtomicI64,
    /// When it was created, or at a restart: when its file was last written.
    pub(crate) created: Millis,
}

/// Where one batch lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    pub position: u64,
    pub size: usize,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub max_timestamp: Millis,
}

/// Sizes of a segment's files as found in the directory; 0 for what is not there.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SegmentSizes {
    pub log: u64,
    pub index: u64,
    pub time_index: u64,
    pub txn_index: u64,
}

impl Segment {
    /// A segment over files in `dir` named by `base_offset` and `suffix` (empty, or `.cleaned`).
    pub(crate) fn new(
        files: &Arc<FileCache>,
        dir: &Path,
        base_offset: Offset,
        suffix: &str,
        sizes: SegmentSizes,
        created: Millis,
    ) -> Self {
        let handle = |kind: &str| files.handle(dir.join(offset_file(base_offset, kind) + suffix));
        Self {
            base_offset,
            log: handle(names::LOG),
            index: SparseIndex::new(base_offset, handle(names::INDEX), sizes.index),
            time_index: SparseIndex::new(base_offset, handle(names::TIME_INDEX), sizes.time_index),
            txn_index: SparseIndex::new(base_offset, handle(names::TXN_INDEX), sizes.txn_index),
            size: AtomicU64::new(sizes.log),
            max_timestamp: Mutex::new(None),
            first_timestamp: AtomicI64::new(i64::MIN),
            created,
        }
    }

    /// Creates the empty files of a new segment (the transaction index comes with its first entry).
    pub(crate) fn create(
        files: &Arc<FileCache>,
        dir: &Path,
        base_offset: Offset,
        now: Millis,
    ) -> Result<Self, StorageError> {
        let segment = Self::new(files, dir, base_offset, "", SegmentSizes::default(), now);
        segment.create_files()?;
        Ok(segment)
    }

    pub(crate) fn create_files(&self) -> Result<(), StorageError> {
        self.log.get_or_create().during("create", || self.log.path())?;
        self.index.create().during("create", || self.index.file().path())?;
        self.time_index.create().during("create", || self.time_index.file().path())?;
        *self.max_timestamp.lock() = Some(TimeEntry { timestamp: Millis::NONE, offset: self.base_offset });
        Ok(())
    }

    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Bytes that readers may see.
    pub fn size_bytes(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(crate) fn file(&self) -> Result<Arc<dyn DiskFile>, StorageError> {
        self.log.get().during("open", || self.log.path())
    }

    fn read_error<T>(&self, result: std::io::Result<T>) -> Result<T, StorageError> {
        result.during("read", || self.log.path())
    }

    /// The largest timestamp and the last offset of its batch; timestamp -1 for none.
    pub(crate) fn max_timestamp(&self) -> Result<TimeEntry, StorageError> {
        let mut cached = self.max_timestamp.lock();
        if let Some(entry) = *cached {
            return Ok(entry);
        }
        let entry = self.time_index.last().during("read", || self.time_index.file().path())?;
        let entry = entry.unwrap_or(TimeEntry { timestamp: Millis::NONE, offset: self.base_offset });
        *cached = Some(entry);
        Ok(entry)
    }

    pub(crate) fn set_max_timestamp(&self, entry: TimeEntry) {
        *self.max_timestamp.lock() = Some(entry);
    }

    /// Timestamp of the first batch, -1 if there is none.
    pub(crate) fn first_timestamp(&self) -> Result<Millis, StorageError> {
        let known = self.first_timestamp.load(Ordering::Relaxed);
        if known != i64::MIN {
            return Ok(Millis(known));
        }
        if self.size_bytes() == 0 {
            return Ok(Millis::NONE);
        }
        let mut scan = self.scan(0, Walk::Headers)?;
        // As Kafka does it: the largest timestamp of the first batch.
        let first = self.read_error(scan.next())?.map_or(Millis::NONE, |batch| batch.header.max_timestamp);
        self.first_timestamp.store(first.0, Ordering::Relaxed);
        Ok(first)
    }

    pub(crate) fn set_first_timestamp(&self, timestamp: Millis) {
        self.first_timestamp.store(timestamp.0, Ordering::Relaxed);
    }

    /// The youngest record's time, or the file's if its records have none.
    pub(crate) fn largest_timestamp(&self) -> Result<Millis, StorageError> {
        let entry = self.max_timestamp()?;
        if entry.timestamp >= Millis(0) {
            return Ok(entry.timestamp);
        }
        self.modified()
    }

    pub(crate) fn modified(&self) -> Result<Millis, StorageError> {
        let path = self.log.path();
        self.log.disk().modified_ms(&path).map(Millis).during("stat", || path)
    }

    pub(crate) fn scan(&self, position: u64, walk: Walk) -> Result<BatchScan, StorageError> {
        Ok(BatchScan::new(self.file()?, position, self.size_bytes(), walk))
    }

    /// The first batch whose last offset is at or behind `offset`.
    pub(crate) fn locate(&self, offset: Offset) -> Result<Option<Located>, StorageError> {
        let floor = self.index.floor(|entry| entry.offset <= offset);
        let floor = floor.during("search", || self.index.file().path())?;
        let position = floor.map_or(0, |entry| u64::from(entry.position));
        let mut scan = self.scan(position, Walk::Headers)?;
        while let Some(batch) = self.read_error(scan.next())? {
            if batch.header.last_offset() >= offset {
                return Ok(Some(Located {
                    position: batch.position,
                    size: batch.size(),
                    base_offset: batch.header.base_offset,
                    last_offset: batch.header.last_offset(),
                    max_timestamp: batch.header.max_timestamp,
                }));
            }
        }
        Ok(None)
    }

    /// The first record at or behind `from` whose timestamp is at least `timestamp`.
    pub(crate) fn locate_timestamp(
        &self,
        timestamp: Millis,
        from: Offset,
    ) -> Result<Option<(Millis, Offset)>, StorageError> {
        let floor = self.time_index.floor(|entry| entry.timestamp < timestamp);
        let floor = floor.during("search", || self.time_index.file().path())?;
        let start = floor.map_or(self.base_offset, |entry| entry.offset).max(from);
        let floor = self.index.floor(|entry| entry.offset <= start);
        let position = floor.during("search", || self.index.file().path())?.map_or(0, |entry| entry.position);
        let mut scan = self.scan(u64::from(position), Walk::Bodies)?;
        while let Some(batch) = self.read_error(scan.next())? {
            if batch.header.max_timestamp < timestamp || batch.header.last_offset() < from {
                continue;
            }
            if let Some(found) = first_record_at(&batch.header, batch.magic, batch.bytes, timestamp, from) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The batch at exactly this place, with its bytes.
    pub(crate) fn read_batch(&self, located: Located) -> Result<Batch, StorageError> {
        let mut bytes = vec![0; located.size];
        self.read_error(self.file()?.read_exact_at(&mut bytes, located.position))?;
        Batch::parse(&Bytes::from(bytes)).map_err(|error| {
            StorageError::corrupt(self.log.path(), format!("{error} at {}", located.position))
        })
    }

    /// Adds the largest timestamp as the last time-index entry, as Kafka does when a segment is done.
    pub(crate) fn close_time_index(&self) -> Result<(), StorageError> {
        let max = self.max_timestamp()?;
        let last = self.time_index.last().during("read", || self.time_index.file().path())?;
        if max.timestamp > last.map_or(Millis::NONE, |last| last.timestamp) {
            self.time_index.push(max).during("write", || self.time_index.file().path())?;
        }
        Ok(())
    }

    /// Writes the indexes as they will stay.
    pub(crate) fn flush_indexes(&self) -> Result<(), StorageError> {
        self.index.flush().during("write", || self.index.file().path())?;
        self.time_index.flush().during("write", || self.time_index.file().path())?;
        self.txn_index.flush().during("write", || self.txn_index.file().path())
    }

    /// Makes the indexes durable, as far as they are written.
    pub(crate) fn sync_indexes(&self) -> Result<(), StorageError> {
        self.index.sync().during("sync", || self.index.file().path())?;
        self.time_index.sync().during("sync", || self.time_index.file().path())?;
        self.txn_index.sync().during("sync", || self.txn_index.file().path())
    }

    /// Makes durable what a start after a crash cannot see to be incomplete: everything but added entries of the offset
    /// index. (Entries that were cut off must not come back.)
    pub(crate) fn sync_indexes_for_checkpoint(&self) -> Result<(), StorageError> {
        self.index.sync_cut().during("sync", || self.index.file().path())?;
        self.time_index.sync().during("sync", || self.time_index.file().path())?;
        self.txn_index.sync().during("sync", || self.txn_index.file().path())
    }

    /// Whether nothing is missing in the files of a segment that nobody writes to any more.
    pub(crate) fn is_closed(&self) -> Result<bool, StorageError> {
        let last = self.time_index.last().during("read", || self.time_index.file().path())?;
        let complete = self.max_timestamp()?.timestamp <= last.map_or(Millis::NONE, |last| last.timestamp);
        Ok(complete && self.index.is_flushed() && self.time_index.is_flushed() && self.txn_index.is_flushed())
    }

    /// Writes the indexes for the last time and gives back their memory.
    pub(crate) fn become_inactive(&self) -> Result<(), StorageError> {
        self.close_time_index()?;
        self.flush_indexes()?;
        self.index.shrink();
        self.time_index.shrink();
        self.txn_index.shrink();
        Ok(())
    }

    /// Whether an index has no room for another entry (the time index keeps room for its closing entry).
    pub(crate) fn is_index_full(&self, index_bytes_max: u32) -> bool {
        let entries = |bytes: usize| index_bytes_max as usize / bytes;
        self.index.len() >= entries(OffsetEntry::BYTES)
            || self.time_index.len() + 1 >= entries(TimeEntry::BYTES)
    }

    /// All four files.
    pub(crate) fn handles(&self) -> [&Arc<FileHandle>; 4] {
        [&self.log, self.index.file(), self.time_index.file(), self.txn_index.file()]
    }

    /// Renames the files from one suffix to another; a file that is not there stays so.
    pub(crate) fn change_suffix(&self, from: &str, to: &str) -> Result<(), StorageError> {
        for handle in self.handles() {
            let path = handle.path();
            let name = path.to_string_lossy();
            let renamed = format!("{}{to}", name.strip_suffix(from).unwrap_or(&name));
            handle.rename(Path::new(&renamed)).during("rename", || path)?;
        }
        Ok(())
    }

    /// Removes the files.
    pub(crate) fn remove_files(&self) -> Result<(), StorageError> {
        for handle in self.handles() {
            let path = handle.path();
            handle.close();
            remove_if_there(handle.disk(), &path)?;
        }
        Ok(())
    }
}

/// Removes a file that need not be there.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StorageError> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).during("remove", || path.to_owned())
        }
        _ => Ok(()),
    }
}

fn first_record_at(
    header: &ottla_record::BatchHeader,
    magic: i8,
    bytes: &[u8],
    timestamp: Millis,
    from: Offset,
) -> Option<(Millis, Offset)> {
    if magic < 2 {
        return (header.base_offset >= from).then_some((header.max_timestamp, header.base_offset));
    }
    let batch = Batch::parse(&Bytes::copy_from_slice(bytes)).ok()?;
    let found = batch
        .records()
        .ok()?
        .filter_map(Result::ok)
        .find(|record| record.timestamp >= timestamp && record.offset >= from)?;
    Some((found.timestamp, found.offset))
}
