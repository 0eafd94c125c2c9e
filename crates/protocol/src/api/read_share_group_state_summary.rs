//! ReadShareGroupStateSummary, API key 87.
//!
//! Versions:
//! - 1: `DeliveryCompleteCount`

use ottla_model::Uuid;

use crate::{Message, Str};

/// Reads start offsets and epochs of share partitions.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 87, versions = "0-1", flexible = "0+")]
pub struct ReadShareGroupStateSummaryRequest {
    pub group_id: Str,
    pub topics: Vec<ReadStateSummaryData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReadStateSummaryData {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionData {
    pub partition: i32,
    pub leader_epoch: i32,
}

/// The answer to [`ReadShareGroupStateSummaryRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 87, versions = "0-1", flexible = "0+")]
pub struct ReadShareGroupStateSummaryResponse {
    pub results: Vec<ReadStateSummaryResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReadStateSummaryResult {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionResult {
    pub partition: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    #[field(versions = "1+", default = -1, ignorable)]
    pub delivery_complete_count: i32,
}
