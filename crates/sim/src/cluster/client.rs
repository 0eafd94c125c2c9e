//! What clients do, over the wire: producers, readers, groups with members and without, an operator,
//! and what arrives late of former brokers. Each is a task of the clients' host.

mod late;
mod member;
mod operator;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla_model::{ErrorCode, Millis, ProducerEpoch, ProducerId, Uuid};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use ottla_protocol::api::find_coordinator::FindCoordinatorRequest;
use ottla_protocol::api::init_producer_id::InitProducerIdRequest;
use ottla_protocol::api::metadata::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::{Records, Request, Str};
use ottla_record::{BatchBuilder, Batches, Compression};
use ottla_server::rpc::{NodeAddress, NodeClient, RpcNetwork};
use tokio::time::sleep;

use super::host::{CLIENT_PORT, Layout};
use super::ledger::{Ledger, numbers};
use crate::random::Random;

pub const TOPIC: &str = "numbers";
pub const PARTITIONS: i32 = 3;
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
pub const OFFSETS_PARTITIONS: i32 = 2;
/// Groups without members: each client commits as it likes.
const GROUPS: i32 = 3;
/// Groups whose members share the partitions.
const TEAMS: i32 = 2;
const MEMBERS: i32 = 3;
const READERS: i32 = 2;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
const BACKOFF: Duration = Duration::from_millis(50);
/// Beside its number, so that segments fill.
const PADDING: [u8; 200] = [7; 200];

pub type Shared = Arc<Mutex<Ledger>>;

pub fn lock(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// An offset to be committed.
struct Commit<'a> {
    group: &'a str,
    partition: i32,
    offset: i64,
    /// -1 and an empty member in groups without members.
    generation: i32,
    member: Str,
    /// Of a member of fixed identity.
    instance: Option<Str>,
}

/// A client: a connection to each node that it speaks to.
pub struct Client {
    rpc: Arc<RpcNetwork>,
    /// By node and port.
    open: BTreeMap<(i32, u16), NodeClient>,
    nodes: i32,
    random: Random,
    ledger: Shared,
    acks: i16,
    topic_id: Uuid,
    leaders: BTreeMap<i32, Leader>,
}

/// Who leads a partition, as far as a client knows.
#[derive(Clone, Copy)]
struct Leader {
    id: i32,
    epoch: i32,
    /// It did not answer as a leader: to be asked for anew.
    is_stale: bool,
}

impl Default for Leader {
    fn default() -> Self {
        Self { id: 0, epoch: -1, is_stale: true }
    }
}

impl Client {
    pub fn new(rpc: Arc<RpcNetwork>, nodes: i32, seed: u64, ledger: Shared, acks: i16) -> Self {
        let (open, leaders) = (BTreeMap::new(), BTreeMap::new());
        Self { rpc, open, nodes, random: Random::new(seed), ledger, acks, topic_id: Uuid::ZERO, leaders }
    }

    /// The answer of a node, if there is one.
    async fn ask<R: Request>(&mut self, node: i32, request: &R) -> Option<R::Response> {
        self.ask_at(node, CLIENT_PORT, request).await
    }

    async fn ask_at<R: Request>(&mut self, node: i32, port: u16, request: &R) -> Option<R::Response> {
        let mut client = match self.open.remove(&(node, port)) {
            Some(client) => client,
            None => {
                let address = NodeAddress { host: format!("node{node}"), port };
                NodeClient::connect(&self.rpc, &address, "sim", REQUEST_TIMEOUT).await.ok()?
            }
        };
        let answer = client.call(request).await.ok()?;
        self.open.insert((node, port), client);
        Some(answer)
    }

    async fn ask_anybody<R: Request>(&mut self, request: &R) -> Option<R::Response> {
        let node = 1 + self.random.below(i64::from(self.nodes)) as i32;
        let answer = self.ask(node, request).await;
        if answer.is_none() {
            sleep(BACKOFF).await;
        }
        answer
    }

    async fn pause(&mut self, ms_max: i64) {
        sleep(Duration::from_millis(1 + self.random.below(ms_max) as u64)).await;
    }

    /// Learns who leads.
    async fn look(&mut self) {
        let topic = MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        if let Some(answer) = self.ask_anybody(&request).await {
            for topic in answer.topics.iter().filter(|topic| topic.error_code == 0) {
                self.topic_id = topic.topic_id;
                for partition in &topic.partitions {
                    let known = self.leaders.entry(partition.partition_index).or_default();
                    // A node that is cut off tells of the past.
                    known.is_stale &= partition.leader_epoch < known.epoch || partition.leader_id <= 0;
                    if partition.leader_epoch >= known.epoch {
                        (known.id, known.epoch) = (partition.leader_id, partition.leader_epoch);
                    }
                }
            }
        }
    }

    async fn leader(&mut self, partition: i32) -> Leader {
        loop {
            if let Some(leader) = self.leaders.get(&partition).filter(|leader| !leader.is_stale) {
                return *leader;
            }
            self.look().await;
            sleep(BACKOFF).await;
        }
    }

    fn forget(&mut self, partition: i32) {
        self.leaders.entry(partition).or_default().is_stale = true;
    }

    /// Creates a topic; whoever comes second finds it.
    pub async fn create(&mut self, name: &str) {
        loop {
            let topic = CreatableTopic {
                name: name.into(),
                num_partitions: PARTITIONS,
                replication_factor: 3,
                ..Default::default()
            };
            let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 3000, ..Default::default() };
            if let Some(answer) = self.ask_anybody(&request).await {
                let code = answer.topics.first().map_or(0, |topic| topic.error_code);
                if code == 0 || code == ErrorCode::TopicAlreadyExists.code() {
                    return;
                }
            }
            sleep(BACKOFF).await;
        }
    }

    async fn producer_id(&mut self) -> (ProducerId, ProducerEpoch) {
        loop {
            if let Some(answer) = self.ask_anybody(&InitProducerIdRequest::default()).await
                && answer.error_code == 0
            {
                return (ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch));
            }
            sleep(BACKOFF).await;
        }
    }

    /// Sends one number after the other, each until it is acknowledged.
    pub async fn produce(mut self, partition: i32) {
        let (id, epoch) = self.producer_id().await;
        for number in 0i64.. {
            let mut batch = BatchBuilder::new(Compression::NONE).producer(id, epoch, number as i32);
            let value = [&number.to_be_bytes()[..], &PADDING].concat();
            batch.append(Millis(1_700_000_000_000 + number), None, Some(&value));
            let records = batch.build();
            loop {
                let leader = self.leader(partition).await;
                let partition_data = vec![PartitionProduceData {
                    index: partition,
                    records: Some(Records::from(records.clone())),
                }];
                let topic_data =
                    vec![TopicProduceData { topic_id: self.topic_id, partition_data, ..Default::default() }];
                let request =
                    ProduceRequest { acks: self.acks, timeout_ms: 3000, topic_data, ..Default::default() };
                let answer = self.ask(leader.id, &request).await;
                let outcome = answer.as_ref().and_then(|answer| {
                    let partition = answer.responses.first()?.partition_responses.first()?;
                    Some((ErrorCode::from_code(partition.error_code)?, partition.base_offset))
                });
                match outcome {
                    Some((ErrorCode::None, offset)) => {
                        lock(&self.ledger).acknowledged(partition, number, offset);
                        break;
                    }
                    Some((ErrorCode::DuplicateSequenceNumber, _)) => {
                        lock(&self.ledger).acknowledged(partition, number, -1);
                        break;
                    }
                    Some((code, _)) if !code.is_retriable() => {
                        let what = format!(
                            "partition {partition}: number {number} was refused with {}",
                            code.name()
                        );
                        lock(&self.ledger).breaks(what);
                        return;
                    }
                    _ => {
                        sleep(BACKOFF).await;
                        self.forget(partition);
                    }
                }
            }
            self.pause(60).await;
        }
    }

    /// Reads a partition from its beginning on.
    pub async fn read(mut self, reader: i32, partition: i32) {
        let mut at = 0;
        loop {
            let leader = self.leader(partition).await;
            // Sometimes its metadata is not the leader's.
            let epoch = match self.random.below(30) {
                0 if leader.epoch > 0 => leader.epoch - 1,
                1 => leader.epoch + 1,
                _ => leader.epoch,
            };
            let epoch_before = lock(&self.ledger).epoch_of(leader.id, partition);
            let fetch = FetchPartition {
                partition,
                current_leader_epoch: epoch,
                fetch_offset: at,
                partition_max_bytes: 4000,
                ..Default::default()
            };
            let topic = FetchTopic { topic_id: self.topic_id, partitions: vec![fetch], ..Default::default() };
            let request =
                FetchRequest { max_wait_ms: 300, min_bytes: 1, topics: vec![topic], ..Default::default() };
            let answer = self.ask(leader.id, &request).await;
            let found = answer.and_then(|mut answer| answer.responses.pop()?.partitions.pop());
            let is_answer = |found: &PartitionData| {
                // Who guesses the epoch may meet a follower that does not go as far.
                let is_guess = epoch != leader.epoch && found.error_code != 0;
                !is_guess && found.error_code != ErrorCode::NotLeaderOrFollower.code()
            };
            let Some(found) = found.filter(is_answer) else {
                sleep(BACKOFF).await;
                self.forget(partition);
                continue;
            };
            if found.error_code == ErrorCode::OffsetOutOfRange.code() {
                lock(&self.ledger).breaks(format!(
                    "partition {partition}: {at}, read so far, is out of range on {}",
                    leader.id
                ));
                return;
            }
            if found.error_code != 0 {
                sleep(BACKOFF).await;
                self.forget(partition);
                continue;
            }
            lock(&self.ledger).served(leader.id, partition, epoch, epoch_before);
            let bytes = found.records.and_then(|records| records.to_bytes()).unwrap_or_default();
            for batch in Batches::new(bytes) {
                // The last may be cut off.
                let Ok(batch) = batch else { break };
                let from = at;
                match numbers(&batch) {
                    Ok(numbers) => {
                        for (offset, number) in numbers.into_iter().skip_while(|(offset, _)| *offset < from) {
                            lock(&self.ledger).read(reader, partition, offset, number);
                            at = offset + 1;
                        }
                    }
                    Err(error) => {
                        lock(&self.ledger).breaks(format!("partition {partition}, offset {at}: {error}"))
                    }
                }
            }
            self.pause(100).await;
        }
    }

    async fn coordinator(&mut self, group: &str) -> i32 {
        loop {
            let request =
                FindCoordinatorRequest { coordinator_keys: vec![Str::from(group)], ..Default::default() };
            if let Some(answer) = self.ask_anybody(&request).await
                && let Some(found) = answer.coordinators.first().filter(|found| found.error_code == 0)
            {
                return found.node_id;
            }
            sleep(BACKOFF).await;
        }
    }

    /// Commits one offset after the other, and asks in between what is committed.
    pub async fn commit(mut self, group: String) {
        let mut offset = 0;
        let mut coordinator = self.coordinator(&group).await;
        while self.topic_id == Uuid::ZERO {
            self.look().await;
        }
        loop {
            let asks = self.random.chance(400);
            let answered = match asks {
                true => self.ask_committed(coordinator, &group, 0).await,
                false => {
                    let (generation, member, instance) = (-1, Str::EMPTY, None);
                    let commit = Commit { group: &group, partition: 0, offset, generation, member, instance };
                    self.try_commit(coordinator, commit).await == Some(0)
                }
            };
            match answered {
                true if asks => {}
                true => offset += 1,
                false => {
                    sleep(BACKOFF).await;
                    coordinator = self.coordinator(&group).await;
                }
            }
            self.pause(80).await;
        }
    }

    /// The error code of the answer, if there is one.
    async fn try_commit(&mut self, coordinator: i32, commit: Commit<'_>) -> Option<i16> {
        let Commit { group, partition, offset, generation, member, instance } = commit;
        let asked = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..Default::default()
        };
        let topic = OffsetCommitRequestTopic {
            topic_id: self.topic_id,
            partitions: vec![asked],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: generation,
            member_id: member,
            group_instance_id: instance,
            topics: vec![topic],
            ..Default::default()
        };
        lock(&self.ledger).commits(group, partition, offset);
        let answer = self.ask(coordinator, &request).await?;
        let code = answer.topics.first()?.partitions.first()?.error_code;
        if code == 0 {
            lock(&self.ledger).commit_acknowledged(coordinator, group, partition, offset);
        }
        Some(code)
    }

    /// Whether there was an answer.
    async fn ask_committed(&mut self, coordinator: i32, group: &str, partition: i32) -> bool {
        let topic = OffsetFetchRequestTopics {
            topic_id: self.topic_id,
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let group_asked = OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let request =
            OffsetFetchRequest { groups: vec![group_asked], require_stable: true, ..Default::default() };
        let at_least = lock(&self.ledger).must_know(coordinator, group, partition);
        let answer = self.ask(coordinator, &request).await;
        let found = answer.as_ref().and_then(|answer| answer.groups.first());
        let offset = found.filter(|found| found.error_code == 0).and_then(|found| {
            let partition = found.topics.first()?.partitions.first()?;
            (partition.error_code == 0).then_some(partition.committed_offset)
        });
        if let Some(offset) = offset {
            lock(&self.ledger).fetched(coordinator, group, partition, offset, at_least);
        }
        offset.is_some()
    }
}

/// Every client's task. Producers ask for `acks`, and take every acknowledgement for one of all replicas in sync.
pub fn tasks(
    rpc: &Arc<RpcNetwork>,
    layout: &Layout,
    random: &mut Random,
    ledger: &Shared,
    acks: i16,
) -> Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
    let (nodes, controllers) = (*layout.brokers.end(), layout.controllers.clone());
    let mut client = || Client::new(Arc::clone(rpc), nodes, random.number(), Arc::clone(ledger), acks);
    let mut tasks: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
    for partition in 0..PARTITIONS {
        tasks.push(Box::pin(client().produce(partition)));
        for reader in 0..READERS {
            tasks.push(Box::pin(client().read(reader, partition)));
        }
    }
    for group in 0..GROUPS {
        tasks.push(Box::pin(client().commit(format!("group-{group}"))));
    }
    for team in 0..TEAMS {
        for member in 0..MEMBERS {
            let instance = (member == 0).then(|| format!("fixed-{team}").into());
            tasks.push(Box::pin(client().take_part(format!("team-{team}"), instance)));
        }
    }
    tasks.push(Box::pin(client().send_late(controllers.clone())));
    tasks.push(Box::pin(client().operate(controllers, layout.replaces_controllers())));
    let mut creator = client();
    tasks.push(Box::pin(async move { creator.create(TOPIC).await }));
    tasks
}
