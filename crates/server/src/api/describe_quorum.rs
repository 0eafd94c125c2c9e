//! DescribeQuorum (55): versions 0 to 2. The metadata quorum as its leader sees it (KIP-595, KIP-836, KIP-853).

use ottla_commit_log::METADATA_TOPIC;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestTopicData, DescribeQuorumResponse,
    DescribeQuorumResponsePartitionData, DescribeQuorumResponseTopicData, Listener, Node, ReplicaState,
};
use ottla_raft::{Progress, ReplicaKey, Voter};

use super::RequestContext;
use crate::controller::{ControllerHandle, QuorumInfo};

/// The first version with the voters' directories and endpoints.
const DIRECTORIES_VERSION: i16 = 2;

pub async fn handle(
    controller: &ControllerHandle,
    context: &RequestContext,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    match &request.topics[..] {
        [topic] if *topic.topic_name == *METADATA_TOPIC && is_partition_0(topic) => {}
        _ => return refused(&request),
    }
    match controller.describe_quorum().await {
        Ok(info) => describe(&info, context.api_version),
        Err(error) => DescribeQuorumResponse {
            error_code: error.error_code().code(),
            error_message: Some(Str::from(error.to_string())),
            ..Default::default()
        },
    }
}

fn is_partition_0(topic: &DescribeQuorumRequestTopicData) -> bool {
    matches!(&topic.partitions[..], [partition] if partition.partition_index == 0)
}

/// Anything but the metadata partition is unknown here.
fn refused(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let topic = |topic: &DescribeQuorumRequestTopicData| DescribeQuorumResponseTopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| DescribeQuorumResponsePartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition.code(),
                ..Default::default()
            })
            .collect(),
    };
    DescribeQuorumResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
}

/// Only a leader knows the replicas.
fn describe(info: &QuorumInfo, version: i16) -> DescribeQuorumResponse {
    let mut response = DescribeQuorumResponse::default();
    let mut partition = DescribeQuorumResponsePartitionData::default();
    let state = |replica: &(ReplicaKey, Progress)| state(replica, version);
    match info.leader.filter(|_| !info.replicas.voters.is_empty()) {
        Some(leader) => {
            partition.leader_id = leader.0;
            partition.leader_epoch = info.epoch.0;
            partition.high_watermark = info.high_watermark.0;
            partition.current_voters = info.replicas.voters.iter().map(state).collect();
            partition.observers = info.replicas.observers.iter().map(state).collect();
            if version >= DIRECTORIES_VERSION {
                response.nodes = info.voters.iter().map(node).collect();
            }
        }
        None => partition.error_code = ErrorCode::NotLeaderOrFollower.code(),
    }
    response.topics = vec![DescribeQuorumResponseTopicData {
        topic_name: Str::from(METADATA_TOPIC),
        partitions: vec![partition],
    }];
    response
}

fn state((key, progress): &(ReplicaKey, Progress), version: i16) -> ReplicaState {
    ReplicaState {
        replica_id: key.id.0,
        replica_directory_id: if version >= DIRECTORIES_VERSION { key.directory } else { Uuid::ZERO },
        log_end_offset: progress.end_offset.0,
        last_fetch_timestamp: progress.last_fetch.0,
        last_caught_up_timestamp: progress.last_caught_up.0,
    }
}

fn node(voter: &Voter) -> Node {
    let listener = |endpoint: &ottla_raft::Endpoint| Listener {
        name: Str::from(&endpoint.listener),
        host: Str::from(&endpoint.host),
        port: endpoint.port,
    };
    Node { node_id: voter.key.id.0, listeners: voter.endpoints.iter().map(listener).collect() }
}
