//! AlterPartitionReassignments (45): versions 0 and 1.

use ottla_protocol::Str;
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    controller.alter_partition_reassignments(request).await.unwrap_or_else(|error| {
        AlterPartitionReassignmentsResponse {
            error_code: error.error_code().code(),
            error_message: Some(Str::from(error.to_string())),
            ..Default::default()
        }
    })
}
