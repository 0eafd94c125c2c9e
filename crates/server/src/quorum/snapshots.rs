//! When snapshots are made and when old ones go.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::Disk;
use ottla_model::{LeaderEpoch, Millis, Offset};
use ottla_raft::VoterSet;

use super::snapshot::{self, SnapshotError, SnapshotHead, SnapshotId};
use super::{Driver, QuorumError};

/// How often old snapshots are looked for.
const CLEAN_INTERVAL_MS: i64 = 60_000;

/// `metadata.log.max.…` and `metadata.max.retention.…`
#[derive(Clone, Copy, Debug)]
pub struct SnapshotLimits {
    pub after_bytes: i64,
    /// 0: never by time.
    pub after_ms: i64,
    pub retention_bytes: i64,
    pub retention_ms: i64,
}

/// Decides; the writing itself is a [`SnapshotJob`] and runs elsewhere.
pub struct Snapshots {
    limits: SnapshotLimits,
    last: Option<SnapshotId>,
    last_at: Millis,
    bytes_since: u64,
    running: bool,
    next_clean: Millis,
}

/// Everything a snapshot is made of. Blocks until the snapshot is on disk.
#[must_use]
pub struct SnapshotJob {
    pub id: SnapshotId,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    timestamp: Millis,
    kraft_version: i16,
    voters: Option<VoterSet>,
}

impl SnapshotJob {
    /// `records` are the image's, encoded.
    pub fn run(self, now: Millis, records: impl Iterator<Item = Bytes>) -> Result<SnapshotId, SnapshotError> {
        let head = SnapshotHead {
            id: self.id,
            last_contained_log_timestamp: self.timestamp,
            kraft_version: self.kraft_version,
            voters: self.voters.as_ref(),
        };
        snapshot::write(&*self.disk, &self.directory, head, now, records)?;
        Ok(self.id)
    }
}

impl Snapshots {
    pub fn new(limits: SnapshotLimits, last: Option<(SnapshotId, Millis)>, now: Millis) -> Self {
        let last_at = last.map_or(now, |(_, timestamp)| timestamp);
        Self {
            limits,
            last: last.map(|(id, _)| id),
            last_at,
            bytes_since: 0,
            running: false,
            next_clean: now + CLEAN_INTERVAL_MS,
        }
    }

    /// Counts a delivered batch.
    pub fn delivered(&mut self, size_bytes: usize) {
        self.bytes_since += size_bytes as u64;
    }

    /// A snapshot of everything below `end`, if it is time for one. `timestamp` is that of the last record.
    pub fn due(
        &mut self,
        now: Millis,
        driver: &Driver,
        end: Offset,
        epoch: LeaderEpoch,
        timestamp: Millis,
    ) -> Option<SnapshotJob> {
        let by_bytes = self.bytes_since as i64 >= self.limits.after_bytes;
        let by_time = self.limits.after_ms > 0 && now - self.last_at >= self.limits.after_ms;
        let id = SnapshotId { end, epoch };
        if self.running || self.bytes_since == 0 || !(by_bytes || by_time) || self.last == Some(id) {
            return None;
        }
        self.running = true;
        self.bytes_since = 0;
        self.last_at = now;
        let (voters, kraft_version) = driver.raft().history().at(end);
        Some(SnapshotJob {
            id,
            disk: driver.disk().clone(),
            directory: driver.directory().to_path_buf(),
            timestamp,
            kraft_version,
            voters: voters.cloned(),
        })
    }

    /// A [`SnapshotJob`] has ended.
    pub fn written(&mut self, id: Option<SnapshotId>) {
        self.running = false;
        self.last = id.or(self.last);
    }

    /// A snapshot was fetched from the leader.
    pub fn installed(&mut self, id: SnapshotId, timestamp: Millis) {
        self.last = Some(id);
        self.last_at = timestamp;
        self.bytes_since = 0;
    }

    /// When [`Self::clean`] next has something to do.
    pub fn next_clean(&self) -> Millis {
        self.next_clean
    }

    /// Removes the oldest snapshots, and the log up to the next, while there is too much or it is too old. Says whether
    /// it did.
    pub fn clean(&mut self, now: Millis, driver: &mut Driver) -> Result<bool, QuorumError> {
        if now < self.next_clean {
            return Ok(false);
        }
        self.next_clean = now + CLEAN_INTERVAL_MS;
        let (disk, directory) = (driver.disk().clone(), driver.directory().to_path_buf());
        let mut ids = snapshot::list(&*disk, &directory)?;
        ids.retain(|id| *id != SnapshotId::BOOTSTRAP);
        let before = ids.len();
        while let [oldest, next, ..] = ids[..] {
            let mut size = driver.view().size_bytes();
            for entry in disk.list(&directory).map_err(|source| QuorumError::Io {
                action: "list",
                path: directory.clone(),
                source,
            })? {
                size += SnapshotId::parse(&entry.name).map_or(0, |_| entry.len);
            }
            let timestamp = snapshot::read_timestamp(&*disk, &directory.join(oldest.file_name()))?;
            let too_much = self.limits.retention_bytes >= 0 && size as i64 > self.limits.retention_bytes;
            let too_old = self.limits.retention_ms >= 0 && now - timestamp > self.limits.retention_ms;
            if !too_much && !too_old {
                break;
            }
            // The log may only begin where a snapshot reaches, so the start is raised before the older one goes.
            driver.log_mut().increment_log_start(next.end);
            driver.log_mut().apply_retention(now)?;
            snapshot::remove(&*disk, &directory, oldest)?;
            ids.remove(0);
        }
        if let Some(job) = driver.log_mut().delete_job(now) {
            job.run()?;
        }
        Ok(ids.len() < before)
    }
}
