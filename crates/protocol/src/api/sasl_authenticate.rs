//! SaslAuthenticate, API key 36.
//!
//! Versions:
//! - 1: `SessionLifetimeMs`
//! - 2: flexible

use bytes::Bytes;

use crate::{Message, Str};

/// Carries one step of a SASL exchange.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 36, versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateRequest {
    pub auth_bytes: Bytes,
}

/// The answer to [`SaslAuthenticateRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 36, versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateResponse {
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub auth_bytes: Bytes,
    #[field(versions = "1+", ignorable)]
    pub session_lifetime_ms: i64,
}
