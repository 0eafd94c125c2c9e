//! UnregisterBroker, API key 64.

use crate::{Message, Str};

/// Removes the registration of a broker.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 64, versions = "0", flexible = "0+")]
pub struct UnregisterBrokerRequest {
    pub broker_id: i32,
}

/// The answer to [`UnregisterBrokerRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 64, versions = "0", flexible = "0+")]
pub struct UnregisterBrokerResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
