//! OffsetForLeaderEpoch, API key 23.
//!
//! Versions:
//! - 2: `CurrentLeaderEpoch`, `ThrottleTimeMs`
//! - 3: `ReplicaId`
//! - 4: flexible

use crate::{Message, Str};

/// Finds where a leader epoch ended, for followers and consumers after a change of leader.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochRequest {
    #[field(versions = "3+", default = -2, ignorable)]
    pub replica_id: i32,
    pub topics: Vec<OffsetForLeaderTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetForLeaderTopic {
    pub topic: Str,
    pub partitions: Vec<OffsetForLeaderPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetForLeaderPartition {
    pub partition: i32,
    #[field(default = -1)]
    pub current_leader_epoch: i32,
    pub leader_epoch: i32,
}

/// The answer to [`OffsetForLeaderEpochRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 23, versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetForLeaderTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetForLeaderTopicResult {
    pub topic: Str,
    pub partitions: Vec<EpochEndOffset>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct EpochEndOffset {
    pub error_code: i16,
    pub partition: i32,
    #[field(default = -1)]
    pub leader_epoch: i32,
    #[field(default = -1)]
    pub end_offset: i64,
}
