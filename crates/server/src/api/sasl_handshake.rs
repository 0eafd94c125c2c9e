//! SaslHandshake (17): versions 0 and 1, on a listener without SASL: there is nothing to agree on.

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::api::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};

use super::RequestContext;
use crate::broker::Broker;

pub async fn handle(
    _broker: &Arc<Broker>,
    _context: &RequestContext,
    _request: SaslHandshakeRequest,
) -> SaslHandshakeResponse {
    SaslHandshakeResponse { error_code: ErrorCode::IllegalSaslState.code(), ..Default::default() }
}
