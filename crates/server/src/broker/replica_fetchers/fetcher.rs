//! One fetcher: a connection to a leader, and rounds of fetch, check, write.
//!
//! A round is one request with all partitions that changed, and one pass over the answer: checksums are verified here,
//! the bytes go to the partitions' shards as they are, each partition's with one write, and the next request tells the
//! leader what is written. Nothing that a leader sends is believed before its checksum is, and nothing stops more than
//! the partition that it concerns.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset};
use ottla_protocol::Records;
use ottla_protocol::api::fetch::{FetchRequest, FetchResponse, PartitionData, ReplicaState};
use ottla_protocol::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ottla_record::{Batch, BatchError};
use ottla_replication::{Answer, EpochEnd, Step};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::super::Broker;
use super::super::partition::{Correction, FollowError, FollowerLog, Partition, PartitionHandle, Replicated};
use super::super::replication_quota::Side;
use super::super::shard::{Shard, Work};
use super::session::{FetchLimits, FetchSession};
use super::{Command, FetcherKey, Inbox, PartitionKey, upgrade};
use crate::clock;
use crate::rpc::{NodeAddress, NodeClient, RpcError, RpcNetwork};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// How long a partition waits when its quota is used up, before it is looked at again.
const THROTTLED_MS: i64 = 100;

/// The first wait after a failure; each further one is twice as long, up to `replica.fetch.backoff.ms`.
const BACKOFF_MS_MIN: i64 = 5;

fn backoff_ms(failures: u32, backoff_ms_max: i64) -> i64 {
    (BACKOFF_MS_MIN << failures.min(20)).min(backoff_ms_max.max(1))
}

type Written = (PartitionKey, Result<FollowerLog, FollowError>);

struct Fetcher {
    leader: NodeId,
    broker: Arc<Broker>,
    session: FetchSession,
    client: Option<NodeClient>,
    inbox: Arc<Inbox>,
    /// Rounds in a row that came to nothing; the first is worth a line.
    failures: u32,
    /// Records of a throttled partition have come: from then on the quota is looked at.
    any_throttled: bool,
    written: (mpsc::UnboundedSender<Written>, mpsc::UnboundedReceiver<Written>),
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("the metadata has no address for it")]
    Unknown,
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("it answered {0}")]
    Refused(ErrorCode),
}

/// Fetches until the broker stops.
pub async fn run(
    (leader, number): FetcherKey,
    broker: Weak<Broker>,
    network: Arc<RpcNetwork>,
    inbox: Arc<Inbox>,
) {
    let Some(owner) = upgrade(&broker, &inbox) else { return };
    let mut fetcher = Fetcher {
        leader,
        broker: owner,
        session: FetchSession::default(),
        client: None,
        inbox: Arc::clone(&inbox),
        failures: 0,
        any_throttled: false,
        written: mpsc::unbounded_channel(),
    };
    debug!(leader = leader.0, number, "fetcher starts");
    while upgrade(&broker, &inbox).is_some() {
        match fetcher.round(&network).await {
            Ok(Round::Idle) => fetcher.rest().await,
            Ok(Round::Fetched) => {
                if std::mem::take(&mut fetcher.failures) > 0 {
                    info!(leader = leader.0, "replicating again");
                }
            }
            Err(error) => {
                let backoff = fetcher.failed(&error);
                let _ = tokio::time::timeout(backoff, inbox.told.notified()).await;
            }
        }
    }
}

/// What a round came to.
enum Round {
    Fetched,
    /// There is nothing to ask for.
    Idle,
}

impl Fetcher {
    fn take(&mut self) {
        let commands = std::mem::take(&mut *self.inbox.commands.lock());
        for command in commands {
            match command {
                Command::Follow(handle, epoch) => {
                    let (key, is_durable) = ((handle.topic_id, handle.name.partition), handle.is_durable());
                    self.session.follow(handle, epoch);
                    if is_durable {
                        self.sync_first(key);
                    }
                }
                Command::Forget(key) => self.session.forget(key),
                Command::Synced(key, offset) => self.session.synced(key, offset),
            }
        }
    }

    /// Leaves a partition alone until what it has is synced.
    fn sync_first(&mut self, key: PartitionKey) {
        let Some(followed) = self.session.get(&key) else { return };
        followed.state.await_sync();
        let (slot, inbox) = (followed.handle.slot, Arc::clone(&self.inbox));
        followed.handle.shard.submit(move |state| {
            if let Some(partition) = state.partition(slot) {
                partition.tell_when_synced(Box::new(move |end| inbox.tell(Command::Synced(key, end))));
            }
        });
    }

    fn limits(&self, now: Millis) -> FetchLimits {
        let broker = &self.broker;
        let exceeded =
            self.any_throttled && broker.replication_quotas.is_exceeded(broker, Side::Follower, now);
        FetchLimits {
            partition_bytes_max: broker.config.replication.fetch_bytes_max,
            throttled_until: exceeded.then(|| now + THROTTLED_MS),
            node_id: broker.node_id,
        }
    }

    /// Waits for a command, or for a delayed partition's time.
    async fn rest(&mut self) {
        if self.session.is_empty() {
            self.client = None;
        }
        let due = self.session.next_due();
        tokio::select! {
            biased;
            () = self.inbox.told.notified() => {}
            () = sleep_until(due), if due.is_some() => {}
        }
    }

    fn backoff_ms(&self) -> i64 {
        self.broker.config.replication.fetch_backoff_ms.into()
    }

    /// After how long to try again.
    fn failed(&mut self, error: &RoundError) -> Duration {
        self.client = None;
        self.session.reset();
        match self.failures {
            0 => warn!(leader = self.leader.0, %error, "cannot replicate from this broker"),
            _ => debug!(leader = self.leader.0, %error, "cannot replicate"),
        }
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(backoff_ms(self.failures, self.backoff_ms()) as u64)
    }

    /// One request, unless one is under way, and the answer to the oldest. What is told meanwhile is asked for at once.
    async fn round(&mut self, network: &RpcNetwork) -> Result<Round, RoundError> {
        self.take();
        let is_waiting = self.client.as_ref().is_some_and(|client| client.in_flight() > 0);
        if !is_waiting {
            let Some(request) = self.next_request() else { return Ok(Round::Idle) };
            self.send(network, &request).await?;
        } else if let Some(request) = self.news() {
            self.send(network, &request).await?;
        }
        let response = loop {
            let due = self.session.next_due();
            let Some(client) = &mut self.client else { return Err(RoundError::Unknown) };
            let may_ask = self.session.is_open() && client.in_flight() == 1;
            tokio::select! {
                biased;
                response = client.receive::<FetchRequest>() => break response?,
                () = self.inbox.told.notified(), if may_ask => {}
                () = sleep_until(due), if may_ask && due.is_some() => {}
            }
            self.take();
            if let Some(request) = self.news() {
                self.send(network, &request).await?;
            }
        };
        self.session.answered(response.error_code, response.session_id).map_err(RoundError::Refused)?;
        self.take_answer(response).await?;
        Ok(Round::Fetched)
    }

    /// A request behind one that is under way, if there is something to say that it does not say.
    fn news(&mut self) -> Option<FetchRequest> {
        let has_news = self.session.is_open() && self.session.has_news(clock::steady());
        if has_news { self.next_request() } else { None }
    }

    fn next_request(&mut self) -> Option<FetchRequest> {
        let now = clock::steady();
        let limits = self.limits(now);
        let mut request = self.session.next_request(now, limits)?;
        let config = &self.broker.config.replication;
        request.replica_state =
            ReplicaState { replica_id: self.broker.node_id.0, replica_epoch: self.broker.epoch().0 };
        request.max_wait_ms = config.fetch_wait_ms_max;
        request.min_bytes = config.fetch_bytes_min;
        request.max_bytes = config.fetch_response_bytes_max;
        Some(request)
    }

    async fn send(&mut self, network: &RpcNetwork, request: &FetchRequest) -> Result<(), RoundError> {
        let client = match &mut self.client {
            Some(client) => client,
            empty => empty.insert(connect(&self.broker, self.leader, network).await?),
        };
        client.send(request)?;
        Ok(client.flush().await?)
    }

    /// Hands what came to the shards, and waits until it is written.
    async fn take_answer(&mut self, response: FetchResponse) -> Result<(), RoundError> {
        let now = clock::steady();
        let mut shards: Vec<Arc<Shard>> = Vec::new();
        let mut outstanding = 0;
        let mut out_of_range = Vec::new();
        for topic in response.responses {
            for data in topic.partitions {
                let key = (topic.topic_id, data.partition_index);
                let Some(task) = self.task_of(key, data, now, &mut out_of_range) else { continue };
                let Some(followed) = self.session.get(&key) else { continue };
                push(&followed.handle, key, task, &self.written.0);
                if !shards.iter().any(|shard| Arc::ptr_eq(shard, &followed.handle.shard)) {
                    shards.push(Arc::clone(&followed.handle.shard));
                }
                outstanding += 1;
            }
        }
        shards.iter().for_each(Shard::enter);
        while outstanding > 0 {
            // The fetcher holds a sender, so the channel does not end.
            let Some((key, result)) = self.written.1.recv().await else { break };
            self.written(key, result);
            outstanding -= 1;
        }
        for key in out_of_range {
            self.find_range(key).await?;
        }
        Ok(())
    }

    /// What a partition's answer asks its shard to do.
    fn task_of(
        &mut self,
        key: PartitionKey,
        data: PartitionData,
        now: Millis,
        out_of_range: &mut Vec<PartitionKey>,
    ) -> Option<Task> {
        let (leader, backoff_ms) = (self.leader.0, self.backoff_ms());
        if !self.session.is_about(&key) {
            return None;
        }
        let followed = self.session.get(&key)?;
        let (epoch, offset) = followed.asked;
        let name = &followed.handle.name;
        if followed.handle.is_throttled(Side::Follower) {
            self.any_throttled = true;
            let bytes = data.records.as_ref().map_or(0, Records::len) as u64;
            self.broker.replication_quotas.record(Side::Follower, bytes, now);
        }
        let answer = match ErrorCode::from_code(data.error_code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None if data.diverging_epoch.epoch >= 0 || data.diverging_epoch.end_offset >= 0 => {
                Answer::Diverging(EpochEnd {
                    epoch: LeaderEpoch(data.diverging_epoch.epoch),
                    end: Offset(data.diverging_epoch.end_offset),
                })
            }
            ErrorCode::None => Answer::Records,
            error => Answer::Failed(error),
        };
        match followed.state.answered((epoch, offset), answer, now, backoff_ms)? {
            Step::Append => match batches(data.records, epoch) {
                Ok(batches) => Some(Task::Append(Replicated {
                    epoch,
                    batches,
                    high_watermark: Offset(data.high_watermark),
                    log_start: Offset(data.log_start_offset),
                })),
                Err(error) => {
                    warn!(partition = %name, leader, %offset, %error, "the leader sent a corrupt batch: refused");
                    followed.state.fail(now, backoff_ms);
                    self.session.touch(key);
                    None
                }
            },
            Step::Truncate(end) => Some(Task::Correct(epoch, Correction::Diverged(end))),
            Step::AskForEnds => {
                out_of_range.push(key);
                None
            }
            Step::Retry(error) => {
                debug!(partition = %name, leader, %error, "not replicated for now");
                self.session.touch(key);
                None
            }
            Step::Stop => {
                info!(partition = %name, leader, epoch = epoch.0, "the leader has a newer epoch: waiting for it");
                self.session.touch(key);
                None
            }
        }
    }

    /// Takes over what a shard did.
    fn written(&mut self, key: PartitionKey, result: Result<FollowerLog, FollowError>) {
        let (leader, backoff_ms) = (self.leader.0, self.backoff_ms());
        let Some(followed) = self.session.get(&key) else { return };
        match result {
            Ok(log) => {
                let moved =
                    followed.state.offset() != log.end || followed.state.last_epoch() != log.last_epoch;
                followed.state.advance(log.end, log.last_epoch);
                if moved {
                    self.session.touch(key);
                } else {
                    self.session.touch_if_log_start_moved(key);
                }
                if !log.counts {
                    self.sync_first(key);
                }
                return;
            }
            // The metadata has moved on; what to do comes as a command.
            Err(FollowError::Fenced) => followed.state.stop(),
            Err(error) if followed.handle.view().is_offline() => {
                warn!(partition = %followed.handle.name, leader, %error, "replicated no more");
                followed.state.stop();
            }
            Err(error) => {
                warn!(partition = %followed.handle.name, leader, %error, "cannot take what the leader sent");
                followed.state.fail(clock::steady(), backoff_ms);
            }
        }
        self.session.touch(key);
    }

    /// A partition's offset is not in its leader's log: cuts the log to what the leader has, or starts anew.
    async fn find_range(&mut self, key: PartitionKey) -> Result<(), RoundError> {
        let Some(followed) = self.session.get(&key) else { return Ok(()) };
        let (handle, epoch) = (Arc::clone(&followed.handle), followed.state.leader_epoch());
        let log_end = followed.state.offset();
        let found = match self.list_offset(&handle, epoch, LATEST).await? {
            Ok(leader_end) if leader_end < log_end => {
                Ok(Task::Correct(epoch, Correction::EndsAt(leader_end)))
            }
            Ok(_) => self.list_offset(&handle, epoch, EARLIEST).await?.map(|leader_start| {
                if leader_start > log_end {
                    Task::Correct(epoch, Correction::BeginsAt(leader_start))
                } else {
                    Task::Look(epoch)
                }
            }),
            Err(error) => Err(error),
        };
        match found {
            Ok(task) => {
                push(&handle, key, task, &self.written.0);
                handle.shard.enter();
                if let Some((key, result)) = self.written.1.recv().await {
                    self.written(key, result);
                }
            }
            Err(error) => {
                debug!(partition = %handle.name, %error, "the leader does not tell the range of its log");
                let backoff_ms = self.backoff_ms();
                if let Some(followed) = self.session.get(&key) {
                    followed.state.fail(clock::steady(), backoff_ms);
                }
            }
        }
        self.session.touch(key);
        Ok(())
    }

    async fn list_offset(
        &mut self,
        handle: &PartitionHandle,
        epoch: LeaderEpoch,
        timestamp: i64,
    ) -> Result<Result<Offset, ErrorCode>, RoundError> {
        let partition = ListOffsetsPartition {
            partition_index: handle.name.partition,
            current_leader_epoch: epoch.0,
            timestamp,
        };
        let request = ListOffsetsRequest {
            replica_id: self.broker.node_id.0,
            topics: vec![ListOffsetsTopic {
                name: (&*handle.name.topic).into(),
                partitions: vec![partition],
            }],
            ..Default::default()
        };
        let Some(client) = &mut self.client else { return Err(RoundError::Unknown) };
        // A fetch that is under way is answered before; its answer is passed over, and what it brought comes again.
        if client.in_flight() > 0 {
            self.session.reset();
        }
        let response = client.call(&request).await?;
        let answer = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        Ok(match answer.map(|answer| (answer.offset, answer.error_code)) {
            Some((offset, 0)) => Ok(Offset(offset)),
            Some((_, code)) => Err(ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)),
            None => Err(ErrorCode::UnknownServerError),
        })
    }
}

async fn sleep_until(due: Option<Millis>) {
    let delay_ms = due.map_or(0, |due| (due - clock::steady()).max(1));
    tokio::time::sleep(Duration::from_millis(delay_ms as u64)).await;
}

/// What a shard is to do with a follower's partition.
enum Task {
    Append(Replicated),
    Correct(LeaderEpoch, Correction),
    /// Only say how far the log goes.
    Look(LeaderEpoch),
}

impl Task {
    fn run(self, partition: &mut Partition, now: Millis) -> Result<FollowerLog, FollowError> {
        match self {
            Task::Append(replicated) => partition.replicate(replicated, now),
            Task::Correct(epoch, correction) => partition.correct(epoch, correction, now),
            Task::Look(epoch) => partition.look(epoch),
        }
    }
}

/// Puts a task into the shard's queue; its result goes to `written`.
fn push(
    handle: &Arc<PartitionHandle>,
    key: PartitionKey,
    task: Task,
    written: &mpsc::UnboundedSender<Written>,
) {
    let (slot, written) = (handle.slot, written.clone());
    handle.shard.push(Work::Task(Box::new(move |state| {
        let result = match state.partition(slot) {
            Some(partition) => task.run(partition, clock::now()),
            None => Err(FollowError::Fenced),
        };
        // A fetcher that ended does not need it.
        let _ = written.send((key, result));
    })));
}

/// The whole batches of an answer that are of `epoch` or an earlier one, checksums verified. What a leader wrote in an
/// epoch that this follower has not heard of comes again when it has.
fn batches(records: Option<Records>, epoch: LeaderEpoch) -> Result<Vec<Batch>, BatchError> {
    let mut rest = match records {
        Some(Records::Bytes(bytes)) => bytes,
        _ => Bytes::new(),
    };
    let mut batches = Vec::new();
    while let Some((batch, behind)) = Batch::split_first(&rest)? {
        if batch.header.leader_epoch > epoch {
            break;
        }
        batch.verify_crc()?;
        batches.push(batch);
        rest = behind;
    }
    Ok(batches)
}

async fn connect(broker: &Broker, leader: NodeId, network: &RpcNetwork) -> Result<NodeClient, RoundError> {
    let config = &broker.config;
    let address = {
        let image = broker.image();
        let registration = image.cluster.broker(leader).ok_or(RoundError::Unknown)?;
        let listener = registration.listener(&config.inter_broker_listener).ok_or(RoundError::Unknown)?;
        NodeAddress { host: listener.host.to_string(), port: listener.port }
    };
    let timeout = Duration::from_millis(config.replication.socket_timeout_ms.max(1) as u64);
    let client_id = format!("broker-{}-fetcher", broker.node_id);
    Ok(NodeClient::connect(network, &address, &client_id, timeout).await?)
}
