//! DeleteShareGroupState, API key 86.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Deletes the stored state of share partitions.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 86, versions = "0", flexible = "0+")]
pub struct DeleteShareGroupStateRequest {
    pub group_id: Str,
    pub topics: Vec<DeleteStateData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DeleteStateData {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionData {
    pub partition: i32,
}

/// The answer to [`DeleteShareGroupStateRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 86, versions = "0", flexible = "0+")]
pub struct DeleteShareGroupStateResponse {
    pub results: Vec<DeleteStateResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DeleteStateResult {
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionResult {
    pub partition: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
