//! BrokerRegistration (62): versions 0 to 4. A broker joins, or comes back as a new incarnation.

use ottla_protocol::api::broker_registration::{BrokerRegistrationRequest, BrokerRegistrationResponse};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: BrokerRegistrationRequest,
) -> BrokerRegistrationResponse {
    controller.register_broker(request).await.unwrap_or_else(|error| BrokerRegistrationResponse {
        error_code: error.error_code().code(),
        ..Default::default()
    })
}
