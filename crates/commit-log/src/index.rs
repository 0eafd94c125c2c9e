//! The three indexes beside a segment: sorted arrays of fixed-size entries in a file.
//!
//! Owns one index file. Must not know batches. New entries stay in memory until [`SparseIndex::flush`] (when enough
//! have come together, when the segment rolls or closes, before a recovery point is taken): an index is rebuilt from
//! its segment after a crash, so that an append never pays a system call for it. Lookups search what is in memory, then
//! the file, block by block; nothing is mapped.
//!
//! ```text
//! .index      i32 offset - base, i32 position of the batch whose last offset that is
//! .timeindex  i64 largest timestamp so far, i32 offset - base of the last record of its batch
//! .txnindex   i16 version = 0, i64 producer id, i64 first offset, i64 last offset (the marker), i64 last stable offset
//! ```

use std::fmt::Debug;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use ottla_model::{Millis, Offset, ProducerId};
use parking_lot::RwLock;

use crate::file_cache::FileHandle;

/// How many entries collect in memory before they are written: those of 2 MiB of log.
const PENDING_ENTRIES_MAX: usize = 512;
/// How much of a file one step of a search reads.
const BLOCK_BYTES: u64 = 4096;

/// A fixed-size entry.
pub trait IndexEntry: Copy + Debug + PartialEq + Send + Sync {
    const BYTES: usize;
    fn write_to(&self, base_offset: Offset, bytes: &mut Vec<u8>);
    /// `bytes` are exactly [`Self::BYTES`].
    fn read_from(base_offset: Offset, bytes: &[u8]) -> Self;
}

/// `.index`: the batch whose last offset is `offset` begins at `position`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetEntry {
    pub offset: Offset,
    pub position: u32,
}

/// `.timeindex`: no record up to `offset` is younger than `timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeEntry {
    pub timestamp: Millis,
    pub offset: Offset,
}

/// `.txnindex`: an aborted transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortedTxn {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// Offset of the abort marker.
    pub last_offset: Offset,
    pub last_stable_offset: Offset,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|field| field.try_into().ok()).unwrap_or([0; N])
}

fn relative(offset: Offset, base_offset: Offset) -> i32 {
    i32::try_from(offset - base_offset).unwrap_or(i32::MAX)
}

impl IndexEntry for OffsetEntry {
    const BYTES: usize = 8;

    fn write_to(&self, base_offset: Offset, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&relative(self.offset, base_offset).to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
    }

    fn read_from(base_offset: Offset, bytes: &[u8]) -> Self {
        Self {
            offset: base_offset + i64::from(i32::from_be_bytes(field(bytes, 0))),
            position: u32::from_be_bytes(field(bytes, 4)),
        }
    }
}

impl IndexEntry for TimeEntry {
    const BYTES: usize = 12;

    fn write_to(&self, base_offset: Offset, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&relative(self.offset, base_offset).to_be_bytes());
    }

    fn read_from(base_offset: Offset, bytes: &[u8]) -> Self {
        Self {
            timestamp: Millis(i64::from_be_bytes(field(bytes, 0))),
            offset: base_offset + i64::from(i32::from_be_bytes(field(bytes, 8))),
        }
    }
}

impl IndexEntry for AbortedTxn {
    const BYTES: usize = 34;

    fn write_to(&self, _base_offset: Offset, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&0i16.to_be_bytes());
        bytes.extend_from_slice(&self.producer_id.0.to_be_bytes());
        bytes.extend_from_slice(&self.first_offset.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_offset.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_stable_offset.0.to_be_bytes());
    }

    fn read_from(_base_offset: Offset, bytes: &[u8]) -> Self {
        Self {
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 2))),
            first_offset: Offset(i64::from_be_bytes(field(bytes, 10))),
            last_offset: Offset(i64::from_be_bytes(field(bytes, 18))),
            last_stable_offset: Offset(i64::from_be_bytes(field(bytes, 26))),
        }
    }
}

/// One index file with its entries in memory that are not written yet.
#[derive(Debug)]
pub struct SparseIndex<E> {
    base_offset: Offset,
    file: Arc<FileHandle>,
    state: RwLock<State<E>>,
}

#[derive(Debug)]
struct State<E> {
    /// Entries that are in the file.
    flushed: usize,
    /// Entries behind those.
    pending: Vec<E>,
    /// The last entry in the file, once somebody needed it.
    last_flushed: Option<E>,
    /// The file was written or cut since it was last synced.
    unsynced: bool,
    /// It was cut: what is behind the cut must not come back after a crash.
    cut: bool,
}

impl<E: IndexEntry> SparseIndex<E> {
    /// An index whose file holds `file_bytes` (0 also if it is not there).
    pub(crate) fn new(base_offset: Offset, file: Arc<FileHandle>, file_bytes: u64) -> Self {
        let flushed = (file_bytes / E::BYTES as u64) as usize;
        let state = State { flushed, pending: Vec::new(), last_flushed: None, unsynced: false, cut: false };
        Self { base_offset, file, state: RwLock::new(state) }
    }

    pub(crate) fn file(&self) -> &Arc<FileHandle> {
        &self.file
    }

    pub fn len(&self) -> usize {
        let state = self.state.read();
        state.flushed + state.pending.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry; the caller keeps the order. The entry is in the file when enough have come together.
    pub(crate) fn push(&self, entry: E) -> io::Result<()> {
        let mut state = self.state.write();
        state.pending.push(entry);
        if state.pending.len() >= PENDING_ENTRIES_MAX { self.write_pending(&mut state) } else { Ok(()) }
    }

    /// Writes what is pending.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut state = self.state.write();
        if state.pending.is_empty() { Ok(()) } else { self.write_pending(&mut state) }
    }

    fn write_pending(&self, state: &mut State<E>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(state.pending.len() * E::BYTES);
        state.pending.iter().for_each(|entry| entry.write_to(self.base_offset, &mut bytes));
        let position = (state.flushed * E::BYTES) as u64;
        self.file.get_or_create()?.write_all_at(&bytes, position)?;
        state.flushed += state.pending.len();
        state.last_flushed = state.pending.last().copied();
        state.pending.clear();
        state.unsynced = true;
        Ok(())
    }

    /// Whether all entries are in the file, durably.
    pub(crate) fn is_flushed(&self) -> bool {
        let state = self.state.read();
        state.pending.is_empty() && !state.unsynced
    }

    /// Makes the file durable, if it changed since the last time.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let file = {
            let mut state = self.state.write();
            state.cut = false;
            if !std::mem::take(&mut state.unsynced) {
                return Ok(());
            }
            self.file.get()?
        };
        file.sync()
    }

    /// Makes the file durable if it was cut since the last time. Added entries may be lost in a crash, which a restart
    /// notices; old ones must not come back.
    pub(crate) fn sync_cut(&self) -> io::Result<()> {
        if self.state.read().cut { self.sync() } else { Ok(()) }
    }

    /// Gives back the memory of an index that will not grow.
    pub(crate) fn shrink(&self) {
        self.state.write().pending.shrink_to_fit();
    }

    /// Creates the file if there is none, so that the segment is complete.
    pub(crate) fn create(&self) -> io::Result<()> {
        self.file.get_or_create().map(drop)
    }

    /// Keeps the first `count` entries; cuts the file to exactly those that are in it.
    pub(crate) fn truncate(&self, count: usize) -> io::Result<()> {
        let mut state = self.state.write();
        if count >= state.flushed {
            let pending = count - state.flushed;
            state.pending.truncate(pending);
        } else {
            state.pending.clear();
            state.flushed = count;
            state.last_flushed = None;
        }
        match self.file.get() {
            Ok(file) => {
                let len = (state.flushed * E::BYTES) as u64;
                if file.len()? != len {
                    (state.unsynced, state.cut) = (true, true);
                    file.set_len(len)?;
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && state.flushed == 0 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The last entry.
    pub fn last(&self) -> io::Result<Option<E>> {
        let state = self.state.read();
        if let Some(entry) = state.pending.last().or(state.last_flushed.as_ref()) {
            return Ok(Some(*entry));
        }
        if state.flushed == 0 {
            return Ok(None);
        }
        let entry = self.read_entries(state.flushed - 1, 1)?.first().copied();
        drop(state);
        let mut state = self.state.write();
        if state.pending.is_empty() && state.flushed > 0 && state.last_flushed.is_none() {
            state.last_flushed = entry;
        }
        Ok(entry)
    }

    /// How many entries satisfy `before`, which must hold for a prefix.
    pub fn partition_point(&self, before: impl Fn(&E) -> bool) -> io::Result<usize> {
        let state = self.state.read();
        self.search(&state, before).map(|(point, _)| point)
    }

    /// The last entry of the prefix that satisfies `before`.
    pub fn floor(&self, before: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        let state = self.state.read();
        self.search(&state, before).map(|(_, floor)| floor)
    }

    fn search(&self, state: &State<E>, before: impl Fn(&E) -> bool) -> io::Result<(usize, Option<E>)> {
        if state.pending.first().is_some_and(&before) {
            let point = state.pending.partition_point(before);
            return Ok((state.flushed + point, Some(state.pending[point - 1])));
        }
        if state.last_flushed.as_ref().is_some_and(&before) {
            return Ok((state.flushed, state.last_flushed));
        }
        let per_block = BLOCK_BYTES as usize / E::BYTES;
        let (mut low, mut high) = (0, state.flushed);
        while high - low > per_block {
            let middle = low + (high - low) / 2;
            match self.read_entries(middle, 1)?.first() {
                Some(entry) if before(entry) => low = middle,
                _ => high = middle,
            }
        }
        let block = self.read_entries(low, high - low)?;
        let point = block.partition_point(before);
        Ok((low + point, point.checked_sub(1).and_then(|at| block.get(at)).copied()))
    }

    /// Visits entries from number `first` on until told to stop.
    pub fn visit(&self, first: usize, mut visitor: impl FnMut(E) -> ControlFlow<()>) -> io::Result<()> {
        let state = self.state.read();
        let per_block = BLOCK_BYTES as usize / E::BYTES;
        let mut at = first;
        while at < state.flushed {
            let block = self.read_entries(at, per_block.min(state.flushed - at))?;
            at += block.len();
            for entry in block {
                if visitor(entry).is_break() {
                    return Ok(());
                }
            }
        }
        for entry in state.pending.iter().skip(at - state.flushed.min(at)) {
            if visitor(*entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Entry number `at`, counted from 0.
    pub fn get(&self, at: usize) -> io::Result<Option<E>> {
        let mut found = None;
        self.visit(at, |entry| {
            found = Some(entry);
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// All entries.
    pub fn entries(&self) -> io::Result<Vec<E>> {
        let mut entries = Vec::new();
        self.visit(0, |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    fn read_entries(&self, first: usize, count: usize) -> io::Result<Vec<E>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; count * E::BYTES];
        self.file.get()?.read_exact_at(&mut bytes, (first * E::BYTES) as u64)?;
        Ok(bytes.chunks_exact(E::BYTES).map(|entry| E::read_from(self.base_offset, entry)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::disk::{Disk, SimDisk};
    use crate::file_cache::FileCache;

    fn index() -> SparseIndex<OffsetEntry> {
        let disk = SimDisk::new();
        disk.create_dir(Path::new("/d")).unwrap();
        let cache = FileCache::new(Arc::new(disk), 8);
        SparseIndex::new(Offset(100), cache.handle(PathBuf::from("/d/x.index")), 0)
    }

    #[test]
    fn lookups_find_entries_in_file_and_memory() {
        let index = index();
        for n in 0..2000u32 {
            index.push(OffsetEntry { offset: Offset(100 + i64::from(n) * 10), position: n * 7 }).unwrap();
        }
        for target in [0, 99, 100, 101, 109, 110, 5000, 10_335, 10_340, 15_355, 20_090, 20_099, 1 << 40] {
            let floor = index.floor(|entry| entry.offset <= Offset(target)).unwrap();
            let expected = (target >= 100).then(|| ((target - 100) / 10).min(1999));
            assert_eq!(floor.map(|entry| i64::from(entry.position)), expected.map(|n| n * 7), "{target}");
            let point = index.partition_point(|entry| entry.offset <= Offset(target)).unwrap();
            assert_eq!(point as i64, expected.map_or(0, |n| n + 1), "{target}");
        }
        assert_eq!(index.entries().unwrap().len(), 2000);
        index.truncate(1990).unwrap();
        index.flush().unwrap();
        assert_eq!(index.last().unwrap().unwrap().position, 1989 * 7);
        index.truncate(3).unwrap();
        assert_eq!(index.file().get().unwrap().len().unwrap(), 24);
        assert_eq!(index.last().unwrap().unwrap().position, 14);
    }
}
