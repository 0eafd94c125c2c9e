//! Deliberate faults in a broker's handling of requests: it handles another one, or none.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use ottla_coordinator::partition_for;
use ottla_metadata::MetadataImage;
use ottla_model::NodeId;
use ottla_protocol::api::alter_partition::{
    AlterPartitionRequest, AlterPartitionResponse, AlterPartitionResponsePartitionData,
    AlterPartitionResponseTopicData, BrokerState,
};
use ottla_protocol::api::broker_heartbeat::BrokerHeartbeatRequest;
use ottla_protocol::api::broker_registration::BrokerRegistrationRequest;
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest};
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use ottla_protocol::api::sync_group::SyncGroupRequest;
use ottla_protocol::{ApiKey, Decoder, Encoder, Message, Segment, Str, encode_response};
use ottla_server::api::{Intervention, RequestContext, RequestHook};

use super::client::{OFFSETS_PARTITIONS, OFFSETS_TOPIC};
use super::host::{SharedLife, node};
use crate::sabotage::Sabotage;

/// A node with one of the faults.
#[derive(Debug)]
pub struct Tamper {
    sabotage: Sabotage,
    /// The node itself, once it runs.
    life: SharedLife,
    /// By group, or by fixed identity: the last generation that this node has seen somebody sync, and whom.
    generations: Mutex<BTreeMap<Str, (i32, Str)>>,
}

impl Tamper {
    pub fn new(sabotage: Sabotage, life: SharedLife) -> Self {
        Self { sabotage, life, generations: Mutex::default() }
    }

    fn generations(&self) -> MutexGuard<'_, BTreeMap<Str, (i32, Str)>> {
        self.generations.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl RequestHook for Tamper {
    fn intervene(&self, context: &RequestContext, body: Bytes) -> Option<Intervention> {
        let is_of_quorum = &*context.listener == "CONTROLLER";
        match (self.sabotage, context.api_key) {
            (Sabotage::SkipDivergence, ApiKey::Fetch) if !is_of_quorum => {
                of_partitions(context, body, |partition| partition.last_fetched_epoch = -1)
            }
            (Sabotage::SkipLeaderEpoch, ApiKey::Fetch) if !is_of_quorum => {
                of_partitions(context, body, |partition| partition.current_leader_epoch = -1)
            }
            (Sabotage::SkipBrokerEpoch, ApiKey::Fetch) if !is_of_quorum => {
                replace(context, body, |request: &mut FetchRequest| request.replica_state.replica_epoch = -1)
            }
            (Sabotage::SkipBrokerEpoch, ApiKey::AlterPartition) => {
                let image = node(&self.life)?.image().clone();
                replace(context, body, |request: &mut AlterPartitionRequest| {
                    request.broker_epoch = current_epoch(&image, request.broker_id);
                    let partitions = request.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                    let in_sync = partitions.flat_map(|partition| &mut partition.new_isr_with_epochs);
                    in_sync.for_each(|broker| broker.broker_epoch = -1);
                })
            }
            (Sabotage::SkipBrokerEpoch, ApiKey::BrokerHeartbeat) => {
                let image = node(&self.life)?.image().clone();
                replace(context, body, |request: &mut BrokerHeartbeatRequest| {
                    request.broker_epoch = current_epoch(&image, request.broker_id);
                })
            }
            (Sabotage::TakeCrashForStop, ApiKey::BrokerRegistration) => {
                let image = node(&self.life)?.image().clone();
                replace(context, body, |request: &mut BrokerRegistrationRequest| {
                    request.previous_broker_epoch = current_epoch(&image, request.broker_id);
                })
            }
            (Sabotage::AssumeInSync, ApiKey::AlterPartition) => {
                answer(context, &granted(&decode(context, body)?))
            }
            (Sabotage::LetAllIn, ApiKey::AlterPartition) => {
                let image = node(&self.life)?.image().clone();
                replace(context, body, |request: &mut AlterPartitionRequest| let_all_in(&image, request))
            }
            (Sabotage::ForgetCommits, ApiKey::OffsetCommit) => {
                let request: OffsetCommitRequest = decode(context, body)?;
                let offset = request.topics.first()?.partitions.first()?.committed_offset;
                if offset % 16 == 15 { answer(context, &committed(&request)) } else { None }
            }
            (Sabotage::AnswerWhileLoading, ApiKey::OffsetFetch) => {
                let request: OffsetFetchRequest = decode(context, body)?;
                let group = request.groups.first()?;
                let partition = partition_for(&group.group_id, OFFSETS_PARTITIONS);
                let handle = node(&self.life)?.broker().partition_by_name(OFFSETS_TOPIC, partition).ok()?;
                let is_loading =
                    handle.standing().leads && handle.view().high_watermark() < handle.epoch_start();
                if is_loading { answer(context, &nothing_committed(&request)) } else { None }
            }
            (Sabotage::SkipFencing, ApiKey::SyncGroup) => {
                let request: SyncGroupRequest = decode(context, body)?;
                let seen = (request.generation_id, request.member_id);
                self.generations().insert(request.group_instance_id?, seen);
                None
            }
            (Sabotage::SkipFencing, ApiKey::OffsetCommit) => {
                let generations = self.generations();
                replace(context, body, |request: &mut OffsetCommitRequest| {
                    let instance = request.group_instance_id.as_ref();
                    if let Some((generation, member)) = instance.and_then(|id| generations.get(id)) {
                        request.generation_id_or_member_epoch = *generation;
                        request.member_id = member.clone();
                    }
                })
            }
            (Sabotage::SkipGeneration, ApiKey::SyncGroup) => {
                let request: SyncGroupRequest = decode(context, body)?;
                let seen = (request.generation_id, request.member_id);
                self.generations().insert(request.group_id, seen);
                None
            }
            (Sabotage::SkipGeneration, ApiKey::OffsetCommit) => {
                let generations = self.generations();
                replace(context, body, |request: &mut OffsetCommitRequest| {
                    if let Some((generation, member)) = generations.get(&request.group_id)
                        && request.group_instance_id.is_none()
                        && request.generation_id_or_member_epoch < *generation
                    {
                        request.generation_id_or_member_epoch = *generation;
                        request.member_id = member.clone();
                    }
                })
            }
            (Sabotage::MixAssignments, ApiKey::SyncGroup) => {
                replace(context, body, |request: &mut SyncGroupRequest| {
                    let first = request.assignments.first().map(|first| first.assignment.clone());
                    for assigned in &mut request.assignments {
                        assigned.assignment = first.clone().unwrap_or_default();
                    }
                })
            }
            _ => None,
        }
    }
}

fn of_partitions(
    context: &RequestContext,
    body: Bytes,
    change: impl Fn(&mut FetchPartition),
) -> Option<Intervention> {
    replace(context, body, |request: &mut FetchRequest| {
        request.topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(change);
    })
}

/// As far as the node knows.
fn current_epoch(image: &MetadataImage, broker: i32) -> i64 {
    image.cluster.broker(NodeId(broker)).map_or(-1, |known| known.epoch.0)
}

fn let_all_in(image: &MetadataImage, request: &mut AlterPartitionRequest) {
    for topic in &mut request.topics {
        let Some(known) = image.topics.by_id(topic.topic_id) else { continue };
        for asked in &mut topic.partitions {
            let Some(partition) = known.partitions.get(&asked.partition_index) else { continue };
            let runs = |id: &&NodeId| image.cluster.broker(**id).is_some_and(|broker| !broker.fenced);
            let all = partition.replicas.iter().filter(runs);
            asked.new_isr_with_epochs =
                all.map(|id| BrokerState { broker_id: id.0, broker_epoch: -1 }).collect();
        }
    }
}

fn nothing_committed(request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let groups = request.groups.iter().map(|group| OffsetFetchResponseGroup {
        group_id: group.group_id.clone(),
        topics: group
            .topics
            .iter()
            .flatten()
            .map(|topic| OffsetFetchResponseTopics {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: topic
                    .partition_indexes
                    .iter()
                    .map(|&partition_index| OffsetFetchResponsePartitions {
                        partition_index,
                        committed_offset: -1,
                        ..Default::default()
                    })
                    .collect(),
            })
            .collect(),
        ..Default::default()
    });
    OffsetFetchResponse { groups: groups.collect(), ..Default::default() }
}

fn decode<M: Message>(context: &RequestContext, body: Bytes) -> Option<M> {
    M::decode(&mut Decoder::new(body), context.api_version).ok()
}

fn replace<M: Message>(
    context: &RequestContext,
    body: Bytes,
    change: impl FnOnce(&mut M),
) -> Option<Intervention> {
    let mut request = decode(context, body)?;
    change(&mut request);
    let mut e = Encoder::new();
    request.encode(&mut e, context.api_version).ok()?;
    Some(Intervention::Replace(e.finish_bytes().ok()?))
}

fn answer<M: Message>(context: &RequestContext, response: &M) -> Option<Intervention> {
    let (key, version) = (context.api_key, context.api_version);
    let segments = encode_response(key, version, context.correlation_id, response).ok()?;
    // Without the frame's length.
    Some(Intervention::Answer(joined(segments).slice(4..)))
}

fn joined(segments: Vec<Segment>) -> Bytes {
    let mut bytes = Vec::new();
    for segment in segments {
        if let Segment::Bytes(part) = segment {
            bytes.extend_from_slice(&part);
        }
    }
    bytes.into()
}

fn granted(request: &AlterPartitionRequest) -> AlterPartitionResponse {
    let topics = request.topics.iter().map(|topic| AlterPartitionResponseTopicData {
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| AlterPartitionResponsePartitionData {
                partition_index: partition.partition_index,
                leader_id: request.broker_id,
                leader_epoch: partition.leader_epoch,
                isr: partition.new_isr_with_epochs.iter().map(|broker| broker.broker_id).collect(),
                partition_epoch: partition.partition_epoch + 1,
                ..Default::default()
            })
            .collect(),
    });
    AlterPartitionResponse { topics: topics.collect(), ..Default::default() }
}

fn committed(request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                ..Default::default()
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}
