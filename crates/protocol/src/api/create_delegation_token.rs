//! CreateDelegationToken, API key 38.
//!
//! Versions:
//! - 2: flexible
//! - 3: owner and requester of the token

use bytes::Bytes;

use crate::{Message, Str};

/// Creates a delegation token.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 38, versions = "1-3", flexible = "2+")]
pub struct CreateDelegationTokenRequest {
    #[field(versions = "3+", default = empty)]
    pub owner_principal_type: Option<Str>,
    #[field(versions = "3+", default = empty)]
    pub owner_principal_name: Option<Str>,
    pub renewers: Vec<CreatableRenewers>,
    pub max_lifetime_ms: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatableRenewers {
    pub principal_type: Str,
    pub principal_name: Str,
}

/// The answer to [`CreateDelegationTokenRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 38, versions = "1-3", flexible = "2+")]
pub struct CreateDelegationTokenResponse {
    pub error_code: i16,
    pub principal_type: Str,
    pub principal_name: Str,
    #[field(versions = "3+")]
    pub token_requester_principal_type: Str,
    #[field(versions = "3+")]
    pub token_requester_principal_name: Str,
    pub issue_timestamp_ms: i64,
    pub expiry_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub token_id: Str,
    pub hmac: Bytes,
    pub throttle_time_ms: i32,
}
