//! AlterConfigs (33): versions 0 to 2. The old way: what is not named is deleted.

use std::sync::Arc;

use ottla_metadata::ConfigResourceType;
use ottla_metadata::configs::ConfigMap;
use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use super::RequestContext;
use super::incremental_alter_configs::{
    Checked, Refused, check_keys, code_and_message, named_twice, once, target,
};
use crate::broker::Broker;
use crate::config::dynamic::check_broker_change;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    mut request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let keys: Vec<_> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    let twice = named_twice(&keys);
    let checked: Vec<Checked> = request
        .resources
        .iter()
        .zip(&keys)
        .map(|(resource, key)| match twice.contains(key) {
            true => Checked::Answered(Err(once())),
            false => check(broker, resource),
        })
        .collect();
    let mut forwarded = checked.iter().map(|checked| matches!(checked, Checked::Forward));
    request.resources.retain(|_| forwarded.next() == Some(true));

    let mut decided = Vec::new();
    if !request.resources.is_empty() {
        decided = match broker.controller.alter_configs(request).await {
            Ok(response) => {
                let decided = response.responses.into_iter();
                decided.map(|answer| (answer.error_code, answer.error_message)).collect()
            }
            Err(error) => {
                let forwarded = checked.iter().filter(|checked| matches!(checked, Checked::Forward));
                forwarded.map(|_| (error.error_code().code(), Some(Str::from(error.to_string())))).collect()
            }
        };
    }
    let mut decided = decided.into_iter();
    let responses = keys
        .into_iter()
        .zip(checked)
        .filter_map(|((resource_type, resource_name), checked)| {
            let (error_code, error_message) = match checked {
                Checked::Forward => decided.next()?,
                Checked::Answered(result) => code_and_message(result),
            };
            Some(AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name })
        })
        .collect();
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
