//! BrokerHeartbeat (63): versions 0 to 2. A broker lives, wants to serve, or wants to stop.

use bytes::Bytes;
use ottla_model::{BrokerEpoch, NodeId};
use ottla_protocol::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use ottla_protocol::{Decoder, Message};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: BrokerHeartbeatRequest,
) -> BrokerHeartbeatResponse {
    controller.heartbeat(request).await.unwrap_or_else(|error| BrokerHeartbeatResponse {
        error_code: error.error_code().code(),
        ..Default::default()
    })
}

/// Whose heartbeat a request is.
pub fn broker_of(context: &RequestContext, body: Bytes) -> Option<(NodeId, BrokerEpoch)> {
    let request = BrokerHeartbeatRequest::decode(&mut Decoder::new(body), context.api_version).ok()?;
    Some((NodeId(request.broker_id), BrokerEpoch(request.broker_epoch)))
}
