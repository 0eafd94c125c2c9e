//! Moves of partitions between this broker's log directories (AlterReplicaLogDirs).
//!
//! A future log is filled from the partition's log while that goes on being written; when it has caught up it takes the
//! other's place. Owns which moves run; the change of places is the reconciler's, as it owns who serves a partition.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use ottla_commit_log::{AppendError, FirstBatch, Log, ReadError, StorageError};
use ottla_model::{Offset, TopicPartition, Uuid};
use ottla_record::{BatchError, Batches};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Broker;
use super::partition::PartitionHandle;
use super::reconcile::Reconciler;
use super::topic_settings::TopicSettings;
use crate::clock;
use crate::loops;

/// What is copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How often a move that its limit holds looks whether the limit has changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// After a change of places that came too late.
const BEHIND_PAUSE: Duration = Duration::from_millis(1);

/// The moves that run.
#[derive(Default)]
pub struct LogDirMoves {
    reconciler: OnceLock<Weak<Mutex<Reconciler>>>,
    running: watch::Sender<Vec<Arc<Move>>>,
}

/// A move under way.
pub struct Move {
    pub partition: TopicPartition,
    pub to: Uuid,
    end: AtomicI64,
    size: AtomicU64,
    end_wanted: Mutex<Option<MoveEnd>>,
    told: Condvar,
}

/// How a move ends before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MoveEnd {
    /// Its target is removed.
    Cancelled,
    /// The broker stops: what is there is closed, and the next start goes on.
    Stopped,
}

impl Move {
    /// How far the future log goes.
    pub fn log_end_offset(&self) -> Offset {
        Offset(self.end.load(Ordering::Relaxed))
    }

    pub fn size_bytes(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn end(&self, how: MoveEnd) {
        self.end_wanted.lock().get_or_insert(how);
        self.told.notify_one();
    }

    /// How to end now; else waits a little for being told.
    fn pause(&self, longest: Duration) -> Option<MoveEnd> {
        let mut wanted = self.end_wanted.lock();
        if wanted.is_none() && !longest.is_zero() {
            self.told.wait_for(&mut wanted, longest);
        }
        *wanted
    }

    /// Waits until more may be copied after so many bytes, as the limit is by then. How to end, if that is wanted.
    fn await_turn(&self, broker: &Broker, copied: usize) -> Option<MoveEnd> {
        let begun = Instant::now();
        loop {
            let left = pause_after(broker, copied).saturating_sub(begun.elapsed());
            let end = self.pause(left.min(LOOK_EVERY));
            if end.is_some() || left <= LOOK_EVERY {
                return end;
            }
        }
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
        self.running.borrow().clone()
    }

    /// Ends all moves, so that the next start can go on with them.
    pub async fn stop(&self) {
        self.running().iter().for_each(|known| known.end(MoveEnd::Stopped));
        let _ = self.running.subscribe().wait_for(Vec::is_empty).await;
    }

    /// Gives a move of the partition up, if there is one.
    pub fn cancel(&self, partition: &TopicPartition) {
        self.running.send_modify(|running| {
            let (ours, others) = running.drain(..).partition(|known| known.partition == *partition);
            *running = others;
            let ours: Vec<Arc<Move>> = ours;
            ours.iter().for_each(|known| known.end(MoveEnd::Cancelled));
        });
    }

    /// Moves a partition to the directory `to`, in a thread of its own, from where an earlier attempt had come if there
    /// was one. A move to elsewhere is given up.
    pub fn start(&self, broker: &Arc<Broker>, handle: &Arc<PartitionHandle>, to: Uuid, begun: Option<Log>) {
        if self.running.borrow().iter().any(|known| known.partition == handle.name && known.to == to) {
            return;
        }
        self.cancel(&handle.name);
        let moving = Arc::new(Move {
            partition: handle.name.clone(),
            to,
            end: AtomicI64::new(0),
            size: AtomicU64::new(0),
            end_wanted: Mutex::default(),
            told: Condvar::new(),
        });
        self.running.send_modify(|running| running.push(Arc::clone(&moving)));
        let (broker, handle) = (Arc::clone(broker), Arc::clone(handle));
        tokio::spawn(loops::run_long(move || {
            match broker.log_dir_moves.run(&broker, &handle, &moving, begun) {
                Ok(()) => {}
                Err(error) => warn!(partition = %handle.name, %error, "cannot move the partition"),
            }
            let running = &broker.log_dir_moves.running;
            running.send_modify(|running| running.retain(|known| !Arc::ptr_eq(known, &moving)));
        }));
    }

    fn run(
        &self,
        broker: &Arc<Broker>,
        handle: &Arc<PartitionHandle>,
        moving: &Move,
        begun: Option<Log>,
    ) -> Result<(), MoveError> {
        let Some(index) = broker.dirs.iter().position(|dir| dir.id == moving.to) else { return Ok(()) };
        let dir = &broker.dirs[index].dir;
        let config = {
            let image = broker.image();
            TopicSettings::resolve(&broker.layers(), &image.configs.topic(&handle.name.topic)).log
        };
        let mut future = match begun {
            Some(begun) => begun,
            None => dir.create_future_log(&handle.name, handle.topic_id, config, clock::now())?,
        };
        let mut copied = 0;
        loop {
            let end = moving.await_turn(broker, copied);
            let is_gone = !broker.table().partitions().any(|known| Arc::ptr_eq(known, handle));
            if end == Some(MoveEnd::Stopped) {
                return Ok(dir.close_logs(vec![future])?);
            }
            if end == Some(MoveEnd::Cancelled) || is_gone || handle.view().is_offline() {
                let path = future.path().to_owned();
                drop(future);
                return Ok(dir.remove_dir(&path)?);
            }
            copied = copy(handle, &mut future)?;
            moving.end.store(future.log_end_offset().0, Ordering::Relaxed);
            moving.size.store(future.size_bytes(), Ordering::Relaxed);
            if copied > 0 {
                continue;
            }
            let Some(reconciler) = self.reconciler.get().and_then(Weak::upgrade) else { return Ok(()) };
            match reconciler.lock().replace_log(handle, future, index)? {
                None => {
                    info!(partition = %handle.name, dir = %dir.path().display(), "moved");
                    return Ok(());
                }
                // Written to, or cut, in the meantime.
                Some(behind) => {
                    future = behind;
                    moving.pause(BEHIND_PAUSE);
                }
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
    let last = future.log_end_offset() + -1;
    if last >= end || view.epochs().epoch_of(last) != future.view().epochs().epoch_of(last) {
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
fn pause_after(broker: &Broker, copied: usize) -> Duration {
    let rate = broker.layers().broker("replica.alter.log.dirs.io.max.bytes.per.second");
    let rate = rate.and_then(|value| value.as_i64()).filter(|rate| *rate < i64::MAX);
    rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(copied as f64 / rate.max(1) as f64))
}
