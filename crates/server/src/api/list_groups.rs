//! ListGroups (16): versions 0 to 5. The groups that this broker coordinates.

use std::sync::Arc;

use ottla_coordinator::{Request, Response};
use ottla_protocol::api::list_groups::{ListGroupsRequest, ListGroupsResponse};

use super::{RequestContext, groups};
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let asked = || Request::ListGroups(request.clone());
    match broker.groups.ask_all(&groups::client_context(context), asked).await {
        Err(error) => ListGroupsResponse { error_code: error.code(), ..Default::default() },
        Ok(responses) => {
            let mut response = ListGroupsResponse::default();
            for listed in responses {
                if let Response::ListGroups(groups) = listed {
                    response.groups.extend(groups);
                }
            }
            response
        }
    }
}
