//! SaslAuthenticate (36): versions 0 to 2, on a listener without SASL: whoever is here is let in already.

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};

use super::RequestContext;
use crate::broker::Broker;

pub async fn handle(
    _broker: &Arc<Broker>,
    _context: &RequestContext,
    _request: SaslAuthenticateRequest,
) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some(Str::from("SaslAuthenticate request received after successful authentication")),
        ..Default::default()
    }
}
