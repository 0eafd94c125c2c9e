//! AssignReplicasToDirs (73): version 0. A broker tells in which log directories replicas lie (KIP-858).

use ottla_protocol::api::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse,
};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: AssignReplicasToDirsRequest,
) -> AssignReplicasToDirsResponse {
    controller.assign_replicas_to_dirs(request).await.unwrap_or_else(|error| AssignReplicasToDirsResponse {
        error_code: error.error_code().code(),
        ..Default::default()
    })
}
