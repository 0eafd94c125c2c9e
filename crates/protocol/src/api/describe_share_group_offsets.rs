//! DescribeShareGroupOffsets, API key 90.
//!
//! Versions:
//! - 1: `Lag`

use ottla_model::Uuid;

use crate::{Message, Str};

/// Reads share groups' start offsets and lags.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 90, versions = "0-1", flexible = "0+")]
pub struct DescribeShareGroupOffsetsRequest {
    pub groups: Vec<DescribeShareGroupOffsetsRequestGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeShareGroupOffsetsRequestGroup {
    pub group_id: Str,
    pub topics: Option<Vec<DescribeShareGroupOffsetsRequestTopic>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeShareGroupOffsetsRequestTopic {
    pub topic_name: Str,
    pub partitions: Vec<i32>,
}

/// The answer to [`DescribeShareGroupOffsetsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 90, versions = "0-1", flexible = "0+")]
pub struct DescribeShareGroupOffsetsResponse {
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribeShareGroupOffsetsResponseGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeShareGroupOffsetsResponseGroup {
    pub group_id: Str,
    pub topics: Vec<DescribeShareGroupOffsetsResponseTopic>,
    pub error_code: i16,
    pub error_message: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeShareGroupOffsetsResponseTopic {
    pub topic_name: Str,
    pub topic_id: Uuid,
    pub partitions: Vec<DescribeShareGroupOffsetsResponsePartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeShareGroupOffsetsResponsePartition {
    pub partition_index: i32,
    pub start_offset: i64,
    pub leader_epoch: i32,
    #[field(versions = "1+", default = -1, ignorable)]
    pub lag: i64,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
