//! AllocateProducerIds (67): version 0. A broker wants the next block of producer ids.

use ottla_protocol::api::allocate_producer_ids::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    controller.allocate_producer_ids(request).await.unwrap_or_else(|error| AllocateProducerIdsResponse {
        error_code: error.error_code().code(),
        ..Default::default()
    })
}
