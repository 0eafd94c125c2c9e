//! Vote, API key 52.
//!
//! Versions:
//! - 1: `VoterId`; directory ids; endpoints of the leader
//! - 2: `PreVote`

use ottla_model::Uuid;

use crate::{Message, Str};

/// Asks a KRaft voter for its vote, or whether it would give it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 52, versions = "0-2", flexible = "0+")]
pub struct VoteRequest {
    pub cluster_id: Option<Str>,
    #[field(versions = "1+", default = -1, ignorable)]
    pub voter_id: i32,
    pub topics: Vec<VoteRequestTopicData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct VoteRequestTopicData {
    pub topic_name: Str,
    pub partitions: Vec<VoteRequestPartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct VoteRequestPartitionData {
    pub partition_index: i32,
    pub replica_epoch: i32,
    pub replica_id: i32,
    #[field(versions = "1+", ignorable)]
    pub replica_directory_id: Uuid,
    #[field(versions = "1+", ignorable)]
    pub voter_directory_id: Uuid,
    pub last_offset_epoch: i32,
    pub last_offset: i64,
    #[field(versions = "2+")]
    pub pre_vote: bool,
}

/// The answer to [`VoteRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 52, versions = "0-2", flexible = "0+")]
pub struct VoteResponse {
    pub error_code: i16,
    pub topics: Vec<VoteResponseTopicData>,
    #[field(versions = "1+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct VoteResponseTopicData {
    pub topic_name: Str,
    pub partitions: Vec<VoteResponsePartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct VoteResponsePartitionData {
    pub partition_index: i32,
    pub error_code: i16,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub vote_granted: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: Str,
    pub port: u16,
}
