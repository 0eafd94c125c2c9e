//! The log of one partition: its single owner.
//!
//! Owns the segments, leader epochs and producer states of one partition directory, and everything that changes them.
//! Readers go through [`LogView`] and never come here. Must not know replication: the high watermark is told to it.
//! Nothing here waits for the disk to be durable: that, deleting and compacting are jobs (plain values with their file
//! handles), run anywhere, whose outcome is handed back with `&mut self`.
//!
//! Invariants: appended batches have ascending offsets; nothing is published before its bytes are written; after a
//! fault the log is offline and every call says so.

mod append;
pub(crate) mod load;
mod recover;
mod replay;
mod retention;
mod sync;
mod truncate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ottla_model::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicPartition, Uuid};
use ottla_record::StampedBatch;
use parking_lot::Mutex;

use crate::checkpoint::{self, EpochEntry};
use crate::config::LogConfig;
use crate::disk::replace_file;
use crate::epoch_cache::EpochCache;
use crate::error::{IoContext, StorageError};
use crate::file_cache::FileCache;
use crate::index::{OffsetEntry, TimeEntry};
use crate::log_dir::DirShared;
use crate::names::{self, offset_file};
use crate::producer_state::{ProducerState, ProducerStates, VerificationGuard, encode_snapshot};
use crate::segment::Segment;
use crate::tail::{Tail, TailBudget};
use crate::view::{LogShared, LogView};

pub(crate) use append::read_marker;
pub use append::{AppendInfo, Staged};
pub(crate) use load::next_offset;
pub use load::{LoadOptions, LoadReport};
pub use retention::DeleteJob;
pub use sync::{SyncJob, SyncKind, SyncOutcome};

/// What all logs of a process share.
#[derive(Clone, Debug)]
pub struct LogContext {
    pub files: Arc<FileCache>,
    pub tails: Arc<TailBudget>,
}

/// One partition's log. Single owner; see the module.
#[derive(Debug)]
pub struct Log {
    shared: Arc<LogShared>,
    dir: Arc<DirShared>,
    path: PathBuf,
    topic_id: Option<Uuid>,
    config: LogConfig,
    /// The segments, ascending; the last one is active. The same list is published.
    segments: Vec<Arc<Segment>>,
    epochs: EpochCache,
    producers: ProducerStates,
    active: Active,
    staged: StagedBatches,
    /// Where the next batch goes: the log end plus what is staged.
    next_offset: Offset,
    /// Everything below is on stable storage.
    synced_offset: Offset,
    /// Offsets of the `.snapshot` files there are, ascending.
    snapshots: Vec<Offset>,
    /// The epoch file lacks something.
    epochs_dirty: bool,
    /// Names in the directory changed since it was synced.
    names_dirty: bool,
    /// The directory itself is new in its log directory.
    parent_dirty: bool,
    /// When the recovery point was last moved, for `flush.ms`.
    last_checkpoint: Millis,
    /// Raised by truncation: outcomes of older sync jobs say nothing any more.
    generation: u64,
    /// Segments renamed to `.deleted`, waiting for their time.
    deleted: Vec<(Millis, Arc<Segment>)>,
    last_append: Millis,
    producers_looked_at: Millis,
    /// How far space is reserved in the active segment's file.
    allocated_to: u64,
}

/// What is known of the segment that is written, staged batches included.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    size: u64,
    bytes_since_index_entry: u64,
    max_timestamp: TimeEntry,
    last_indexed_timestamp: Millis,
    /// -1: no batch yet.
    first_timestamp: Millis,
    roll_jitter_ms: i64,
}

/// Batches accepted and not yet written. The vectors are reused.
#[derive(Debug, Default)]
struct StagedBatches {
    batches: Vec<StampedBatch>,
    /// File position of the first one.
    position: u64,
    index: Vec<OffsetEntry>,
    time_index: Vec<TimeEntry>,
}

impl Log {
    /// A handle for readers.
    pub fn view(&self) -> LogView {
        LogView { shared: self.shared.clone() }
    }

    pub fn partition(&self) -> &TopicPartition {
        &self.shared.partition
    }

    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic_id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes over changed settings.
    pub fn set_config(&mut self, config: LogConfig) {
        if config.segment_jitter_ms != self.config.segment_jitter_ms {
            self.active.roll_jitter_ms =
                roll_jitter(&config, &self.shared.partition, self.active.segment.base_offset);
        }
        self.config = config;
    }

    pub fn log_start_offset(&self) -> Offset {
        self.shared.get(&self.shared.log_start)
    }

    /// Behind the last written batch.
    pub fn log_end_offset(&self) -> Offset {
        self.shared.get(&self.shared.log_end)
    }

    pub fn high_watermark(&self) -> Offset {
        self.shared.get(&self.shared.high_watermark)
    }

    pub fn last_stable_offset(&self) -> Offset {
        self.shared.get(&self.shared.last_stable)
    }

    pub fn recovery_point(&self) -> Offset {
        self.shared.get(&self.shared.recovery_point)
    }

    /// Everything below is on stable storage: what `acks.durability=fsync` waits for.
    pub fn synced_offset(&self) -> Offset {
        self.synced_offset
    }

    /// Whether `flush.messages` or `flush.ms` ask for a [`SyncKind::Checkpoint`] now.
    pub fn is_flush_due(&self, now: Millis) -> bool {
        let unflushed = self.log_end_offset() - self.recovery_point();
        unflushed > 0
            && (unflushed >= self.config.flush_messages || now - self.last_checkpoint >= self.config.flush_ms)
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size_bytes()).sum()
    }

    /// When the last batch was staged.
    pub fn last_append(&self) -> Millis {
        self.last_append
    }

    pub fn is_offline(&self) -> bool {
        self.shared.offline.load(Ordering::Acquire)
    }

    /// Takes the log offline: its directory has failed elsewhere.
    pub fn retire(&self) {
        self.shared.offline.store(true, Ordering::Release);
    }

    /// Tells the log how far its records are replicated (between log start and log end).
    pub fn set_high_watermark(&mut self, offset: Offset) {
        let offset = offset.min(self.log_end_offset()).max(self.log_start_offset());
        if offset != self.high_watermark() {
            self.shared.high_watermark.store(offset.0, Ordering::Release);
            self.update_last_stable_offset();
        }
    }

    fn update_last_stable_offset(&mut self) {
        let high_watermark = self.high_watermark();
        let first_unstable = self.producers.first_unstable_offset(high_watermark);
        let stable = first_unstable.map_or(high_watermark, |offset| offset.min(high_watermark));
        self.shared
            .last_stable
            .store(stable.max(self.log_start_offset().min(high_watermark)).0, Ordering::Release);
    }

    pub fn epochs(&self) -> &EpochCache {
        &self.epochs
    }

    pub fn latest_epoch(&self) -> Option<EpochEntry> {
        self.epochs.latest()
    }

    /// Notes that this node leads in `epoch` from the log end on. Called on becoming leader, before any append.
    pub fn become_leader(&mut self, epoch: LeaderEpoch) {
        self.assign_epoch(epoch, self.next_offset);
    }

    fn assign_epoch(&mut self, epoch: LeaderEpoch, start_offset: Offset) {
        if self.epochs.assign(epoch, start_offset) {
            self.publish_epochs();
        }
    }

    fn publish_epochs(&mut self) {
        self.epochs_dirty = true;
        self.shared.epochs.store(Arc::new(self.epochs.clone()));
    }

    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// For DescribeProducers.
    pub fn active_producers(&self) -> impl Iterator<Item = &ProducerState> {
        self.producers.iter()
    }

    /// Begins to verify a producer's transaction (KIP-890): the caller asks the transaction coordinator and hands the
    /// guard back with its append. `None`: a transaction is open already, nothing is to be verified.
    pub fn start_verification(
        &mut self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        sequence: i32,
        supports_epoch_bump: bool,
        now: Millis,
    ) -> Option<VerificationGuard> {
        self.producers.start_verification(producer_id, epoch, sequence, supports_epoch_bump, now)
    }

    /// Forgets what is not needed any more: idle producers, buffers of an idle log. Called every few seconds.
    pub fn maintain(&mut self, now: Millis) {
        let expiration_ms = self.config.producer_id_expiration_ms;
        if now - self.producers_looked_at >= EXPIRATION_INTERVAL_MS.min(expiration_ms) {
            self.producers_looked_at = now;
            self.producers.remove_expired(now, expiration_ms);
        }
        if now - self.last_append > IDLE_MS {
            self.shared.tail.lock().release_bytes();
        }
    }

    /// Writes the topic's id into `partition.metadata`, once. The name is durable with the next sync.
    pub fn set_topic_id(&mut self, topic_id: Uuid) -> Result<(), StorageError> {
        if self.topic_id == Some(topic_id) {
            return Ok(());
        }
        let path = self.path.join(names::PARTITION_METADATA);
        let text = checkpoint::format_partition_metadata(topic_id);
        let written = replace_file(self.dir.context.files.disk(), &path, text.as_bytes());
        let written = written.during("write", || path);
        self.or_offline(written)?;
        self.names_dirty = true;
        self.topic_id = Some(topic_id);
        Ok(())
    }

    /// Passes a result on; a fault makes the log offline.
    fn or_offline<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result {
            self.go_offline(error);
        }
        result
    }

    /// The disk is not to be trusted any more.
    fn go_offline(&self, error: &StorageError) {
        if !self.shared.offline.swap(true, Ordering::AcqRel) {
            tracing::error!(partition = %self.shared.partition, %error, "log goes offline");
        }
    }

    fn check_online(&self) -> Result<(), StorageError> {
        if self.is_offline() { Err(StorageError::Offline) } else { Ok(()) }
    }

    fn publish_segments(&mut self) {
        self.shared.segments.store(Arc::new(self.segments.clone()));
    }

    /// Makes `segment`, the last one, the active one, and says what is in it.
    fn activate(&mut self, segment: Arc<Segment>, next_offset: Offset) -> Result<(), StorageError> {
        let last_indexed = segment.time_index.last().during("read", || segment.time_index.file().path())?;
        self.active = Active {
            size: segment.size_bytes(),
            bytes_since_index_entry: 0,
            max_timestamp: segment.max_timestamp()?,
            last_indexed_timestamp: last_indexed.map_or(Millis::NONE, |entry| entry.timestamp),
            first_timestamp: segment.first_timestamp()?,
            roll_jitter_ms: roll_jitter(&self.config, &self.shared.partition, segment.base_offset),
            segment: segment.clone(),
        };
        self.allocated_to = 0;
        self.next_offset = next_offset;
        self.shared.tail.lock().reset(segment, next_offset);
        self.shared.log_end.store(next_offset.0, Ordering::Release);
        Ok(())
    }

    /// Begins a new segment at the log end; an empty active segment stays.
    fn roll(&mut self, now: Millis) -> Result<(), StorageError> {
        let base_offset = self.next_offset;
        if self.active.size == 0 && self.active.segment.base_offset == base_offset {
            return Ok(());
        }
        let old = self.active.segment.clone();
        if self.allocated_to > self.active.size {
            old.file()?.release().during("truncate", || old.log.path())?;
        }
        old.become_inactive()?;
        self.write_snapshot()?;
        let segment = Arc::new(Segment::create(&self.dir.context.files, &self.path, base_offset, now)?);
        self.names_dirty = true;
        self.segments.push(segment.clone());
        self.publish_segments();
        self.activate(segment, base_offset)
    }

    /// Writes a producer snapshot at the log end, unless there is one (not synced).
    fn write_snapshot(&mut self) -> Result<(), StorageError> {
        let offset = self.next_offset;
        if self.snapshots.last() == Some(&offset) || offset == Offset::ZERO {
            return Ok(());
        }
        let (path, bytes) = self.snapshot_file(offset);
        let disk = self.dir.context.files.disk();
        let written = disk
            .open(&path, crate::disk::OpenMode::CreateEmpty)
            .and_then(|file| file.write_all_at(&bytes, 0));
        written.during("write", || path)?;
        self.snapshots.push(offset);
        self.names_dirty = true;
        Ok(())
    }

    fn snapshot_file(&self, offset: Offset) -> (PathBuf, Bytes) {
        let bytes = encode_snapshot(&self.producers.to_snapshot());
        (self.path.join(offset_file(offset, names::SNAPSHOT)), bytes.into())
    }

    /// The directory was renamed (to `-delete`, `-stray`, or from `-future`).
    pub(crate) fn moved_to(&mut self, path: PathBuf) {
        for segment in &self.segments {
            segment.handles().into_iter().for_each(|handle| handle.moved_to(&path));
        }
        self.path = path;
    }

    pub(crate) fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub(crate) fn files(&self) -> &Arc<FileCache> {
        &self.dir.context.files
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Puts a cleaned segment in place of its sources. A crash in between is completed or undone by the next start.
    pub(crate) fn replace_segments(
        &mut self,
        sources: Vec<Arc<Segment>>,
        cleaned: Segment,
        now: Millis,
    ) -> Result<(), StorageError> {
        let replaced = self.swap_files(&sources, &cleaned, now);
        self.or_offline(replaced)?;
        let cleaned = Arc::new(cleaned);
        let is_source = |segment: &Arc<Segment>| sources.iter().any(|source| Arc::ptr_eq(source, segment));
        if let Some(at) = self.segments.iter().position(is_source) {
            self.segments.drain(at..at + sources.len());
            self.segments.insert(at, cleaned);
        }
        self.publish_segments();
        // Snapshots of segments that were merged away.
        let remaining: Vec<Offset> = self.segments.iter().map(|segment| segment.base_offset).collect();
        let merged: Vec<Offset> = sources.iter().map(|segment| segment.base_offset).collect();
        let dropped = self
            .drop_snapshots(|offset| merged.contains(&offset) && remaining.binary_search(&offset).is_err());
        self.or_offline(dropped)
    }

    fn swap_files(
        &mut self,
        sources: &[Arc<Segment>],
        cleaned: &Segment,
        now: Millis,
    ) -> Result<(), StorageError> {
        cleaned.change_suffix(names::CLEANED, names::SWAP)?;
        for source in sources {
            self.schedule_removal(source.clone(), now)?;
        }
        cleaned.change_suffix(names::SWAP, "")?;
        self.names_dirty = true;
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Arc<LogShared> {
        &self.shared
    }
}

/// A log without appends for this long keeps no bytes in memory.
const IDLE_MS: i64 = 10_000;
/// How often idle producers are looked for.
const EXPIRATION_INTERVAL_MS: i64 = 600_000;

/// Spreads rolls by time: deterministic per partition and segment, in `[0, min(segment.jitter.ms, segment.ms))`.
fn roll_jitter(config: &LogConfig, partition: &TopicPartition, base_offset: Offset) -> i64 {
    let bound = config.segment_jitter_ms.min(config.segment_ms);
    if bound <= 0 {
        return 0;
    }
    let hash =
        partition.topic.bytes().fold(partition.partition as u64 ^ base_offset.0 as u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    (hash % bound as u64) as i64
}

fn new_shared(
    partition: TopicPartition,
    segments: Vec<Arc<Segment>>,
    tails: &Arc<TailBudget>,
    active: &Arc<Segment>,
    log_start: Offset,
    log_end: Offset,
) -> Arc<LogShared> {
    Arc::new(LogShared {
        partition,
        tail: Mutex::new(Tail::new(tails.clone(), active.clone(), log_end)),
        segments: ArcSwap::from_pointee(segments),
        epochs: ArcSwap::from_pointee(EpochCache::default()),
        log_start: log_start.0.into(),
        log_end: log_end.0.into(),
        high_watermark: log_start.0.into(),
        last_stable: log_start.0.into(),
        recovery_point: log_start.0.into(),
        dirty_bytes: 0.into(),
        offline: false.into(),
    })
}
