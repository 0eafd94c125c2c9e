//! SyncGroup (14): versions 0 to 5.

use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_model::ErrorCode;
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;

/// From this version on protocol type and name have to be there.
const PROTOCOL_REQUIRED_VERSION: i16 = 5;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: SyncGroupRequest,
) -> SyncGroupResponse {
    let failed = |error: ErrorCode| SyncGroupResponse { error_code: error.code(), ..Default::default() };
    let has_protocol = request.protocol_type.is_some() && request.protocol_name.is_some();
    if context.api_version >= PROTOCOL_REQUIRED_VERSION && !has_protocol {
        return failed(ErrorCode::InconsistentGroupProtocol);
    }
    let group_id = request.group_id.clone();
    let asked = Request::SyncGroup(request);
    answer!(groups::ask(broker, context, &group_id, asked).await, SyncGroup, error => failed(error))
}
