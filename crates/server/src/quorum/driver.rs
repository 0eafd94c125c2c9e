//! Performs the step machine's actions on real files. Synchronous; owned by the quorum's thread.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::disk::{read_file, write_file_atomically};
use ottla_commit_log::{
    AppendError, Disk, FirstBatch, Log, LogView, ReadError, ReadLimit, StorageError, SyncKind,
};
use ottla_model::{LeaderEpoch, Millis, Offset};
use ottla_protocol::EncodeError;
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_raft::{
    Actions, Append, Body, ControlRecord, Event, LogPosition, LogShape, QuorumState, Raft, RaftConfig,
    Replicas, StartError, VoterHistory, VoterSet,
};
use ottla_record::{Batch, Batches};

use super::batches::{self, BatchData, BatchDataError, ControlData};
use super::snapshot::{self, SnapshotError, SnapshotId};
use super::state_file::{self, StateFileError};

/// Bytes read from the log at a time at the start.
const READ_BYTES: usize = 4 << 20;

pub struct DriverOptions {
    pub config: RaftConfig,
    /// `controller.quorum.voters`, for a quorum without voters in its log.
    pub configured_voters: VoterSet,
    pub disk: Arc<dyn Disk>,
    /// Opened, and recovered in full: every batch's checksum is good.
    pub log: Log,
}

/// What ends the quorum on this node. None is retried: the node stops.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    StateFile { path: PathBuf, source: StateFileError },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("append to the metadata log: {0}")]
    Append(#[from] AppendError),
    #[error("read the metadata log: {0}")]
    Read(#[from] ReadError),
    #[error("metadata log, {0}")]
    Batch(#[from] BatchDataError),
    #[error("encode: {0}")]
    Encode(#[from] EncodeError),
    #[error("the metadata log starts at {start}, but no snapshot reaches that far")]
    SnapshotMissing { start: Offset },
}

/// Only a leader appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotLeader;

/// A committed batch: its place in the log and its metadata records; a control batch has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    pub epoch: LeaderEpoch,
    pub timestamp: Millis,
    pub records: Vec<MetadataRecord>,
    pub size_bytes: usize,
}

/// What the node knew when it stopped: the newest snapshot. The log behind it is delivered when it is committed.
#[derive(Debug, Default)]
pub struct Recovered {
    pub snapshot: Option<(SnapshotId, Millis)>,
    pub records: Vec<MetadataRecord>,
    /// Records of the snapshot that formatting wrote, for a controller that finds its log empty.
    pub bootstrap: Vec<MetadataRecord>,
}

pub struct Driver {
    raft: Raft,
    log: Log,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Written and not yet known to be committed.
    undelivered: VecDeque<Committed>,
}

impl Driver {
    /// Reads `quorum-state`, the newest snapshot and the log behind it. Nothing has been written when this returns.
    pub fn open(options: DriverOptions, now: Millis) -> Result<(Self, Recovered), QuorumError> {
        let DriverOptions { config, configured_voters, disk, mut log } = options;
        let directory = log.path().to_path_buf();
        snapshot::remove_leftovers(&*disk, &directory)?;
        let snapshots = snapshot::list(&*disk, &directory)?;
        let newest = snapshots.last().copied().filter(|id| *id != SnapshotId::BOOTSTRAP);

        let mut history = VoterHistory::new(configured_voters);
        let mut recovered = Recovered::default();
        if snapshots.contains(&SnapshotId::BOOTSTRAP) {
            let path = directory.join(SnapshotId::BOOTSTRAP.file_name());
            let content = snapshot::read(&*disk, &path)?;
            observe_snapshot(&mut history, SnapshotId::BOOTSTRAP, &content.quorum);
            recovered.bootstrap = content.records;
        }
        if let Some(id) = newest {
            let content = snapshot::read(&*disk, &directory.join(id.file_name()))?;
            observe_snapshot(&mut history, id, &content.quorum);
            recovered.snapshot = Some((id, content.last_contained_log_timestamp));
            recovered.records = content.records;
        }

        let start = newest.map_or(Offset::ZERO, |id| id.end);
        let last_epoch = log.latest_epoch().map_or(LeaderEpoch(0), |entry| entry.epoch);
        let ahead = newest.is_some_and(|id| (id.epoch, id.end) > (last_epoch, log.log_end_offset()));
        if ahead {
            log.truncate_fully_and_start_at(start, now)?;
        }
        if log.log_start_offset() > start {
            return Err(QuorumError::SnapshotMissing { start: log.log_start_offset() });
        }
        let undelivered = read_log(&log, start, &mut history)?;

        let state_path = directory.join(state_file::FILE);
        let stored = match read_file(&*disk, &state_path) {
            Ok(bytes) => state_file::parse(&String::from_utf8_lossy(&bytes))
                .map_err(|source| QuorumError::StateFile { path: state_path, source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => QuorumState::default(),
            Err(source) => return Err(QuorumError::Io { action: "read", path: state_path, source }),
        };
        let epoch = if ahead { newest.map_or(last_epoch, |id| id.epoch) } else { last_epoch };
        let position = |id: &SnapshotId| LogPosition { epoch: id.epoch, offset: id.end };
        let shape = LogShape {
            start: log.log_start_offset(),
            end: LogPosition { offset: log.log_end_offset(), epoch },
            flushed: log.synced_offset(),
            epochs: log.epochs().entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect(),
            snapshots: snapshots.iter().filter(|id| **id != SnapshotId::BOOTSTRAP).map(position).collect(),
        };
        let raft = Raft::new(config, stored, shape, history)?;
        Ok((Self { raft, log, disk, directory, undelivered }, recovered))
    }

    /// Elects. The leader's first batch is appended when this returns, not yet synced.
    pub fn start(&mut self, now: Millis) -> Result<(), QuorumError> {
        self.step(now, Event::Start)?;
        Ok(())
    }

    /// Appends the records as one batch and returns the offset of the first. They are committed once a
    /// [`Self::flush`] says so.
    pub fn append(
        &mut self,
        now: Millis,
        records: Vec<MetadataRecord>,
        values: &[Bytes],
    ) -> Result<Result<Offset, NotLeader>, QuorumError> {
        debug_assert_eq!(records.len(), values.len());
        let actions = self.raft.step(now, Event::Propose { records: values.len() as u32 });
        let Some(append) = actions.append.first() else { return Ok(Err(NotLeader)) };
        let batch = batches::metadata_batch(append.base, append.epoch, now, values);
        self.write(now, append, batch, records)?;
        Ok(Ok(append.base))
    }

    /// Raises kraft.version: from then on the voters are in the log.
    pub fn set_kraft_version(&mut self, now: Millis, version: i16) -> Result<(), QuorumError> {
        self.step(now, Event::SetKRaftVersion(version))
    }

    /// Syncs what was appended and returns what is committed by that, in order.
    pub fn flush(&mut self, now: Millis) -> Result<Vec<Committed>, QuorumError> {
        if let Some(job) = self.log.sync_job(SyncKind::Commit) {
            self.log.complete_sync(job.run())?;
        }
        if self.log.synced_offset() > self.raft.high_watermark().unwrap_or(Offset::ZERO) {
            self.step(now, Event::Flushed { end: self.log.synced_offset() })?;
        }
        let Some(high_watermark) = self.raft.high_watermark() else { return Ok(Vec::new()) };
        let ready = self.undelivered.partition_point(|batch| batch.end <= high_watermark);
        Ok(self.undelivered.drain(..ready).collect())
    }

    /// What is written and not yet known to be committed, in order.
    pub fn undelivered(&self) -> impl Iterator<Item = &Committed> {
        self.undelivered.iter()
    }

    /// Whether something was appended that [`Self::flush`] has not been called for.
    pub fn is_dirty(&self) -> bool {
        self.log.synced_offset() < self.log.log_end_offset()
    }

    /// Notes that a replica has fetched up to `end`.
    pub fn fetched(
        &mut self,
        now: Millis,
        replica: ottla_raft::ReplicaKey,
        end: Offset,
    ) -> Result<(), QuorumError> {
        let end = end.min(self.raft.end().offset);
        self.step(now, Event::Fetched { replica, end })
    }

    /// Stops leading and makes the log durable with its indexes, for a clean stop.
    pub fn close(&mut self, now: Millis) -> Result<(), QuorumError> {
        self.step(now, Event::Resign)?;
        if let Some(job) = self.log.sync_job(SyncKind::Checkpoint) {
            self.log.complete_sync(job.run())?;
        }
        Ok(())
    }

    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    pub fn replicas(&self, now: Millis) -> Replicas {
        self.raft.progress(now)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn view(&self) -> LogView {
        self.log.view()
    }

    pub(super) fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    pub(super) fn trim_history(&mut self, start: Offset) {
        self.raft.trim(start);
    }

    fn step(&mut self, now: Millis, event: Event) -> Result<(), QuorumError> {
        let mut event = Some(event);
        while let Some(next) = event.take() {
            let Actions { store, append, high_watermark, .. } = self.raft.step(now, next);
            if let Some(state) = store {
                self.store(&state)?;
                event = Some(Event::Stored);
            }
            for append in &append {
                if let Body::Control(records) = &append.body {
                    if matches!(records.first(), Some(ControlRecord::LeaderChange { .. })) {
                        self.log.become_leader(append.epoch);
                    }
                    let data: Vec<ControlData> = records.iter().cloned().map(ControlData::Quorum).collect();
                    let batch = batches::control_batch(append.base, append.epoch, now, &data)?;
                    self.write(now, append, batch, Vec::new())?;
                }
            }
            if let Some(offset) = high_watermark {
                self.log.set_high_watermark(offset);
            }
        }
        Ok(())
    }

    fn store(&self, state: &QuorumState) -> Result<(), QuorumError> {
        let version = self.raft.history().kraft_version();
        let text = state_file::format(state, version, self.raft.voters().ids());
        let path = self.directory.join(state_file::FILE);
        write_file_atomically(&*self.disk, &path, text.as_bytes()).map_err(|source| QuorumError::Io {
            action: "write",
            path,
            source,
        })
    }

    fn write(
        &mut self,
        now: Millis,
        append: &Append,
        batch: Bytes,
        records: Vec<MetadataRecord>,
    ) -> Result<(), QuorumError> {
        let size_bytes = batch.len();
        let batch = Batch::parse(&batch).map_err(BatchDataError::from)?;
        let (base, epoch) = (batch.header.base_offset, append.epoch);
        let end = batch.header.last_offset() + 1;
        assert_eq!(base, append.base, "the log ends where the step machine says");
        self.log.stage_verbatim(batch, now)?;
        self.log.write_staged()?;
        self.undelivered.push_back(Committed { base, end, epoch, timestamp: now, records, size_bytes });
        Ok(())
    }
}

fn observe_snapshot(history: &mut VoterHistory, id: SnapshotId, records: &[ControlRecord]) {
    for record in records {
        history.observe(Offset(id.end.0 - 1), record);
    }
}

/// Everything from `start` on, as if not yet committed.
fn read_log(
    log: &Log,
    start: Offset,
    history: &mut VoterHistory,
) -> Result<VecDeque<Committed>, QuorumError> {
    let view = log.view();
    let end = view.limit(ReadLimit::LogEnd);
    let (mut at, mut read) = (start, VecDeque::new());
    while at < end {
        let bytes = view.read(at, end, READ_BYTES, FirstBatch::Whole)?.to_bytes();
        let bytes = bytes.map_err(|source| {
            let path = log.path().to_path_buf();
            QuorumError::Io { action: "read", path, source }
        })?;
        let before = at;
        for batch in Batches::new(bytes) {
            let batch = batch.map_err(BatchDataError::from)?;
            let (base, last) = (batch.header.base_offset, batch.header.last_offset());
            if last < start {
                continue;
            }
            at = last + 1;
            let records = match batches::read_batch(&batch)? {
                BatchData::Metadata(records) => records.into_iter().map(|(_, record)| record).collect(),
                BatchData::Control(records) => {
                    for (offset, record) in records {
                        if let ControlData::Quorum(record) = record {
                            history.observe(offset, &record);
                        }
                    }
                    Vec::new()
                }
            };
            let (epoch, timestamp) = (batch.header.leader_epoch, batch.header.max_timestamp);
            let size_bytes = batch.bytes.len();
            read.push_back(Committed { base, end: at, epoch, timestamp, records, size_bytes });
        }
        assert!(at > before, "a read from below the log end returns a batch");
    }
    Ok(read)
}
