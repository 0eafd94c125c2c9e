//! JoinGroup (11): versions 0 to 9.

use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_protocol::Str;
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupResponse};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;
use crate::random;

/// From this version on the protocol name may be null.
const NULLABLE_PROTOCOL_NAME_VERSION: i16 = 7;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let (group_id, member_id) = (request.group_id.clone(), request.member_id.clone());
    let asked = Request::JoinGroup { request, member_uuid: random::bytes16() };
    answer!(groups::ask(broker, context, &group_id, asked).await, JoinGroup, error => JoinGroupResponse {
        error_code: error.code(),
        member_id,
        protocol_name: (context.api_version < NULLABLE_PROTOCOL_NAME_VERSION).then_some(Str::EMPTY),
        ..Default::default()
    })
}
