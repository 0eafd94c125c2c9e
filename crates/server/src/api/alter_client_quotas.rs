//! AlterClientQuotas (49): versions 0 and 1.

use ottla_protocol::Str;
use ottla_protocol::api::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterClientQuotasResponseEntityData,
    AlterClientQuotasResponseEntryData,
};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let asked = request.entries.clone();
    controller.alter_client_quotas(request).await.unwrap_or_else(|error| {
        let entries = asked.into_iter().map(|entry| AlterClientQuotasResponseEntryData {
            error_code: error.error_code().code(),
            error_message: Some(Str::from(error.to_string())),
            entity: entry
                .entity
                .into_iter()
                .map(|part| AlterClientQuotasResponseEntityData {
                    entity_type: part.entity_type,
                    entity_name: part.entity_name,
                })
                .collect(),
        });
        AlterClientQuotasResponse { entries: entries.collect(), ..Default::default() }
    })
}
