//! OffsetCommit, API key 8.
//!
//! Versions:
//! - 2-4: `RetentionTimeMs`
//! - 3: `ThrottleTimeMs`
//! - 5: without `RetentionTimeMs`
//! - 6: `LeaderEpoch`
//! - 7: `GroupInstanceId`: static members
//! - 8: flexible
//! - 9: members of consumer groups (KIP-848); may answer STALE_MEMBER_EPOCH and GROUP_ID_NOT_FOUND
//! - 10: topic ids instead of names

use ottla_model::Uuid;

use crate::{Message, Str};

/// Stores a group's consumed offsets.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 8, versions = "2-10", flexible = "8+")]
pub struct OffsetCommitRequest {
    pub group_id: Str,
    #[field(default = -1)]
    pub generation_id_or_member_epoch: i32,
    pub member_id: Str,
    #[field(versions = "7+")]
    pub group_instance_id: Option<Str>,
    #[field(versions = "0-4", default = -1, ignorable)]
    pub retention_time_ms: i64,
    pub topics: Vec<OffsetCommitRequestTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetCommitRequestTopic {
    #[field(versions = "0-9", ignorable)]
    pub name: Str,
    #[field(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<OffsetCommitRequestPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetCommitRequestPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[field(versions = "6+", default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    pub committed_metadata: Option<Str>,
}

/// The answer to [`OffsetCommitRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 8, versions = "2-10", flexible = "8+")]
pub struct OffsetCommitResponse {
    #[field(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetCommitResponseTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetCommitResponseTopic {
    #[field(versions = "0-9", ignorable)]
    pub name: Str,
    #[field(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetCommitResponsePartition {
    pub partition_index: i32,
    pub error_code: i16,
}
