//! DeleteShareGroupOffsets, API key 92.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Deletes a share group's offsets of topics.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 92, versions = "0", flexible = "0+")]
pub struct DeleteShareGroupOffsetsRequest {
    pub group_id: Str,
    pub topics: Vec<DeleteShareGroupOffsetsRequestTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DeleteShareGroupOffsetsRequestTopic {
    pub topic_name: Str,
}

/// The answer to [`DeleteShareGroupOffsetsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 92, versions = "0", flexible = "0+")]
pub struct DeleteShareGroupOffsetsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub responses: Vec<DeleteShareGroupOffsetsResponseTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DeleteShareGroupOffsetsResponseTopic {
    pub topic_name: Str,
    pub topic_id: Uuid,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
