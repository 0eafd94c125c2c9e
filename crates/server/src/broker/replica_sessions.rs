//! Fetch sessions of followers, on their leader.
//!
//! Owns what each session fetches and what it was told. A partition that changes puts itself on its sessions' lists
//! ([`super::waiters`]), so a fetch looks at what changed and at what it names, however many partitions the session
//! has. Knows nothing of logs; what a partition has is read by `api/replica_fetch`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ottla_model::{ErrorCode, Millis, NodeId};
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchableTopicResponse, PartitionData};
use parking_lot::{Mutex, MutexGuard};

use super::fetch_session::{TopicKey, by_topic, targets_of};
use super::partition::PartitionHandle;
use super::waiters::{ReadyList, Subscription};

/// A session of a follower that has gone is forgotten after this.
const IDLE_MAX_MS: i64 = 120_000;

/// The sessions of this broker's followers: one for each of their fetchers.
pub struct ReplicaSessions {
    sessions: Mutex<HashMap<i32, Arc<ReplicaSession>>>,
    next_id: AtomicU64,
}

/// One follower's session.
pub struct ReplicaSession {
    pub replica: NodeId,
    pub ready: Arc<ReadyList>,
    state: Mutex<SessionState>,
}

/// What a session fetches.
pub struct SessionState {
    next_epoch: i32,
    last_used: Millis,
    by_topic_id: bool,
    partitions: Vec<Option<SessionPartition>>,
    places: HashMap<(TopicKey, i32), u32, RandomState>,
    /// Where reading begins, so that none starves.
    first: u32,
    /// What the last answer brought.
    pub last_bytes: u64,
}

/// One partition of a session.
pub struct SessionPartition {
    pub topic: TopicKey,
    pub request: FetchPartition,
    told: (i64, i64),
    subscription: Option<(Arc<PartitionHandle>, Arc<Subscription>)>,
}

/// One fetch of a session.
pub struct ReplicaFetch {
    pub session: Arc<ReplicaSession>,
    /// To be answered; 0: the session ends with the answer.
    session_id: i32,
    /// Everything is told, not only changes.
    full: bool,
    /// The partitions that the request named.
    pub named: Vec<u32>,
}

impl ReplicaSessions {
    /// Sessions whose ids start at a place given by `seed`, so that those of an earlier run are not honoured.
    pub fn new(seed: u64) -> Self {
        Self { sessions: Mutex::default(), next_id: AtomicU64::new(seed) }
    }

    /// Takes a follower's request up.
    ///
    /// Errors: FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR.
    pub fn begin(
        &self,
        replica: NodeId,
        request: FetchRequest,
        by_topic_id: bool,
        now: Millis,
    ) -> Result<ReplicaFetch, ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if matches!(epoch, -1 | 0) {
            let mut sessions = self.sessions.lock();
            sessions.remove(&id);
            sessions.retain(|_, session| now - session.state.lock().last_used <= IDLE_MAX_MS);
            let session = Arc::new(ReplicaSession::new(replica, by_topic_id, now));
            let mut session_id = 0;
            if epoch == 0 && !request.topics.is_empty() {
                session_id = self.next_id(&sessions);
                sessions.insert(session_id, Arc::clone(&session));
            }
            drop(sessions);
            let named = session.state.lock().change(request);
            return Ok(ReplicaFetch { session, session_id, full: true, named });
        }
        let found = self.sessions.lock().get(&id).filter(|session| session.replica == replica).cloned();
        let session = found.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut state = session.state.lock();
        if epoch != state.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if by_topic_id != state.by_topic_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        state.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        state.last_used = now;
        let named = state.change(request);
        drop(state);
        Ok(ReplicaFetch { session, session_id: id, full: false, named })
    }

    fn next_id(&self, sessions: &HashMap<i32, Arc<ReplicaSession>>) -> i32 {
        loop {
            let id = (self.next_id.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff) as i32;
            if id != 0 && !sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

impl ReplicaSession {
    fn new(replica: NodeId, by_topic_id: bool, now: Millis) -> Self {
        let state = SessionState {
            next_epoch: 1,
            last_used: now,
            by_topic_id,
            partitions: Vec::new(),
            places: HashMap::default(),
            first: 0,
            last_bytes: 0,
        };
        Self { replica, ready: Arc::default(), state: Mutex::new(state) }
    }

    pub fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock()
    }
}

impl Drop for ReplicaSession {
    fn drop(&mut self) {
        self.state.get_mut().partitions.iter_mut().flatten().for_each(SessionPartition::unsubscribe);
    }
}

impl SessionState {
    /// Takes over what a request adds, changes and takes away; the places of what it names.
    fn change(&mut self, request: FetchRequest) -> Vec<u32> {
        for topic in &request.forgotten_topics_data {
            let key = TopicKey { id: topic.topic_id, name: topic.topic.clone() };
            for index in &topic.partitions {
                if let Some(place) = self.places.remove(&(key.clone(), *index))
                    && let Some(mut forgotten) = self.partitions[place as usize].take()
                {
                    forgotten.unsubscribe();
                }
            }
        }
        let mut named = Vec::new();
        for target in targets_of(request) {
            let key = (target.topic, target.request.partition);
            let place = match self.places.get(&key) {
                Some(place) => *place,
                None => {
                    let free = self.partitions.iter().position(Option::is_none);
                    let free = free.filter(|_| self.places.len() < self.partitions.len());
                    let place = free.unwrap_or(self.partitions.len());
                    if place == self.partitions.len() {
                        self.partitions.push(None);
                    }
                    self.places.insert(key.clone(), place as u32);
                    place as u32
                }
            };
            match &mut self.partitions[place as usize] {
                Some(known) => known.request = target.request,
                empty => {
                    *empty = Some(SessionPartition {
                        topic: key.0,
                        request: target.request,
                        told: (-1, -1),
                        subscription: None,
                    });
                }
            }
            named.push(place);
        }
        named
    }

    pub fn partition(&mut self, place: u32) -> Option<&mut SessionPartition> {
        self.partitions.get_mut(place as usize)?.as_mut()
    }

    /// Brings places into the order in which they are read, each once.
    pub fn order(&self, places: &mut Vec<u32>) {
        places.sort_unstable();
        places.dedup();
        let first = places.partition_point(|place| *place < self.first);
        places.rotate_left(first);
    }

    /// The last one that had something.
    pub fn served(&mut self, place: u32) {
        self.first = place + 1;
    }
}

impl SessionPartition {
    /// Looks at the partition from now on: it is on the list when it changes, and not before.
    pub fn watch(&mut self, handle: &Arc<PartitionHandle>, ready: &Arc<ReadyList>, place: u32) {
        match &self.subscription {
            Some((known, subscription)) if Arc::ptr_eq(known, handle) => subscription.unlist(),
            _ => {
                self.unsubscribe();
                let subscription = handle.followers.subscribe(ready, place);
                self.subscription = Some((Arc::clone(handle), subscription));
            }
        }
    }

    /// To be looked at again with the next fetch.
    pub fn keep(&self) {
        if let Some((_, subscription)) = &self.subscription {
            subscription.keep();
        }
    }

    fn unsubscribe(&mut self) {
        if let Some((handle, subscription)) = self.subscription.take() {
            handle.followers.unsubscribe(&subscription);
        }
    }

    /// Notes what the follower is told; whether that is news.
    fn remember(&mut self, data: &PartitionData) -> bool {
        let failed = data.error_code != ErrorCode::None.code();
        let told = (if failed { -1 } else { data.high_watermark }, data.log_start_offset);
        let known = std::mem::replace(&mut self.told, told);
        failed
            || known != told
            || data.records.as_ref().is_some_and(|records| !records.is_empty())
            || data.diverging_epoch != Default::default()
    }
}

impl ReplicaFetch {
    /// What is told of what was read.
    pub fn finish(self, read: Vec<(u32, PartitionData)>) -> (i32, Vec<FetchableTopicResponse>) {
        let mut state = self.session.state.lock();
        let full = self.full;
        let told = read.into_iter().filter_map(|(place, data)| {
            let partition = state.partition(place)?;
            let news = partition.remember(&data);
            (news || full).then(|| (partition.topic.clone(), data))
        });
        (self.session_id, by_topic(told))
    }
}
