//! The task that sends: takes batches whose time has come, gives each node its requests, and settles what comes back.
//!
//! Owns every partition's [`Window`] and what is in flight to each node. Runs on the client's thread; callers only meet
//! it in the queues of partitions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hashbrown::HashMap;
use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset, ProducerEpoch, ProducerId, Uuid};
use ottla_protocol::api::init_producer_id::InitProducerIdRequest;
use ottla_protocol::api::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
};
use ottla_protocol::{Records, Str};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::batch::Batch;
use super::request::{Completed, ProduceCall, Sent};
use super::topics::Partition;
use super::{Shared, memory::Buffer};
use crate::client::{Client, Target, random};
use crate::error::{Error, Result};
use crate::state::accumulator::PartitionQueue;
use crate::state::delivery::Appended;
use crate::state::metadata::{Broker, LeaderHint, Metadata};
use crate::state::window::{Verdict, WINDOW_MAX, Window};

/// Versions from here on know topics by their ids only.
const TOPIC_IDS_VERSION: i16 = 13;
/// How often batches are looked at that wait for nothing but their end.
const EXPIRY_STEP_MS: u64 = 1000;
/// How long released memory may wait for more before whoever waits is told of it.
const TELL_STEP_MS: u64 = 5;

pub(super) fn spawn(shared: Arc<Shared>, client: &Client) {
    let (events, received) = unbounded_channel();
    let (completed, completions) = unbounded_channel();
    let sender = Sender {
        shared,
        metadata_version: client.subscribe_metadata(),
        client: client.clone(),
        events,
        completed,
        partitions: HashMap::new(),
        in_flight: HashMap::new(),
        producer: ProducerIdState::Unknown,
        turn: 0,
        tells_at_ms: 0,
    };
    client.spawn(sender.run(received, completions));
}

struct Sender {
    shared: Arc<Shared>,
    client: Client,
    metadata_version: watch::Receiver<u64>,
    events: UnboundedSender<Result<(ProducerId, ProducerEpoch)>>,
    completed: UnboundedSender<Completed>,
    /// By their number. Those without a queue and with an empty window stay for their sequence numbers.
    partitions: HashMap<usize, Active>,
    /// Requests without an answer by node.
    in_flight: HashMap<NodeId, usize>,
    producer: ProducerIdState,
    /// Which partition is first, so that none starves.
    turn: usize,
    /// When memory that was released is told of next, if somebody waits for it.
    tells_at_ms: u64,
}

enum ProducerIdState {
    Unknown,
    Asked,
    Known((ProducerId, ProducerEpoch)),
    Refused(Error),
}

struct Active {
    partition: Arc<Partition>,
    window: Window<Batch>,
    listed: bool,
}

/// A node's request in the making.
#[derive(Default)]
struct Draft {
    topics: Vec<TopicProduceData>,
    sent: Vec<Sent>,
    bytes: usize,
    lacks_ids: bool,
}

impl Sender {
    async fn run(
        mut self,
        mut events: UnboundedReceiver<Result<(ProducerId, ProducerEpoch)>>,
        mut completions: UnboundedReceiver<Completed>,
    ) {
        let shared = Arc::clone(&self.shared);
        loop {
            // From here on whoever brings something says so; what was brought before is seen below.
            shared.wakes_at_ms.store(u64::MAX, Ordering::SeqCst);
            while let Ok(completed) = completions.try_recv() {
                self.settle(completed);
            }
            while let Ok(producer) = events.try_recv() {
                self.producer = producer.map_or_else(ProducerIdState::Refused, ProducerIdState::Known);
            }
            if shared.is_closed() && shared.outstanding.lock().is_drained(u64::MAX) {
                return;
            }
            let next_ms = self.pass().await.min(self.tell_of_memory());
            let planned = match self.is_saturated() {
                // An answer comes first whatever is brought now.
                true => 0,
                false => next_ms,
            };
            let unseen =
                shared.wakes_at_ms.compare_exchange(u64::MAX, planned, Ordering::SeqCst, Ordering::SeqCst);
            if unseen.is_err() && !self.is_saturated() {
                tokio::task::yield_now().await;
                continue;
            }
            let pause = Duration::from_millis(next_ms.saturating_sub(shared.now_ms()).max(1));
            tokio::select! {
                biased;
                completed = completions.recv() => match completed {
                    Some(completed) => self.settle(completed),
                    None => return,
                },
                producer = events.recv() => match producer {
                    Some(producer) => {
                        self.producer = producer.map_or_else(ProducerIdState::Refused, ProducerIdState::Known);
                    }
                    None => return,
                },
                () = shared.wake.notified() => {}
                changed = self.metadata_version.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.learn_partitions();
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells who waits for memory, and when to do so again.
    fn tell_of_memory(&mut self) -> u64 {
        let memory = &self.shared.memory;
        if !memory.is_waited_for() {
            return u64::MAX;
        }
        let now_ms = self.shared.now_ms();
        if now_ms >= self.tells_at_ms {
            memory.tell();
            self.tells_at_ms = now_ms + TELL_STEP_MS;
        }
        self.tells_at_ms
    }

    fn learn_partitions(&self) {
        let metadata = self.client.metadata();
        for topic in self.shared.topics.load().keys() {
            if let Some(topic) = metadata.topic(topic) {
                self.shared.topics.update(topic);
            }
        }
    }

    fn is_saturated(&self) -> bool {
        let nodes = self.client.metadata().brokers.len();
        let full = self.in_flight.values().filter(|count| **count >= self.shared.settings.in_flight_max);
        nodes > 0 && full.count() >= nodes
    }

    /// Looks at every partition that has something, sends what can be sent, and tells when to look again.
    async fn pass(&mut self) -> u64 {
        for partition in std::mem::take(&mut *self.shared.listed.lock()) {
            let window = Window::default();
            let active = self.partitions.entry(partition.number);
            active.or_insert_with(|| Active { partition, window, listed: false }).listed = true;
        }
        let producer = self.producer();
        let metadata = self.client.metadata();
        let now_ms = self.shared.now_ms();
        let expired = self.expire(now_ms);
        for batch in expired {
            let what = "delivering a record (delivery.timeout.ms)".into();
            let last = self.client.metadata_failure().map(|error| error.to_string().into());
            self.finish(
                batch,
                Err(Error::TimedOut { what, after: self.shared.settings.delivery_timeout, last }),
            );
        }
        if let ProducerIdState::Refused(error) = &self.producer {
            let error = error.clone();
            self.fail_all(&error);
        }
        let mut next_ms = now_ms + EXPIRY_STEP_MS;
        let mut ready: HashMap<NodeId, bool> = HashMap::new();
        let mut by_node: HashMap<NodeId, Vec<usize>> = HashMap::new();
        let mut leaderless = false;
        for (number, active) in self.partitions.iter_mut().filter(|(_, active)| active.listed) {
            if let Some((id, epoch)) = producer {
                active.window.set_producer((id, epoch));
            }
            let due = due_ms(&self.shared, active);
            let Some(due) = due else {
                unlist(active);
                continue;
            };
            let leader = metadata.partition(&active.partition.topic, active.partition.index);
            let leader =
                leader.and_then(|partition| partition.leader).filter(|id| metadata.broker(*id).is_some());
            let Some(leader) = leader else {
                leaderless |= due <= now_ms;
                continue;
            };
            by_node.entry(leader).or_default().push(*number);
            *ready.entry(leader).or_default() |= due <= now_ms;
            if due > now_ms {
                next_ms = next_ms.min(due);
            }
        }
        if leaderless {
            self.client.refresh_metadata();
            next_ms = next_ms.min(now_ms + 100);
        }
        if self.shared.settings.idempotence && producer.is_none() {
            return next_ms;
        }
        for (node, mut numbers) in by_node {
            if !ready.get(&node).copied().unwrap_or(false) {
                continue;
            }
            self.turn = self.turn.wrapping_add(1);
            numbers.sort_unstable();
            let turn = self.turn % numbers.len();
            numbers.rotate_left(turn);
            // Lingering batches go along with the first request; later ones take what is due.
            let mut lingering = true;
            while self.in_flight.get(&node).copied().unwrap_or(0) < self.shared.settings.in_flight_max {
                let draft = self.draft(&numbers, &metadata, now_ms, lingering);
                if draft.sent.is_empty() {
                    break;
                }
                lingering = false;
                self.send(node, draft);
                // Where the node is what others wait for, it gets this before the next is made, so that it works
                // meanwhile: what leaves together comes back together, and one side would wait for the other.
                if self.shared.memory.is_waited_for() {
                    tokio::task::yield_now().await;
                }
            }
        }
        next_ms
    }

    /// The producer's id; asked for when there is none. Without idempotence none is needed.
    fn producer(&mut self) -> Option<(ProducerId, ProducerEpoch)> {
        match &self.producer {
            ProducerIdState::Known(producer) => return Some(*producer),
            ProducerIdState::Unknown if self.shared.settings.idempotence && self.has_listed() => {}
            _ => return None,
        }
        self.producer = ProducerIdState::Asked;
        let (client, events) = (self.client.clone(), self.events.clone());
        self.client.spawn(async move {
            let asked = client.retry(Duration::MAX, "getting a producer id", |_| async {
                let request =
                    InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
                let answer = client.call(Target::Any, request).await?;
                Error::check(answer.error_code, None::<&str>)?;
                Ok((ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch)))
            });
            let _ = events.send(asked.await);
        });
        None
    }

    fn has_listed(&self) -> bool {
        self.partitions.values().any(|active| active.listed)
    }

    /// Batches that were not delivered in time.
    fn expire(&mut self, now_ms: u64) -> Vec<Batch> {
        let timeout_ms = self.shared.settings.delivery_timeout.as_millis() as u64;
        let is_expired = |created_ms: u64| now_ms.saturating_sub(created_ms) >= timeout_ms;
        let mut expired = Vec::new();
        for active in self.partitions.values_mut().filter(|active| active.listed) {
            expired.extend(active.window.expire(|batch| is_expired(batch.created_ms)));
            let mut queue = active.partition.queue.lock();
            while queue.first().is_some_and(|first| is_expired(first.created_ms)) {
                let Some(open) = queue.pop() else { break };
                expired.push(Batch::close(open));
            }
        }
        expired
    }

    fn fail_all(&mut self, error: &Error) {
        let mut failed = Vec::new();
        for active in self.partitions.values_mut() {
            failed.extend(active.window.expire(|_| true));
            while let Some(open) = active.partition.queue.lock().pop() {
                failed.push(Batch::close(open));
            }
        }
        for batch in failed {
            self.finish(batch, Err(error.clone()));
        }
    }

    /// One batch of each partition, as many as a request holds.
    fn draft(&mut self, numbers: &[usize], metadata: &Metadata, now_ms: u64, lingering: bool) -> Draft {
        let settings = &self.shared.settings;
        let mut draft = Draft::default();
        for number in numbers {
            let Some(active) = self.partitions.get_mut(number) else { continue };
            let Active { partition, window, .. } = active;
            let room = settings.request_bytes_max.saturating_sub(draft.bytes);
            let producer = window.producer();
            let fits = |bytes: usize| draft.sent.is_empty() || bytes <= room;
            let sent = if window.retry_at().is_some() {
                if !window.oldest().is_some_and(|slot| fits(slot.batch.size_bytes())) {
                    continue;
                }
                window.send_again(now_ms)
            } else if window.takes_new(settings.in_flight_max.min(WINDOW_MAX)) {
                let mut queue = partition.queue.lock();
                let is_due = queue.first().is_some_and(|first| {
                    (lingering
                        || queue.has_full()
                        || first_due(&self.shared, &queue, first.created_ms) <= now_ms)
                        && fits(first.buffer.as_ref().len())
                });
                let open = if is_due { queue.pop() } else { None };
                drop(queue);
                open.map(|open| {
                    let batch = Batch::close(self.shared.compress(partition, open));
                    let records = batch.records();
                    window.send_new(batch, records)
                })
            } else {
                None
            };
            let Some(slot) = sent else { continue };
            let id = metadata.topic(&partition.topic).map_or(Uuid::ZERO, |topic| topic.id);
            let records = slot.batch.to_wire(producer, slot.base_sequence);
            draft.add(*number, slot.id, partition, id, records);
        }
        draft
    }

    fn send(&mut self, node: NodeId, draft: Draft) {
        let settings = &self.shared.settings;
        let version_max = if draft.lacks_ids { TOPIC_IDS_VERSION - 1 } else { i16::MAX };
        let request = ProduceRequest {
            transactional_id: None,
            acks: settings.acks,
            timeout_ms: settings.request_timeout.as_millis() as i32,
            topic_data: draft.topics,
        };
        *self.in_flight.entry(node).or_default() += 1;
        let call = ProduceCall {
            request,
            version_max,
            timeout: settings.request_timeout,
            node,
            sent: draft.sent,
            completed: self.completed.clone(),
        };
        self.client.send(node, Box::new(call));
    }

    /// Settles the batches of a request.
    fn settle(&mut self, completed: Completed) {
        if let Some(count) = self.in_flight.get_mut(&completed.node) {
            *count = count.saturating_sub(1);
        }
        match completed.answer {
            Ok(Some(answer)) => self.settle_answer(completed.sent, answer),
            Ok(None) => {
                let appended = Appended { base_offset: Offset::NONE, log_append_time: Millis::NONE };
                for sent in completed.sent {
                    self.acknowledge(sent, appended);
                }
            }
            Err(error) => {
                self.client.refresh_metadata();
                // What will never work is not tried again.
                let code = (!error.is_retriable()).then_some(ErrorCode::UnsupportedVersion);
                for sent in completed.sent {
                    self.refuse(sent, code, error.clone(), None);
                }
            }
        }
    }

    fn settle_answer(&mut self, mut sent: Vec<Sent>, answer: ProduceResponse) {
        let metadata = self.client.metadata();
        let mut moved = false;
        for topic in &answer.responses {
            let named = metadata.topic_by_id(topic.topic_id).map(|topic| Arc::clone(&topic.name));
            let name = named.unwrap_or_else(|| Arc::from(topic.name.as_str()));
            for response in &topic.partition_responses {
                let mine = |sent: &Sent| {
                    self.partitions.get(&sent.partition).is_some_and(|active| {
                        active.partition.index == response.index && active.partition.topic == name
                    })
                };
                let Some(at) = sent.iter().position(mine) else { continue };
                moved |= self.settle_partition(sent.remove(at), &name, response, &answer);
            }
        }
        // A partition that the answer leaves out may have been appended or not.
        for sent in sent {
            self.refuse(sent, None, Error::from(ErrorCode::UnknownServerError), None);
        }
        if moved {
            self.client.refresh_metadata();
        }
    }

    /// Whether metadata is out of date.
    fn settle_partition(
        &mut self,
        sent: Sent,
        topic: &Arc<str>,
        response: &PartitionProduceResponse,
        answer: &ProduceResponse,
    ) -> bool {
        use ErrorCode::*;
        let code = ErrorCode::from_code(response.error_code).unwrap_or(UnknownServerError);
        if code == None {
            let base_offset = Offset(response.base_offset);
            self.acknowledge(
                sent,
                Appended { base_offset, log_append_time: Millis(response.log_append_time_ms) },
            );
            return false;
        }
        let leader = &response.current_leader;
        let mut retry_at = Option::None;
        if leader.leader_id >= 0 {
            let endpoint = answer.node_endpoints.iter().find(|node| node.node_id == leader.leader_id);
            let endpoint = endpoint.map(|node| Broker {
                id: NodeId(node.node_id),
                host: node.host.as_str().into(),
                port: node.port as u16,
                rack: node.rack.as_ref().map(|rack| rack.as_str().into()),
            });
            let (leader, epoch) = (NodeId(leader.leader_id), LeaderEpoch(leader.leader_epoch));
            self.client.leader_hint(&LeaderHint {
                topic,
                partition: response.index,
                leader,
                epoch,
                endpoint,
            });
            // The new leader may be asked at once.
            retry_at = Some(self.shared.now_ms());
        }
        let error = Error::broker(code, response.error_message.as_deref());
        self.refuse(sent, Some(code), error, retry_at);
        let outdated = [
            NotLeaderOrFollower,
            UnknownTopicOrPartition,
            UnknownTopicId,
            InconsistentTopicId,
            LeaderNotAvailable,
            KafkaStorageError,
            FencedLeaderEpoch,
        ];
        outdated.contains(&code)
    }

    fn acknowledge(&mut self, sent: Sent, appended: Appended) {
        let window = self.partitions.get_mut(&sent.partition).map(|active| &mut active.window);
        if let Some(batch) = window.and_then(|window| window.acknowledged(sent.slot)) {
            self.finish(batch, Ok(appended));
        }
    }

    fn refuse(&mut self, sent: Sent, code: Option<ErrorCode>, error: Error, retry_at: Option<u64>) {
        let now_ms = self.shared.now_ms();
        let backoff = || self.client.retry_backoff().delay(0, random()).as_millis() as u64;
        let retry_at = retry_at.unwrap_or_else(|| now_ms + backoff());
        let settings = &self.shared.settings;
        let Some(Active { window, .. }) = self.partitions.get_mut(&sent.partition) else { return };
        match window.refused(sent.slot, code, retry_at, settings.retries) {
            Verdict::Retry | Verdict::Unknown => {}
            Verdict::Duplicate(batch) => {
                self.finish(batch, Ok(Appended { base_offset: Offset::NONE, log_append_time: Millis::NONE }));
            }
            Verdict::Failed(batch) => self.finish(batch, Err(error)),
            Verdict::Split => {
                let whole = window.batch(sent.slot);
                let parts = whole.and_then(|batch| {
                    batch.split(settings.batch_bytes, settings.compression, &self.shared.memory)
                });
                let Some(parts) = parts else { return };
                for _ in &parts {
                    self.shared.outstanding.lock().begin_part(parts[0].flush_epoch);
                }
                let parts = parts.into_iter().map(|part| (part.records(), part)).map(|(n, part)| (part, n));
                if let Some(whole) = window.replace(sent.slot, parts.collect(), now_ms) {
                    self.shared.outstanding.lock().end(whole.flush_epoch);
                }
            }
        }
    }

    /// Tells whoever waits for a batch.
    fn finish(&self, batch: Batch, result: Result<Appended>) {
        if let Err(error) = &result {
            self.shared.failure.lock().get_or_insert_with(|| error.clone());
        }
        batch.decider.decide(result);
        let flushed = self.shared.outstanding.lock().end(batch.flush_epoch);
        // Memory first: who was flushed may want to see it free.
        drop(batch);
        if flushed {
            self.shared.drained.notify_waiters();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.outstanding.lock().stop();
        self.shared.drained.notify_waiters();
        // Nobody will send what still waits: its receipts say so.
        for topic in self.shared.topics.load().values() {
            for partition in &topic.partitions {
                partition.queue.lock().give_up();
            }
        }
    }
}

impl Draft {
    fn add(&mut self, number: usize, slot: u64, partition: &Partition, id: Uuid, records: Records) {
        self.bytes += records.len();
        self.lacks_ids |= id.is_zero();
        self.sent.push(Sent { partition: number, slot });
        let data = PartitionProduceData { index: partition.index, records: Some(records) };
        match self.topics.iter_mut().find(|topic| topic.name == *partition.topic) {
            Some(topic) => topic.partition_data.push(data),
            None => self.topics.push(TopicProduceData {
                name: Str::from(&*partition.topic),
                topic_id: id,
                partition_data: vec![data],
            }),
        }
    }
}

/// When a partition wants to be looked at; `None` if it has nothing.
fn due_ms(shared: &Shared, active: &Active) -> Option<u64> {
    if let Some(retry_at) = active.window.retry_at() {
        return Some(retry_at);
    }
    let queue = active.partition.queue.lock();
    let Some(first) = queue.first() else {
        // What is under way wakes the sender when it is answered.
        return (!active.window.is_empty()).then_some(u64::MAX);
    };
    if !active.window.takes_new(shared.settings.in_flight_max.min(WINDOW_MAX)) {
        return Some(u64::MAX);
    }
    Some(first_due(shared, &queue, first.created_ms))
}

/// When the first batch of a queue is to be sent: at once if it is full, wanted by a flush, or its memory is.
fn first_due(shared: &Shared, queue: &PartitionQueue<Buffer>, created_ms: u64) -> u64 {
    let flushed = queue.first().is_some_and(|first| first.flush_epoch < shared.outstanding.lock().epoch());
    if queue.has_full() || flushed || shared.memory.is_waited_for() || shared.is_closed() {
        return 0;
    }
    created_ms + shared.settings.linger.as_millis() as u64
}

/// Takes a partition off the list, unless something came in the moment before.
fn unlist(active: &mut Active) {
    let mut queue = active.partition.queue.lock();
    if queue.batches() == 0 {
        queue.listed = false;
        active.listed = false;
    }
}
