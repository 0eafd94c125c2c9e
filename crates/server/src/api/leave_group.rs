//! LeaveGroup (13): versions 0 to 5; since version 3 several members at once.

use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;

/// From this version on members are listed, and each has an error of its own.
const MEMBERS_VERSION: i16 = 3;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    mut request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    if context.api_version < MEMBERS_VERSION {
        let member_id = std::mem::take(&mut request.member_id);
        request.members = vec![MemberIdentity { member_id, ..Default::default() }];
    }
    let group_id = request.group_id.clone();
    let asked = Request::LeaveGroup(request);
    let mut response = answer!(groups::ask(broker, context, &group_id, asked).await, LeaveGroup, error => {
        LeaveGroupResponse { error_code: error.code(), ..Default::default() }
    });
    if context.api_version < MEMBERS_VERSION
        && let Some(member) = response.members.pop()
    {
        response.error_code = member.error_code;
    }
    response
}
