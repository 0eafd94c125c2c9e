//! Opening a log: cleaning up after a crash, finding its end, recovering what may not have been synced.
//!
//! After a clean stop nothing is scanned. After a crash every batch from the recovery point on is checked; what is
//! below was synced together with its indexes, so it is trusted (the index of the segment that holds the recovery point
//! is looked over first, and rebuilt with the whole segment if it is not plausible).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_model::{Millis, Offset, TopicPartition};

use super::replay::{load_snapshot, replay};
use super::{Active, Log, StagedBatches, new_shared};
use crate::checkpoint;
use crate::config::LogConfig;
use crate::disk::{DirEntry, Disk, read_file};
use crate::epoch_cache::EpochCache;
use crate::error::{IoContext, StorageError};
use crate::index::{AbortedTxn, IndexEntry, TimeEntry};
use crate::log_dir::DirShared;
use crate::names::{self, offset_file, parse_offset_file};
use crate::producer_state::ProducerStates;
use crate::scan::Walk;
use crate::segment::{Segment, SegmentSizes, remove_if_there};

/// What is known of a log before its directory is read.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// The last stop was clean: everything is complete.
    pub clean: bool,
    /// From `recovery-point-offset-checkpoint`; 0 if unknown.
    pub recovery_point: Offset,
    /// From `log-start-offset-checkpoint`; 0 if unknown.
    pub log_start: Offset,
    /// From `replication-offset-checkpoint`.
    pub high_watermark: Offset,
    pub now: Millis,
    /// The directory was created just now.
    pub(crate) is_new: bool,
}

impl LoadOptions {
    /// An existing log of which nothing is known: all of it is checked. So does `__cluster_metadata` start.
    pub fn unknown(now: Millis) -> Self {
        Self {
            clean: false,
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            now,
            is_new: false,
        }
    }
}

/// What loading a log took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LoadReport {
    pub segments_recovered: usize,
    pub bytes_scanned: u64,
    /// Bytes cut off because they were no whole batch.
    pub bytes_truncated: u64,
}

const SEGMENT_KINDS: [&str; 4] = [names::LOG, names::INDEX, names::TIME_INDEX, names::TXN_INDEX];

impl Log {
    /// Opens the log in `path`, which exists (it may be empty).
    pub(crate) fn load(
        dir: Arc<DirShared>,
        path: PathBuf,
        partition: TopicPartition,
        config: LogConfig,
        options: LoadOptions,
    ) -> Result<(Self, LoadReport), StorageError> {
        Loader::new(dir, path, config, options).load(partition)
    }

    /// Writes and syncs everything so that the next start, of Apache Kafka too, finds the log complete. Many logs close
    /// faster together: [`LogDir::close_logs`](crate::LogDir::close_logs).
    pub fn close(&mut self) -> Result<(), StorageError> {
        if let Some(job) = self.close_job()? {
            let outcome = job.run();
            self.complete_sync(outcome)?;
        }
        self.close_files();
        Ok(())
    }

    /// Writes everything that a clean stop leaves; the job makes it durable.
    pub(crate) fn close_job(&mut self) -> Result<Option<super::SyncJob>, StorageError> {
        self.write_staged()?;
        let untouched = self.recovery_point() == self.next_offset
            && self.snapshots.last().copied().unwrap_or(Offset::ZERO) == self.next_offset
            && self.active.segment.is_closed()?;
        let finished = self.finish_files();
        self.or_offline(finished)?;
        Ok(self.new_sync_job(super::SyncKind::Checkpoint, !untouched))
    }

    /// Lets the descriptors go.
    pub(crate) fn close_files(&self) {
        for segment in &self.segments {
            segment.handles().into_iter().for_each(|handle| handle.close());
        }
    }

    fn finish_files(&mut self) -> Result<(), StorageError> {
        let active = &self.active.segment;
        active.become_inactive()?;
        if self.allocated_to > 0 {
            active.file()?.release().during("truncate", || active.log.path())?;
            self.allocated_to = 0;
        }
        self.write_snapshot()?;
        self.remove_stray_snapshots()
    }

    /// Rebuilds the producer states up to the log end: newest usable snapshot, then the batches behind it.
    pub(super) fn rebuild_producers(&mut self, now: Millis) -> Result<(), StorageError> {
        let disk = self.dir.context.files.disk();
        let end = self.log_end_offset();
        let expiration_ms = self.config.producer_id_expiration_ms;
        let (states, from) = load_snapshot(disk, &self.path, &mut self.snapshots, end, now, expiration_ms)?;
        self.producers = states;
        let from = from.max(self.segments.first().map_or(end, |first| first.base_offset));
        replay(&self.segments, from, end, &mut self.producers)
    }
}

/// A log on its way to being open.
pub(super) struct Loader {
    pub(super) dir: Arc<DirShared>,
    pub(super) path: PathBuf,
    pub(super) config: LogConfig,
    pub(super) options: LoadOptions,
    pub(super) report: LoadReport,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) snapshots: Vec<Offset>,
    pub(super) epochs: EpochCache,
    pub(super) epochs_before: EpochCache,
    pub(super) producers: Option<ProducerStates>,
}

impl Loader {
    fn new(dir: Arc<DirShared>, path: PathBuf, config: LogConfig, options: LoadOptions) -> Self {
        Self {
            dir,
            path,
            config,
            options,
            report: LoadReport::default(),
            segments: Vec::new(),
            snapshots: Vec::new(),
            epochs: EpochCache::default(),
            epochs_before: EpochCache::default(),
            producers: None,
        }
    }

    fn disk(&self) -> &dyn Disk {
        self.dir.context.files.disk()
    }

    fn list(&self) -> Result<Vec<DirEntry>, StorageError> {
        self.disk().list(&self.path).during("list", || self.path.clone())
    }

    fn load(mut self, partition: TopicPartition) -> Result<(Log, LoadReport), StorageError> {
        let entries = self.finish_swaps(self.list()?)?;
        self.epochs = self.read_epochs()?;
        self.epochs_before = self.epochs.clone();
        let damaged = self.open_segments(&entries)?;
        if !self.options.clean || damaged.is_some() {
            let from = if self.options.clean { Offset::MAX } else { self.options.recovery_point };
            self.recover(from, damaged, &partition)?;
        }
        let mut end = match self.segments.last() {
            Some(last) => next_offset(last)?,
            None => self.options.log_start,
        };
        if end < self.options.log_start {
            tracing::warn!(%partition, log_end = %end, log_start = %self.options.log_start,
                "the log ends below its start: it begins anew");
            self.remove_segments_from(0)?;
            self.epochs.clear();
            end = self.options.log_start;
        }
        if self.segments.is_empty() {
            let segment = Segment::create(&self.dir.context.files, &self.path, end, self.options.now)?;
            self.segments.push(Arc::new(segment));
            self.remove_snapshots(|_| true)?;
            self.producers = None;
        }
        let first_base = self.segments[0].base_offset;
        let log_start = self.options.log_start.max(first_base);
        self.epochs.truncate_from_end(end);
        self.epochs.truncate_from_start(log_start);
        self.remove_snapshots(|offset| offset > end)?;
        self.into_log(partition, log_start, end)
    }

    fn into_log(
        mut self,
        partition: TopicPartition,
        log_start: Offset,
        end: Offset,
    ) -> Result<(Log, LoadReport), StorageError> {
        let report = self.report;
        let options = self.options;
        let recovery_point = if self.options.clean {
            end
        } else {
            self.options.recovery_point.min(end).max(self.segments[0].base_offset)
        };
        let topic_id = self.read_topic_id()?;
        let active = self.segments[self.segments.len() - 1].clone();
        let producers = self.producers.take();
        let shared =
            new_shared(partition, self.segments.clone(), &self.dir.context.tails, &active, log_start, end);
        let mut log = Log {
            shared,
            path: self.path,
            topic_id,
            config: self.config,
            segments: self.segments,
            epochs_dirty: self.epochs != self.epochs_before,
            epochs: self.epochs,
            producers: ProducerStates::default(),
            active: Active {
                segment: active.clone(),
                size: 0,
                bytes_since_index_entry: 0,
                max_timestamp: TimeEntry { timestamp: Millis::NONE, offset: Offset::ZERO },
                last_indexed_timestamp: Millis::NONE,
                first_timestamp: Millis::NONE,
                roll_jitter_ms: 0,
            },
            staged: StagedBatches::default(),
            next_offset: end,
            synced_offset: recovery_point,
            snapshots: self.snapshots,
            names_dirty: !self.options.clean,
            parent_dirty: options.is_new,
            last_checkpoint: options.now,
            generation: 0,
            deleted: Vec::new(),
            last_append: self.options.now,
            producers_looked_at: self.options.now,
            allocated_to: 0,
            dir: self.dir,
        };
        log.activate(active, end)?;
        log.shared.dirty_bytes.store(report.bytes_scanned, Ordering::Relaxed);
        log.shared.epochs.store(Arc::new(log.epochs.clone()));
        match producers {
            Some(producers) => log.producers = producers,
            // A clean stop leaves a snapshot, unless there was never a producer to remember.
            None if self.options.clean && log.snapshots.is_empty() => {}
            None => log.rebuild_producers(self.options.now)?,
        }
        log.remove_stray_snapshots()?;
        log.shared.recovery_point.store(recovery_point.0, Ordering::Release);
        let high_watermark = self.options.high_watermark.min(end).max(log_start);
        log.shared.high_watermark.store(high_watermark.0, Ordering::Release);
        log.update_last_stable_offset();
        Ok((log, report))
    }

    /// Removes what an interrupted deletion or compaction left, completes a finished compaction.
    fn finish_swaps(&self, entries: Vec<DirEntry>) -> Result<Vec<DirEntry>, StorageError> {
        let is_left_over = |name: &str| {
            [names::DELETED, names::CLEANED, names::SWAP].iter().any(|suffix| name.ends_with(suffix))
                && !name.contains(".checkpoint")
        };
        if !entries.iter().any(|entry| is_left_over(&entry.name)) {
            return Ok(entries);
        }
        let base_of =
            |name: &str| name.split_once('.').and_then(|(digits, _)| digits.parse().ok()).map(Offset);
        let ends_with = |suffix: &'static str| {
            entries
                .iter()
                .filter(move |entry| entry.name.ends_with(suffix) && !entry.name.contains(".checkpoint"))
        };
        for entry in ends_with(names::DELETED) {
            remove_if_there(self.disk(), &self.path.join(&entry.name))?;
        }
        // Output of a split that was not finished: its inputs are still there.
        let first_cleaned = ends_with(names::CLEANED).filter_map(|entry| base_of(&entry.name)).min();
        for entry in ends_with(names::CLEANED) {
            remove_if_there(self.disk(), &self.path.join(&entry.name))?;
        }
        let mut swaps = Vec::new();
        for entry in ends_with(names::SWAP) {
            match (base_of(&entry.name), first_cleaned) {
                (Some(base), Some(first_cleaned)) if base >= first_cleaned => {
                    remove_if_there(self.disk(), &self.path.join(&entry.name))?;
                }
                (Some(base), _) => swaps.push((base, entry)),
                (None, _) => {}
            }
        }
        let mut replaced: Option<(Offset, Offset)> = None;
        for (base, entry) in &swaps {
            if !entry.name.ends_with(".log.swap") {
                continue;
            }
            let sizes = SegmentSizes { log: entry.len, ..SegmentSizes::default() };
            let files = &self.dir.context.files;
            let segment = Segment::new(files, &self.path, *base, names::SWAP, sizes, self.options.now);
            let end = next_offset(&segment)?;
            segment.log.close();
            let (first, last) = replaced.unwrap_or((*base, end));
            replaced = Some((first.min(*base), last.max(end)));
        }
        if let Some((first, end)) = replaced {
            for entry in &entries {
                let kind = SEGMENT_KINDS.iter().find_map(|kind| parse_offset_file(&entry.name, kind));
                if kind.is_some_and(|base| base >= first && base < end) {
                    remove_if_there(self.disk(), &self.path.join(&entry.name))?;
                }
            }
        }
        for (_, entry) in &swaps {
            let from = self.path.join(&entry.name);
            let to = self.path.join(entry.name.trim_end_matches(names::SWAP));
            self.disk().rename(&from, &to).during("rename", || from.clone())?;
        }
        self.list()
    }

    /// Opens the segments that are there; says from which one on everything has to be checked whatever the markers say.
    fn open_segments(&mut self, entries: &[DirEntry]) -> Result<Option<Offset>, StorageError> {
        let mut damaged = None;
        let size_of = |name: &str| {
            entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok().map(|at| entries[at].len)
        };
        for entry in entries {
            if let Some(offset) = parse_offset_file(&entry.name, names::SNAPSHOT) {
                self.snapshots.push(offset);
            }
            for kind in &SEGMENT_KINDS[1..] {
                let base = parse_offset_file(&entry.name, kind);
                if base.is_some_and(|base| size_of(&offset_file(base, names::LOG)).is_none()) {
                    remove_if_there(self.disk(), &self.path.join(&entry.name))?;
                }
            }
            let Some(base) = parse_offset_file(&entry.name, names::LOG) else { continue };
            let sizes = SegmentSizes {
                log: entry.len,
                index: size_of(&offset_file(base, names::INDEX)).unwrap_or(0),
                time_index: size_of(&offset_file(base, names::TIME_INDEX)).unwrap_or(0),
                txn_index: size_of(&offset_file(base, names::TXN_INDEX)).unwrap_or(0),
            };
            let has_index = size_of(&offset_file(base, names::INDEX)).is_some();
            if damaged.is_none() && (!has_index || !sizes.txn_index.is_multiple_of(AbortedTxn::BYTES as u64))
            {
                damaged = Some(base);
            }
            let path = self.path.join(&entry.name);
            let created = match self.disk().modified_ms(&path) {
                Ok(ms) => Millis(ms),
                Err(source) => return Err(StorageError::Io { action: "stat", path, source }),
            };
            let files = &self.dir.context.files;
            self.segments.push(Arc::new(Segment::new(files, &self.path, base, "", sizes, created)));
        }
        self.snapshots.sort_unstable();
        Ok(damaged)
    }

    pub(super) fn remove_segments_from(&mut self, first: usize) -> Result<(), StorageError> {
        for segment in self.segments.drain(first.min(self.segments.len())..).rev() {
            segment.remove_files()?;
        }
        Ok(())
    }

    fn remove_snapshots(&mut self, gone: impl Fn(Offset) -> bool) -> Result<(), StorageError> {
        for offset in self.snapshots.iter().filter(|offset| gone(**offset)) {
            remove_if_there(self.disk(), &self.path.join(offset_file(*offset, names::SNAPSHOT)))?;
        }
        self.snapshots.retain(|offset| !gone(*offset));
        Ok(())
    }

    fn read_epochs(&self) -> Result<EpochCache, StorageError> {
        let path = self.path.join(names::LEADER_EPOCH_CHECKPOINT);
        let Some(text) = read_text(self.disk(), &path)? else { return Ok(EpochCache::default()) };
        match checkpoint::parse_epochs(&text) {
            Ok(entries) => Ok(EpochCache::new(entries)),
            Err(error) => Err(StorageError::corrupt(path, error.to_string())),
        }
    }

    fn read_topic_id(&self) -> Result<Option<ottla_model::Uuid>, StorageError> {
        let path = self.path.join(names::PARTITION_METADATA);
        let Some(text) = read_text(self.disk(), &path)? else { return Ok(None) };
        match checkpoint::parse_partition_metadata(&text) {
            Ok(id) => Ok(Some(id)),
            Err(error) => Err(StorageError::corrupt(path, error.to_string())),
        }
    }
}

impl Log {
    /// Snapshots that no segment begins with are left-overs, but for the newest.
    fn remove_stray_snapshots(&mut self) -> Result<(), StorageError> {
        let Some(newest) = self.snapshots.last().copied() else { return Ok(()) };
        let bases: Vec<Offset> = self.segments.iter().map(|segment| segment.base_offset).collect();
        let is_stray = |offset: Offset| offset != newest && bases.binary_search(&offset).is_err();
        if self.snapshots.iter().any(|offset| is_stray(*offset)) {
            self.drop_snapshots(is_stray)?;
        }
        Ok(())
    }
}

/// The offset behind a segment's last batch.
pub(crate) fn next_offset(segment: &Segment) -> Result<Offset, StorageError> {
    let last = segment.index.last().during("read", || segment.index.file().path())?;
    let mut scan = segment.scan(last.map_or(0, |entry| u64::from(entry.position)), Walk::Headers)?;
    let mut next = segment.base_offset;
    while let Some(batch) = scan.next().during("read", || segment.log.path())? {
        next = batch.header.next_offset();
    }
    Ok(next)
}

/// A text file; `None` if it is not there.
pub(crate) fn read_text(disk: &dyn Disk, path: &Path) -> Result<Option<String>, StorageError> {
    match read_file(disk, path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(StorageError::corrupt(path, "not UTF-8")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).during("read", || path.to_owned()),
    }
}
