//! A partition of this broker: its writer inside the shard, and the handle that everybody else uses.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use ottla_commit_log::{AppendOrigin, Log, LogView, Staged, StorageError};
use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset, TopicPartition, Uuid};
use ottla_record::validate::{ProduceRules, ValidBatch};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::shard::{Shard, Slot};
use super::syncer::Syncer;
use super::topic_settings::TopicSettings;
use crate::api::produce::{AppendOutcome, ProduceTicket};

/// What a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// No answer at all.
    None,
    /// The leader's log.
    Leader,
    /// Every in-sync replica.
    All,
}

impl Acks {
    /// `None` for a number that is not one of Kafka's.
    pub fn from_wire(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Acks::None),
            1 => Some(Acks::Leader),
            -1 => Some(Acks::All),
            _ => None,
        }
    }
}

/// What has to be durable before an append is acknowledged (`acks.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Kafka's own meaning: the page cache of the in-sync replicas.
    PageCache,
    /// The disk.
    Fsync,
}

/// A validated batch on its way into a log, and who is told of its outcome.
pub struct StagedAppend {
    pub batch: ValidBatch,
    pub acks: Acks,
    pub completion: Completion,
}

/// Who is told of an append's outcome.
pub enum Completion {
    /// A part of a produce request.
    Produce { ticket: Arc<ProduceTicket>, index: u32 },
    /// A coordinator, which appends only while the partition is led in `epoch`. `told` is called inside the shard;
    /// it must not block.
    Coordinator { epoch: LeaderEpoch, told: Box<dyn FnOnce(AppendOutcome) + Send> },
}

impl Completion {
    fn complete(self, outcome: AppendOutcome) {
        match self {
            Completion::Produce { ticket, index } => ticket.complete(index, outcome),
            Completion::Coordinator { told, .. } => told(outcome),
        }
    }
}

impl StagedAppend {
    pub fn refuse(self, error: ErrorCode) {
        self.completion.complete(AppendOutcome::failed(error));
    }
}

/// What the rest of the node knows of a partition.
pub struct PartitionHandle {
    pub name: TopicPartition,
    pub topic_id: Uuid,
    /// The log directory that the partition lies in.
    pub dir_id: Uuid,
    /// Only the node's own admin clients may produce to it.
    pub is_internal: bool,
    pub shard: Arc<Shard>,
    pub slot: Slot,
    /// How produced batches are validated; follows the topic's configs.
    pub rules: ArcSwap<ProduceRules>,
    pub waiters: Waiters,
    /// -1 while this broker does not lead the partition.
    leader_epoch: AtomicI32,
    view: LogView,
}

impl PartitionHandle {
    pub fn view(&self) -> &LogView {
        &self.view
    }

    pub fn log_start_offset(&self) -> Offset {
        self.view.log_start_offset()
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.load(Ordering::Acquire))
    }

    /// Whether a client that knows `epoch` (-1: knows none) may be served by this leader.
    ///
    /// Errors: FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER.
    pub fn check_leader_epoch(&self, epoch: LeaderEpoch) -> Result<LeaderEpoch, ErrorCode> {
        let current = self.leader_epoch();
        if !current.is_some() {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        match epoch {
            epoch if epoch.0 < 0 || epoch == current => Ok(current),
            epoch if epoch < current => Err(ErrorCode::FencedLeaderEpoch),
            _ => Err(ErrorCode::UnknownLeaderEpoch),
        }
    }
}

/// Long polls that wait for a partition to grow.
#[derive(Default)]
pub struct Waiters {
    any: AtomicBool,
    waiting: Mutex<Vec<Weak<Notify>>>,
}

impl Waiters {
    /// Tells `grown` when the partition grows next. Look at the partition again after this.
    pub fn register(&self, grown: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|known| known.strong_count() > 0);
        if !waiting.iter().any(|known| known.as_ptr() == Arc::as_ptr(grown)) {
            waiting.push(Arc::downgrade(grown));
        }
        self.any.store(true, Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.any.load(Ordering::SeqCst) && self.any.swap(false, Ordering::SeqCst) {
            for grown in self.waiting.lock().drain(..) {
                if let Some(grown) = grown.upgrade() {
                    grown.notify_one();
                }
            }
        }
    }
}

/// A partition as its shard owns it.
pub struct Partition {
    pub handle: Arc<PartitionHandle>,
    pub log: Log,
    pub durability: Durability,
    /// `min.insync.replicas`; the number of replicas bounds it.
    min_insync_wanted: usize,
    in_sync_replicas: usize,
    replicas: usize,
    staged: Vec<(Staged, Acks, Completion)>,
    /// Written, and acknowledged once everything below the offset is synced.
    unsynced: VecDeque<(Offset, AppendOutcome, Completion)>,
    syncer: Arc<Syncer>,
}

impl Partition {
    pub fn new(
        log: Log,
        topic_id: Uuid,
        is_internal: bool,
        rules: ProduceRules,
        (shard, slot): (Arc<Shard>, Slot),
        (dir_id, syncer): (Uuid, Arc<Syncer>),
    ) -> Self {
        let handle = Arc::new(PartitionHandle {
            name: log.partition().clone(),
            topic_id,
            dir_id,
            is_internal,
            shard,
            slot,
            rules: ArcSwap::from_pointee(rules),
            waiters: Waiters::default(),
            leader_epoch: AtomicI32::new(LeaderEpoch::NONE.0),
            view: log.view(),
        });
        Self {
            handle,
            log,
            durability: Durability::PageCache,
            min_insync_wanted: 1,
            in_sync_replicas: 1,
            replicas: 1,
            staged: Vec::new(),
            unsynced: VecDeque::new(),
            syncer,
        }
    }

    /// Takes over the topic's settings.
    pub fn set_settings(&mut self, settings: TopicSettings) {
        self.log.set_config(settings.log);
        self.handle.rules.store(Arc::new(settings.rules));
        self.durability = settings.durability;
        self.min_insync_wanted = settings.min_insync_replicas;
    }

    pub fn set_replicas(&mut self, in_sync: usize, all: usize) {
        self.in_sync_replicas = in_sync;
        self.replicas = all;
    }

    /// Leads from now on, in `epoch`. The only replica has everything, so all of the log is committed.
    pub fn become_leader(&mut self, epoch: LeaderEpoch) {
        self.log.become_leader(epoch);
        self.log.set_high_watermark(self.log.log_end_offset());
        self.handle.leader_epoch.store(epoch.0, Ordering::Release);
        self.handle.waiters.wake();
    }

    /// Leads no more: waiting acknowledgements and long polls are told.
    pub fn resign(&mut self) {
        self.handle.leader_epoch.store(LeaderEpoch::NONE.0, Ordering::Release);
        for (_, _, completion) in self.unsynced.drain(..) {
            completion.complete(AppendOutcome::failed(ErrorCode::NotLeaderOrFollower));
        }
        self.handle.waiters.wake();
    }

    /// Accepts a batch; [`Partition::write_staged`] must follow. Whether it is the first since the last write.
    pub fn stage(&mut self, append: StagedAppend, now: Millis) -> bool {
        let StagedAppend { batch, acks, completion } = append;
        let epoch = self.handle.leader_epoch();
        let is_fenced = matches!(completion, Completion::Coordinator { epoch: held, .. } if held != epoch);
        if !epoch.is_some() || is_fenced {
            completion.complete(AppendOutcome::failed(ErrorCode::NotLeaderOrFollower));
            return false;
        }
        if acks == Acks::All && self.in_sync_replicas < self.min_insync_wanted.min(self.replicas) {
            completion.complete(AppendOutcome::failed(ErrorCode::NotEnoughReplicas));
            return false;
        }
        let origin = match &completion {
            Completion::Produce { .. } => AppendOrigin::Client { verification: None },
            Completion::Coordinator { .. } => AppendOrigin::Coordinator { verification: None },
        };
        match self.log.stage(batch, epoch, origin, now) {
            Ok(staged) => {
                self.staged.push((staged, acks, completion));
                self.staged.len() == 1
            }
            Err(error) => {
                let outcome = AppendOutcome {
                    log_start_offset: self.log.log_start_offset(),
                    ..AppendOutcome::failed(error.error_code())
                };
                completion.complete(outcome);
                false
            }
        }
    }

    /// Writes what was staged, shows it to readers and acknowledges it, or leaves that to the syncer.
    pub fn write_staged(&mut self) {
        let written = self.log.write_staged();
        if written.is_ok() {
            self.log.set_high_watermark(self.log.log_end_offset());
            self.handle.waiters.wake();
        }
        // `flush.messages` is a promise about what was acknowledged: 1 syncs every append.
        let unsynced = self.log.log_end_offset() - self.log.synced_offset();
        let flush = unsynced >= self.log.config().flush_messages;
        let log_start_offset = self.log.log_start_offset();
        let mut staged = std::mem::take(&mut self.staged);
        for (staged, acks, completion) in staged.drain(..) {
            let outcome = match &written {
                Ok(_) => AppendOutcome {
                    base_offset: staged.base_offset,
                    log_append_time: staged.log_append_time,
                    log_start_offset,
                    ..AppendOutcome::failed(ErrorCode::None)
                },
                Err(error) => AppendOutcome::failed(error.error_code()),
            };
            let waits = (self.durability == Durability::Fsync || flush)
                && acks != Acks::None
                && written.is_ok()
                && staged.last_offset >= self.log.synced_offset();
            if waits {
                self.unsynced.push_back((staged.last_offset, outcome, completion));
            } else {
                completion.complete(outcome);
            }
        }
        self.staged = staged;
        if !self.unsynced.is_empty() || flush && written.is_ok() {
            self.syncer.request(&self.handle);
        }
    }

    /// Acknowledges what a finished sync covers, or refuses everything if it failed: such data may be gone.
    pub fn synced(&mut self, result: Result<(), StorageError>) {
        // An offline log syncs no more: whoever waits is refused, or would wait for ever.
        let failed = match result {
            Err(error) => Some(error.error_code()),
            Ok(()) if self.log.is_offline() => Some(ErrorCode::KafkaStorageError),
            Ok(()) => None,
        };
        while let Some((last_offset, ..)) = self.unsynced.front() {
            if failed.is_none() && *last_offset >= self.log.synced_offset() {
                break;
            }
            let Some((_, outcome, completion)) = self.unsynced.pop_front() else { break };
            completion.complete(failed.map_or(outcome, AppendOutcome::failed));
        }
        if !self.unsynced.is_empty() {
            self.syncer.request(&self.handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ottla_commit_log::disk::SimFault;
    use ottla_commit_log::{FileCache, LogConfig, LogContext, LogDir, SimDisk, TailBudget};
    use ottla_record::validate;
    use ottla_record::{BatchBuilder, Compression};
    use tokio::sync::oneshot;

    use super::*;

    fn batch(partition: &TopicPartition) -> ValidBatch {
        let mut builder = BatchBuilder::new(Compression::NONE);
        builder.append(Millis(1), None, Some(b"value"));
        let batch = validate::request_batch(&builder.build(), 13).unwrap();
        validate::produce_batch(batch, &ProduceRules::default(), partition, Millis(1)).unwrap()
    }

    /// A failed write takes the log offline. Appends that were written before and wait for their sync must be
    /// refused then: nothing will sync them, and a producer would wait for ever.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn appends_that_wait_for_a_sync_are_refused_when_the_log_goes_offline() {
        let disk = SimDisk::new();
        let context =
            LogContext { files: FileCache::new(Arc::new(disk.clone()), 16), tails: TailBudget::new(1 << 20) };
        let name = TopicPartition::new("t", 0);
        let dir = LogDir::open(context, "/data").unwrap();
        let log = dir.create_log(&name, Uuid::ONE, LogConfig::default(), Millis(1)).unwrap();
        let shard = Shard::new();
        let owner = Arc::clone(&shard);
        let (answer, answered) = oneshot::channel();
        shard
            .run(move |state| {
                let place = (Uuid::ONE, Syncer::new());
                let slot = state.add(|slot| {
                    Partition::new(log, Uuid::ONE, false, ProduceRules::default(), (owner, slot), place)
                });
                let partition = state.partition(slot).unwrap();
                partition.durability = Durability::Fsync;
                partition.become_leader(LeaderEpoch(0));
                let mut append = |completion, batch| {
                    partition.stage(StagedAppend { batch, acks: Acks::All, completion }, Millis(1));
                    partition.write_staged();
                };
                let told = |told| Completion::Coordinator { epoch: LeaderEpoch(0), told };
                append(told(Box::new(move |outcome| answer.send(outcome.error).unwrap())), batch(&name));
                disk.inject(SimFault::FailWrite(0));
                append(
                    told(Box::new(|outcome| assert_eq!(outcome.error, ErrorCode::KafkaStorageError))),
                    batch(&name),
                );
            })
            .await;
        let error =
            tokio::time::timeout(Duration::from_secs(10), answered).await.expect("an answer").unwrap();
        assert_eq!(error, ErrorCode::KafkaStorageError);
    }
}
