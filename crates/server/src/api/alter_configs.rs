//! AlterConfigs (33): versions 0 to 2. The old way: what is not named is deleted.

use std::sync::Arc;

use ottla_metadata::configs::ConfigMap;
use ottla_model::{ConfigResourceType, ErrorCode};
use ottla_protocol::api::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use super::RequestContext;
use super::incremental_alter_configs::{Checked, Refused, alter, check_keys, target};
use crate::broker::Broker;
use crate::config::dynamic::check_broker_change;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    answer(broker, request, check).await
}

/// On a controller's listener: what changes a broker's settings was checked by that broker.
pub mod at_controller {
    use super::*;

    pub async fn handle(
        broker: &Arc<Broker>,
        _: &RequestContext,
        request: AlterConfigsRequest,
    ) -> AlterConfigsResponse {
        answer(broker, request, |_, _| Checked::Forward).await
    }
}

async fn answer(
    broker: &Arc<Broker>,
    request: AlterConfigsRequest,
    check: impl Fn(&Broker, &AlterConfigsResource) -> Checked,
) -> AlterConfigsResponse {
    let AlterConfigsRequest { resources, validate_only } = request;
    let decide = |resources| async move {
        let response =
            broker.controller.alter_configs(AlterConfigsRequest { resources, validate_only }).await?;
        Ok(response.responses.into_iter().map(|answer| (answer.error_code, answer.error_message)).collect())
    };
    let key = |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let answers = alter(resources, key, |resource| check(broker, resource), decide).await;
    let response = |((resource_type, resource_name), (error_code, error_message))| {
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    };
    let responses = answers.into_iter().map(response).collect();
    AlterConfigsResponse { responses, ..Default::default() }
}

fn check(broker: &Broker, resource: &AlterConfigsResource) -> Checked {
    let entries = resource.configs.iter().map(|config| (&config.name, config.value.is_none()));
    if let Err(refused) = check_keys(entries, "Null value not supported for : ") {
        return Checked::Answered(Err(refused));
    }
    match ConfigResourceType::from_number(resource.resource_type) {
        Some(ConfigResourceType::Broker) => match check_broker(broker, resource) {
            Ok(()) => Checked::Forward,
            Err(refused) => Checked::Answered(Err(refused)),
        },
        // Log levels came after this request.
        Some(ConfigResourceType::BrokerLogger) | None => Checked::Answered(Err((
            ErrorCode::InvalidRequest,
            format!("Unknown resource type {}", resource.resource_type),
        ))),
        Some(_) => Checked::Forward,
    }
}

fn check_broker(broker: &Broker, resource: &AlterConfigsResource) -> Result<(), Refused> {
    let target = target(broker, &resource.resource_name)?;
    let after: ConfigMap = resource
        .configs
        .iter()
        .filter_map(|config| Some((Arc::from(&*config.name), Arc::from(&**config.value.as_ref()?))))
        .collect();
    check_broker_change(&broker.config, &broker.layers(), target, &after)
        .map_err(|message| (ErrorCode::InvalidRequest, message))
}
