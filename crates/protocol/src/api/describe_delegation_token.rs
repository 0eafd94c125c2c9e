//! DescribeDelegationToken, API key 41.
//!
//! Versions:
//! - 2: flexible
//! - 3: the requester of a token

use bytes::Bytes;

use crate::{Message, Str};

/// Lists delegation tokens by owner.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 41, versions = "1-3", flexible = "2+")]
pub struct DescribeDelegationTokenRequest {
    pub owners: Option<Vec<DescribeDelegationTokenOwner>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeDelegationTokenOwner {
    pub principal_type: Str,
    pub principal_name: Str,
}

/// The answer to [`DescribeDelegationTokenRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 41, versions = "1-3", flexible = "2+")]
pub struct DescribeDelegationTokenResponse {
    pub error_code: i16,
    pub tokens: Vec<DescribedDelegationToken>,
    pub throttle_time_ms: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribedDelegationToken {
    pub principal_type: Str,
    pub principal_name: Str,
    #[field(versions = "3+")]
    pub token_requester_principal_type: Str,
    #[field(versions = "3+")]
    pub token_requester_principal_name: Str,
    pub issue_timestamp: i64,
    pub expiry_timestamp: i64,
    pub max_timestamp: i64,
    pub token_id: Str,
    pub hmac: Bytes,
    pub renewers: Vec<DescribedDelegationTokenRenewer>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribedDelegationTokenRenewer {
    pub principal_type: Str,
    pub principal_name: Str,
}
