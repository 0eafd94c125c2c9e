//! A partition of this broker: its writer inside the shard, and the handle that everybody else uses.
//!
//! Owns the log, the role in which the metadata has put this replica, and the acknowledgements that wait. What the
//! rules of replication are `ottla-replication` says; this does what follows from them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use ottla_commit_log::{AppendError, AppendOrigin, Log, LogView, Staged, StorageError};
use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset, TopicPartition, Uuid};
use ottla_record::Batch;
use ottla_record::validate::ProduceRules;
use ottla_replication::{
    AlterAnswer, AlterIsr, EpochEnd, FollowerFetch, FollowerProgress, Leader, LeaderConfig, LogOffsets,
    Moved, Purgatory, Registration, truncation_offset,
};
use parking_lot::Mutex;
use tracing::{info, warn};

use super::isr_changes::IsrChanges;
use super::replication_quota::Side;
use super::shard::{Shard, Slot};
use super::syncer::Syncer;
use super::topic_settings::TopicSettings;
use super::waiters::{Followers, HighWatermarkNews, Waiters};
use crate::api::produce::AppendOutcome;

pub use super::append::{Acks, Completion, Durability, StagedAppend};

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
    /// The followers that replicate from here, with their fetch sessions.
    pub followers: Followers,
    /// Where consumers may read instead; kept only if they are sent to followers at all.
    pub readable: Mutex<Vec<FollowerProgress>>,
    /// Everybody who has a copy, and who of them is in sync, as the leader or the metadata log has it.
    pub replicas: ArcSwap<ReplicaSets>,
    /// What is not synced does not count (`acks.durability=fsync`).
    durable: AtomicBool,
    /// Whether copying from here, and to here, is held back while the copy is not in sync.
    throttled: [AtomicBool; 2],
    standing: AtomicI64,
    /// Where the epoch begins that this broker leads in.
    epoch_start: AtomicI64,
    view: LogView,
}

/// The replicas of a partition.
#[derive(Clone, Debug, Default)]
pub struct ReplicaSets {
    pub all: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
}

/// In which role, and in which leader epoch, a broker holds a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// -1: nobody is known to lead.
    pub epoch: LeaderEpoch,
    pub leads: bool,
}

/// Who may answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    ByLeader,
    ByAnyReplica,
}

impl Standing {
    const NONE: Self = Self { epoch: LeaderEpoch::NONE, leads: false };

    fn pack(self) -> i64 {
        i64::from(self.epoch.0) << 1 | i64::from(self.leads)
    }

    fn unpack(packed: i64) -> Self {
        Self { epoch: LeaderEpoch((packed >> 1) as i32), leads: packed & 1 == 1 }
    }
}

impl PartitionHandle {
    pub fn view(&self) -> &LogView {
        &self.view
    }

    /// Whether what is not synced does not count (`acks.durability=fsync`).
    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Relaxed)
    }

    /// Whether copies on this side are held back while they are not in sync.
    pub fn is_throttled(&self, side: Side) -> bool {
        self.throttled[side as usize].load(Ordering::Relaxed)
    }

    pub fn log_start_offset(&self) -> Offset {
        self.view.log_start_offset()
    }

    pub fn standing(&self) -> Standing {
        Standing::unpack(self.standing.load(Ordering::Acquire))
    }

    /// -1 while this broker does not lead the partition.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        let standing = self.standing();
        if standing.leads { standing.epoch } else { LeaderEpoch::NONE }
    }

    /// Where the epoch begins in which this broker leads.
    pub fn epoch_start(&self) -> Offset {
        Offset(self.epoch_start.load(Ordering::Acquire))
    }

    /// Whether a client that knows `epoch` (-1: knows none) may be served by this leader.
    ///
    /// Errors: FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER.
    pub fn check_leader_epoch(&self, epoch: LeaderEpoch) -> Result<LeaderEpoch, ErrorCode> {
        self.check_epoch(epoch, Served::ByLeader)
    }

    /// Whether a client that knows `epoch` (-1: knows none) may be served by this replica.
    ///
    /// Errors: FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR.
    pub fn check_epoch(&self, epoch: LeaderEpoch, served: Served) -> Result<LeaderEpoch, ErrorCode> {
        if self.view.is_offline() {
            return Err(ErrorCode::KafkaStorageError);
        }
        let standing = self.standing();
        let known = standing.epoch;
        if epoch.is_some() && epoch < known {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if epoch.is_some() && epoch > known {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
        if !known.is_some() || served == Served::ByLeader && !standing.leads {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(known)
    }

    fn set_standing(&self, standing: Standing) {
        self.standing.store(standing.pack(), Ordering::Release);
        self.waiters.wake();
        self.followers.wake();
    }
}

/// What partitions need of their broker.
pub struct ReplicaContext {
    pub node_id: NodeId,
    /// `replica.lag.time.max.ms`
    pub lag_ms_max: i64,
    /// Whether followers are told at once how far records are committed: consumers read from them.
    pub high_watermark_news: HighWatermarkNews,
    pub isr_changes: Arc<IsrChanges>,
}

/// An append that is in the log and waits to be acknowledged.
struct Written {
    last_offset: Offset,
    acks: Acks,
    deadline: Millis,
    outcome: AppendOutcome,
    completion: Completion,
}

/// What a replica does.
enum Role {
    Leads(Leader),
    Follows,
}

/// A partition as its shard owns it.
pub struct Partition {
    pub handle: Arc<PartitionHandle>,
    pub log: Log,
    pub durability: Durability,
    role: Role,
    min_insync_replicas: usize,
    staged: Vec<(Staged, Acks, Millis, Completion)>,
    /// Written, and acknowledged once everything below the offset is synced.
    unsynced: VecDeque<Written>,
    /// A fetcher that waits until everything below the offset is synced.
    sync_awaited: Option<(Offset, SyncTold)>,
    /// Written here, and acknowledged once every in-sync replica has it.
    replicating: Purgatory<Written>,
    /// When a task looks for expired acknowledgements; in the past if none does.
    expiry: Millis,
    syncer: Arc<Syncer>,
    context: Arc<ReplicaContext>,
}

/// How far a follower's log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerLog {
    pub end: Offset,
    /// The epoch of its last record; -1 if none is known.
    pub last_epoch: LeaderEpoch,
    /// The leader may hear of all of it.
    pub counts: bool,
}

/// Told up to where a log is synced. Called inside the shard; must not block.
pub type SyncTold = Box<dyn FnOnce(Offset) + Send>;

/// What a leader's answer brings for a follower.
pub struct Replicated {
    /// In which the fetch was made.
    pub epoch: LeaderEpoch,
    /// Their checksums are verified.
    pub batches: Vec<Batch>,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

impl Partition {
    pub fn new(
        log: Log,
        topic_id: Uuid,
        is_internal: bool,
        rules: ProduceRules,
        (shard, slot): (Arc<Shard>, Slot),
        (dir_id, syncer): (Uuid, Arc<Syncer>),
        context: Arc<ReplicaContext>,
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
            followers: Followers::default(),
            readable: Mutex::default(),
            replicas: ArcSwap::default(),
            durable: AtomicBool::default(),
            throttled: Default::default(),
            standing: AtomicI64::new(Standing::NONE.pack()),
            epoch_start: AtomicI64::new(Offset::NONE.0),
            view: log.view(),
        });
        Self {
            handle,
            log,
            durability: Durability::PageCache,
            role: Role::Follows,
            min_insync_replicas: 1,
            staged: Vec::new(),
            unsynced: VecDeque::new(),
            sync_awaited: None,
            replicating: Purgatory::default(),
            expiry: Millis::NONE,
            syncer,
            context,
        }
    }

    /// Takes over the topic's settings.
    pub fn set_settings(&mut self, settings: TopicSettings) {
        self.log.set_config(settings.log);
        self.handle.rules.store(Arc::new(settings.rules));
        self.set_durability(settings.durability);
        self.min_insync_replicas = settings.min_insync_replicas;
        let (partition, node_id) = (self.handle.name.partition, self.context.node_id);
        for (side, replicas) in
            [(Side::Leader, settings.throttled_leaders), (Side::Follower, settings.throttled_followers)]
        {
            self.handle.throttled[side as usize]
                .store(replicas.contains(partition, node_id), Ordering::Relaxed);
        }
        let config = self.leader_config();
        if let Role::Leads(leader) = &mut self.role {
            leader.set_config(config);
        }
    }

    fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
        self.handle.durable.store(durability == Durability::Fsync, Ordering::Relaxed);
        self.sync_what_counts();
    }

    /// Nobody need wait for it: the high watermark does.
    fn sync_what_counts(&self) {
        if self.durability == Durability::Fsync && self.log.synced_offset() < self.log.log_end_offset() {
            self.syncer.request(&self.handle);
        }
    }

    fn leader_config(&self) -> LeaderConfig {
        LeaderConfig {
            min_insync_replicas: self.min_insync_replicas,
            lag_ms_max: self.context.lag_ms_max,
            durable: self.durability == Durability::Fsync,
        }
    }

    /// Leads, follows or waits for a leader, as the metadata log says.
    pub fn apply(&mut self, registration: &Registration, now: Millis) {
        let moved = match &mut self.role {
            Role::Leads(leader) if leader.leader_epoch() == registration.leader_epoch => {
                leader.update(registration, now)
            }
            _ if registration.leader == self.context.node_id && !self.log.is_offline() => {
                self.become_leader(registration, now)
            }
            _ => {
                self.follow(registration);
                Moved::default()
            }
        };
        // A leader may have heard from the controller what a later image will say.
        let in_sync = match &self.role {
            Role::Leads(leader) => leader.isr().to_vec(),
            Role::Follows => registration.isr.clone(),
        };
        self.publish_replicas(&registration.replicas, &in_sync);
        self.follow_up(moved);
    }

    /// Shows who has a copy; each follower's next fetch looks at the partition again, as he may be in sync no more.
    fn publish_replicas(&self, all: &[NodeId], in_sync: &[NodeId]) {
        let sets = ReplicaSets { all: all.to_vec(), in_sync: in_sync.to_vec() };
        self.handle.replicas.store(Arc::new(sets));
        self.handle.followers.tell(HighWatermarkNews::WithNextFetch);
    }

    fn become_leader(&mut self, registration: &Registration, now: Millis) -> Moved {
        // Whoever waits since an earlier epoch of this leader waits on: his records stay in its log.
        let epoch = registration.leader_epoch;
        self.log.become_leader(epoch);
        let log = LogOffsets {
            start: self.log.log_start_offset(),
            high_watermark: self.log.high_watermark(),
            end: self.log.log_end_offset(),
            synced: self.log.synced_offset(),
        };
        let (leader, moved) = Leader::new(self.context.node_id, registration, log, self.leader_config(), now);
        self.handle.epoch_start.store(log.end.0, Ordering::Release);
        self.role = Role::Leads(leader);
        self.handle.set_standing(Standing { epoch, leads: true });
        self.sync_what_counts();
        moved
    }

    fn follow(&mut self, registration: &Registration) {
        self.refuse_waiting(ErrorCode::NotLeaderOrFollower);
        self.role = Role::Follows;
        self.handle.set_standing(Standing { epoch: registration.leader_epoch, leads: false });
    }

    /// Serves no more: waiting acknowledgements and fetches are told.
    pub fn resign(&mut self) {
        self.role = Role::Follows;
        self.refuse_waiting(ErrorCode::NotLeaderOrFollower);
        self.handle.set_standing(Standing::NONE);
    }

    /// The log directory has failed: nothing here can be served any more.
    pub fn lose_storage(&mut self) {
        self.log.retire();
        self.role = Role::Follows;
        self.refuse_waiting(ErrorCode::KafkaStorageError);
        self.handle.set_standing(Standing { leads: false, ..self.handle.standing() });
    }

    fn refuse_waiting(&mut self, error: ErrorCode) {
        let unsynced = self.unsynced.drain(..);
        for written in unsynced.chain(self.replicating.take_all()) {
            written.completion.complete(AppendOutcome::failed(error));
        }
    }

    /// Accepts a batch; [`Partition::write_staged`] must follow. Whether it is the first since the last write.
    pub fn stage(&mut self, append: StagedAppend, now: Millis) -> bool {
        let StagedAppend { batch, acks, deadline, completion } = append;
        let leader = match &self.role {
            Role::Leads(leader) if completion.is_for(leader.leader_epoch()) => leader,
            _ => {
                let error = match self.log.is_offline() {
                    true => ErrorCode::KafkaStorageError,
                    false => ErrorCode::NotLeaderOrFollower,
                };
                completion.complete(AppendOutcome::failed(error));
                return false;
            }
        };
        if acks == Acks::All && !leader.has_enough_replicas() {
            completion.complete(AppendOutcome::failed(ErrorCode::NotEnoughReplicas));
            return false;
        }
        let origin = match &completion {
            Completion::Produce { .. } => AppendOrigin::Client { verification: None },
            Completion::Coordinator { .. } => AppendOrigin::Coordinator { verification: None },
        };
        match self.log.stage(batch, leader.leader_epoch(), origin, now) {
            Ok(staged) => {
                self.staged.push((staged, acks, deadline, completion));
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

    /// Writes what was staged, shows it to readers and acknowledges it, or leaves that to the syncer or the followers.
    pub fn write_staged(&mut self, now: Millis) {
        let written = self.log.write_staged();
        if written.is_ok() {
            let log_end = self.log.log_end_offset();
            if let Role::Leads(leader) = &mut self.role {
                let high_watermark = leader.appended(log_end, now);
                self.handle.followers.wake();
                self.follow_up(Moved { high_watermark, ..Moved::default() });
            }
        }
        // `flush.messages` is a promise about what was acknowledged: 1 syncs every append.
        let unsynced = self.log.log_end_offset() - self.log.synced_offset();
        let flush = unsynced >= self.log.config().flush_messages;
        let log_start_offset = self.log.log_start_offset();
        let mut staged = std::mem::take(&mut self.staged);
        for (staged, acks, deadline, completion) in staged.drain(..) {
            let outcome = match &written {
                Ok(_) => AppendOutcome {
                    base_offset: staged.base_offset,
                    log_append_time: staged.log_append_time,
                    log_start_offset,
                    ..AppendOutcome::failed(ErrorCode::None)
                },
                Err(error) => AppendOutcome::failed(error.error_code()),
            };
            let last_offset = staged.last_offset;
            let append = Written { last_offset, acks, deadline, outcome, completion };
            let waits = (self.durability == Durability::Fsync || flush)
                && acks != Acks::None
                && written.is_ok()
                && last_offset >= self.log.synced_offset();
            if waits {
                self.unsynced.push_back(append);
            } else if written.is_ok() {
                self.acknowledge(append);
            } else {
                append.completion.complete(append.outcome);
            }
        }
        self.staged = staged;
        if !self.unsynced.is_empty() || flush && written.is_ok() {
            self.syncer.request(&self.handle);
        }
        self.sync_what_counts();
    }

    /// Acknowledges what is in the log, as soon as enough replicas have it.
    fn acknowledge(&mut self, written: Written) {
        if written.acks == Acks::All {
            if written.last_offset >= self.log.high_watermark() {
                self.wait_for_replicas(written);
                return;
            }
            // For a coordinator what is committed has happened, however few the replicas are by now.
            if let (Role::Leads(leader), Completion::Produce { .. }) = (&self.role, &written.completion)
                && !leader.has_enough_replicas()
            {
                let error = ErrorCode::NotEnoughReplicasAfterAppend;
                written.completion.complete(AppendOutcome::failed(error));
                return;
            }
        }
        written.completion.complete(written.outcome);
    }

    fn wait_for_replicas(&mut self, written: Written) {
        let deadline = written.deadline;
        self.replicating.push(written.last_offset, deadline, written);
        if deadline < Millis::MAX && (self.expiry == Millis::NONE || deadline < self.expiry) {
            self.expiry = deadline;
            self.handle.shard.expire_later(&self.handle, deadline);
        }
    }

    /// Refuses acknowledgements whose time is over, and has the rest looked at when the next one's is.
    pub fn expire(&mut self, now: Millis) {
        if self.expiry > now || self.expiry == Millis::NONE {
            return;
        }
        for written in self.replicating.take_expired(now) {
            written.completion.complete(AppendOutcome::failed(ErrorCode::RequestTimedOut));
        }
        self.expiry = Millis::NONE;
        if let Some(deadline) = self.replicating.next_deadline().filter(|deadline| *deadline < Millis::MAX) {
            self.expiry = deadline;
            self.handle.shard.expire_later(&self.handle, deadline);
        }
    }

    /// Has a fetcher told when everything that is written by now is synced.
    pub fn tell_when_synced(&mut self, told: SyncTold) {
        self.sync_awaited = Some((self.log.log_end_offset(), told));
        self.syncer.request(&self.handle);
    }

    /// Acknowledges what a finished sync covers, or refuses everything if it failed: such data may be gone.
    pub fn synced(&mut self, result: Result<(), StorageError>, now: Millis) {
        // An offline log syncs no more: whoever waits is refused, or would wait for ever.
        let failed = match result {
            Err(error) => Some(error.error_code()),
            Ok(()) if self.log.is_offline() => Some(ErrorCode::KafkaStorageError),
            Ok(()) => None,
        };
        let synced = self.log.synced_offset();
        if failed.is_none() {
            if let Role::Leads(leader) = &mut self.role {
                let moved = leader.synced(synced, now);
                self.follow_up(moved);
            }
            if let Some((_, told)) = self.sync_awaited.take_if(|(end, _)| *end <= synced) {
                told(synced);
            }
        }
        while let Some(first) = self.unsynced.front() {
            if failed.is_none() && first.last_offset >= synced {
                break;
            }
            let Some(written) = self.unsynced.pop_front() else { break };
            match failed {
                None => self.acknowledge(written),
                Some(error) => written.completion.complete(AppendOutcome::failed(error)),
            }
        }
        if failed.is_none() && (!self.unsynced.is_empty() || self.sync_awaited.is_some()) {
            self.syncer.request(&self.handle);
        }
        if failed.is_none() {
            self.sync_what_counts();
        }
    }

    /// Does what follows from a change of the leader's state.
    fn follow_up(&mut self, moved: Moved) {
        if let Some(alter) = moved.alter {
            self.context.isr_changes.submit(&self.handle, alter);
        }
        if let Some(high_watermark) = moved.high_watermark {
            self.log.set_high_watermark(high_watermark);
            self.handle.waiters.wake();
            self.handle.followers.tell(self.context.high_watermark_news);
            while let Some(written) = self.replicating.pop_reached(high_watermark) {
                self.acknowledge(written);
            }
        } else if moved.log_starts {
            self.handle.waiters.wake();
        }
    }

    /// A follower has everything before the offset that it asks for.
    pub fn fetched(&mut self, fetch: FollowerFetch, now: Millis) {
        if let Role::Leads(leader) = &mut self.role
            && let Ok(moved) = leader.fetched(fetch, now)
        {
            if self.context.high_watermark_news == HighWatermarkNews::AtOnce {
                *self.handle.readable.lock() = leader.followers().to_vec();
            }
            self.follow_up(moved);
        }
    }

    /// Looks for followers that lag behind for too long.
    pub fn check_followers(&mut self, now: Millis) {
        if let Role::Leads(leader) = &mut self.role
            && let Some(alter) = leader.shrink(now)
        {
            let wanted: Vec<i32> = alter.isr.iter().map(|(id, _)| id.0).collect();
            info!(partition = %self.handle.name, isr = ?leader.isr(), ?wanted, "followers lag behind");
            self.context.isr_changes.submit(&self.handle, alter);
        }
    }

    /// The controller has answered what was `asked`.
    pub fn isr_change_answered(&mut self, asked: &AlterIsr, answer: AlterAnswer, now: Millis) {
        let Role::Leads(leader) = &mut self.role else { return };
        let moved = leader.answered(asked, answer, now);
        let isr = leader.isr().to_vec();
        self.publish_replicas(&self.handle.replicas.load().all, &isr);
        self.follow_up(moved);
    }

    /// Deletes everything below `offset`; the followers are told. Errors as the log's.
    pub fn delete_records(&mut self, offset: Offset) -> Result<(), ErrorCode> {
        self.log.delete_records(offset).map_err(|error| error.error_code())?;
        if let Role::Leads(leader) = &mut self.role {
            leader.log_started(self.log.log_start_offset());
        }
        self.handle.followers.wake();
        Ok(())
    }

    /// The lowest log start of all replicas whose broker `is_alive`. Errors: NOT_LEADER_OR_FOLLOWER.
    pub fn low_watermark(&self, is_alive: impl Fn(NodeId) -> bool) -> Result<Offset, ErrorCode> {
        match &self.role {
            Role::Leads(leader) => Ok(leader.low_watermark(is_alive)),
            Role::Follows => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// Whether a fetcher that works in `epoch` may write. Errors: FENCED_LEADER_EPOCH.
    fn check_follows(&self, epoch: LeaderEpoch) -> Result<(), FollowError> {
        match &self.role {
            Role::Follows if self.handle.standing().epoch == epoch => Ok(()),
            _ => Err(FollowError::Fenced),
        }
    }

    fn follower_log(&self) -> FollowerLog {
        let (end, synced) = (self.log.log_end_offset(), self.log.synced_offset());
        let must_be_synced =
            self.durability == Durability::Fsync || end - synced >= self.log.config().flush_messages;
        FollowerLog {
            end,
            counts: end <= synced || !must_be_synced,
            last_epoch: self.log.latest_epoch().map_or(LeaderEpoch::NONE, |latest| latest.epoch),
        }
    }

    /// Writes what the leader sent, as it is, and takes over how far it is committed and where it begins.
    pub fn replicate(&mut self, replicated: Replicated, now: Millis) -> Result<FollowerLog, FollowError> {
        self.check_follows(replicated.epoch)?;
        if !replicated.batches.is_empty() {
            self.log.append_as_follower(replicated.batches, now)?;
        }
        let high_watermark = replicated.high_watermark.min(self.log.log_end_offset());
        if high_watermark > self.log.high_watermark() {
            self.log.set_high_watermark(high_watermark);
            self.handle.waiters.wake();
        }
        self.log.increment_log_start(replicated.log_start);
        Ok(self.follower_log())
    }

    /// How far the log goes.
    pub fn look(&self, epoch: LeaderEpoch) -> Result<FollowerLog, FollowError> {
        self.check_follows(epoch)?;
        Ok(self.follower_log())
    }

    /// Gives up what the leader does not have.
    pub fn correct(
        &mut self,
        epoch: LeaderEpoch,
        correction: Correction,
        now: Millis,
    ) -> Result<FollowerLog, FollowError> {
        self.check_follows(epoch)?;
        match correction {
            Correction::Diverged(leader) => {
                let local = self.log.view().end_offset_for_epoch(leader.epoch);
                let local = local.map(|(epoch, end)| EpochEnd { epoch, end });
                self.cut(truncation_offset(leader, local, self.log.log_end_offset()), now)?;
            }
            Correction::EndsAt(offset) => self.cut(offset, now)?,
            Correction::BeginsAt(offset) => {
                let partition = &self.handle.name;
                info!(%partition, %offset, "the leader's log begins behind the end of this one: starting anew");
                self.log.truncate_fully_and_start_at(offset, now)?;
            }
        }
        Ok(self.follower_log())
    }

    fn cut(&mut self, offset: Offset, now: Millis) -> Result<(), StorageError> {
        let (log_end, high_watermark) = (self.log.log_end_offset(), self.log.high_watermark());
        if offset < high_watermark {
            warn!(partition = %self.handle.name, %offset, %high_watermark, "cutting the log below its high watermark");
        } else if offset < log_end {
            info!(partition = %self.handle.name, %offset, %log_end, "cutting what the leader does not have");
        }
        self.log.truncate_to(offset, now)
    }
}

/// Where a follower's log differs from its leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// The leader has this end of the last epoch that the follower knows, or of the one before.
    Diverged(EpochEnd),
    /// The leader's log ends there, before the follower's.
    EndsAt(Offset),
    /// The leader's log begins there, behind the follower's end.
    BeginsAt(Offset),
}

/// Why a follower did not take what its fetcher brought.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("the partition has another leader epoch by now")]
    Fenced,
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

#[cfg(test)]
mod tests;
