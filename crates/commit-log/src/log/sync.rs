//! Making a log durable, on somebody else's thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_model::{Millis, Offset};

use super::Log;
use crate::checkpoint::format_epochs;
use crate::disk::{Disk, OpenMode};
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

/// From how many logs on the whole file system is synced at once.
const WHOLE_DISK_FROM: usize = 64;
/// How many syncs run at the same time.
const SYNCS_AT_ONCE: usize = 16;

/// Everything that has to be synced, with its files. Run it anywhere, hand the outcome to [`Log::complete_sync`].
#[derive(Debug)]
#[must_use]
pub struct SyncJob {
    kind: SyncKind,
    /// The last step before a clean stop: nothing will be looked over at the next start.
    closing: bool,
    generation: u64,
    up_to: Offset,
    bytes: u64,
    /// The last one is active.
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
        let steps = || {
            self.write()?;
            self.sync_files()?;
            self.install()?;
            self.sync_dirs()
        };
        let result = steps();
        self.outcome(result)
    }

    /// Runs jobs of several logs in `dir`; many at once by syncing the whole file system. Outcomes in the same order.
    pub(crate) fn run_all(jobs: Vec<Self>, disk: &dyn Disk, dir: &Path) -> Vec<SyncOutcome> {
        if jobs.len() < WHOLE_DISK_FROM {
            return Self::run_together(jobs);
        }
        let mut results: Vec<_> = jobs.iter().map(Self::write).collect();
        let unsupported = |error: &std::io::Error| error.kind() == std::io::ErrorKind::Unsupported;
        match disk.sync_all(dir) {
            Err(error) if unsupported(&error) => return Self::run_together(jobs),
            Err(error) => {
                let reason = error.to_string();
                let failed = |job: Self| {
                    let source = std::io::Error::other(reason.clone());
                    job.outcome(Err(StorageError::Io { action: "sync", path: dir.to_owned(), source }))
                };
                return jobs.into_iter().map(failed).collect();
            }
            Ok(()) => {}
        }
        for (job, result) in jobs.iter().zip(&mut results) {
            if result.is_ok() {
                *result = job.install();
            }
        }
        let names = disk.sync_all(dir).map_err(|error| error.to_string());
        let outcome = |(job, result): (Self, Result<(), StorageError>)| {
            let named = names.clone().map_err(std::io::Error::other).during("sync", || dir.to_owned());
            job.outcome(result.and(named))
        };
        jobs.into_iter().zip(results).map(outcome).collect()
    }

    /// Runs jobs at the same time on threads of their own: a file system puts syncs that meet into one commit of its
    /// journal. Outcomes in the same order.
    pub fn run_together(jobs: Vec<Self>) -> Vec<SyncOutcome> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        let mut jobs = jobs.into_iter();
        while let Some(first) = jobs.next() {
            std::thread::scope(|scope| {
                let others = jobs.by_ref().take(SYNCS_AT_ONCE - 1);
                let others: Vec<_> = others.map(|job| scope.spawn(|| job.run())).collect();
                outcomes.push(first.run());
                outcomes.extend(others.into_iter().map(|other| other.join().expect("a sync does not panic")));
            });
        }
        outcomes
    }

    /// The log end when the job was made.
    pub fn up_to(&self) -> Offset {
        self.up_to
    }

    fn outcome(self, result: Result<(), StorageError>) -> SyncOutcome {
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

    fn name_changed(&mut self, dir: &Path) {
        if !self.dirs.iter().any(|known| known == dir) {
            self.dirs.push(dir.to_owned());
        }
    }

    /// Writes what is only in memory.
    fn write(&self) -> Result<(), StorageError> {
        if self.kind == SyncKind::Checkpoint {
            for segment in &self.segments {
                segment.flush_indexes()?;
            }
        }
        let write = |path: &Path, bytes: &[u8]| {
            let file = self.files.disk().open(path, OpenMode::CreateEmpty);
            file.and_then(|file| file.write_all_at(bytes, 0)).during("write", || path.to_owned())
        };
        if let Some((path, text)) = &self.epochs {
            write(&temporary(path), text.as_bytes())?;
        }
        if let Some((path, bytes)) = &self.snapshot {
            write(path, bytes)?;
        }
        Ok(())
    }

    fn sync_files(&self) -> Result<(), StorageError> {
        for (at, segment) in self.segments.iter().enumerate() {
            let file = match segment.log.get() {
                // Deleted meanwhile: nothing to keep.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                result => result.during("open", || segment.log.path())?,
            };
            file.sync().during("sync", || segment.log.path())?;
            let is_active = at + 1 == self.segments.len();
            match self.kind {
                SyncKind::Commit => {}
                // What an active segment's offset index loses in a power failure is noticed, and costs a longer start.
                SyncKind::Checkpoint if is_active && !self.closing => {
                    segment.sync_indexes_for_checkpoint()?
                }
                SyncKind::Checkpoint => segment.sync_indexes()?,
            }
        }
        if let Some((path, _)) = &self.epochs {
            self.sync_file(&temporary(path))?;
        }
        for path in &self.snapshots_written {
            self.sync_file(path)?;
        }
        match &self.snapshot {
            // In the middle of a segment it only spares a start some work; a damaged one is noticed.
            Some((path, _)) if self.closing => self.sync_file(path),
            _ => Ok(()),
        }
    }

    fn sync_file(&self, path: &Path) -> Result<(), StorageError> {
        match self.files.disk().open(path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            file => file.and_then(|file| file.sync()).during("sync", || path.to_owned()),
        }
    }

    /// Puts synced files in place.
    fn install(&self) -> Result<(), StorageError> {
        let disk = self.files.disk();
        if let Some((path, _)) = &self.epochs {
            disk.rename(&temporary(path), path).during("rename", || path.clone())?;
        }
        for path in &self.snapshots_replaced {
            remove_if_there(disk, path)?;
        }
        Ok(())
    }

    fn sync_dirs(&self) -> Result<(), StorageError> {
        self.dirs.iter().try_for_each(|dir| self.files.disk().sync_dir(dir).during("sync", || dir.clone()))
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

impl Log {
    /// What has to be synced now; `None` if nothing. Call it after [`Log::write_staged`]; jobs of a log may overlap.
    pub fn sync_job(&mut self, kind: SyncKind) -> Option<SyncJob> {
        self.new_sync_job(kind, false)
    }

    pub(super) fn new_sync_job(&mut self, kind: SyncKind, closing: bool) -> Option<SyncJob> {
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
            SyncKind::Checkpoint => closing || from < up_to || self.epochs_dirty || self.names_dirty,
        };
        if !dirty {
            return None;
        }
        let first = self.segments.partition_point(|segment| segment.base_offset <= from).max(1) - 1;
        let mut job = SyncJob {
            kind,
            closing,
            generation: self.generation,
            up_to,
            bytes: self.shared.dirty_bytes.load(Ordering::Relaxed),
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
                job.name_changed(&self.path);
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
        if job.closing {
            job.name_changed(&self.path);
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
            let dirty = &self.shared.dirty_bytes;
            dirty.store(dirty.load(Ordering::Relaxed).saturating_sub(outcome.bytes), Ordering::Relaxed);
            if outcome.up_to > self.recovery_point() {
                self.shared.recovery_point.store(outcome.up_to.0, Ordering::Release);
            }
        }
        Ok(())
    }
}
