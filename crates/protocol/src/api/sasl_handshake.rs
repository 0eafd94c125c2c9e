//! SaslHandshake, API key 17.
//!
//! Versions:
//! - 1: the exchange goes on in SaslAuthenticate; before, in bare frames

use crate::{Message, Str};

/// Agrees on the SASL mechanism of a connection.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 17, versions = "0-1")]
pub struct SaslHandshakeRequest {
    pub mechanism: Str,
}

/// The answer to [`SaslHandshakeRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 17, versions = "0-1")]
pub struct SaslHandshakeResponse {
    pub error_code: i16,
    pub mechanisms: Vec<Str>,
}
