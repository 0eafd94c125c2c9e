//! Fetching: one task per node, one request under way each; the next leaves as soon as an answer is in the buffer and
//! there is room, whatever the application does meanwhile.
//!
//! A request may wait at the logs' ends for `fetch.max.wait.ms`. Partitions that the application seeks, resumes or is
//! assigned meanwhile do not wait with it, as they do in Kafka's Java client: they are fetched aside until it ends, as
//! are those that had no room when it left.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_model::{ErrorCode, LeaderEpoch, NodeId, Offset, TopicPartition, Uuid};
use ottla_protocol::api::fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, PartitionData,
};
use tokio::time::Instant;

use super::shared::{Core, Shared};
use crate::client::{CallOptions, Lane, Target};
use crate::error::{Error, Result};
use crate::state::fetch_session::{FetchSession, SessionPart};
use crate::state::fetched::Fetched;
use crate::state::metadata::{Broker, LeaderHint};

/// The last version with names of topics.
const NAMES_MAX: i16 = 12;
/// How often a fetcher that nobody wakes looks for partitions that backed off.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A request under way for so long waits at the logs' ends.
const WAITS_AFTER: Duration = Duration::from_millis(10);
/// How long the answer to a session's end is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts fetchers for nodes that have something to fetch and none yet.
pub(super) fn start_fetchers(shared: &Arc<Shared>) {
    let now = shared.now();
    let mut core = shared.core.lock();
    let Core { positions, fetchers, .. } = &mut *core;
    for partition in positions.partitions() {
        if let Some(from) = positions.fetch_from(partition, now)
            && fetchers.insert(from.node)
        {
            let fetcher = Fetcher { shared: Arc::clone(shared), node: from.node };
            shared.client.spawn(fetcher.run());
        }
    }
}

/// What was asked for a partition.
#[derive(Clone, Copy)]
struct Asked {
    run: u64,
    offset: Offset,
    from_leader: bool,
}

/// What is to be fetched.
struct Wishes {
    /// As it goes into a request.
    wanted: BTreeMap<TopicPartition, (Uuid, FetchPartition)>,
    asked: HashMap<TopicPartition, Asked>,
    /// Whether nothing was left out because enough of it waits for the application.
    all_have_room: bool,
}

#[derive(Clone)]
struct Fetcher {
    shared: Arc<Shared>,
    node: NodeId,
}

impl Fetcher {
    async fn run(self) {
        let shared = Arc::clone(&self.shared);
        let mut session = FetchSession::default();
        let mut look = pin!(tokio::time::sleep(LOOK_EVERY));
        while !shared.is_closed() {
            let mut room = pin!(shared.fetch.notified());
            let mut moved = pin!(shared.moved.notified());
            let Wishes { wanted, asked, all_have_room } = self.wishes();
            if wanted.is_empty() {
                tokio::select! {
                    () = &mut room => {}
                    () = &mut look => look.as_mut().reset(Instant::now() + LOOK_EVERY),
                }
                if self.is_idle() {
                    break;
                }
                continue;
            }
            let wait_ms = shared.config.fetch_max_wait_ms;
            let mut answer = pin!(self.fetch(session.next(wanted), wait_ms, Lane::Fetch));
            let mut aside = HashMap::new();
            let (mut waits, mut takes_long) = (false, pin!(tokio::time::sleep(WAITS_AFTER)));
            let answer = loop {
                tokio::select! {
                    biased;
                    answer = &mut answer => break answer,
                    () = &mut moved => {
                        moved.set(shared.moved.notified());
                        self.fetch_aside(&asked, &mut aside);
                    }
                    () = &mut takes_long, if !all_have_room && !waits => {
                        waits = true;
                        self.fetch_aside(&asked, &mut aside);
                    }
                    () = &mut room, if waits || !aside.is_empty() => {
                        room.set(shared.fetch.notified());
                        self.fetch_aside(&asked, &mut aside);
                    }
                }
            };
            match answer {
                Ok(answer) => self.answered(&mut session, answer, &asked),
                Err(error) => {
                    tracing::debug!(node = %self.node, %error, "cannot fetch");
                    session.failed();
                    shared.client.refresh_metadata();
                    tokio::time::sleep(Duration::from_millis(shared.config.retry_backoff_ms as u64)).await;
                    shared.see_leaders();
                }
            }
        }
        self.close_session(session).await;
        shared.core.lock().fetchers.remove(&self.node);
        // Something may have come for this node while it was leaving.
        shared.resolve.notify_one();
    }

    /// Lets the node forget the session now instead of keeping its place among others. Best effort.
    async fn close_session(&self, mut session: FetchSession) {
        let Some(part) = session.close() else { return };
        let (session_id, session_epoch) = (part.session_id, part.session_epoch);
        let request = FetchRequest { session_id, session_epoch, ..Default::default() };
        let options = CallOptions { lane: Lane::Fetch, timeout: Some(CLOSE_TIMEOUT), ..Default::default() };
        if let Err(error) = self.shared.client.call_with(Target::Node(self.node), request, options).await {
            tracing::debug!(node = %self.node, %error, "cannot close the fetch session");
        }
    }

    /// Fetches what the request under way does not ask for, outside the session and without waiting for records: each
    /// offset once.
    fn fetch_aside(
        &self,
        asked: &HashMap<TopicPartition, Asked>,
        aside: &mut HashMap<TopicPartition, Asked>,
    ) {
        let Wishes { mut wanted, asked: mut asked_aside, .. } = self.wishes();
        asked_aside.retain(|partition, new| {
            asked.get(partition).is_none_or(|old| old.run != new.run)
                && aside.get(partition).is_none_or(|old| (old.run, old.offset) != (new.run, new.offset))
        });
        wanted.retain(|partition, _| asked_aside.contains_key(partition));
        if wanted.is_empty() {
            return;
        }
        aside.extend(asked_aside.iter().map(|(partition, asked)| (partition.clone(), *asked)));
        let fetcher = self.clone();
        self.shared.client.spawn(async move {
            let mut session = FetchSession::default();
            match fetcher.fetch(session.next_without_session(wanted), 0, Lane::Main).await {
                Ok(answer) => {
                    fetcher.answered(&mut session, answer, &asked_aside);
                    fetcher.shared.fetch.notify_waiters();
                }
                // The request under way tells the same.
                Err(error) => tracing::debug!(node = %fetcher.node, %error, "cannot fetch aside"),
            }
        });
    }

    /// Whether no partition is to be fetched from this node at all.
    fn is_idle(&self) -> bool {
        let core = self.shared.core.lock();
        let now = self.shared.now();
        let here =
            |partition| core.positions.fetch_from(partition, now).is_some_and(|from| from.node == self.node);
        !core.positions.partitions().any(here)
    }

    /// The partitions that this node serves and for which there is room.
    fn wishes(&self) -> Wishes {
        let (shared, config) = (&self.shared, &self.shared.config);
        let metadata = shared.client.metadata();
        let now = shared.now();
        let core = shared.core.lock();
        let (mut wanted, mut asked, mut all_have_room) = (BTreeMap::new(), HashMap::new(), true);
        if core.buffer.size_bytes() >= config.fetch_max_bytes as usize {
            return Wishes { wanted, asked, all_have_room: false };
        }
        for partition in core.positions.partitions() {
            let Some(from) = core.positions.fetch_from(partition, now).filter(|from| from.node == self.node)
            else {
                continue;
            };
            if core.buffer.size_of(partition) >= config.max_partition_fetch_bytes as usize {
                all_have_room = false;
                continue;
            }
            let Some(topic) = metadata.topic(&partition.topic) else { continue };
            let leader =
                metadata.partition(&partition.topic, partition.partition).and_then(|known| known.leader);
            let fetch = FetchPartition {
                partition: partition.partition,
                current_leader_epoch: from.leader_epoch.0,
                fetch_offset: from.offset.0,
                partition_max_bytes: config.max_partition_fetch_bytes,
                ..Default::default()
            };
            wanted.insert(partition.clone(), (topic.id, fetch));
            let from_leader = leader.is_none_or(|leader| leader == from.node);
            asked.insert(partition.clone(), Asked { run: from.run, offset: from.offset, from_leader });
        }
        Wishes { wanted, asked, all_have_room }
    }

    async fn fetch(&self, part: SessionPart, max_wait_ms: i32, lane: Lane) -> Result<FetchResponse> {
        let config = &self.shared.config;
        let request = FetchRequest {
            max_wait_ms,
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes,
            isolation_level: i8::from(config.read_committed),
            session_id: part.session_id,
            session_epoch: part.session_epoch,
            topics: part.topics,
            forgotten_topics_data: part.forgotten,
            rack_id: config.rack.clone(),
            ..Default::default()
        };
        let wait = Duration::from_millis(max_wait_ms.max(0) as u64);
        let options = CallOptions {
            lane,
            timeout: Some(config.request_timeout + wait),
            version_max: part.lacks_ids.then_some(NAMES_MAX),
        };
        self.shared.client.call_with(Target::Node(self.node), request, options).await
    }

    fn answered(
        &self,
        session: &mut FetchSession,
        answer: FetchResponse,
        asked: &HashMap<TopicPartition, Asked>,
    ) {
        let code = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
        let topics: Vec<(Option<Arc<str>>, Vec<PartitionData>)> = answer
            .responses
            .into_iter()
            .map(|topic| {
                let known = match topic.topic_id.is_zero() {
                    true => Some(Arc::from(topic.topic.as_str())),
                    false => session.topic_of(topic.topic_id).map(|partition| partition.topic.clone()),
                };
                (known, topic.partitions)
            })
            .collect();
        session.answered(code, answer.session_id);
        if !code.is_ok() {
            tracing::debug!(node = %self.node, %code, "fetch refused");
            if !matches!(code, ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch) {
                self.shared.client.refresh_metadata();
            }
            return;
        }
        let endpoint = |id: i32| {
            let node = answer.node_endpoints.iter().find(|node| node.node_id == id)?;
            let rack = node.rack.as_ref().map(|rack| Arc::from(rack.as_str()));
            Some(Broker { id: NodeId(id), host: node.host.as_str().into(), port: node.port as u16, rack })
        };
        let mut ready = false;
        for (topic, data) in topics
            .into_iter()
            .filter_map(|(topic, all)| Some((topic?, all)))
            .flat_map(|(topic, all)| all.into_iter().map(move |data| (topic.clone(), data)))
        {
            let partition = TopicPartition { topic, partition: data.partition_index };
            let Some(&asked) = asked.get(&partition) else { continue };
            let leader = &data.current_leader;
            if leader.leader_id >= 0 {
                self.shared.client.leader_hint(&LeaderHint {
                    topic: &partition.topic,
                    partition: partition.partition,
                    leader: NodeId(leader.leader_id),
                    epoch: LeaderEpoch(leader.leader_epoch),
                    endpoint: endpoint(leader.leader_id),
                });
            }
            ready |= self.partition_answered(partition, asked, data);
        }
        if ready {
            self.shared.ready.notify_one();
        }
    }

    /// Whether the application has something to take.
    fn partition_answered(&self, partition: TopicPartition, asked: Asked, data: PartitionData) -> bool {
        let shared = &self.shared;
        let now = shared.now();
        let code = ErrorCode::from_code(data.error_code).unwrap_or(ErrorCode::UnknownServerError);
        let mut core = shared.core.lock();
        // Of another run, or fetched aside meanwhile.
        if !core.positions.is_next(&partition, asked.run, asked.offset) {
            return false;
        }
        match code {
            ErrorCode::None => {
                core.positions.see_ends(
                    &partition,
                    data.high_watermark,
                    data.last_stable_offset,
                    data.log_start_offset,
                );
                if data.preferred_read_replica >= 0 {
                    let until = now + shared.config.metadata_max_age_ms;
                    core.positions.prefer(&partition, Some((NodeId(data.preferred_read_replica), until)));
                    shared.resolve.notify_one();
                }
                let records = data.records.and_then(|records| records.to_bytes()).unwrap_or_default();
                self.buffer(&mut core, partition, asked, records, data.aborted_transactions)
            }
            // A follower may lag behind or have another log start: the leader decides.
            ErrorCode::OffsetOutOfRange | ErrorCode::OffsetNotAvailable | ErrorCode::ReplicaNotAvailable
                if !asked.from_leader =>
            {
                core.positions.prefer(&partition, None);
                shared.resolve.notify_one();
                false
            }
            ErrorCode::OffsetOutOfRange => {
                core.positions.out_of_range(&partition, asked.run, asked.offset, Shared::wall_clock());
                core.buffer.retain(|fetched| fetched.partition != partition);
                shared.resolve.notify_one();
                true
            }
            code if code.is_retriable() && code != ErrorCode::CorruptMessage => {
                tracing::debug!(%partition, %code, "fetch refused for a partition");
                core.positions.prefer(&partition, None);
                core.positions.failed(&partition, asked.run, now + shared.config.retry_backoff_ms);
                shared.client.refresh_metadata();
                shared.resolve.notify_one();
                false
            }
            code => {
                core.positions.failed(&partition, asked.run, now + shared.config.retry_backoff_ms);
                drop(core);
                shared.fail(Error::broker(code, Some(partition.to_string())));
                false
            }
        }
    }

    fn buffer(
        &self,
        core: &mut Core,
        partition: TopicPartition,
        asked: Asked,
        records: Bytes,
        aborted: Option<Vec<AbortedTransaction>>,
    ) -> bool {
        let config = &self.shared.config;
        if records.is_empty() {
            return false;
        }
        // Bytes that are no batch are pushed too: the application hears of them in their turn.
        let end = Fetched::end_of(&records).unwrap_or(asked.offset);
        core.positions.fetched(&partition, asked.run, end);
        let aborted = config.read_committed.then(|| aborted.unwrap_or_default());
        core.buffer.push(Fetched::new(
            partition,
            asked.run,
            asked.offset,
            records,
            aborted,
            config.check_crcs,
        ));
        true
    }
}
