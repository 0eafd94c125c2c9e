//! DeleteGroups (42): versions 0 to 3.

use std::collections::HashSet;
use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_protocol::api::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    let mut seen = HashSet::new();
    for group_id in request.groups_names {
        if !seen.insert(group_id.clone()) {
            continue;
        }
        let asked = Request::DeleteGroups(vec![group_id.clone()]);
        let results = answer!(groups::ask(broker, context, &group_id, asked).await, DeleteGroups, error => {
            vec![DeletableGroupResult { group_id, error_code: error.code(), ..Default::default() }]
        });
        response.results.extend(results);
    }
    response
}
