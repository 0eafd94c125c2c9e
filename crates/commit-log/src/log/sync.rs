//! Making a log durable, on somebody else's thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_model::{Millis, Offset};

use super::Log;
use crate::checkpoint::format_epochs;
use crate::disk::{OpenMode, write_file_atomically};
use crate::error::{IoContext, StorageError};
use crate::file_cache::FileCache;
use crate::names;
use crate::segment::{Segment, remove_if_there};

/// What is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncKind {
    /// The batches: moves [`Log::synced_offset`], which acknowledgements wait for. Indexes are not touched.
    Commit,
    /// Batches, indexes, leader epochs and producer state: moves the recovery point, behind which a restart after a
    /// crash has to look at every batch.
    Checkpoint,
}

/// Everything that has to be synced, with its files. Run it anywhere, hand the outcome to [`Log::complete_sync`].
#[derive(Debug)]
#[must_use]
pub struct SyncJob {
    kind: SyncKind,
    generation: u64,
    up_to: Offset,
    bytes: u64,
    segments: Vec<Arc<Segment>>,
    files: Arc<FileCache>,
    epochs: Option<(PathBuf, String)>,
    snapshot: Option<(PathBuf, Bytes)>,
    /// Snapshots written at a roll.
    snapshots_written: Vec<PathBuf>,
    /// Snapshots that the new one replaces.
    snapshots_replaced: Vec<PathBuf>,
    dirs: Vec<PathBuf>,
    now: Millis,
}

/// How a [`SyncJob`] ended.
#[derive(Debug)]
#[must_use]
pub struct SyncOutcome {
    kind: SyncKind,
    generation: u64,
    up_to: Offset,
    bytes: u64,
    snapshot: bool,
    now: Millis,
    result: Result<(), StorageError>,
}

impl SyncJob {
    /// Blocks until everything is on stable storage. A failure is final.
    pub fn run(self) -> SyncOutcome {
        let result = self.sync();
        SyncOutcome {
            kind: self.kind,
            generation: self.generation,
            up_to: self.up_to,
            bytes: self.bytes,
            snapshot: self.snapshot.is_some(),
            now: self.now,
            result,
        }
    }

    /// The log end when the job was made.
    pub fn up_to(&self) -> Offset {
        self.up_to
    }

    fn sync(&self) -> Result<(), StorageError> {
        for segment in &self.segments {
            let file = match segment.log.get() {
                // Deleted meanwhile: nothing to keep.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                result => result.during("open", || segment.log.path())?,
            };
            file.sync().during("sync", || segment.log.path())?;
            if self.kind == SyncKind::Checkpoint {
                segment.sync_indexes()?;
            }
        }
        let disk = self.files.disk();
        if let Some((path, text)) = &self.epochs {
            write_file_atomically(disk, path, text.as_bytes()).during("write", || path.clone())?;
        }
        for path in &self.snapshots_written {
            match disk.open(path, OpenMode::ReadWrite) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                file => file.and_then(|file| file.sync()).during("sync", || path.clone())?,
            }
        }
        if let Some((path, bytes)) = &self.snapshot {
            let write = || {
                let file = disk.open(path, OpenMode::CreateEmpty)?;
                file.write_all_at(bytes, 0)?;
                file.sync()
            };
            write().during("write", || path.clone())?;
        }
        for dir in &self.dirs {
            disk.sync_dir(dir).during("sync", || dir.clone())?;
        }
        for path in &self.snapshots_replaced {
            remove_if_there(disk, path)?;
        }
        Ok(())
    }
}

impl Log {
    /// What has to be synced now; `None` if nothing. Call it after [`Log::write_staged`]; jobs of a log may overlap.
    pub fn sync_job(&mut self, kind: SyncKind) -> Option<SyncJob> {
        if self.is_offline() {
            return None;
        }
        let up_to = self.log_end_offset();
        let from = match kind {
            SyncKind::Commit => self.synced_offset,
            SyncKind::Checkpoint => self.recovery_point(),
        };
        let dirty = match kind {
            SyncKind::Commit => from < up_to || self.names_dirty,
            SyncKind::Checkpoint => from < up_to || self.epochs_dirty || self.names_dirty,
        };
        if !dirty {
            return None;
        }
        let first = self.segments.partition_point(|segment| segment.base_offset <= from).max(1) - 1;
        let mut job = SyncJob {
            kind,
            generation: self.generation,
            up_to,
            bytes: self.dirty_bytes,
            segments: self.segments[first..].to_vec(),
            files: self.dir.context.files.clone(),
            epochs: None,
            snapshot: None,
            snapshots_written: Vec::new(),
            snapshots_replaced: Vec::new(),
            dirs: Vec::new(),
            now: self.last_append,
        };
        if std::mem::take(&mut self.names_dirty) {
            job.dirs.push(self.path.clone());
        }
        if std::mem::take(&mut self.parent_dirty) {
            job.dirs.push(self.dir.path.clone());
        }
        if kind == SyncKind::Checkpoint {
            if std::mem::take(&mut self.epochs_dirty) {
                let path = self.path.join(names::LEADER_EPOCH_CHECKPOINT);
                job.epochs = Some((path, format_epochs(self.epochs.entries())));
            }
            self.checkpoint_snapshot(&mut job, from);
        }
        Some(job)
    }

    /// A producer snapshot at the new recovery point, so that a restart replays nothing below it.
    fn checkpoint_snapshot(&mut self, job: &mut SyncJob, from: Offset) {
        let path = |offset: &Offset| self.path.join(names::offset_file(*offset, names::SNAPSHOT));
        job.snapshots_written = self
            .snapshots
            .iter()
            .filter(|offset| **offset >= from && **offset <= job.up_to)
            .map(path)
            .collect();
        if !self.staged.batches.is_empty()
            || self.snapshots.last() == Some(&job.up_to)
            || job.up_to == Offset::ZERO
        {
            return;
        }
        job.snapshot = Some(self.snapshot_file(job.up_to));
        if !job.dirs.contains(&self.path) {
            job.dirs.push(self.path.clone());
        }
        let is_base = |offset: &Offset| self.segments.iter().any(|segment| segment.base_offset == *offset);
        job.snapshots_replaced = self.snapshots.iter().filter(|offset| !is_base(offset)).map(path).collect();
        self.snapshots.retain(is_base);
    }

    /// Takes over how a sync went. After an error the log is offline: what was not synced may be gone, and trying
    /// again would hide it.
    pub fn complete_sync(&mut self, outcome: SyncOutcome) -> Result<(), StorageError> {
        self.or_offline(outcome.result)?;
        if outcome.generation != self.generation {
            return Ok(());
        }
        self.synced_offset = self.synced_offset.max(outcome.up_to);
        if outcome.kind == SyncKind::Checkpoint {
            if outcome.snapshot && self.snapshots.last().is_none_or(|last| *last < outcome.up_to) {
                self.snapshots.push(outcome.up_to);
            }
            self.last_checkpoint = outcome.now;
            self.dirty_bytes = self.dirty_bytes.saturating_sub(outcome.bytes);
            if outcome.up_to > self.recovery_point() {
                self.shared.recovery_point.store(outcome.up_to.0, Ordering::Release);
            }
        }
        Ok(())
    }
}
