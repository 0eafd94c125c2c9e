//! What a fetcher replicates, and its fetch session with the leader: the next request, made of what changed.
//!
//! Pure bookkeeping: knows neither connection nor shard.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset};
use ottla_protocol::Str;
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use ottla_replication::{FollowerState, Phase};

use super::super::partition::PartitionHandle;
use super::super::replication_quota::Side;
use super::PartitionKey;

/// A partition that is replicated.
pub struct Followed {
    pub handle: Arc<PartitionHandle>,
    pub state: FollowerState,
    in_session: bool,
    /// Where the leader was last asked to read, in which epoch.
    pub asked: (LeaderEpoch, Offset),
    /// The number of the request that did.
    asked_in: u64,
    /// Its log start as the leader knows it.
    sent_log_start: i64,
}

/// The partitions of one fetcher.
#[derive(Default)]
pub struct FetchSession {
    id: i32,
    /// 0: the next request opens a session.
    epoch: i32,
    /// A request that opens a session is under way.
    opening: bool,
    /// Requests that were made, and answers that were taken, since there is this fetcher.
    requests: u64,
    answers: u64,
    partitions: HashMap<PartitionKey, Followed>,
    /// To be named in the next request, or to be left out of the session.
    changed: Vec<PartitionKey>,
    /// Waiting for their time.
    delayed: Vec<PartitionKey>,
    /// Gone, but known to the leader's session.
    forgotten: Vec<PartitionKey>,
    in_session: usize,
}

/// How much to ask for.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    pub partition_bytes_max: i32,
    /// Throttled partitions that this broker is not in sync with are left out until then.
    pub throttled_until: Option<Millis>,
    pub node_id: NodeId,
}

impl FetchSession {
    pub fn follow(&mut self, handle: Arc<PartitionHandle>, epoch: LeaderEpoch) {
        let key = (handle.topic_id, handle.name.partition);
        let view = handle.view();
        let last_epoch = view.epochs().latest().map_or(LeaderEpoch::NONE, |latest| latest.epoch);
        let state = FollowerState::new(epoch, view.log_end_offset(), last_epoch);
        match self.partitions.get_mut(&key) {
            Some(known) => {
                known.handle = handle;
                known.state = state;
            }
            None => {
                let asked = (LeaderEpoch::NONE, Offset::NONE);
                let followed =
                    Followed { handle, state, in_session: false, asked, asked_in: 0, sent_log_start: -1 };
                self.partitions.insert(key, followed);
            }
        }
        self.changed.push(key);
    }

    pub fn forget(&mut self, key: PartitionKey) {
        if let Some(followed) = self.partitions.remove(&key)
            && followed.in_session
        {
            self.in_session -= 1;
            self.forgotten.push(key);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    pub fn get(&mut self, key: &PartitionKey) -> Option<&mut Followed> {
        self.partitions.get_mut(key)
    }

    /// Whether the last answer is to the question that was last asked about a partition. If another is under way, with
    /// another epoch perhaps, what the answer says of the partition, an error or records, is not about that.
    pub fn is_about(&self, key: &PartitionKey) -> bool {
        self.partitions.get(key).is_some_and(|followed| followed.asked_in <= self.answers)
    }

    /// What is to be said of a partition has changed: its position, its log start, or its phase.
    pub fn touch(&mut self, key: PartitionKey) {
        self.changed.push(key);
    }

    /// As [`Self::touch`], if its log start is another than the leader knows.
    pub fn touch_if_log_start_moved(&mut self, key: PartitionKey) {
        if let Some(known) = self.partitions.get(&key)
            && known.sent_log_start != known.handle.log_start_offset().0
        {
            self.changed.push(key);
        }
    }

    /// What a partition has is synced below `offset`.
    pub fn synced(&mut self, key: PartitionKey, offset: Offset) {
        if let Some(followed) = self.partitions.get_mut(&key) {
            followed.state.synced(offset);
            self.changed.push(key);
        }
    }

    /// Whether the next request names anything.
    pub fn has_news(&self, now: Millis) -> bool {
        !self.changed.is_empty()
            || !self.forgotten.is_empty()
            || self.next_due().is_some_and(|due| due <= now)
    }

    /// When the first of the delayed partitions is due.
    pub fn next_due(&self) -> Option<Millis> {
        self.delayed.iter().filter_map(|key| self.partitions.get(key)).map(|p| p.state.delayed_until()).min()
    }

    /// The session is over: the next request opens another one, with everything.
    pub fn reset(&mut self) {
        self.id = 0;
        self.epoch = 0;
        self.opening = false;
        self.answers = self.requests;
        self.forgotten.clear();
        self.changed.clear();
        self.delayed.clear();
        self.in_session = 0;
        for (key, followed) in &mut self.partitions {
            followed.in_session = false;
            self.changed.push(*key);
        }
    }

    /// The next request; `None` if there is nothing to ask for at present.
    pub fn next_request(&mut self, now: Millis, limits: FetchLimits) -> Option<FetchRequest> {
        let due = |key: &mut PartitionKey| {
            self.partitions.get(key).is_none_or(|followed| followed.state.delayed_until() <= now)
        };
        self.changed.extend(self.delayed.extract_if(.., due));
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for key in changed.drain(..) {
            let Some(followed) = self.partitions.get_mut(&key) else { continue };
            if let Some(until) = limits.throttled_until
                && followed.is_held_back(limits.node_id)
            {
                followed.state.hold(until);
            }
            if followed.state.is_ready(now) {
                if !std::mem::replace(&mut followed.in_session, true) {
                    self.in_session += 1;
                }
                let partition = followed.request(limits, self.requests + 1);
                match topics.last_mut() {
                    Some(last) if last.topic_id == key.0 => last.partitions.push(partition),
                    _ => topics.push(FetchTopic {
                        topic: Str::from(&*followed.handle.name.topic),
                        topic_id: key.0,
                        partitions: vec![partition],
                    }),
                }
                continue;
            }
            if std::mem::replace(&mut followed.in_session, false) {
                self.in_session -= 1;
                self.forgotten.push(key);
            }
            if followed.state.phase() == Phase::Fetching {
                self.delayed.push(key);
            }
        }
        self.changed = changed;
        if self.in_session == 0 {
            let is_syncing = |followed: &Followed| followed.state.phase() == Phase::Syncing;
            // Comes back in a moment.
            if self.partitions.values().any(is_syncing) {
                return None;
            }
            // An empty session ends by itself.
            (self.id, self.epoch) = (0, 0);
            self.forgotten.clear();
            return None;
        }
        let mut request =
            FetchRequest { session_id: self.id, session_epoch: self.epoch, topics, ..Default::default() };
        self.requests += 1;
        self.opening = self.epoch == 0;
        if self.epoch > 0 {
            request.forgotten_topics_data = self.take_forgotten();
            self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
        }
        self.forgotten.clear();
        Some(request)
    }

    fn take_forgotten(&mut self) -> Vec<ForgottenTopic> {
        let mut topics: Vec<ForgottenTopic> = Vec::new();
        for (topic_id, partition) in self.forgotten.drain(..) {
            // One that came back at once is named as such.
            if self.partitions.get(&(topic_id, partition)).is_some_and(|known| known.in_session) {
                continue;
            }
            match topics.last_mut() {
                Some(last) if last.topic_id == topic_id => last.partitions.push(partition),
                _ => topics.push(ForgottenTopic {
                    topic_id,
                    partitions: vec![partition],
                    ..Default::default()
                }),
            }
        }
        topics
    }

    /// Whether a request may follow another that is not answered yet: its session is known.
    pub fn is_open(&self) -> bool {
        self.epoch > 0
    }

    /// Takes the leader's word on the session. Errors: what ends it.
    pub fn answered(&mut self, error_code: i16, session_id: i32) -> Result<(), ErrorCode> {
        self.answers += 1;
        match ErrorCode::from_code(error_code) {
            Some(ErrorCode::None) => {}
            code => {
                self.reset();
                return Err(code.unwrap_or(ErrorCode::UnknownServerError));
            }
        }
        if session_id == 0 {
            // The leader keeps no session: everything is named each time.
            self.reset();
        } else if std::mem::take(&mut self.opening) {
            (self.id, self.epoch) = (session_id, 1);
        }
        Ok(())
    }
}

impl Followed {
    fn is_held_back(&self, node_id: NodeId) -> bool {
        self.handle.is_throttled(Side::Follower) && !self.handle.replicas.load().in_sync.contains(&node_id)
    }

    fn request(&mut self, limits: FetchLimits, number: u64) -> FetchPartition {
        self.asked_in = number;
        self.asked = (self.state.leader_epoch(), self.state.offset());
        self.sent_log_start = self.handle.log_start_offset().0;
        FetchPartition {
            partition: self.handle.name.partition,
            current_leader_epoch: self.state.leader_epoch().0,
            fetch_offset: self.state.offset().0,
            last_fetched_epoch: self.state.last_epoch().0,
            log_start_offset: self.sent_log_start,
            partition_max_bytes: limits.partition_bytes_max,
            ..Default::default()
        }
    }
}
