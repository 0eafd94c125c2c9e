//! InitializeShareGroupState, API key 83.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Creates the stored state of share partitions.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 83, versions = "0", flexible = "0+")]
pub struct InitializeShareGroupStateRequest {
    pub group_id: Str,
    pub topics: Vec<InitializeStateData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct InitializeStateData {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionData {
    pub partition: i32,
    pub state_epoch: i32,
    pub start_offset: i64,
}

/// The answer to [`InitializeShareGroupStateRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 83, versions = "0", flexible = "0+")]
pub struct InitializeShareGroupStateResponse {
    pub results: Vec<InitializeStateResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct InitializeStateResult {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionResult {
    pub partition: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
