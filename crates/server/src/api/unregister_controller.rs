//! UnregisterController (94): version 0. Forgets a controller that will not come back.

use ottla_protocol::Str;
use ottla_protocol::api::unregister_controller::{UnregisterControllerRequest, UnregisterControllerResponse};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: UnregisterControllerRequest,
) -> UnregisterControllerResponse {
    controller.unregister_controller(request).await.unwrap_or_else(|error| UnregisterControllerResponse {
        error_code: error.error_code().code(),
        error_message: Some(Str::from(error.to_string())),
        ..Default::default()
    })
}
