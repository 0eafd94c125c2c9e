//! DescribeGroups (15): versions 0 to 6. Classic groups only.

use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_protocol::api::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};

use super::groups::{self, answer};
use super::{RequestContext, authorized_operations};
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    for group_id in request.groups {
        let asked = Request::DescribeGroups(vec![group_id.clone()]);
        let described = answer!(groups::ask(broker, context, &group_id, asked).await, DescribeGroups, error => {
            vec![DescribedGroup { group_id, error_code: error.code(), ..Default::default() }]
        });
        response.groups.extend(described);
    }
    if request.include_authorized_operations {
        for group in response.groups.iter_mut().filter(|group| group.error_code == 0) {
            group.authorized_operations = authorized_operations::GROUP;
        }
    }
    response
}
