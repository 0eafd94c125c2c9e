//! BeginQuorumEpoch, API key 53.
//!
//! Versions:
//! - 1: flexible; voter keys with directory ids; endpoints of the leader

use ottla_model::Uuid;

use crate::{Message, Str};

/// Tells a KRaft voter who leads the new epoch.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 53, versions = "0-1", flexible = "1+")]
pub struct BeginQuorumEpochRequest {
    pub cluster_id: Option<Str>,
    #[field(versions = "1+", default = -1, ignorable)]
    pub voter_id: i32,
    pub topics: Vec<BeginQuorumEpochRequestTopicData>,
    #[field(versions = "1+", ignorable)]
    pub leader_endpoints: Vec<LeaderEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct BeginQuorumEpochRequestTopicData {
    pub topic_name: Str,
    pub partitions: Vec<BeginQuorumEpochRequestPartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct BeginQuorumEpochRequestPartitionData {
    pub partition_index: i32,
    #[field(versions = "1+", ignorable)]
    pub voter_directory_id: Uuid,
    pub leader_id: i32,
    pub leader_epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct LeaderEndpoint {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}

/// The answer to [`BeginQuorumEpochRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 53, versions = "0-1", flexible = "1+")]
pub struct BeginQuorumEpochResponse {
    pub error_code: i16,
    pub topics: Vec<BeginQuorumEpochResponseTopicData>,
    #[field(versions = "1+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct BeginQuorumEpochResponseTopicData {
    pub topic_name: Str,
    pub partitions: Vec<BeginQuorumEpochResponsePartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct BeginQuorumEpochResponsePartitionData {
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
