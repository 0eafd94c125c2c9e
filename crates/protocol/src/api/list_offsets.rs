//! ListOffsets, API key 2.
//!
//! Versions:
//! - 1: one offset with its timestamp
//! - 2: `IsolationLevel`, `ThrottleTimeMs`
//! - 4: `LeaderEpoch`
//! - 5: may answer OFFSET_NOT_AVAILABLE
//! - 6: flexible
//! - 7: timestamp -3: that of the largest timestamp
//! - 8: timestamp -4: the earliest local offset
//! - 9: timestamp -5: the latest tiered offset
//! - 10: `TimeoutMs`
//! - 11: timestamp -6: the earliest offset not yet tiered

use crate::{Message, Str};

/// Finds offsets of partitions by timestamp, or the special ones (earliest, latest, tiered).
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsRequest {
    pub replica_id: i32,
    #[field(versions = "2+")]
    pub isolation_level: i8,
    pub topics: Vec<ListOffsetsTopic>,
    #[field(versions = "10+", ignorable)]
    pub timeout_ms: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ListOffsetsTopic {
    pub name: Str,
    pub partitions: Vec<ListOffsetsPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ListOffsetsPartition {
    pub partition_index: i32,
    #[field(versions = "4+", default = -1, ignorable)]
    pub current_leader_epoch: i32,
    pub timestamp: i64,
}

/// The answer to [`ListOffsetsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 2, versions = "1-11", flexible = "6+")]
pub struct ListOffsetsResponse {
    #[field(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<ListOffsetsTopicResponse>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ListOffsetsTopicResponse {
    pub name: Str,
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ListOffsetsPartitionResponse {
    pub partition_index: i32,
    pub error_code: i16,
    #[field(default = -1)]
    pub timestamp: i64,
    #[field(default = -1)]
    pub offset: i64,
    #[field(versions = "4+", default = -1)]
    pub leader_epoch: i32,
}
