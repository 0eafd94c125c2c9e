//! ExpireDelegationToken, API key 40.
//!
//! Versions:
//! - 2: flexible

use bytes::Bytes;

use crate::Message;

/// Brings a delegation token's expiry forward, or removes it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 40, versions = "1-2", flexible = "2+")]
pub struct ExpireDelegationTokenRequest {
    pub hmac: Bytes,
    pub expiry_time_period_ms: i64,
}

/// The answer to [`ExpireDelegationTokenRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 40, versions = "1-2", flexible = "2+")]
pub struct ExpireDelegationTokenResponse {
    pub error_code: i16,
    pub expiry_timestamp_ms: i64,
    pub throttle_time_ms: i32,
}
