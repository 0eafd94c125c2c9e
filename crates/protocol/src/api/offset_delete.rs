//! OffsetDelete, API key 47.
//!
//! Never flexible.

use crate::{Message, Str};

/// Deletes committed offsets of a group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 47, versions = "0")]
pub struct OffsetDeleteRequest {
    pub group_id: Str,
    pub topics: Vec<OffsetDeleteRequestTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetDeleteRequestTopic {
    pub name: Str,
    pub partitions: Vec<OffsetDeleteRequestPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetDeleteRequestPartition {
    pub partition_index: i32,
}

/// The answer to [`OffsetDeleteRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 47, versions = "0")]
pub struct OffsetDeleteResponse {
    pub error_code: i16,
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetDeleteResponseTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetDeleteResponseTopic {
    pub name: Str,
    pub partitions: Vec<OffsetDeleteResponsePartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct OffsetDeleteResponsePartition {
    pub partition_index: i32,
    pub error_code: i16,
}
