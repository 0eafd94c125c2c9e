//! WriteShareGroupState, API key 85.
//!
//! Versions:
//! - 1: `DeliveryCompleteCount`

use ottla_model::Uuid;

use crate::{Message, Str};

/// Writes the stored state of share partitions.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 85, versions = "0-1", flexible = "0+")]
pub struct WriteShareGroupStateRequest {
    pub group_id: Str,
    pub topics: Vec<WriteStateData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct WriteStateData {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionData {
    pub partition: i32,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    #[field(versions = "1+", default = -1, ignorable)]
    pub delivery_complete_count: i32,
    pub state_batches: Vec<StateBatch>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct StateBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub delivery_state: i8,
    pub delivery_count: i16,
}

/// The answer to [`WriteShareGroupStateRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 85, versions = "0-1", flexible = "0+")]
pub struct WriteShareGroupStateResponse {
    pub results: Vec<WriteStateResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct WriteStateResult {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionResult {
    pub partition: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
