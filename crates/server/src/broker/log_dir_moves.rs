//! Moves of partitions between this broker's log directories (AlterReplicaLogDirs).
//!
//! A future log is filled from the partition's log while that goes on being written; when it has caught up it takes the
//! other's place. Owns which moves run; the change of places is the reconciler's, as it owns who serves a partition.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ottla_commit_log::{AppendError, FirstBatch, Log, ReadError, StorageError};
use ottla_model::{Offset, TopicPartition, Uuid};
use ottla_record::{BatchError, Batches};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::Broker;
use super::partition::PartitionHandle;
use super::reconcile::Reconciler;
use super::topic_settings::TopicSettings;
use crate::clock;

/// What is copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The moves that run.
#[derive(Default)]
pub struct LogDirMoves {
    reconciler: OnceLock<Weak<Mutex<Reconciler>>>,
    running: Mutex<Vec<Arc<Move>>>,
}

/// A move under way.
pub struct Move {
    pub partition: TopicPartition,
    pub to: Uuid,
    end: AtomicI64,
    size: AtomicU64,
    cancelled: AtomicBool,
}

impl Move {
    /// How far the future log goes.
    pub fn log_end_offset(&self) -> Offset {
        Offset(self.end.load(Ordering::Relaxed))
    }

    pub fn size_bytes(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }
}

#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error("cannot read the log: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl LogDirMoves {
    /// Tells who changes the places. Called once.
    pub fn serve(&self, reconciler: &Arc<Mutex<Reconciler>>) {
        let _ = self.reconciler.set(Arc::downgrade(reconciler));
    }

    pub fn running(&self) -> Vec<Arc<Move>> {
        self.running.lock().clone()
    }

    /// Gives a move of the partition up, if there is one.
    pub fn cancel(&self, partition: &TopicPartition) {
        self.running.lock().retain(|known| {
            let is_other = known.partition != *partition;
            known.cancelled.fetch_or(!is_other, Ordering::AcqRel);
            is_other
        });
    }

    /// Moves a partition to the directory `to`, in a thread of its own. A move to elsewhere is given up.
    pub fn start(&self, broker: &Arc<Broker>, handle: &Arc<PartitionHandle>, to: Uuid) {
        if self.running.lock().iter().any(|known| known.partition == handle.name && known.to == to) {
            return;
        }
        self.cancel(&handle.name);
        let moving = Arc::new(Move {
            partition: handle.name.clone(),
            to,
            end: AtomicI64::new(0),
            size: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
        });
        self.running.lock().push(Arc::clone(&moving));
        let (broker, handle) = (Arc::clone(broker), Arc::clone(handle));
        tokio::task::spawn_blocking(move || {
            match broker.log_dir_moves.run(&broker, &handle, &moving) {
                Ok(()) => {}
                Err(error) => warn!(partition = %handle.name, %error, "cannot move the partition"),
            }
            broker.log_dir_moves.running.lock().retain(|known| !Arc::ptr_eq(known, &moving));
        });
    }

    fn run(
        &self,
        broker: &Arc<Broker>,
        handle: &Arc<PartitionHandle>,
        moving: &Move,
    ) -> Result<(), MoveError> {
        let Some(index) = broker.dirs.iter().position(|dir| dir.id == moving.to) else { return Ok(()) };
        let dir = &broker.dirs[index].dir;
        let config = {
            let image = broker.image();
            TopicSettings::resolve(&broker.layers(), &image.configs.topic(&handle.name.topic)).log
        };
        let mut future = dir.create_future_log(&handle.name, handle.topic_id, config, clock::now())?;
        loop {
            let is_gone = !broker.table().partitions().any(|known| Arc::ptr_eq(known, handle));
            if moving.cancelled.load(Ordering::Acquire) || is_gone || handle.view().is_offline() {
                let path = future.path().to_owned();
                drop(future);
                return Ok(dir.remove_dir(&path)?);
            }
            let copied = copy(handle, &mut future)?;
            moving.end.store(future.log_end_offset().0, Ordering::Relaxed);
            moving.size.store(future.size_bytes(), Ordering::Relaxed);
            if copied > 0 {
                pace(broker, copied);
                continue;
            }
            let Some(reconciler) = self.reconciler.get().and_then(Weak::upgrade) else { return Ok(()) };
            match reconciler.lock().replace_log(handle, future, index)? {
                None => {
                    info!(partition = %handle.name, dir = %dir.path().display(), "moved");
                    return Ok(());
                }
                // Written to, or cut, in the meantime.
                Some(behind) => future = behind,
            }
        }
    }
}

/// Copies what comes next; how many bytes.
fn copy(handle: &PartitionHandle, future: &mut Log) -> Result<usize, MoveError> {
    let (view, now) = (handle.view(), clock::now());
    if future.log_end_offset() < view.log_start_offset() {
        future.truncate_fully_and_start_at(view.log_start_offset(), now)?;
    }
    let end = view.log_end_offset();
    let known = view.epochs().epoch_of(future.log_end_offset() + -1);
    if future.log_end_offset() > end || known != future.latest_epoch().map(|latest| latest.epoch) {
        // The log was cut, and perhaps written anew: what is committed is the same in both.
        future.truncate_to(view.high_watermark().max(view.log_start_offset()), now)?;
    }
    let from = future.log_end_offset();
    let plan = view.read(from, end, CHUNK_BYTES, FirstBatch::Whole)?;
    let mut batches = Vec::new();
    let mut copied = 0;
    for batch in Batches::new(plan.to_bytes()?) {
        let batch = batch?;
        if batch.header.base_offset >= from || future.size_bytes() == 0 {
            copied += batch.bytes.len();
            batches.push(batch);
        }
    }
    future.append_as_follower(batches, now)?;
    future.set_high_watermark(view.high_watermark());
    future.increment_log_start(view.log_start_offset());
    Ok(copied)
}

/// Keeps to `replica.alter.log.dirs.io.max.bytes.per.second`.
fn pace(broker: &Broker, copied: usize) {
    let rate = broker.layers().broker("replica.alter.log.dirs.io.max.bytes.per.second");
    let rate = rate.and_then(|value| value.as_i64()).filter(|rate| *rate < i64::MAX);
    if let Some(rate) = rate {
        std::thread::park_timeout(Duration::from_secs_f64((copied as f64 / rate.max(1) as f64).min(60.0)));
    }
}
