//! A partition of this broker: its writer inside the shard, and the handle that everybody else uses.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use ottla_commit_log::{AppendError, Log, LogView, Staged};
use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset, Uuid};
use ottla_record::validate::{ProduceRules, ValidBatch};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::shard::{Shard, Slot};
use super::syncer::Syncer;
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
    /// Somebody inside the node. Called inside the shard; must not block.
    Call(Box<dyn FnOnce(AppendOutcome) + Send>),
}

impl Completion {
    fn complete(self, outcome: AppendOutcome) {
        match self {
            Completion::Produce { ticket, index } => ticket.complete(index, outcome),
            Completion::Call(call) => call(outcome),
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
    pub topic: Arc<str>,
    pub topic_id: Uuid,
    pub index: i32,
    /// Only the node's own admin clients may produce to it.
    pub is_internal: bool,
    pub shard: Arc<Shard>,
    pub slot: Slot,
    /// How produced batches are validated; follows the topic's configs.
    pub rules: ArcSwap<ProduceRules>,
    pub waiters: Waiters,
    /// -1 while this broker does not lead the partition.
    leader_epoch: AtomicI32,
    view: Arc<LogView>,
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
    /// In-sync replicas that acks=all needs, bounded by the number of replicas.
    pub min_insync_replicas: i32,
    in_sync_replicas: i32,
    staged: Vec<(Staged, Acks, Completion)>,
    /// Written, and acknowledged once synced.
    unsynced: VecDeque<(Offset, AppendOutcome, Completion)>,
    syncer: Arc<Syncer>,
}
