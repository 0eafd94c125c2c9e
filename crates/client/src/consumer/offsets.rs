//! Offsets: those that the group has committed, those that the leaders know, and the task that gives every partition
//! a position.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset, TopicPartition};
use ottla_protocol::Str;
use ottla_protocol::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla_protocol::api::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

use super::fetcher::start_fetchers;
use super::shared::Shared;
use crate::client::{CallOptions, CoordinatorKey, Lane, Target};
use crate::error::{Error, Result};
use crate::state::positions::{Due, Position};
use crate::state::reset_policy::OffsetSpec;

/// The last version of OffsetCommit and OffsetFetch with names of topics; newer ones say the same with ids.
const NAMES_MAX: i16 = 9;

/// An offset as it was committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// That of the next record to be read.
    pub offset: Offset,
    /// Epoch of the record in front of it, if it was known.
    pub leader_epoch: LeaderEpoch,
    /// What the application added.
    pub metadata: String,
}

/// An offset found by its timestamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OffsetAndTimestamp {
    /// Of the record; of the next one to be written where the end was asked for.
    pub offset: Offset,
    /// That of the record; none for the beginning and the end.
    pub timestamp: Millis,
    /// Epoch of the leader that appended the record; [`LeaderEpoch::NONE`] where the broker does not tell.
    pub leader_epoch: LeaderEpoch,
}

/// Gives partitions their positions and nodes their fetchers, until the consumer is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut metadata = shared.client.subscribe_metadata();
    while !shared.is_closed() {
        shared.see_leaders();
        shared.drop_stale();
        resolve(&shared);
        start_fetchers(&shared);
        if shared.core.lock().positions.first_error().is_some() {
            shared.ready.notify_one();
        }
        let retry_at = shared.core.lock().positions.next_retry().unwrap_or(Millis::MAX);
        let wait = Duration::from_millis((retry_at - shared.now()).clamp(10, 60_000) as u64);
        tokio::select! {
            () = shared.resolve.notified() => {}
            changed = metadata.changed() => match changed {
                // A poll that waits looks which topics its pattern means now.
                Ok(()) => shared.ready.notify_one(),
                Err(_) => return,
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Sends what is due, each kind in one request per node.
fn resolve(shared: &Arc<Shared>) {
    let group = shared.config.group.is_some();
    let due = shared.core.lock().positions.due(shared.now(), Shared::wall_clock(), group);
    let mut committed = Vec::new();
    let mut offsets: BTreeMap<NodeId, Vec<(TopicPartition, u64, OffsetSpec)>> = BTreeMap::new();
    let mut validations: BTreeMap<NodeId, Vec<(TopicPartition, u64, LeaderEpoch, LeaderEpoch)>> =
        BTreeMap::new();
    let metadata = shared.client.metadata();
    for (partition, run, due) in due {
        match due {
            Due::Committed => committed.push((partition, run)),
            Due::Offset(spec) => {
                let known = metadata.partition(&partition.topic, partition.partition);
                match known.and_then(|known| known.leader) {
                    Some(leader) => offsets.entry(leader).or_default().push((partition, run, spec)),
                    None => shared.retry_later(&partition, run),
                }
            }
            Due::Validate { leader, epoch } => {
                validations.entry(leader.node).or_default().push((partition, run, leader.epoch, epoch));
            }
        }
    }
    if !committed.is_empty() {
        let task = Arc::clone(shared);
        shared.client.spawn(async move { task.resolve_committed(committed).await });
    }
    for (node, asked) in offsets {
        let task = Arc::clone(shared);
        shared.client.spawn(async move { task.resolve_offsets(node, asked).await });
    }
    for (node, asked) in validations {
        let task = Arc::clone(shared);
        shared.client.spawn(async move { task.validate(node, asked).await });
    }
}

impl Shared {
    fn retry_later(&self, partition: &TopicPartition, run: u64) {
        let retry_at = self.now() + self.config.retry_backoff_ms;
        self.core.lock().positions.failed(partition, run, retry_at);
        self.client.refresh_metadata();
    }

    async fn resolve_committed(&self, asked: Vec<(TopicPartition, u64)>) {
        let partitions: Vec<TopicPartition> = asked.iter().map(|(partition, _)| partition.clone()).collect();
        match self.committed_once(&partitions).await {
            Ok(found) => {
                let mut core = self.core.lock();
                for (partition, run) in asked {
                    let position = found
                        .get(&partition)
                        .map(|found| Position { offset: found.offset, epoch: found.leader_epoch });
                    core.positions.committed(&partition, run, position, Self::wall_clock());
                }
            }
            Err(error) => {
                for (partition, run) in &asked {
                    self.retry_later(partition, *run);
                }
                if !error.is_retriable() {
                    self.fail(error);
                }
            }
        }
        self.positions_changed();
        self.ready.notify_one();
    }

    async fn resolve_offsets(&self, node: NodeId, asked: Vec<(TopicPartition, u64, OffsetSpec)>) {
        let specs: Vec<_> = asked.iter().map(|(partition, _, spec)| (partition.clone(), *spec)).collect();
        let found = self.list_offsets_once(node, &specs).await;
        for (partition, run, _) in asked {
            match found.as_ref().map(|found| found.get(&partition)) {
                Ok(Some(Ok(found))) => {
                    let position =
                        found.map(|found| Position { offset: found.offset, epoch: found.leader_epoch });
                    self.core.lock().positions.offset_found(&partition, run, position);
                }
                Ok(Some(Err(code))) if !code.is_retriable() => {
                    self.retry_later(&partition, run);
                    self.fail(Error::broker(*code, Some(partition.to_string())));
                }
                _ => self.retry_later(&partition, run),
            }
        }
        self.positions_changed();
        self.ready.notify_one();
    }

    async fn validate(&self, node: NodeId, asked: Vec<(TopicPartition, u64, LeaderEpoch, LeaderEpoch)>) {
        let topics = asked.iter().map(|(partition, _, current, epoch)| OffsetForLeaderTopic {
            topic: (&*partition.topic).into(),
            partitions: vec![OffsetForLeaderPartition {
                partition: partition.partition,
                current_leader_epoch: current.0,
                leader_epoch: epoch.0,
            }],
        });
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: topics.collect() };
        let answer = self.client.call_with(Target::Node(node), request, main_lane()).await;
        let ends: BTreeMap<(Str, i32), _> = match &answer {
            Ok(answer) => answer
                .topics
                .iter()
                .flat_map(|topic| {
                    topic.partitions.iter().map(|end| ((topic.topic.clone(), end.partition), end))
                })
                .collect(),
            Err(_) => BTreeMap::new(),
        };
        for (partition, run, ..) in asked {
            match ends.get(&(Str::from(&*partition.topic), partition.partition)) {
                Some(end) if end.error_code == 0 => {
                    let known = end.end_offset >= 0 && end.leader_epoch >= 0;
                    let end =
                        Position { offset: Offset(end.end_offset), epoch: LeaderEpoch(end.leader_epoch) };
                    let mut core = self.core.lock();
                    core.positions.validated(&partition, run, known.then_some(end), Self::wall_clock());
                }
                _ => self.retry_later(&partition, run),
            }
        }
        self.drop_stale();
        self.positions_changed();
        self.ready.notify_one();
    }

    fn group_id(&self) -> Result<Str> {
        let group = self.config.group.as_ref();
        group.map(|group| group.group_id.clone()).ok_or_else(|| Error::invalid("this needs a group.id"))
    }

    /// What the group has committed, in one attempt. Partitions without an offset are absent.
    pub async fn committed_once(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Committed>> {
        let group_id = self.group_id()?;
        let mut topics: Vec<OffsetFetchRequestTopics> = Vec::new();
        for partition in partitions {
            match topics.last_mut().filter(|topic| *topic.name == *partition.topic) {
                Some(topic) => topic.partition_indexes.push(partition.partition),
                None => topics.push(OffsetFetchRequestTopics {
                    name: (&*partition.topic).into(),
                    partition_indexes: vec![partition.partition],
                    ..Default::default()
                }),
            }
        }
        let group = OffsetFetchRequestGroup {
            group_id: group_id.clone(),
            topics: Some(topics),
            ..Default::default()
        };
        let request = OffsetFetchRequest { groups: vec![group], require_stable: true, ..Default::default() };
        let options = CallOptions { version_max: Some(NAMES_MAX), ..main_lane() };
        let key = CoordinatorKey::Group(group_id);
        let node = self.client.coordinator(&key).await?;
        let answer = self.client.call_with(Target::Node(node), request, options).await;
        let answer = answer.inspect_err(|_| self.client.forget_coordinator(&key, node))?;
        let Some(group) = answer.groups.first() else { return Ok(BTreeMap::new()) };
        self.check_coordinator(&key, node, group.error_code)?;
        let mut found = BTreeMap::new();
        for topic in &group.topics {
            for partition in &topic.partitions {
                Error::check(partition.error_code, None::<&str>)?;
                if partition.committed_offset >= 0 {
                    let committed = Committed {
                        offset: Offset(partition.committed_offset),
                        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                        metadata: partition.metadata.as_deref().unwrap_or_default().to_owned(),
                    };
                    found.insert(
                        TopicPartition::new(topic.name.as_str(), partition.partition_index),
                        committed,
                    );
                }
            }
        }
        Ok(found)
    }

    fn check_coordinator(&self, key: &CoordinatorKey, node: NodeId, code: i16) -> Result<()> {
        let result = Error::check(code, None::<&str>);
        if let Err(error) = &result
            && matches!(error.code(), Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable))
        {
            self.client.forget_coordinator(key, node);
        }
        result
    }

    /// Commits for the group in one attempt.
    pub async fn commit_once(&self, offsets: &BTreeMap<TopicPartition, Committed>) -> Result<()> {
        let group_id = self.group_id()?;
        if offsets.is_empty() {
            return Ok(());
        }
        let identity = self.core.lock().identity.clone();
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (partition, committed) in offsets {
            let row = OffsetCommitRequestPartition {
                partition_index: partition.partition,
                committed_offset: committed.offset.0,
                committed_leader_epoch: committed.leader_epoch.0,
                committed_metadata: Some(committed.metadata.as_str().into()),
            };
            match topics.last_mut().filter(|topic| *topic.name == *partition.topic) {
                Some(topic) => topic.partitions.push(row),
                None => topics.push(OffsetCommitRequestTopic {
                    name: (&*partition.topic).into(),
                    partitions: vec![row],
                    ..Default::default()
                }),
            }
        }
        let request = OffsetCommitRequest {
            group_id: group_id.clone(),
            generation_id_or_member_epoch: identity.generation,
            member_id: identity.member_id,
            // Only a member of the group has an instance id.
            group_instance_id: (identity.generation >= 0)
                .then(|| self.config.group.as_ref().and_then(|group| group.group_instance_id.clone()))
                .flatten(),
            topics,
            ..Default::default()
        };
        let options = CallOptions { version_max: Some(NAMES_MAX), ..main_lane() };
        let key = CoordinatorKey::Group(group_id);
        let node = self.client.coordinator(&key).await?;
        let answer = self.client.call_with(Target::Node(node), request, options).await;
        let answer = answer.inspect_err(|_| self.client.forget_coordinator(&key, node))?;
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            let result = self.check_coordinator(&key, node, partition.error_code);
            if let Some(code) = result.as_ref().err().and_then(Error::code)
                && identity.generation >= 0
                && concerns_membership(code)
            {
                self.coordinator_said(code);
            }
            result?;
        }
        Ok(())
    }

    /// Offsets of partitions that one node leads, in one attempt; `None` where no record is that young.
    async fn list_offsets_once(
        &self,
        node: NodeId,
        asked: &[(TopicPartition, OffsetSpec)],
    ) -> Result<BTreeMap<TopicPartition, Result<Option<OffsetAndTimestamp>, ErrorCode>>> {
        let metadata = self.client.metadata();
        let topics = asked.iter().map(|(partition, spec)| ListOffsetsTopic {
            name: (&*partition.topic).into(),
            partitions: vec![ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: metadata
                    .partition(&partition.topic, partition.partition)
                    .map_or(-1, |known| known.leader_epoch.0),
                timestamp: spec.timestamp(),
            }],
        });
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(self.config.read_committed),
            topics: topics.collect(),
            timeout_ms: self.config.request_timeout.as_millis() as i32,
        };
        let answer = self.client.call_with(Target::Node(node), request, main_lane()).await?;
        let mut found = BTreeMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let result = match ErrorCode::from_code(partition.error_code) {
                    Some(ErrorCode::None) => Ok((partition.offset >= 0).then_some(OffsetAndTimestamp {
                        offset: Offset(partition.offset),
                        timestamp: Millis(partition.timestamp),
                        leader_epoch: LeaderEpoch(partition.leader_epoch),
                    })),
                    code => Err(code.unwrap_or(ErrorCode::UnknownServerError)),
                };
                found.insert(TopicPartition::new(topic.name.as_str(), partition.partition_index), result);
            }
        }
        Ok(found)
    }

    /// Offsets of any partitions, within `default.api.timeout.ms`; absent where no record is that young.
    pub async fn list_offsets(
        &self,
        asked: &[(TopicPartition, OffsetSpec)],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        self.client.want_topics(asked.iter().map(|(partition, _)| partition.topic.clone()));
        let attempt = async |attempts: u32| {
            let metadata =
                if attempts > 0 { self.client.updated_metadata().await? } else { self.client.metadata() };
            let mut by_leader: BTreeMap<NodeId, Vec<(TopicPartition, OffsetSpec)>> = BTreeMap::new();
            for (partition, spec) in asked {
                let known = metadata.partition(&partition.topic, partition.partition);
                let leader = known.and_then(|known| known.leader).ok_or(match known {
                    Some(_) => ErrorCode::LeaderNotAvailable,
                    None => ErrorCode::UnknownTopicOrPartition,
                })?;
                by_leader.entry(leader).or_default().push((partition.clone(), *spec));
            }
            let mut all = BTreeMap::new();
            for (leader, asked) in by_leader {
                for (partition, found) in self.list_offsets_once(leader, &asked).await? {
                    if let Some(found) = found? {
                        all.insert(partition, found);
                    }
                }
            }
            Ok(all)
        };
        self.client.retry(self.client.api_timeout(), "listing offsets", attempt).await
    }
}

/// Errors of a commit that tell about the membership.
fn concerns_membership(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::RebalanceInProgress
            | ErrorCode::FencedInstanceId
            | ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
    )
}

fn main_lane() -> CallOptions {
    CallOptions { lane: Lane::Main, ..Default::default() }
}
