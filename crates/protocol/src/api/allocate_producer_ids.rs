//! AllocateProducerIds, API key 67.

use crate::Message;

/// Hands a block of producer ids to a broker.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 67, versions = "0", flexible = "0+")]
pub struct AllocateProducerIdsRequest {
    pub broker_id: i32,
    #[field(default = -1)]
    pub broker_epoch: i64,
}

/// The answer to [`AllocateProducerIdsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 67, versions = "0", flexible = "0+")]
pub struct AllocateProducerIdsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub producer_id_start: i64,
    pub producer_id_len: i32,
}
