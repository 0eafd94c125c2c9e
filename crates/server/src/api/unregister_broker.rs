//! UnregisterBroker (64): version 0. Forgets a broker that will not come back.

use ottla_protocol::Str;
use ottla_protocol::api::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    controller.unregister_broker(request).await.unwrap_or_else(|error| UnregisterBrokerResponse {
        error_code: error.error_code().code(),
        error_message: Some(Str::from(error.to_string())),
        ..Default::default()
    })
}
