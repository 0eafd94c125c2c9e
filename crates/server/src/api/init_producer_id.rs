//! InitProducerId (22): versions 0 to 5. Gives idempotent producers their id.

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::RequestContext;
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = |code: ErrorCode| InitProducerIdResponse {
        error_code: code.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    match &request.transactional_id {
        Some(id) if id.is_empty() => return refused(ErrorCode::InvalidRequest),
        // There is no transaction coordinator yet; this one is not worth a retry.
        Some(_) => return refused(ErrorCode::UnsupportedVersion),
        None => {}
    }
    match broker.producer_ids.next(&broker.controller, broker.node_id, broker.epoch()).await {
        Ok(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() },
        Err(code) => refused(code),
    }
}
