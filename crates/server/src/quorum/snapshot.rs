//! Snapshots of the metadata log: `<end offset>-<epoch>.checkpoint`.
//!
//! A snapshot is complete as soon as it has its name: it is written under another one, synced and renamed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_commit_log::{Disk, DiskFile, OpenMode};
use ottla_model::{LeaderEpoch, Millis, Offset};
use ottla_protocol::EncodeError;
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_raft::{ControlRecord, VoterSet};
use ottla_record::Batch;

use super::batches::{self, BatchData, BatchDataError, ControlData};

const SUFFIX: &str = ".checkpoint";
const PART_SUFFIX: &str = ".checkpoint.part";
const DELETED_SUFFIX: &str = ".checkpoint.deleted";

/// A data batch of a snapshot is closed when it has reached this size.
const BATCH_BYTES_TARGET: usize = 1 << 20;

/// Batches larger than this are not believed.
const BATCH_BYTES_MAX: usize = batches::BATCH_BYTES_MAX + 1024;

/// Up to where a snapshot reaches: everything below `end`, whose last record is of `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    pub end: Offset,
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// What formatting writes: the bootstrap records and the first voters. Never served to other nodes.
    pub const BOOTSTRAP: Self = Self { end: Offset::ZERO, epoch: LeaderEpoch(0) };

    pub fn file_name(self) -> String {
        format!("{:020}-{:010}{SUFFIX}", self.end.0, self.epoch.0)
    }

    /// Its name while it is not yet whole.
    pub fn part_file_name(self) -> String {
        format!("{:020}-{:010}{PART_SUFFIX}", self.end.0, self.epoch.0)
    }

    pub fn parse(file_name: &str) -> Option<Self> {
        let (end, epoch) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        let digits = |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(end, 20) || !digits(epoch, 10) {
            return None;
        }
        Some(Self { end: Offset(end.parse().ok()?), epoch: LeaderEpoch(epoch.parse().ok()?) })
    }
}

/// A snapshot that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is corrupt at byte {position}: {reason}", path.display())]
    Corrupt { path: PathBuf, position: u64, reason: String },
    #[error("cannot encode a record: {0}")]
    Encode(#[from] EncodeError),
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SnapshotContent {
    pub last_contained_log_timestamp: Millis,
    /// Voters and kraft.version, in the order of the file.
    pub quorum: Vec<ControlRecord>,
    pub records: Vec<MetadataRecord>,
}

/// Reads a whole snapshot, checksums verified. Header first and footer last, or it is corrupt.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<SnapshotContent, SnapshotError> {
    let file = disk.open(path, OpenMode::Read).map_err(|source| io_error("open", path, source))?;
    let mut reader = Reader { path, file, position: 0 };
    let mut content = SnapshotContent::default();
    let (mut started, mut ended) = (false, false);
    while let Some(data) = reader.next()? {
        if ended {
            return Err(reader.corrupt("something follows the footer"));
        }
        match data {
            BatchData::Control(records) => {
                for (_, record) in records {
                    match record {
                        ControlData::SnapshotHeader { last_contained_log_timestamp } => {
                            started = true;
                            content.last_contained_log_timestamp = last_contained_log_timestamp;
                        }
                        ControlData::SnapshotFooter => ended = true,
                        ControlData::Quorum(record) => content.quorum.push(record),
                        ControlData::Unknown => {}
                    }
                }
            }
            BatchData::Metadata(records) => {
                content.records.extend(records.into_iter().map(|(_, record)| record));
            }
        }
        if !started {
            return Err(reader.corrupt("the header is missing"));
        }
    }
    if !ended {
        return Err(reader.corrupt("the footer is missing"));
    }
    Ok(content)
}

/// The time of the last log record a snapshot contains, from its header alone.
pub fn read_timestamp(disk: &dyn Disk, path: &Path) -> Result<Millis, SnapshotError> {
    let file = disk.open(path, OpenMode::Read).map_err(|source| io_error("open", path, source))?;
    let mut reader = Reader { path, file, position: 0 };
    if let Some(BatchData::Control(records)) = reader.next()?
        && let Some((_, ControlData::SnapshotHeader { last_contained_log_timestamp })) = records.first()
    {
        return Ok(*last_contained_log_timestamp);
    }
    Err(reader.corrupt("the header is missing"))
}

struct Reader<'a> {
    path: &'a Path,
    file: Arc<dyn DiskFile>,
    position: u64,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<Option<BatchData>, SnapshotError> {
        let len = self.file.len().map_err(|source| io_error("read", self.path, source))?;
        let left = len.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        let overhead = self.bytes(left.min(ottla_record::LOG_OVERHEAD_BYTES as u64) as usize)?;
        let size = overhead
            .get(8..12)
            .and_then(|length| length.try_into().ok())
            .map(|length| i64::from(i32::from_be_bytes(length)) + ottla_record::LOG_OVERHEAD_BYTES as i64)
            .filter(|&size| size > 0 && size as usize <= BATCH_BYTES_MAX && size as u64 <= left)
            .ok_or_else(|| self.corrupt("it is cut off, or a batch claims an impossible size"))?;
        let bytes = self.bytes(size as usize)?;
        let read = |bytes: &Bytes| -> Result<BatchData, BatchDataError> {
            let batch = Batch::parse(bytes)?;
            batch.verify_crc()?;
            batches::read_batch(&batch)
        };
        let data = read(&bytes).map_err(|error| self.corrupt(&error.to_string()))?;
        self.position += size as u64;
        Ok(Some(data))
    }

    fn bytes(&self, len: usize) -> Result<Bytes, SnapshotError> {
        let mut buffer = BytesMut::zeroed(len);
        self.file
            .read_exact_at(&mut buffer, self.position)
            .map_err(|source| io_error("read", self.path, source))?;
        Ok(buffer.freeze())
    }

    fn corrupt(&self, reason: &str) -> SnapshotError {
        let (path, position) = (self.path.to_path_buf(), self.position);
        SnapshotError::Corrupt { path, position, reason: reason.to_string() }
    }
}

/// What a snapshot begins with.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotHead<'a> {
    pub id: SnapshotId,
    pub last_contained_log_timestamp: Millis,
    pub kraft_version: i16,
    pub voters: Option<&'a VoterSet>,
}

/// Writes a snapshot; when this returns it is on disk under its name. `records` are encoded metadata records.
pub fn write(
    disk: &dyn Disk,
    directory: &Path,
    head: SnapshotHead<'_>,
    now: Millis,
    records: impl Iterator<Item = Bytes>,
) -> Result<PathBuf, SnapshotError> {
    let id = head.id;
    let path = directory.join(id.file_name());
    let part = directory.join(id.part_file_name());
    let file = disk.open(&part, OpenMode::CreateEmpty).map_err(|source| io_error("create", &part, source))?;
    let mut writer = Writer { path: &part, file, id, now, offset: Offset::ZERO, position: 0 };

    let last_contained_log_timestamp = head.last_contained_log_timestamp;
    let mut first = vec![ControlData::SnapshotHeader { last_contained_log_timestamp }];
    first.extend(batches::quorum_records(head.voters, head.kraft_version));
    writer.control(&first)?;
    let (mut values, mut bytes) = (Vec::new(), 0);
    for value in records {
        bytes += value.len();
        values.push(value);
        if bytes >= BATCH_BYTES_TARGET {
            writer.metadata(&values)?;
            values.clear();
            bytes = 0;
        }
    }
    if !values.is_empty() {
        writer.metadata(&values)?;
    }
    writer.control(&[ControlData::SnapshotFooter])?;
    writer.file.sync().map_err(|source| io_error("sync", &part, source))?;
    drop(writer);
    disk.rename(&part, &path).map_err(|source| io_error("rename", &part, source))?;
    disk.sync_dir(directory).map_err(|source| io_error("sync", directory, source))?;
    Ok(path)
}

struct Writer<'a> {
    path: &'a Path,
    file: Arc<dyn DiskFile>,
    id: SnapshotId,
    now: Millis,
    offset: Offset,
    position: u64,
}

impl Writer<'_> {
    fn control(&mut self, records: &[ControlData]) -> Result<(), SnapshotError> {
        let batch = batches::control_batch(self.offset, self.id.epoch, self.now, records)?;
        self.batch(&batch, records.len())
    }

    fn metadata(&mut self, values: &[Bytes]) -> Result<(), SnapshotError> {
        let batch = batches::metadata_batch(self.offset, self.id.epoch, self.now, values);
        self.batch(&batch, values.len())
    }

    fn batch(&mut self, batch: &[u8], records: usize) -> Result<(), SnapshotError> {
        self.file
            .write_all_at(batch, self.position)
            .map_err(|source| io_error("write", self.path, source))?;
        self.position += batch.len() as u64;
        self.offset += records as i64;
        Ok(())
    }
}

/// The complete snapshots in a directory, oldest first.
pub fn list(disk: &dyn Disk, directory: &Path) -> Result<Vec<SnapshotId>, SnapshotError> {
    let entries = disk.list(directory).map_err(|source| io_error("list", directory, source))?;
    let mut ids: Vec<SnapshotId> =
        entries.iter().filter_map(|entry| SnapshotId::parse(&entry.name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Removes what an earlier run left half written or half removed.
pub fn remove_leftovers(disk: &dyn Disk, directory: &Path) -> Result<(), SnapshotError> {
    let entries = disk.list(directory).map_err(|source| io_error("list", directory, source))?;
    for entry in entries {
        if entry.name.ends_with(PART_SUFFIX) || entry.name.ends_with(DELETED_SUFFIX) {
            let path = directory.join(&entry.name);
            disk.remove_file(&path).map_err(|source| io_error("remove", &path, source))?;
        }
    }
    Ok(())
}

pub fn remove(disk: &dyn Disk, directory: &Path, id: SnapshotId) -> Result<(), SnapshotError> {
    let path = directory.join(id.file_name());
    disk.remove_file(&path).map_err(|source| io_error("remove", &path, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let id = SnapshotId { end: Offset(2191), epoch: LeaderEpoch(12) };
        assert_eq!(id.file_name(), "00000000000000002191-0000000012.checkpoint");
        assert_eq!(SnapshotId::parse(&id.file_name()), Some(id));
        for other in ["x.checkpoint", "00000000000000002191-0000000012.checkpoint.part", "quorum-state"] {
            assert_eq!(SnapshotId::parse(other), None, "{other}");
        }
    }
}
