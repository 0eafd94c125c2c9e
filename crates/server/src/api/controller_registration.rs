//! ControllerRegistration (70): version 0. A controller tells its endpoints and features (KIP-919).

use ottla_protocol::Str;
use ottla_protocol::api::controller_registration::{
    ControllerRegistrationRequest, ControllerRegistrationResponse,
};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: ControllerRegistrationRequest,
) -> ControllerRegistrationResponse {
    controller.register_controller(request).await.unwrap_or_else(|error| ControllerRegistrationResponse {
        error_code: error.error_code().code(),
        error_message: Some(Str::from(error.to_string())),
        ..Default::default()
    })
}
