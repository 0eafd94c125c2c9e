//! A partition's leader: what it knows of its followers, who is in sync, and how far records are committed.
//!
//! Owns the followers' progress, the in-sync set with the change that the controller has been asked for, and the high
//! watermark. Driven by registrations, appends, followers' fetches, the controller's answers and the clock; tells what
//! moved. Must not know who holds the log.

use ottla_model::{BrokerEpoch, ErrorCode, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};

use crate::{LogOffsets, Registration};

/// Settings of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderConfig {
    /// `min.insync.replicas`; the number of replicas bounds it.
    pub min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`
    pub lag_ms_max: i64,
    /// What this replica has counts once it is synced (`acks.durability=fsync`); its followers do the same for
    /// themselves, by asking only for what comes behind synced records.
    pub durable: bool,
}

/// The leader of one partition, in one leader epoch.
#[derive(Clone, Debug)]
pub struct Leader {
    node: NodeId,
    config: LeaderConfig,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    /// As the metadata log has it.
    isr: Vec<NodeId>,
    pending: Option<Pending>,
    /// Where this epoch begins in the log.
    epoch_start: Offset,
    log_start: Offset,
    log_end: Offset,
    synced: Offset,
    high_watermark: Offset,
    followers: Vec<FollowerProgress>,
}

/// What is known of one follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerProgress {
    pub replica: NodeId,
    /// Its incarnation as its last fetch said; -1 if it told none.
    pub broker_epoch: BrokerEpoch,
    /// -1 before its first fetch in this epoch.
    pub log_start: Offset,
    /// -1 before its first fetch in this epoch.
    pub log_end: Offset,
    /// When it last had everything.
    pub last_caught_up: Millis,
    last_fetch: Millis,
    /// The leader's log end at that fetch.
    leader_end_at_last_fetch: Offset,
    /// Whether its broker, as of its last fetch, may be in the in-sync set.
    eligible: bool,
}

/// A change of the in-sync set that the controller has not confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pending {
    /// The replica counts already: the controller may have let it in.
    Expand(NodeId),
    /// Those to be removed count still: the controller may not have agreed.
    Shrink(Vec<NodeId>),
}

/// A follower's fetch, as far as the leader's state is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    pub replica: NodeId,
    pub broker_epoch: BrokerEpoch,
    /// Everything below is in the follower's log.
    pub offset: Offset,
    pub log_start: Offset,
    /// Its broker is neither fenced nor shutting down, and `broker_epoch` is the one it is registered with (or -1).
    pub eligible: bool,
}

/// What to ask the controller for. The leader's own broker epoch is the caller's to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterIsr {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// The wanted set, with the broker epochs that the followers fetched with (-1: unknown).
    pub isr: Vec<(NodeId, BrokerEpoch)>,
}

/// What the controller said to an [`AlterIsr`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterAnswer {
    Accepted { leader_epoch: LeaderEpoch, partition_epoch: PartitionEpoch, isr: Vec<NodeId> },
    Refused(ErrorCode),
}

/// What an event moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Moved {
    /// The new high watermark.
    pub high_watermark: Option<Offset>,
    /// To be sent to the controller, instead of anything asked before.
    pub alter: Option<AlterIsr>,
    /// A follower's log start has moved: deletions of records may be complete.
    pub log_starts: bool,
}

/// A fetch of somebody who is no replica of the partition: UNKNOWN_LEADER_EPOCH if he named one, else
/// NOT_LEADER_OR_FOLLOWER, as his metadata may be newer than ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRefused;

impl Leader {
    /// Leads from now on. `log` is this replica's log, whose end is where the epoch begins.
    pub fn new(
        node: NodeId,
        registration: &Registration,
        log: LogOffsets,
        config: LeaderConfig,
        now: Millis,
    ) -> (Self, Moved) {
        let mut leader = Self {
            node,
            config,
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
            isr: registration.isr.clone(),
            pending: None,
            epoch_start: log.end,
            log_start: log.start,
            log_end: log.end,
            synced: log.synced,
            high_watermark: log.high_watermark,
            followers: Vec::new(),
        };
        leader.set_replicas(&registration.replicas, now);
        let moved = leader.moved(now);
        (leader, moved)
    }

    /// Takes over a newer registration of the same leader epoch. What was asked of the controller is settled by it.
    pub fn update(&mut self, registration: &Registration, now: Millis) -> Moved {
        debug_assert_eq!(registration.leader_epoch, self.leader_epoch, "a new epoch is a new leader");
        if registration.partition_epoch <= self.partition_epoch {
            return Moved::default();
        }
        self.partition_epoch = registration.partition_epoch;
        self.commit_isr(&registration.isr);
        self.set_replicas(&registration.replicas, now);
        self.moved(now)
    }

    /// A changed `min.insync.replicas`; shows with the next move.
    pub fn set_config(&mut self, config: LeaderConfig) {
        self.config = config;
    }

    fn set_replicas(&mut self, replicas: &[NodeId], now: Millis) {
        self.followers.retain(|follower| replicas.contains(&follower.replica));
        for &replica in replicas {
            if replica != self.node && self.follower(replica).is_none() {
                let in_sync = self.isr.contains(&replica);
                self.followers.push(FollowerProgress {
                    replica,
                    broker_epoch: BrokerEpoch::NONE,
                    log_start: Offset::NONE,
                    log_end: Offset::NONE,
                    // Who was in sync has its full time to come and fetch.
                    last_caught_up: if in_sync { now } else { Millis(0) },
                    last_fetch: Millis(0),
                    leader_end_at_last_fetch: Offset::NONE,
                    eligible: in_sync,
                });
            }
        }
    }

    fn commit_isr(&mut self, isr: &[NodeId]) {
        for follower in &mut self.followers {
            // The controller removes brokers that it fences; until one fetches again nobody waits for it.
            follower.eligible &= isr.contains(&follower.replica) || !self.isr.contains(&follower.replica);
        }
        self.isr = isr.to_vec();
        self.pending = None;
    }

    /// The log has grown to `log_end`.
    pub fn appended(&mut self, log_end: Offset, now: Millis) -> Option<Offset> {
        for follower in &mut self.followers {
            // It had everything until now. Followers that idle are not heard of one by one.
            if follower.log_end == self.log_end && follower.last_fetch > Millis(0) {
                follower.last_caught_up = now;
                follower.leader_end_at_last_fetch = self.log_end;
            }
        }
        self.log_end = log_end;
        self.advance(now)
    }

    /// Everything below `synced` is on the disk.
    pub fn synced(&mut self, synced: Offset, now: Millis) -> Moved {
        self.synced = synced;
        self.moved(now)
    }

    /// The log now begins at `log_start`.
    pub fn log_started(&mut self, log_start: Offset) {
        self.log_start = log_start;
        self.high_watermark = self.high_watermark.max(log_start);
    }

    /// A follower asks for what comes at `fetch.offset`, so it has everything before.
    pub fn fetched(&mut self, fetch: FollowerFetch, now: Millis) -> Result<Moved, ReadRefused> {
        let log_end = self.log_end;
        let follower = self
            .followers
            .iter_mut()
            .find(|follower| follower.replica == fetch.replica)
            .ok_or(ReadRefused)?;
        if fetch.offset >= log_end {
            follower.last_caught_up = follower.last_caught_up.max(now);
        } else if fetch.offset >= follower.leader_end_at_last_fetch {
            follower.last_caught_up = follower.last_caught_up.max(follower.last_fetch);
        }
        let log_starts = follower.log_start != fetch.log_start;
        let advanced = follower.log_end != fetch.offset;
        follower.log_start = fetch.log_start;
        follower.log_end = fetch.offset;
        follower.broker_epoch = fetch.broker_epoch;
        follower.eligible = fetch.eligible;
        follower.last_fetch = now;
        follower.leader_end_at_last_fetch = log_end;
        let mut moved = Moved { alter: self.expand(fetch.replica), log_starts, ..Moved::default() };
        if advanced {
            moved.high_watermark = self.advance(now);
        }
        Ok(moved)
    }

    /// Asks for a follower to be let in if it has what an in-sync replica must have.
    fn expand(&mut self, replica: NodeId) -> Option<AlterIsr> {
        if self.pending.is_some() || self.isr.contains(&replica) {
            return None;
        }
        let follower = self.follower(replica)?;
        let has_enough = follower.log_end >= self.high_watermark.max(self.epoch_start) && follower.eligible;
        if !has_enough {
            return None;
        }
        self.pending = Some(Pending::Expand(replica));
        self.wanted()
    }

    /// Asks for followers to be removed that have lagged for too long. To be called every half of
    /// `replica.lag.time.max.ms`.
    pub fn shrink(&mut self, now: Millis) -> Option<AlterIsr> {
        if self.pending.is_some() {
            return None;
        }
        let lags = |follower: &&FollowerProgress| {
            self.isr.contains(&follower.replica) && !self.is_caught_up(follower, now)
        };
        let lagging: Vec<NodeId> =
            self.followers.iter().filter(lags).map(|follower| follower.replica).collect();
        if lagging.is_empty() {
            return None;
        }
        self.pending = Some(Pending::Shrink(lagging));
        self.wanted()
    }

    /// The controller has answered the last [`AlterIsr`] of `leader_epoch`.
    pub fn answered(&mut self, asked: &AlterIsr, answer: AlterAnswer, now: Millis) -> Moved {
        if self.pending.is_none()
            || asked.leader_epoch != self.leader_epoch
            || asked.partition_epoch != self.partition_epoch
        {
            // Settled by the metadata log meanwhile.
            return Moved::default();
        }
        match answer {
            AlterAnswer::Accepted { leader_epoch, partition_epoch, isr }
                if leader_epoch == self.leader_epoch && partition_epoch >= self.partition_epoch =>
            {
                self.partition_epoch = partition_epoch;
                self.commit_isr(&isr);
                self.moved(now)
            }
            AlterAnswer::Accepted { .. } => Moved::default(),
            AlterAnswer::Refused(ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted) => {
                self.pending = None;
                // Not asked again before it fetches again.
                Moved { high_watermark: self.advance(now), ..Moved::default() }
            }
            AlterAnswer::Refused(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected,
            ) => Moved::default(),
            AlterAnswer::Refused(_) => Moved { alter: self.wanted(), ..Moved::default() },
        }
    }

    /// The request for what is pending.
    fn wanted(&self) -> Option<AlterIsr> {
        let wanted: Vec<NodeId> = match self.pending.as_ref()? {
            Pending::Expand(replica) => self.isr.iter().copied().chain([*replica]).collect(),
            Pending::Shrink(gone) => self.isr.iter().copied().filter(|id| !gone.contains(id)).collect(),
        };
        let epoch_of = |id| self.follower(id).map_or(BrokerEpoch::NONE, |follower| follower.broker_epoch);
        Some(AlterIsr {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr: wanted.into_iter().map(|id| (id, epoch_of(id))).collect(),
        })
    }

    fn moved(&mut self, now: Millis) -> Moved {
        Moved { high_watermark: self.advance(now), ..Moved::default() }
    }

    /// Moves the high watermark to what every replica has that is in sync, may be by now, or is about to be.
    fn advance(&mut self, now: Millis) -> Option<Offset> {
        // Records beyond it are not safe yet, whoever has them (KIP-966).
        if !self.has_enough_replicas() {
            return None;
        }
        let must_have = |follower: &&FollowerProgress| {
            follower.log_end < self.log_end
                && (self.isr.contains(&follower.replica)
                    || self.pending == Some(Pending::Expand(follower.replica))
                    || follower.eligible && self.is_caught_up(follower, now))
        };
        let own_end = if self.config.durable { self.synced.min(self.log_end) } else { self.log_end };
        let ends = self.followers.iter().filter(must_have).map(|follower| follower.log_end);
        let committed = ends.fold(own_end, Offset::min);
        if committed <= self.high_watermark {
            return None;
        }
        self.high_watermark = committed;
        Some(committed)
    }

    fn is_caught_up(&self, follower: &FollowerProgress, now: Millis) -> bool {
        follower.log_end == self.log_end || now - follower.last_caught_up <= self.config.lag_ms_max
    }

    /// Whether an append with acks=all may be taken, and be acknowledged: NOT_ENOUGH_REPLICAS before it,
    /// NOT_ENOUGH_REPLICAS_AFTER_APPEND when it would be acknowledged.
    pub fn has_enough_replicas(&self) -> bool {
        self.isr.len() >= self.config.min_insync_replicas.min(self.followers.len() + 1)
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// Where this epoch begins in the log.
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The committed in-sync set.
    pub fn isr(&self) -> &[NodeId] {
        &self.isr
    }

    pub fn has_followers(&self) -> bool {
        !self.followers.is_empty()
    }

    pub fn is_change_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub fn followers(&self) -> &[FollowerProgress] {
        &self.followers
    }

    pub fn follower(&self, replica: NodeId) -> Option<&FollowerProgress> {
        self.followers.iter().find(|follower| follower.replica == replica)
    }

    /// The lowest log start of all replicas whose broker `is_alive`: below it no record is left anywhere.
    pub fn low_watermark(&self, is_alive: impl Fn(NodeId) -> bool) -> Offset {
        let alive = self.followers.iter().filter(|follower| is_alive(follower.replica));
        alive.map(|follower| follower.log_start).fold(self.log_start, Offset::min)
    }
}
