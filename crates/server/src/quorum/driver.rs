//! Performs the step machine's actions on its files. Synchronous; owned by the quorum's thread, or by a simulator.
//!
//! Whoever owns it hands in what happens (time, requests of other nodes, answers of theirs, records to append), calls
//! [`Driver::flush`] when it likes, and takes out what is to be sent and what is committed. Must not know sockets.

mod replica;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::disk::{read_file, write_file_atomically};
use ottla_commit_log::{
    AppendError, Disk, FirstBatch, Log, LogView, ReadError, ReadLimit, StorageError, SyncJob, SyncKind,
    SyncOutcome,
};
use ottla_model::{LeaderEpoch, Millis, Offset};
use ottla_protocol::EncodeError;
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_raft::{
    Actions, Append, Body, ControlRecord, Event, Fault, LogPosition, LogShape, Outgoing, QuorumState, Raft,
    RaftConfig, Replicas, Request, StartError, Token, VoterHistory, VoterSet,
};
use ottla_record::{Batch, Batches};

use super::batches::{self, BatchDataError, ControlData};
use super::snapshot::{self, SnapshotError, SnapshotId};
use super::state_file::{self, StateFileError};
use super::wire::Reply;
use replica::{Download, FollowerBatch};

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
    #[error(transparent)]
    Fault(#[from] Fault),
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

/// A snapshot that was fetched from the leader. It takes the place of everything delivered before.
#[derive(Debug)]
pub struct Installed {
    pub id: SnapshotId,
    pub timestamp: Millis,
    pub records: Vec<MetadataRecord>,
}

/// What has become committed, in order.
#[derive(Debug, Default)]
pub struct Delivery {
    pub snapshot: Option<Installed>,
    pub batches: Vec<Committed>,
}

pub struct Driver {
    raft: Raft,
    log: Log,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Written and not yet known to be committed.
    undelivered: VecDeque<Committed>,
    installed: Option<Installed>,
    /// The snapshot that is being fetched.
    download: Option<Download>,
    answers: Vec<(Token, Reply)>,
    requests: Vec<Outgoing>,
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
        let driver = Self {
            raft,
            log,
            disk,
            directory,
            undelivered,
            installed: None,
            download: None,
            answers: Vec::new(),
            requests: Vec::new(),
        };
        Ok((driver, recovered))
    }

    /// Takes part in the quorum from now on; an only voter elects itself.
    pub fn start(&mut self, now: Millis) -> Result<(), QuorumError> {
        self.step(now, Event::Start)
    }

    /// When [`Self::tick`] is to be called next.
    pub fn deadline(&self) -> Millis {
        self.raft.deadline()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Millis) -> Result<(), QuorumError> {
        if now < self.raft.deadline() {
            return Ok(());
        }
        self.step(now, Event::Tick)
    }

    /// Another node or a tool asks; the answer comes out of [`Self::take_answers`], now or later.
    pub fn request(&mut self, now: Millis, token: Token, request: Request) -> Result<(), QuorumError> {
        self.step(now, Event::Request { token, request })
    }

    /// Answers that are ready.
    pub fn take_answers(&mut self) -> Vec<(Token, Reply)> {
        std::mem::take(&mut self.answers)
    }

    /// Requests to send; each is to be answered by one [`Self::answered`].
    pub fn take_requests(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.requests)
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
        let Actions { append, answers, requests, .. } =
            self.raft.step(now, Event::Propose { records: values.len() as u32 });
        let Some(append) = append.first() else { return Ok(Err(NotLeader)) };
        let batch = batches::metadata_batch(append.base, append.epoch, now, values);
        self.write(now, append, batch, records)?;
        for (token, response) in answers {
            let reply = self.fill(response)?;
            self.answers.push((token, reply));
        }
        self.requests.extend(requests);
        Ok(Ok(append.base))
    }

    /// Raises kraft.version: from then on the voters are in the log.
    pub fn set_kraft_version(&mut self, now: Millis, version: i16) -> Result<(), QuorumError> {
        self.step(now, Event::SetKRaftVersion(version))
    }

    /// Syncs what was appended, here and now. Ask [`Self::deliver`] what that committed.
    pub fn flush(&mut self, now: Millis) -> Result<(), QuorumError> {
        match self.sync_job() {
            Some(job) => self.synced(now, job.run()),
            None => Ok(()),
        }
    }

    /// What is to be synced, to be run on any thread; its outcome comes back by [`Self::synced`]. One at a time is
    /// enough: the next takes all that was appended meanwhile.
    pub fn sync_job(&mut self) -> Option<SyncJob> {
        self.log.sync_job(SyncKind::Commit)
    }

    pub fn synced(&mut self, now: Millis, outcome: SyncOutcome) -> Result<(), QuorumError> {
        self.log.complete_sync(outcome)?;
        self.step(now, Event::Flushed { end: self.log.synced_offset() })
    }

    /// What has become committed since the last call; `None` while that is not known in this epoch.
    pub fn deliver(&mut self) -> Option<Delivery> {
        let high_watermark = self.raft.high_watermark()?;
        let ready = self.undelivered.partition_point(|batch| batch.end <= high_watermark);
        Some(Delivery { snapshot: self.installed.take(), batches: self.undelivered.drain(..ready).collect() })
    }

    /// What is written and not yet known to be committed, in order.
    pub fn undelivered(&self) -> impl Iterator<Item = &Committed> {
        self.undelivered.iter()
    }

    /// Whether something was appended that [`Self::flush`] has not been called for.
    pub fn is_dirty(&self) -> bool {
        self.log.synced_offset() < self.log.log_end_offset()
    }

    /// Stops leading in this epoch; the node takes part in the next election.
    pub fn resign(&mut self, now: Millis) -> Result<(), QuorumError> {
        self.step(now, Event::Resign)
    }

    /// The node is about to stop: a leader hands over. [`Raft::may_stop`] says when that is done.
    pub fn shutdown(&mut self, now: Millis) -> Result<(), QuorumError> {
        self.step(now, Event::Shutdown)
    }

    /// Snapshots were written or removed, or the log's start moved.
    pub fn snapshots_changed(&mut self, now: Millis) -> Result<(), QuorumError> {
        let ids = snapshot::list(&*self.disk, &self.directory)?;
        let position = |id: SnapshotId| LogPosition { epoch: id.epoch, offset: id.end };
        let snapshots = ids.into_iter().filter(|id| *id != SnapshotId::BOOTSTRAP).map(position).collect();
        self.step(now, Event::SnapshotsChanged { log_start: self.log.log_start_offset(), snapshots })
    }

    /// Stops leading and makes the log durable with its indexes, for a clean stop.
    pub fn close(&mut self, now: Millis) -> Result<(), QuorumError> {
        self.resign(now)?;
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

    fn step(&mut self, now: Millis, event: Event) -> Result<(), QuorumError> {
        self.step_with(now, event, Vec::new())
    }

    /// `arrived` are the batches of the answer that the event is.
    fn step_with(
        &mut self,
        now: Millis,
        event: Event,
        mut arrived: Vec<FollowerBatch>,
    ) -> Result<(), QuorumError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let actions = self.raft.step(now, event);
            let Actions { store, truncate, append, take, snapshot, high_watermark, answers, requests, fault } =
                actions;
            if let Some(fault) = fault {
                return Err(fault.into());
            }
            if let Some(state) = store {
                self.store(&state)?;
                events.push_back(Event::Stored);
            }
            if let Some(offset) = truncate {
                self.truncate(now, offset)?;
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
            if take > 0 {
                self.take(now, arrived.drain(..take))?;
            }
            if let Some(piece) = snapshot {
                events.extend(self.install(now, piece)?);
            }
            if let Some(offset) = high_watermark {
                self.log.set_high_watermark(offset);
            }
            for (token, response) in answers {
                let reply = self.fill(response)?;
                self.answers.push((token, reply));
            }
            self.requests.extend(requests);
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
            let last = batch.header.last_offset();
            if last < start {
                continue;
            }
            at = last + 1;
            let FollowerBatch { committed, control, .. } = FollowerBatch::read(batch)?;
            control.iter().for_each(|(offset, record)| history.observe(*offset, record));
            read.push_back(committed);
        }
        assert!(at > before, "a read from below the log end returns a batch");
    }
    Ok(read)
}
