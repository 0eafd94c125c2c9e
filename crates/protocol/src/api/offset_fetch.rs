//! OffsetFetch, API key 9.
//!
//! Versions:
//! - 2: null topics mean all; `ErrorCode` of the whole
//! - 3: `ThrottleTimeMs`
//! - 5: `LeaderEpoch`
//! - 6: flexible
//! - 7: `RequireStable`
//! - 8: many groups at once
//! - 9: `MemberId`, `MemberEpoch`
//! - 10: topic ids instead of names

use ottla_model::Uuid;

use crate::{Message, Str};

/// Reads the offsets that groups have committed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 9, versions = "1-10", flexible = "6+")]
pub struct OffsetFetchRequest {
    #[field(versions = "0-7")]
    pub group_id: Str,
    #[field(versions = "0-7", nullable = "2+", default = empty)]
    pub topics: Option<Vec<OffsetFetchRequestTopic>>,
    #[field(versions = "8+")]
    pub groups: Vec<OffsetFetchRequestGroup>,
    #[field(versions = "7+")]
    pub require_stable: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchRequestTopic {
    pub name: Str,
    pub partition_indexes: Vec<i32>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchRequestGroup {
    pub group_id: Str,
    #[field(versions = "9+", ignorable)]
    pub member_id: Option<Str>,
    #[field(versions = "9+", default = -1, ignorable)]
    pub member_epoch: i32,
    pub topics: Option<Vec<OffsetFetchRequestTopics>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchRequestTopics {
    #[field(versions = "0-9", ignorable)]
    pub name: Str,
    #[field(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    pub partition_indexes: Vec<i32>,
}

/// The answer to [`OffsetFetchRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 9, versions = "1-10", flexible = "6+")]
pub struct OffsetFetchResponse {
    #[field(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    #[field(versions = "0-7")]
    pub topics: Vec<OffsetFetchResponseTopic>,
    #[field(versions = "2-7", ignorable)]
    pub error_code: i16,
    #[field(versions = "8+")]
    pub groups: Vec<OffsetFetchResponseGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchResponseTopic {
    pub name: Str,
    pub partitions: Vec<OffsetFetchResponsePartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchResponsePartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[field(versions = "5+", default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    pub metadata: Option<Str>,
    pub error_code: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchResponseGroup {
    pub group_id: Str,
    pub topics: Vec<OffsetFetchResponseTopics>,
    pub error_code: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchResponseTopics {
    #[field(versions = "0-9", ignorable)]
    pub name: Str,
    #[field(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<OffsetFetchResponsePartitions>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetFetchResponsePartitions {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[field(default = -1)]
    pub committed_leader_epoch: i32,
    pub metadata: Option<Str>,
    pub error_code: i16,
}
