//! BrokerHeartbeat (63): versions 0 to 2. A broker lives, wants to serve, or wants to stop.

use ottla_protocol::api::broker_heartbeat::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

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
