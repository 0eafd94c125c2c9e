//! ElectLeaders (43): versions 0 to 2. Moves leadership to preferred replicas, or to any that lives.

use ottla_protocol::api::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    controller.elect_leaders(request).await.unwrap_or_else(|error| ElectLeadersResponse {
        error_code: error.error_code().code(),
        ..Default::default()
    })
}
