//! ElectLeaders, API key 43.
//!
//! Versions:
//! - 1: `ElectionType`; `ErrorCode` of the whole
//! - 2: flexible

use crate::{Message, Str};

/// Elects preferred or unclean leaders of partitions.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersRequest {
    #[field(versions = "1+")]
    pub election_type: i8,
    pub topic_partitions: Option<Vec<TopicPartitions>>,
    #[field(default = 60000)]
    pub timeout_ms: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicPartitions {
    pub topic: Str,
    pub partitions: Vec<i32>,
}

/// The answer to [`ElectLeadersRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 43, versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse {
    pub throttle_time_ms: i32,
    #[field(versions = "1+")]
    pub error_code: i16,
    pub replica_election_results: Vec<ReplicaElectionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReplicaElectionResult {
    pub topic: Str,
    pub partition_result: Vec<PartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionResult {
    pub partition_id: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
