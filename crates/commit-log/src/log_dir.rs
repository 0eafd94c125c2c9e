//! One entry of `log.dirs`: its lock, its marker, its checkpoints, and the logs in it.
//!
//! Owns the files at the top of a log directory and the names of partition directories. Logs themselves belong to
//! whoever asked for them; what the checkpoints need of them is read from their published state, by any thread.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_model::{BrokerEpoch, Millis, Offset, TopicPartition, Uuid};
use parking_lot::Mutex;
use thiserror::Error;

use crate::checkpoint::{
    self, CLEAN_SHUTDOWN, CLEANER_CHECKPOINT, CheckpointError, LOCK, LOG_START_CHECKPOINT, META_PROPERTIES,
    MetaProperties, OffsetCheckpoint, RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT,
};
use crate::config::LogConfig;
use crate::disk::{Disk, write_file_atomically};
use crate::error::{IoContext, StorageError};
use crate::log::{LoadOptions, LoadReport, Log, LogContext, SyncJob, load::read_text};
use crate::names::{PartitionDir, suffixed_dir};
use crate::segment::remove_if_there;
use crate::view::LogShared;

/// Kafka's own log of metadata: no part of the checkpoints, not loaded with the others.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// Left by tiered storage; not a partition.
const REMOTE_INDEX_CACHE: &str = "remote-log-index-cache";

/// A log directory. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct LogDir {
    shared: Arc<DirShared>,
}

/// What the directory and its logs share.
#[derive(Debug)]
pub(crate) struct DirShared {
    pub path: PathBuf,
    pub context: LogContext,
    lock: Mutex<Option<Box<dyn Send + Sync + Debug>>>,
    logs: Mutex<BTreeMap<TopicPartition, Arc<LogShared>>>,
    /// What the recovery-point checkpoint says on the disk.
    recovery_points: Mutex<OffsetCheckpoint>,
    cleaner_offsets: Mutex<OffsetCheckpoint>,
}

/// A directory that cannot be used.
#[derive(Debug, Error)]
pub enum OpenDirError {
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    #[error("{}: {source}", path.display())]
    MetaProperties { path: PathBuf, source: CheckpointError },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What to do with a partition directory that was found.
#[derive(Clone, PartialEq, Debug)]
pub enum Disposition {
    Load(LogConfig),
    /// Not assigned to this broker: renamed to `-stray` and left alone.
    Stray,
}

/// All logs of a directory.
#[derive(Debug)]
pub struct LoadedDir {
    pub logs: Vec<Log>,
    /// Targets of unfinished moves between directories.
    pub future_logs: Vec<Log>,
    /// `-delete` directories left from before: to be removed (see [`LogDir::remove_dir`]).
    pub deleted_dirs: Vec<PathBuf>,
    /// The last stop was clean.
    pub clean: bool,
    /// The broker epoch in the marker of a clean stop, else -1.
    pub previous_broker_epoch: BrokerEpoch,
    pub report: LoadReport,
}

impl LogDir {
    /// Takes the directory (creating it if needed) and locks it against every other process.
    pub fn open(context: LogContext, path: impl Into<PathBuf>) -> Result<Self, OpenDirError> {
        let path = path.into();
        let disk = context.files.disk();
        disk.create_dir(&path).during("create", || path.clone())?;
        let lock_path = path.join(LOCK);
        let Some(lock) = disk.lock(&lock_path).during("lock", || lock_path)? else {
            return Err(OpenDirError::Locked(path));
        };
        Ok(Self {
            shared: Arc::new(DirShared {
                path,
                context,
                lock: Mutex::new(Some(lock)),
                logs: Mutex::default(),
                recovery_points: Mutex::default(),
                cleaner_offsets: Mutex::default(),
            }),
        })
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Logs of this directory that are open.
    pub fn log_count(&self) -> usize {
        self.shared.logs.lock().len()
    }

    /// The disk that the directory is on.
    pub fn shared_disk(&self) -> Arc<dyn Disk> {
        self.shared.context.files.shared_disk()
    }

    fn disk(&self) -> &dyn Disk {
        self.shared.context.files.disk()
    }

    /// (total, usable) bytes of the file system.
    pub fn space(&self) -> Result<(u64, u64), StorageError> {
        self.disk().space(self.path()).during("stat", || self.path().to_owned())
    }

    /// What `meta.properties` says; `None` if the directory was never formatted.
    pub fn meta_properties(&self) -> Result<Option<MetaProperties>, OpenDirError> {
        read_meta_properties(self.disk(), self.path())
    }

    pub fn write_meta_properties(&self, meta: &MetaProperties) -> Result<(), StorageError> {
        self.write_text(META_PROPERTIES, &meta.format())
    }

    fn write_text(&self, name: &str, text: &str) -> Result<(), StorageError> {
        let path = self.path().join(name);
        write_file_atomically(self.disk(), &path, text.as_bytes()).during("write", || path)
    }

    /// Reads a checkpoint; one that is damaged counts as empty, as in Kafka.
    fn read_offsets(&self, name: &str) -> Result<OffsetCheckpoint, StorageError> {
        let path = self.path().join(name);
        let Some(text) = read_text(self.disk(), &path)? else { return Ok(OffsetCheckpoint::new()) };
        Ok(checkpoint::parse_offsets(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "ignoring a damaged checkpoint");
            OffsetCheckpoint::new()
        }))
    }

    /// Loads all logs, several at once on `threads` threads. Called once, after the lock is held; removes the marker of
    /// a clean stop first. `choose` is asked on those threads.
    ///
    /// Errors: a directory name that is no partition's, a directory for the same partition twice, and faults.
    pub fn load_all(
        &self,
        threads: usize,
        choose: &(dyn Fn(&TopicPartition, Option<Uuid>) -> Disposition + Sync),
        now: Millis,
    ) -> Result<LoadedDir, StorageError> {
        let (clean, previous_broker_epoch) = self.take_clean_marker()?;
        let recovery_points = self.read_offsets(RECOVERY_POINT_CHECKPOINT)?;
        let log_starts = self.read_offsets(LOG_START_CHECKPOINT)?;
        let high_watermarks = self.read_offsets(REPLICATION_CHECKPOINT)?;
        *self.shared.cleaner_offsets.lock() = self.read_offsets(CLEANER_CHECKPOINT)?;
        *self.shared.recovery_points.lock() = recovery_points.clone();
        let mut loaded = LoadedDir {
            logs: Vec::new(),
            future_logs: Vec::new(),
            deleted_dirs: Vec::new(),
            clean,
            previous_broker_epoch,
            report: LoadReport::default(),
        };
        let mut found = Vec::new();
        let entries = self.disk().list(self.path()).during("list", || self.path().to_owned())?;
        for entry in entries.into_iter().filter(|entry| entry.is_dir && entry.name != REMOTE_INDEX_CACHE) {
            let path = self.path().join(&entry.name);
            match PartitionDir::parse(&entry.name) {
                None => {
                    let reason = "no partition's directory name".to_owned();
                    return Err(StorageError::Foreign { path, reason });
                }
                Some(PartitionDir::Live(partition)) if &*partition.topic == METADATA_TOPIC => {}
                Some(PartitionDir::Delete(_)) => loaded.deleted_dirs.push(path),
                Some(PartitionDir::Stray(_)) => {}
                Some(PartitionDir::Live(partition)) => found.push((partition, path, false)),
                Some(PartitionDir::Future(partition)) => found.push((partition, path, true)),
            }
        }
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let offset = |offsets: &OffsetCheckpoint, tp| offsets.get(tp).copied().unwrap_or(Offset::ZERO);
        let worker = || {
            while let Some((partition, path, is_future)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                let options = LoadOptions {
                    clean,
                    recovery_point: offset(&recovery_points, partition),
                    log_start: offset(&log_starts, partition),
                    high_watermark: offset(&high_watermarks, partition),
                    now,
                    is_new: false,
                };
                let result = self.load_or_stray(partition, path, options, choose);
                results.lock().push((*is_future, result));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(found.len()) {
                scope.spawn(worker);
            }
            worker();
        });
        for (is_future, result) in results.into_inner() {
            let Some((log, report)) = result? else { continue };
            loaded.report.segments_recovered += report.segments_recovered;
            loaded.report.bytes_scanned += report.bytes_scanned;
            loaded.report.bytes_truncated += report.bytes_truncated;
            if is_future {
                loaded.future_logs.push(log);
            } else {
                self.register(&log);
                loaded.logs.push(log);
            }
        }
        loaded.logs.sort_unstable_by(|a, b| a.partition().cmp(b.partition()));
        Ok(loaded)
    }

    fn load_or_stray(
        &self,
        partition: &TopicPartition,
        path: &Path,
        options: LoadOptions,
        choose: &(dyn Fn(&TopicPartition, Option<Uuid>) -> Disposition + Sync),
    ) -> Result<Option<(Log, LoadReport)>, StorageError> {
        let metadata = read_text(self.disk(), &path.join(crate::names::PARTITION_METADATA))?;
        let topic_id = metadata.and_then(|text| checkpoint::parse_partition_metadata(&text).ok());
        match choose(partition, topic_id) {
            Disposition::Load(config) => {
                Log::load(self.shared.clone(), path.to_owned(), partition.clone(), config, options).map(Some)
            }
            Disposition::Stray => {
                self.rename_dir(path, partition, "-stray")?;
                Ok(None)
            }
        }
    }

    /// The broker epoch in the marker of a clean stop, which stays; `None` without a marker.
    pub fn clean_marker(&self) -> Result<Option<BrokerEpoch>, StorageError> {
        let text = read_text(self.disk(), &self.path().join(CLEAN_SHUTDOWN))?;
        Ok(text.map(|text| checkpoint::parse_clean_shutdown(&text)))
    }

    /// The marker of a clean stop: whether it was there, and its broker epoch. It is gone afterwards, durably.
    fn take_clean_marker(&self) -> Result<(bool, BrokerEpoch), StorageError> {
        let Some(epoch) = self.clean_marker()? else { return Ok((false, BrokerEpoch::NONE)) };
        remove_if_there(self.disk(), &self.path().join(CLEAN_SHUTDOWN))?;
        self.sync()?;
        Ok((true, epoch))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.disk().sync_dir(self.path()).during("sync", || self.path().to_owned())
    }

    fn register(&self, log: &Log) {
        if &*log.partition().topic != METADATA_TOPIC {
            self.shared.logs.lock().insert(log.partition().clone(), log.shared().clone());
        }
    }

    /// Creates the log of a new partition, or opens one that is there and was not loaded before. The directory is
    /// durable with the log's first sync. Touches the disk, so not for a shard's thread.
    pub fn create_log(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        config: LogConfig,
        now: Millis,
    ) -> Result<Log, StorageError> {
        let mut log = self.open_log(partition, config, LoadOptions::unknown(now))?;
        log.set_topic_id(topic_id)?;
        self.register(&log);
        Ok(log)
    }

    /// Creates the target of a move of a partition into this directory (`-future`): a log that nobody reads, and that
    /// no checkpoint names, until [`Self::promote_future_log`].
    pub fn create_future_log(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        config: LogConfig,
        now: Millis,
    ) -> Result<Log, StorageError> {
        let path = self.path().join(suffixed_dir(partition, unique_number(), "-future"));
        let mut log = self.open_log_at(path, partition, config, LoadOptions::unknown(now))?;
        log.set_topic_id(topic_id)?;
        Ok(log)
    }

    /// A caught-up future log becomes the partition's log: its directory takes the plain name. The caller has taken the
    /// former one out of service in its own directory ([`Self::delete_log`]), if there was one.
    pub fn promote_future_log(&self, log: &mut Log) -> Result<(), StorageError> {
        let path = self.path().join(log.partition().to_string());
        self.disk().rename(log.path(), &path).during("rename", || log.path().to_owned())?;
        self.sync()?;
        log.moved_to(path);
        self.register(log);
        Ok(())
    }

    /// Opens (or creates) `__cluster_metadata-0`: every batch is checked, as Kafka does.
    pub fn open_metadata_log(&self, config: LogConfig, now: Millis) -> Result<Log, StorageError> {
        let partition = TopicPartition::new(METADATA_TOPIC, 0);
        let mut log = self.open_log(&partition, config, LoadOptions::unknown(now))?;
        log.set_topic_id(Uuid::ONE)?;
        Ok(log)
    }

    fn open_log(
        &self,
        partition: &TopicPartition,
        config: LogConfig,
        options: LoadOptions,
    ) -> Result<Log, StorageError> {
        self.open_log_at(self.path().join(partition.to_string()), partition, config, options)
    }

    fn open_log_at(
        &self,
        path: PathBuf,
        partition: &TopicPartition,
        config: LogConfig,
        options: LoadOptions,
    ) -> Result<Log, StorageError> {
        self.disk().create_dir(&path).during("create", || path.clone())?;
        let options = LoadOptions { is_new: true, ..options };
        Log::load(self.shared.clone(), path, partition.clone(), config, options).map(|(log, _)| log)
    }

    /// Takes logs out of service: their directories are renamed to `-delete` and their checkpoint entries go. Readers
    /// that have them open finish. Remove the returned directories with [`Self::remove_dir`] after
    /// `file.delete.delay.ms`.
    pub fn delete_logs(&self, logs: Vec<Log>) -> Result<Vec<PathBuf>, StorageError> {
        self.retire_logs(logs, "-delete")
    }

    /// [`Self::delete_logs`] of one.
    pub fn delete_log(&self, log: Log) -> Result<PathBuf, StorageError> {
        let path = log.path().to_owned();
        Ok(self.retire_logs(vec![log], "-delete")?.pop().unwrap_or(path))
    }

    /// Like [`Self::delete_log`], for a log that is not assigned to this broker: it is kept as `-stray`.
    pub fn stray_log(&self, log: Log) -> Result<PathBuf, StorageError> {
        let path = log.path().to_owned();
        Ok(self.retire_logs(vec![log], "-stray")?.pop().unwrap_or(path))
    }

    /// However many logs go, names and checkpoints are synced once.
    fn retire_logs(&self, logs: Vec<Log>, suffix: &str) -> Result<Vec<PathBuf>, StorageError> {
        let mut paths = Vec::with_capacity(logs.len());
        for mut log in logs {
            let partition = log.partition().clone();
            let to = self.path().join(suffixed_dir(&partition, unique_number(), suffix));
            self.disk().rename(log.path(), &to).during("rename", || log.path().to_owned())?;
            log.moved_to(to.clone());
            self.shared.logs.lock().remove(&partition);
            self.shared.cleaner_offsets.lock().remove(&partition);
            paths.push(to);
        }
        self.sync()?;
        self.checkpoint_recovery_points()?;
        self.checkpoint_log_starts()?;
        self.write_cleaner_offsets()?;
        Ok(paths)
    }

    fn rename_dir(
        &self,
        from: &Path,
        partition: &TopicPartition,
        suffix: &str,
    ) -> Result<PathBuf, StorageError> {
        let unique = unique_number();
        let to = self.path().join(suffixed_dir(partition, unique, suffix));
        self.disk().rename(from, &to).during("rename", || from.to_owned())?;
        self.sync()?;
        Ok(to)
    }

    /// Removes a directory that [`Self::delete_log`] or [`Self::load_all`] returned. Takes long: run it anywhere.
    pub fn remove_dir(&self, path: &Path) -> Result<(), StorageError> {
        self.disk().remove_dir(path).during("remove", || path.to_owned())
    }

    /// Writes the recovery points of all logs. Every `log.flush.offset.checkpoint.interval.ms`, on any thread.
    pub fn checkpoint_recovery_points(&self) -> Result<(), StorageError> {
        self.shared.checkpoint_recovery_points()
    }

    /// Writes the log starts that differ from the first segment's base.
    pub fn checkpoint_log_starts(&self) -> Result<(), StorageError> {
        let starts: OffsetCheckpoint = self
            .shared
            .logs
            .lock()
            .iter()
            .filter_map(|(partition, log)| {
                let first = log.segments.load().first().map(|first| first.base_offset)?;
                let start = log.get(&log.log_start);
                (start > first).then(|| (partition.clone(), start))
            })
            .collect();
        self.write_offsets(LOG_START_CHECKPOINT, &starts)
    }

    /// Writes the high watermarks. Every `replica.high.watermark.checkpoint.interval.ms`, on any thread.
    pub fn checkpoint_high_watermarks(&self) -> Result<(), StorageError> {
        let offsets: OffsetCheckpoint = self
            .shared
            .logs
            .lock()
            .iter()
            .map(|(partition, log)| (partition.clone(), log.get(&log.high_watermark)))
            .collect();
        self.write_offsets(REPLICATION_CHECKPOINT, &offsets)
    }

    /// Up to where a compacted log is clean; `None` if it never was.
    pub fn cleaner_offset(&self, partition: &TopicPartition) -> Option<Offset> {
        self.shared.cleaner_offsets.lock().get(partition).copied()
    }

    /// Notes up to where a log is clean now and writes the checkpoint.
    pub fn set_cleaner_offset(&self, partition: &TopicPartition, offset: Offset) -> Result<(), StorageError> {
        self.shared.cleaner_offsets.lock().insert(partition.clone(), offset);
        self.write_cleaner_offsets()
    }

    fn write_cleaner_offsets(&self) -> Result<(), StorageError> {
        let offsets = self.shared.cleaner_offsets.lock().clone();
        let path = self.path().join(CLEANER_CHECKPOINT);
        if offsets.is_empty() && read_text(self.disk(), &path)?.is_none() {
            return Ok(());
        }
        self.write_offsets(CLEANER_CHECKPOINT, &offsets)
    }

    fn write_offsets(&self, name: &str, offsets: &OffsetCheckpoint) -> Result<(), StorageError> {
        self.shared.write_offsets(name, offsets)
    }

    /// Closes logs of this directory ([`Log::close`]), many with one sync of the whole file system.
    pub fn close_logs(&self, logs: Vec<Log>) -> Result<(), StorageError> {
        let (mut jobs, mut closing) = (Vec::new(), Vec::new());
        for mut log in logs {
            match log.close_job()? {
                Some(job) => {
                    jobs.push(job);
                    closing.push(log);
                }
                None => log.close_files(),
            }
        }
        let outcomes = SyncJob::run_all(jobs, self.disk(), self.path());
        for (mut log, outcome) in closing.into_iter().zip(outcomes) {
            log.complete_sync(outcome)?;
            log.close_files();
        }
        Ok(())
    }

    /// The last step of a clean stop: all logs of the directory were closed ([`Log::close`]) without error. Writes the
    /// checkpoints, then the marker, then lets the lock go.
    pub fn close_clean(&self, broker_epoch: BrokerEpoch) -> Result<(), StorageError> {
        self.checkpoint_high_watermarks()?;
        self.checkpoint_recovery_points()?;
        self.checkpoint_log_starts()?;
        self.write_text(CLEAN_SHUTDOWN, &checkpoint::format_clean_shutdown(broker_epoch))?;
        self.unlock()
    }

    /// Lets the lock go without a marker: the next start recovers.
    pub fn unlock(&self) -> Result<(), StorageError> {
        // The file goes first, so that nobody locks a file that is about to vanish.
        remove_if_there(self.disk(), &self.path().join(LOCK))?;
        self.shared.lock.lock().take();
        Ok(())
    }
}

impl DirShared {
    /// Whether the cleaner was ever at this log.
    pub(crate) fn is_compacted(&self, partition: &TopicPartition) -> bool {
        self.cleaner_offsets.lock().contains_key(partition)
    }

    fn checkpoint_recovery_points(&self) -> Result<(), StorageError> {
        let offsets: OffsetCheckpoint = self
            .logs
            .lock()
            .iter()
            .map(|(partition, log)| (partition.clone(), log.get(&log.recovery_point)))
            .collect();
        // Under the lock, so that a checkpoint never overtakes a lowering.
        let mut on_disk = self.recovery_points.lock();
        self.write_offsets(RECOVERY_POINT_CHECKPOINT, &offsets)?;
        *on_disk = offsets;
        Ok(())
    }

    /// Makes sure that the checkpoint on the disk does not claim more than `offset` for a log that is about to be cut.
    pub(crate) fn lower_recovery_point(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<(), StorageError> {
        let mut on_disk = self.recovery_points.lock();
        if on_disk.get(partition).is_none_or(|known| *known <= offset) {
            return Ok(());
        }
        let mut lowered = on_disk.clone();
        lowered.insert(partition.clone(), offset);
        self.write_offsets(RECOVERY_POINT_CHECKPOINT, &lowered)?;
        *on_disk = lowered;
        Ok(())
    }

    /// What is cut off and written again is dirty.
    pub(crate) fn lower_cleaner_offset(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<(), StorageError> {
        let mut offsets = self.cleaner_offsets.lock();
        match offsets.get_mut(partition) {
            Some(known) if *known > offset => *known = offset,
            _ => return Ok(()),
        }
        self.write_offsets(CLEANER_CHECKPOINT, &offsets)
    }

    fn write_offsets(&self, name: &str, offsets: &OffsetCheckpoint) -> Result<(), StorageError> {
        let text = checkpoint::format_offsets(offsets.iter().map(|(partition, offset)| (partition, *offset)));
        let path = self.path.join(name);
        write_file_atomically(self.context.files.disk(), &path, text.as_bytes()).during("write", || path)
    }
}

/// Reads `meta.properties` of a directory without opening it.
pub fn read_meta_properties(disk: &dyn Disk, dir: &Path) -> Result<Option<MetaProperties>, OpenDirError> {
    let path = dir.join(META_PROPERTIES);
    match read_text(disk, &path)? {
        None => Ok(None),
        Some(text) => match MetaProperties::parse(&text) {
            Ok(meta) => Ok(Some(meta)),
            Err(source) => Err(OpenDirError::MetaProperties { path, source }),
        },
    }
}

/// A number no other directory has: the keys of a fresh hasher are random.
fn unique_number() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(0));
    half() << 64 | half()
}
