//! AlterPartition (56): versions 2 and 3. A leader tells who is in sync (KIP-497).

use ottla_protocol::api::alter_partition::{AlterPartitionRequest, AlterPartitionResponse};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: AlterPartitionRequest,
) -> AlterPartitionResponse {
    controller.alter_partition(request).await.unwrap_or_else(|error| AlterPartitionResponse {
        error_code: error.error_code().code(),
        ..Default::default()
    })
}
