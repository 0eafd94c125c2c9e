//! RenewDelegationToken, API key 39.
//!
//! Versions:
//! - 2: flexible

use bytes::Bytes;

use crate::Message;

/// Postpones a delegation token's expiry.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 39, versions = "1-2", flexible = "2+")]
pub struct RenewDelegationTokenRequest {
    pub hmac: Bytes,
    pub renew_period_ms: i64,
}

/// The answer to [`RenewDelegationTokenRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 39, versions = "1-2", flexible = "2+")]
pub struct RenewDelegationTokenResponse {
    pub error_code: i16,
    pub expiry_timestamp_ms: i64,
    pub throttle_time_ms: i32,
}
