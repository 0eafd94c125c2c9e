//! Heartbeat (12): versions 0 to 4.

use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_model::ErrorCode;
use ottla_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: HeartbeatRequest,
) -> HeartbeatResponse {
    let group_id = request.group_id.clone();
    let asked = Request::Heartbeat(request);
    answer!(groups::ask(broker, context, &group_id, asked).await, Heartbeat, error => {
        // While the coordinator loads, no session runs: members shall just go on.
        let error = if error == ErrorCode::CoordinatorLoadInProgress { ErrorCode::None } else { error };
        HeartbeatResponse { error_code: error.code(), ..Default::default() }
    })
}
