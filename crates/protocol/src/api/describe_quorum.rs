//! DescribeQuorum, API key 55.
//!
//! Versions:
//! - 1: `LastFetchTimestamp`, `LastCaughtUpTimestamp`
//! - 2: directory ids, endpoints of the nodes, error messages

use ottla_model::Uuid;

use crate::{Message, Str};

/// Describes the KRaft quorum as its leader sees it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 55, versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumRequest {
    pub topics: Vec<DescribeQuorumRequestTopicData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct DescribeQuorumRequestTopicData {
    pub topic_name: Str,
    pub partitions: Vec<DescribeQuorumRequestPartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct DescribeQuorumRequestPartitionData {
    pub partition_index: i32,
}

/// The answer to [`DescribeQuorumRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 55, versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumResponse {
    pub error_code: i16,
    #[field(versions = "2+", default = empty, ignorable)]
    pub error_message: Option<Str>,
    pub topics: Vec<DescribeQuorumResponseTopicData>,
    #[field(versions = "2+")]
    pub nodes: Vec<Node>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct DescribeQuorumResponseTopicData {
    pub topic_name: Str,
    pub partitions: Vec<DescribeQuorumResponsePartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct DescribeQuorumResponsePartitionData {
    pub partition_index: i32,
    pub error_code: i16,
    #[field(versions = "2+", default = empty, ignorable)]
    pub error_message: Option<Str>,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub high_watermark: i64,
    pub current_voters: Vec<ReplicaState>,
    pub observers: Vec<ReplicaState>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReplicaState {
    pub replica_id: i32,
    #[field(versions = "2+")]
    pub replica_directory_id: Uuid,
    pub log_end_offset: i64,
    #[field(versions = "1+", default = -1, ignorable)]
    pub last_fetch_timestamp: i64,
    #[field(versions = "1+", default = -1, ignorable)]
    pub last_caught_up_timestamp: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Node {
    pub node_id: i32,
    pub listeners: Vec<Listener>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}
