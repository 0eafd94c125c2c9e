//! UpdateFeatures (57): versions 0 to 2. Raises and lowers finalized feature levels.

use ottla_protocol::Str;
use ottla_protocol::api::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    controller.update_features(request).await.unwrap_or_else(|error| UpdateFeaturesResponse {
        error_code: error.error_code().code(),
        error_message: Some(Str::from(error.to_string())),
        ..Default::default()
    })
}
