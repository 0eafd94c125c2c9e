//! Envelope, API key 58.

use bytes::Bytes;

use crate::Message;

/// Carries a request of a client from a broker to the controller, with the principal.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 58, versions = "0", flexible = "0+")]
pub struct EnvelopeRequest {
    pub request_data: Bytes,
    pub request_principal: Option<Bytes>,
    pub client_host_address: Bytes,
}

/// The answer to [`EnvelopeRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 58, versions = "0", flexible = "0+")]
pub struct EnvelopeResponse {
    pub response_data: Option<Bytes>,
    pub error_code: i16,
}
