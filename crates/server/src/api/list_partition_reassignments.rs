//! ListPartitionReassignments (46): version 0.

use ottla_protocol::Str;
use ottla_protocol::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    controller.list_partition_reassignments(request).await.unwrap_or_else(|error| {
        ListPartitionReassignmentsResponse {
            error_code: error.error_code().code(),
            error_message: Some(Str::from(error.to_string())),
            ..Default::default()
        }
    })
}
