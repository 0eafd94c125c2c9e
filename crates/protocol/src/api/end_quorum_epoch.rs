//! EndQuorumEpoch, API key 54.
//!
//! Versions:
//! - 1: flexible; preferred candidates with directory ids; endpoints of the leader

use ottla_model::Uuid;

use crate::{Message, Str};

/// Tells KRaft voters that their leader resigns.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 54, versions = "0-1", flexible = "1+")]
pub struct EndQuorumEpochRequest {
    pub cluster_id: Option<Str>,
    pub topics: Vec<EndQuorumEpochRequestTopicData>,
    #[field(versions = "1+", ignorable)]
    pub leader_endpoints: Vec<LeaderEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct EndQuorumEpochRequestTopicData {
    pub topic_name: Str,
    pub partitions: Vec<EndQuorumEpochRequestPartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct EndQuorumEpochRequestPartitionData {
    pub partition_index: i32,
    pub leader_id: i32,
    pub leader_epoch: i32,
    #[field(versions = "0", ignorable)]
    pub preferred_successors: Vec<i32>,
    #[field(versions = "1+", ignorable)]
    pub preferred_candidates: Vec<ReplicaInfo>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReplicaInfo {
    pub candidate_id: i32,
    pub candidate_directory_id: Uuid,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct LeaderEndpoint {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}

/// The answer to [`EndQuorumEpochRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 54, versions = "0-1", flexible = "1+")]
pub struct EndQuorumEpochResponse {
    pub error_code: i16,
    pub topics: Vec<EndQuorumEpochResponseTopicData>,
    #[field(versions = "1+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct EndQuorumEpochResponseTopicData {
    pub topic_name: Str,
    pub partitions: Vec<EndQuorumEpochResponsePartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct EndQuorumEpochResponsePartitionData {
    pub partition_index: i32,
    pub error_code: i16,
    pub leader_id: i32,
    pub leader_epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: Str,
    pub port: u16,
}
