//! What happens to logs from time to time: retention, deletion of files, checkpoints, syncs of what lies dirty.
//!
//! One thread per broker takes turns; nothing here is on a request's way. A fault is logged and left to the log,
//! which is offline then.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use ottla_commit_log::{LogDir, SyncJob, SyncKind};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use super::Broker;
use super::partition::PartitionHandle;
use crate::clock;
use crate::loops;

const TICK: Duration = Duration::from_secs(1);
/// What was written this long ago the kernel has mostly written back, so that a sync costs little.
const SYNC_AFTER: Duration = Duration::from_secs(30);
/// More than this is not left dirty in all logs together: a second's work for a restart.
const DIRTY_BYTES_MAX: u64 = 1 << 30;

/// Runs the turns until the broker stops. Blocks its thread.
pub struct Background {
    broker: Arc<Broker>,
    retention: Turn,
    recovery_points: Turn,
    log_starts: Turn,
    high_watermarks: Turn,
    dirty: Turn,
    in_sync: Turn,
}

/// Something that is due every so often.
struct Turn {
    interval: Duration,
    last: Instant,
}

impl Turn {
    fn every_ms(interval_ms: i64) -> Self {
        Self { interval: Duration::from_millis(interval_ms.max(1) as u64), last: Instant::now() }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.last) >= self.interval;
        if due {
            self.last = now;
        }
        due
    }
}

impl Background {
    pub fn new(broker: &Arc<Broker>) -> Self {
        let config = &broker.config;
        Self {
            broker: Arc::clone(broker),
            retention: Turn::every_ms(config.log_manager.retention_check_interval_ms),
            recovery_points: Turn::every_ms(config.log_manager.recovery_point_checkpoint_interval_ms.into()),
            log_starts: Turn::every_ms(config.log_manager.start_offset_checkpoint_interval_ms.into()),
            high_watermarks: Turn::every_ms(config.replication.high_watermark_checkpoint_interval_ms),
            dirty: Turn::every_ms(SYNC_AFTER.as_millis() as i64),
            in_sync: Turn::every_ms(config.replication.lag_time_ms_max / 2),
        }
    }

    /// Takes turns until `stop` is signalled or dropped.
    pub async fn run(mut self, mut stop: mpsc::UnboundedReceiver<()>) {
        while loops::receive(&mut stop, TICK).await == Err(RecvTimeoutError::Timeout) {
            self.tick(Instant::now());
        }
    }

    fn tick(&mut self, now: Instant) {
        let retention = self.retention.is_due(now);
        let in_sync = self.in_sync.is_due(now);
        self.broker.log_dirs.check(&self.broker);
        // What lies dirty is what a restart after a crash has to look at.
        let dirty_bytes: u64 =
            self.broker.table().partitions().map(|handle| handle.view().dirty_bytes()).sum();
        let dirty = self.dirty.is_due(now) || dirty_bytes > DIRTY_BYTES_MAX;
        for handle in self.broker.table().partitions() {
            if retention {
                apply_retention(handle);
            }
            if dirty {
                sync(handle);
            }
            if in_sync && handle.replicas.load().in_sync.len() > 1 && handle.leader_epoch().is_some() {
                check_followers(handle);
            }
            maintain(handle);
        }
        let (recovery_points, log_starts, high_watermarks) = (
            self.recovery_points.is_due(now) || dirty,
            self.log_starts.is_due(now) || retention,
            self.high_watermarks.is_due(now),
        );
        for dir in self.broker.online_dirs() {
            let written = [
                recovery_points.then(|| dir.dir.checkpoint_recovery_points()),
                log_starts.then(|| dir.dir.checkpoint_log_starts()),
                high_watermarks.then(|| dir.dir.checkpoint_high_watermarks()),
            ];
            for error in written.into_iter().flatten().filter_map(Result::err) {
                warn!(dir = %dir.dir.path().display(), %error, "cannot write a checkpoint");
            }
        }
    }
}

fn apply_retention(handle: &Arc<PartitionHandle>) {
    let slot = handle.slot;
    handle.shard.submit(move |state| {
        if let Some(partition) = state.partition(slot)
            && let Err(error) = partition.log.apply_retention(clock::now())
        {
            warn!(partition = %partition.handle.name, %error, "cannot apply retention");
        }
    });
}

fn check_followers(handle: &Arc<PartitionHandle>) {
    let slot = handle.slot;
    handle.shard.submit(move |state| {
        if let Some(partition) = state.partition(slot) {
            partition.check_followers(clock::steady());
        }
    });
}

/// Makes what lies dirty durable, so that a restart after a crash has little to look at.
fn sync(handle: &Arc<PartitionHandle>) {
    let view = handle.view();
    if view.recovery_point() == view.log_end_offset() {
        return;
    }
    let slot = handle.slot;
    let job =
        handle.shard.run_blocking(move |state| state.partition(slot)?.log.sync_job(SyncKind::Checkpoint));
    if let Some(job) = job {
        run_sync(handle, job);
    }
}

fn run_sync(handle: &Arc<PartitionHandle>, job: SyncJob) {
    let slot = handle.slot;
    let outcome = job.run();
    handle.shard.submit(move |state| {
        if let Some(partition) = state.partition(slot)
            && let Err(error) = partition.log.complete_sync(outcome)
        {
            warn!(partition = %partition.handle.name, %error, "cannot sync");
        }
    });
}

/// Lets a log forget what it need not keep, removes files whose time has come, and syncs when `flush.ms` says so.
fn maintain(handle: &Arc<PartitionHandle>) {
    let slot = handle.slot;
    let jobs = handle.shard.run_blocking(move |state| {
        let partition = state.partition(slot)?;
        let now = clock::now();
        partition.log.maintain(now);
        let flush = partition.log.is_flush_due(now).then(|| partition.log.sync_job(SyncKind::Checkpoint));
        Some((partition.log.delete_job(now), flush.flatten()))
    });
    let Some((delete, flush)) = jobs else { return };
    if let Some(job) = flush {
        run_sync(handle, job);
    }
    if let Some(Err(error)) = delete.map(|job| job.run()) {
        warn!(partition = %handle.name, %error, "cannot remove deleted segments");
    }
}

/// Removes the directories of deleted partitions after a delay. Called inside the runtime; without one the node is
/// stopping, and the next start removes them.
pub fn remove_later(dir: LogDir, paths: Vec<PathBuf>, delay_ms: i64) {
    let delay = Duration::from_millis(delay_ms.max(0) as u64);
    let removal = move || {
        for path in paths {
            if let Err(error) = dir.remove_dir(&path) {
                warn!(path = %path.display(), %error, "cannot remove a deleted partition");
            }
        }
    };
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = loops::run_long(removal).await;
        });
    }
}
