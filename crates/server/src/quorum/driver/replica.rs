//! The log and its snapshots between nodes: what a leader serves, and what a follower takes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::{DiskFile, FirstBatch, OpenMode, ReadLimit};
use ottla_model::{ErrorCode, Millis, Offset};
use ottla_protocol::Records;
use ottla_raft::{
    Content, ControlRecord, Event, Failure, FetchedBatch, FetchedSnapshot, LogPosition, RequestId, Response,
    ResponseBody, SnapshotPiece, SnapshotProgress,
};
use ottla_record::{Batch, Batches};

use super::{Committed, Driver, Installed, QuorumError};
use crate::quorum::batches::{self, BatchData, BatchDataError, ControlData};
use crate::quorum::snapshot::{self, SnapshotContent, SnapshotId};
use crate::quorum::wire::Reply;

/// A batch from elsewhere, read as far as anybody needs it.
pub(super) struct FollowerBatch {
    batch: Batch,
    pub committed: Committed,
    /// The quorum's records, if it is a control batch.
    pub control: Vec<(Offset, ControlRecord)>,
}

impl FollowerBatch {
    pub fn read(batch: Batch) -> Result<Self, BatchDataError> {
        let mut control = Vec::new();
        let records = match batches::read_batch(&batch)? {
            BatchData::Metadata(records) => records.into_iter().map(|(_, record)| record).collect(),
            BatchData::Control(records) => {
                control.extend(records.into_iter().filter_map(|(offset, data)| match data {
                    ControlData::Quorum(record) => Some((offset, record)),
                    _ => None,
                }));
                Vec::new()
            }
        };
        let header = &batch.header;
        let committed = Committed {
            base: header.base_offset,
            end: header.last_offset() + 1,
            epoch: header.leader_epoch,
            timestamp: header.max_timestamp,
            records,
            size_bytes: batch.bytes.len(),
        };
        Ok(Self { batch, committed, control })
    }

    fn fetched(&self) -> FetchedBatch {
        FetchedBatch {
            base: self.committed.base,
            end: self.committed.end,
            epoch: self.committed.epoch,
            control: self.control.clone(),
        }
    }
}

/// A snapshot on its way from the leader: written under another name until it is whole.
pub(super) struct Download {
    id: SnapshotId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Read, once the last piece has arrived.
    content: Option<SnapshotContent>,
}

fn id_of(position: LogPosition) -> SnapshotId {
    SnapshotId { end: position.offset, epoch: position.epoch }
}

impl Driver {
    /// What became of a request. What cannot be read of an answer is as good as no answer: it is said and asked for
    /// again.
    pub fn answered(
        &mut self,
        now: Millis,
        id: RequestId,
        result: Result<Reply, Failure>,
    ) -> Result<(), QuorumError> {
        let Reply { mut response, records } = match result {
            Ok(reply) => reply,
            Err(failure) => return self.step(now, Event::Answered { id, result: Err(failure) }),
        };
        let mut arrived = Vec::new();
        if response.error.is_ok() {
            let bytes = records.to_bytes().unwrap_or_default();
            match &mut response.body {
                ResponseBody::Fetch(fetched) => {
                    if let Content::Batches(batches) = &mut fetched.content {
                        match read_batches(bytes) {
                            Ok(read) => arrived = read,
                            Err(error) => {
                                tracing::error!(%error, "the leader's metadata batches are corrupt");
                                let result = Err(Failure::Unreachable);
                                return self.step(now, Event::Answered { id, result });
                            }
                        }
                        *batches = arrived.iter().map(FollowerBatch::fetched).collect();
                    }
                }
                // The step machine forgets the pieces and asks the leader where to begin.
                ResponseBody::FetchSnapshot(piece) if !self.receive_piece(piece, &bytes)? => {
                    response.error = ErrorCode::SnapshotNotFound;
                }
                _ => {}
            }
        }
        self.step_with(now, Event::Answered { id, result: Ok(response) }, arrived)
    }

    /// Writes a piece of a snapshot. `false`: it does not continue what is there, or with it the snapshot is whole and
    /// corrupt.
    fn receive_piece(&mut self, piece: &FetchedSnapshot, bytes: &Bytes) -> Result<bool, QuorumError> {
        let id = id_of(piece.snapshot);
        let Ok(position) = u64::try_from(piece.position) else { return Ok(false) };
        if position == 0 {
            let path = self.directory.join(id.part_file_name());
            let opened = self.disk.open(&path, OpenMode::CreateEmpty);
            let file = opened.map_err(|source| failed("create", &path, source))?;
            self.download = Some(Download { id, path, file, content: None });
        }
        let Some(download) = self.download.as_mut().filter(|download| download.id == id) else {
            return Ok(false);
        };
        let path = &download.path;
        let len = download.file.len().map_err(|source| failed("read", path, source))?;
        if position > len {
            return Ok(false);
        }
        let written = download.file.write_all_at(bytes, position);
        written.map_err(|source| failed("write", path, source))?;
        if piece.position + bytes.len() as i64 >= piece.size {
            match snapshot::read(&*self.disk, path) {
                Ok(content) => download.content = Some(content),
                Err(error) => {
                    tracing::error!(%error, "the snapshot that the leader sent is not usable");
                    self.download = None;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The last piece is there: gives the snapshot its name and begins the log anew behind it.
    pub(super) fn install(
        &mut self,
        now: Millis,
        piece: SnapshotPiece,
    ) -> Result<Option<Event>, QuorumError> {
        if piece.progress == SnapshotProgress::More {
            return Ok(None);
        }
        let Some(Download { id, path, file, content: Some(content) }) = self.download.take() else {
            unreachable!("the step machine completes only what has arrived")
        };
        file.sync().map_err(|source| failed("sync", &path, source))?;
        let named = self.directory.join(id.file_name());
        self.disk.rename(&path, &named).map_err(|source| failed("rename", &path, source))?;
        self.disk.sync_dir(&self.directory).map_err(|source| failed("sync", &self.directory, source))?;
        self.log.truncate_fully_and_start_at(id.end, now)?;
        self.undelivered.clear();
        tracing::info!(snapshot = id.file_name(), "took over a snapshot of the metadata");
        self.installed =
            Some(Installed { id, timestamp: content.last_contained_log_timestamp, records: content.records });
        Ok(Some(Event::SnapshotInstalled { snapshot: piece.snapshot, control: content.quorum }))
    }

    /// Gives up what the leader does not have.
    pub(super) fn truncate(&mut self, now: Millis, offset: Offset) -> Result<(), QuorumError> {
        tracing::info!(%offset, end = %self.log.log_end_offset(), "the metadata log is truncated to its leader's");
        self.log.truncate_to(offset, now)?;
        while self.undelivered.back().is_some_and(|batch| batch.end > offset) {
            self.undelivered.pop_back();
        }
        Ok(())
    }

    /// Appends the leader's batches as they are.
    pub(super) fn take(
        &mut self,
        now: Millis,
        batches: impl Iterator<Item = FollowerBatch>,
    ) -> Result<(), QuorumError> {
        for FollowerBatch { batch, committed, .. } in batches {
            self.log.stage_verbatim(batch, now)?;
            self.undelivered.push_back(committed);
        }
        self.log.write_staged()?;
        Ok(())
    }

    /// Adds to an answer what it is to carry of the log or of a snapshot.
    pub(super) fn fill(&self, mut response: Response) -> Result<Reply, QuorumError> {
        let mut records = Records::EMPTY;
        if response.error.is_ok() {
            match &mut response.body {
                ResponseBody::Fetch(fetched) => {
                    if let Content::Read { from, bytes_max } = fetched.content
                        && bytes_max > 0
                    {
                        records = self.read(from, bytes_max as usize)?.into();
                    }
                }
                ResponseBody::FetchSnapshot(piece) => match self.read_piece(piece)? {
                    Ok(bytes) => records = bytes.into(),
                    Err(error) => response.error = error,
                },
                _ => {}
            }
        }
        Ok(Reply { response, records })
    }

    fn read(&self, from: Offset, bytes_max: usize) -> Result<Bytes, QuorumError> {
        let view = self.log.view();
        let plan = view.read(from, view.limit(ReadLimit::LogEnd), bytes_max, FirstBatch::Whole)?;
        plan.to_bytes().map_err(|source| failed("read", self.log.path(), source))
    }

    fn read_piece(&self, piece: &mut FetchedSnapshot) -> Result<Result<Bytes, ErrorCode>, QuorumError> {
        let path = self.directory.join(id_of(piece.snapshot).file_name());
        let file = match self.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err(ErrorCode::SnapshotNotFound));
            }
            Err(source) => return Err(failed("open", &path, source)),
        };
        let len = file.len().map_err(|source| failed("read", &path, source))?;
        let position = match u64::try_from(piece.position) {
            Ok(position) if position < len => position,
            _ => return Ok(Err(ErrorCode::PositionOutOfRange)),
        };
        let mut bytes = vec![0; (len - position).min(piece.bytes.into()) as usize];
        file.read_exact_at(&mut bytes, position).map_err(|source| failed("read", &path, source))?;
        piece.size = len as i64;
        piece.bytes = bytes.len() as u32;
        Ok(Ok(bytes.into()))
    }
}

/// Whole batches with good checksums; the last may be cut off by the limit on bytes and is left for the next time.
fn read_batches(bytes: Bytes) -> Result<Vec<FollowerBatch>, BatchDataError> {
    let mut read = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch?;
        batch.verify_crc()?;
        read.push(FollowerBatch::read(batch)?);
    }
    Ok(read)
}

fn failed(action: &'static str, path: &std::path::Path, source: io::Error) -> QuorumError {
    QuorumError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use ottla_model::LeaderEpoch;
    use ottla_protocol::records::metadata::{MetadataRecord, NoOpRecord};
    use ottla_record::{BatchBuilder, Compression, StampedBatch};

    use super::*;

    #[test]
    fn a_corrupt_batch_refuses_what_came_and_one_cut_off_waits() {
        let batch = |offset| {
            let mut builder = BatchBuilder::new(Compression::NONE);
            let value = MetadataRecord::NoOp(NoOpRecord {}).encode(0).unwrap();
            builder.append(Millis(1), None, Some(&value));
            let batch = Batch::parse(&builder.build()).unwrap();
            StampedBatch::restamp(batch, Offset(offset), LeaderEpoch(1)).to_bytes()
        };
        let two = [&batch(0)[..], &batch(1)].concat();
        assert_eq!(read_batches(two.clone().into()).unwrap().len(), 2);
        assert_eq!(read_batches(two[..two.len() - 1].to_vec().into()).unwrap().len(), 1);
        // Anywhere behind what the checksum does not cover: base offset, length, epoch, magic and the checksum itself.
        for position in batch(0).len() + 21..two.len() {
            let mut wrong = two.clone();
            wrong[position] ^= 1;
            assert!(read_batches(wrong.into()).is_err(), "a wrong byte at {position} is taken");
        }
    }
}
