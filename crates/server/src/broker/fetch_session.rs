//! Incremental fetch sessions (KIP-227): what a client fetches is remembered, so that it names only changes
//! and is answered only with changes.
//!
//! Owns the sessions of this broker, bounded by `max.incremental.fetch.session.cache.slots`. Knows nothing of
//! logs: it turns a request into the list of partitions to read, and filters what was read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_model::{ErrorCode, Millis, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchableTopicResponse, PartitionData};
use parking_lot::Mutex;

/// A session idle for this long gives way to a new one.
const IDLE_BEFORE_EVICTION_MS: i64 = 120_000;
/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 13;

/// A topic as the request named it: by id (v13 and later, name empty) or by name (id zero).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicKey {
    pub id: Uuid,
    pub name: Str,
}

/// One partition to read.
#[derive(Clone, Debug)]
pub struct FetchTarget {
    pub topic: TopicKey,
    pub request: FetchPartition,
}

/// The partitions to read for one request, and the session that the answer belongs to.
#[derive(Debug)]
pub struct FetchPlan {
    pub targets: Vec<FetchTarget>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    Created(SessionId),
    Incremental(SessionId, Arc<Mutex<Session>>),
}

type SessionId = i32;
type PartitionKey = (TopicKey, i32);

#[derive(Debug)]
struct Session {
    by_topic_id: bool,
    next_epoch: i32,
    last_used: Millis,
    partitions: HashMap<PartitionKey, SessionPartition>,
    /// Reading order; partitions that returned records move to the end, so that none starves.
    order: BTreeMap<u64, PartitionKey>,
    next_position: u64,
}

#[derive(Debug)]
struct SessionPartition {
    position: u64,
    request: FetchPartition,
    high_watermark: i64,
    log_start_offset: i64,
}

/// All sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    slots_max: usize,
    sessions: Mutex<HashMap<SessionId, Arc<Mutex<Session>>>>,
    next_id: AtomicU64,
}

impl FetchSessions {
    /// Sessions whose ids start at a place given by `seed`, so that a restarted broker does not honour those
    /// of its predecessor.
    pub fn new(slots_max: usize, seed: u64) -> Self {
        Self { slots_max, sessions: Mutex::default(), next_id: AtomicU64::new(seed) }
    }

    /// Turns a request into what is to be read.
    ///
    /// Errors: FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR; the
    /// answer then carries the code alone.
    pub fn plan(&self, request: FetchRequest, version: i16, now: Millis) -> Result<FetchPlan, ErrorCode> {
        let by_topic_id = version >= TOPIC_ID_VERSION;
        match (request.session_id, request.session_epoch) {
            (id, epoch @ (-1 | 0)) => {
                if id != 0 {
                    self.sessions.lock().remove(&id);
                }
                let targets = targets_of(request);
                let kind = match epoch {
                    0 if !targets.is_empty() => self.create(by_topic_id, &targets, now),
                    _ => Kind::Sessionless,
                };
                Ok(FetchPlan { targets, kind })
            }
            (id, epoch) => self.continue_session(id, epoch, by_topic_id, request, now),
        }
    }

    fn continue_session(
        &self,
        id: SessionId,
        epoch: i32,
        by_topic_id: bool,
        request: FetchRequest,
        now: Millis,
    ) -> Result<FetchPlan, ErrorCode> {
        let session = self.sessions.lock().get(&id).cloned().ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut state = session.lock();
        if epoch != state.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if by_topic_id != state.by_topic_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        state.next_epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        state.last_used = now;
        for forgotten in &request.forgotten_topics_data {
            for partition in &forgotten.partitions {
                state.forget(&(
                    TopicKey { id: forgotten.topic_id, name: forgotten.topic.clone() },
                    *partition,
                ));
            }
        }
        for target in targets_of(request) {
            state.update(target);
        }
        if state.partitions.is_empty() {
            self.sessions.lock().remove(&id);
            return Ok(FetchPlan { targets: Vec::new(), kind: Kind::Sessionless });
        }
        let targets = state.targets();
        drop(state);
        Ok(FetchPlan { targets, kind: Kind::Incremental(id, session) })
    }

    fn create(&self, by_topic_id: bool, targets: &[FetchTarget], now: Millis) -> Kind {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= self.slots_max {
            let idle = sessions
                .iter()
                .map(|(id, session)| (session.lock().last_used, *id))
                .min()
                .filter(|(last_used, _)| now - *last_used > IDLE_BEFORE_EVICTION_MS);
            match idle {
                Some((_, id)) => sessions.remove(&id),
                None => return Kind::Sessionless,
            };
        }
        let mut session = Session {
            by_topic_id,
            next_epoch: 1,
            last_used: now,
            partitions: HashMap::with_capacity(targets.len()),
            order: BTreeMap::new(),
            next_position: 0,
        };
        for target in targets {
            session.update(target.clone());
        }
        let id = loop {
            let id = (self.next_id.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff) as SessionId;
            if id != 0 && !sessions.contains_key(&id) {
                break id;
            }
        };
        sessions.insert(id, Arc::new(Mutex::new(session)));
        Kind::Created(id)
    }

    /// Filters what was read to what the client has to be told, in the form of the answer: the session id and
    /// the topics.
    pub fn finish(
        &self,
        plan: FetchPlan,
        read: Vec<PartitionData>,
    ) -> (SessionId, Vec<FetchableTopicResponse>) {
        let FetchPlan { targets, kind } = plan;
        let read = targets.into_iter().zip(read);
        match kind {
            Kind::Sessionless => (0, by_topic(read.map(|(target, data)| (target.topic, data)))),
            Kind::Created(id) => {
                let session = self.sessions.lock().get(&id).cloned();
                let mut session = session.as_ref().map(|session| session.lock());
                let all = read.map(|(target, data)| {
                    if let Some(session) = &mut session {
                        session.remember(&target, &data);
                    }
                    (target.topic, data)
                });
                (id, by_topic(all))
            }
            Kind::Incremental(id, session) => {
                let mut session = session.lock();
                let changed = read.filter_map(|(target, data)| {
                    session.remember(&target, &data).then_some((target.topic, data))
                });
                (id, by_topic(changed))
            }
        }
    }

    /// Sessions at present.
    pub fn count(&self) -> usize {
        self.sessions.lock().len()
    }
}

impl FetchPlan {
    /// Whether unchanged partitions are left out of the answer.
    pub fn is_incremental(&self) -> bool {
        matches!(self.kind, Kind::Incremental(..))
    }
}

impl Session {
    fn update(&mut self, target: FetchTarget) {
        let key = (target.topic, target.request.partition);
        match self.partitions.get_mut(&key) {
            Some(known) => known.request = target.request,
            None => {
                let position = self.next_position;
                self.next_position += 1;
                self.order.insert(position, key.clone());
                let partition = SessionPartition {
                    position,
                    request: target.request,
                    high_watermark: -1,
                    log_start_offset: -1,
                };
                self.partitions.insert(key, partition);
            }
        }
    }

    fn forget(&mut self, key: &PartitionKey) {
        if let Some(partition) = self.partitions.remove(key) {
            self.order.remove(&partition.position);
        }
    }

    fn targets(&self) -> Vec<FetchTarget> {
        self.order
            .values()
            .map(|key| FetchTarget { topic: key.0.clone(), request: self.partitions[key].request.clone() })
            .collect()
    }

    /// Notes what the client is told of a partition; whether there is anything to tell.
    fn remember(&mut self, target: &FetchTarget, data: &PartitionData) -> bool {
        let key = (target.topic.clone(), data.partition_index);
        let Some(partition) = self.partitions.get_mut(&key) else { return true };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let failed = data.error_code != ErrorCode::None.code();
        let changed = has_records
            || failed
            || data.preferred_read_replica >= 0
            || data.diverging_epoch != Default::default()
            || partition.high_watermark != data.high_watermark
            || partition.log_start_offset != data.log_start_offset;
        // After an error the recovery is news too.
        partition.high_watermark = if failed { -1 } else { data.high_watermark };
        partition.log_start_offset = data.log_start_offset;
        if has_records {
            let position = self.next_position;
            self.next_position += 1;
            let previous = std::mem::replace(&mut partition.position, position);
            self.order.remove(&previous);
            self.order.insert(position, key);
        }
        changed
    }
}

/// The partitions that a request names; of one named twice the last entry counts.
pub fn targets_of(request: FetchRequest) -> Vec<FetchTarget> {
    let mut targets: Vec<FetchTarget> = Vec::new();
    for topic in request.topics {
        let key = TopicKey { id: topic.topic_id, name: topic.topic };
        for partition in topic.partitions {
            targets.push(FetchTarget { topic: key.clone(), request: partition });
        }
    }
    if targets.len() > 1 {
        let mut last = HashMap::with_capacity(targets.len());
        for (i, target) in targets.iter().enumerate() {
            last.insert((target.topic.clone(), target.request.partition), i);
        }
        if last.len() < targets.len() {
            let mut i = 0;
            targets.retain(|target| {
                i += 1;
                last[&(target.topic.clone(), target.request.partition)] == i - 1
            });
        }
    }
    targets
}

/// Partitions as an answer lists them: neighbours of a topic together.
pub fn by_topic(partitions: impl Iterator<Item = (TopicKey, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for (key, data) in partitions {
        match topics.last_mut() {
            Some(last) if last.topic_id == key.id && last.topic == key.name => last.partitions.push(data),
            _ => topics.push(FetchableTopicResponse {
                topic_id: key.id,
                topic: key.name,
                partitions: vec![data],
            }),
        }
    }
    topics
}

#[cfg(test)]
mod tests {
    use ottla_protocol::Records;
    use ottla_protocol::api::fetch::{FetchTopic, ForgottenTopic};

    use super::*;

    const VERSION: i16 = 18;
    const TOPIC: Uuid = Uuid::from_u128(7 << 100);

    fn request(session_id: i32, session_epoch: i32, partitions: &[i32]) -> FetchRequest {
        let topic = FetchTopic {
            topic_id: TOPIC,
            partitions: partitions
                .iter()
                .map(|index| FetchPartition { partition: *index, ..Default::default() })
                .collect(),
            ..Default::default()
        };
        FetchRequest { session_id, session_epoch, topics: vec![topic], ..Default::default() }
    }

    fn data(index: i32, high_watermark: i64, records: &'static [u8], error: ErrorCode) -> PartitionData {
        PartitionData {
            partition_index: index,
            error_code: error.code(),
            high_watermark,
            records: Some(Records::Bytes(bytes::Bytes::from_static(records))),
            ..Default::default()
        }
    }

    fn planned(plan: &FetchPlan) -> Vec<i32> {
        plan.targets.iter().map(|target| target.request.partition).collect()
    }

    fn told(topics: &[FetchableTopicResponse]) -> Vec<i32> {
        topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.partition_index).collect()
    }

    /// Opens a session over partitions 0 and 1 whose high watermarks are 5 and 6.
    fn open(sessions: &FetchSessions) -> SessionId {
        let plan = sessions.plan(request(0, 0, &[0, 1]), VERSION, Millis(0)).unwrap();
        let read = vec![data(0, 5, b"", ErrorCode::None), data(1, 6, b"", ErrorCode::None)];
        let (id, topics) = sessions.finish(plan, read);
        assert_eq!(told(&topics), [0, 1], "a full fetch is told everything");
        id
    }

    #[test]
    fn an_incremental_fetch_is_told_changes_and_what_had_records_goes_last() {
        let sessions = FetchSessions::new(10, 1);
        let id = open(&sessions);
        let plan = sessions.plan(request(id, 1, &[]), VERSION, Millis(0)).unwrap();
        assert_eq!(planned(&plan), [0, 1]);
        let read = vec![data(0, 5, b"batch", ErrorCode::None), data(1, 6, b"", ErrorCode::None)];
        assert_eq!(told(&sessions.finish(plan, read).1), [0]);

        let plan = sessions.plan(request(id, 2, &[]), VERSION, Millis(0)).unwrap();
        assert_eq!(planned(&plan), [1, 0]);
        let read = vec![data(1, -1, b"", ErrorCode::NotLeaderOrFollower), data(0, 5, b"", ErrorCode::None)];
        assert_eq!(told(&sessions.finish(plan, read).1), [1]);

        let plan = sessions.plan(request(id, 3, &[]), VERSION, Millis(0)).unwrap();
        let read = vec![data(1, 6, b"", ErrorCode::None), data(0, 5, b"", ErrorCode::None)];
        assert_eq!(told(&sessions.finish(plan, read).1), [1], "that the error is over is news");
    }

    #[test]
    fn partitions_are_added_and_forgotten_and_an_empty_session_ends() {
        let sessions = FetchSessions::new(10, 1);
        let id = open(&sessions);
        let mut change = request(id, 1, &[4]);
        change.forgotten_topics_data =
            vec![ForgottenTopic { topic_id: TOPIC, partitions: vec![0], ..Default::default() }];
        assert_eq!(planned(&sessions.plan(change, VERSION, Millis(0)).unwrap()), [1, 4]);
        let mut rest = request(id, 2, &[]);
        rest.forgotten_topics_data =
            vec![ForgottenTopic { topic_id: TOPIC, partitions: vec![1, 4], ..Default::default() }];
        assert!(sessions.plan(rest, VERSION, Millis(0)).unwrap().targets.is_empty());
        assert_eq!(sessions.sessions.lock().len(), 0);
    }

    #[test]
    fn a_session_is_known_by_its_id_epoch_and_way_of_naming_topics() {
        let sessions = FetchSessions::new(10, 1);
        let id = open(&sessions);
        let refused = |id, epoch, version| sessions.plan(request(id, epoch, &[]), version, Millis(0)).err();
        assert_eq!(refused(id + 1, 1, VERSION), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(refused(0, 1, VERSION), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(refused(id, 2, VERSION), Some(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(refused(id, 1, 12), Some(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(refused(id, -1, VERSION), None);
        assert_eq!(sessions.sessions.lock().len(), 0, "epoch -1 closes the session");
    }

    #[test]
    fn a_full_cache_gives_way_only_where_somebody_was_idle() {
        let sessions = FetchSessions::new(1, 1);
        let first = open(&sessions);
        let plan = sessions.plan(request(0, 0, &[0]), VERSION, Millis(1)).unwrap();
        assert_eq!(sessions.finish(plan, vec![data(0, 0, b"", ErrorCode::None)]).0, 0, "no room");
        let later = Millis(IDLE_BEFORE_EVICTION_MS + 1);
        let plan = sessions.plan(request(0, 0, &[0]), VERSION, later).unwrap();
        let (second, _) = sessions.finish(plan, vec![data(0, 0, b"", ErrorCode::None)]);
        assert!(second != 0 && second != first);
    }

    #[test]
    fn of_a_partition_named_twice_the_last_entry_counts() {
        let sessions = FetchSessions::new(1, 1);
        let mut twice = request(0, -1, &[3, 2, 3]);
        twice.topics[0].partitions[2].fetch_offset = 9;
        let plan = sessions.plan(twice, VERSION, Millis(0)).unwrap();
        assert_eq!(planned(&plan), [2, 3]);
        assert_eq!(plan.targets[1].request.fetch_offset, 9);
    }
}
