//! AlterPartitionReassignments, API key 45.
//!
//! Versions:
//! - 1: `AllowReplicationFactorChange`

use crate::{Message, Str};

/// Starts or cancels moving partitions to other replicas.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 45, versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsRequest {
    #[field(default = 60000)]
    pub timeout_ms: i32,
    #[field(versions = "1+", default = true)]
    pub allow_replication_factor_change: bool,
    pub topics: Vec<ReassignableTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReassignableTopic {
    pub name: Str,
    pub partitions: Vec<ReassignablePartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReassignablePartition {
    pub partition_index: i32,
    pub replicas: Option<Vec<i32>>,
}

/// The answer to [`AlterPartitionReassignmentsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 45, versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsResponse {
    pub throttle_time_ms: i32,
    #[field(versions = "1+", default = true, ignorable)]
    pub allow_replication_factor_change: bool,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub responses: Vec<ReassignableTopicResponse>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReassignableTopicResponse {
    pub name: Str,
    pub partitions: Vec<ReassignablePartitionResponse>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReassignablePartitionResponse {
    pub partition_index: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
