//! IncrementalAlterConfigs (44): versions 0 and 1. The broker answers for its own log levels and checks changes of
//! its own settings; the controller decides about everything else.

use std::collections::HashSet;
use std::sync::Arc;

use ottla_metadata::configs::BrokerTarget;
use ottla_model::{ConfigResourceType, ErrorCode};
use ottla_protocol::Str;
use ottla_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::RequestContext;
use crate::broker::Broker;
use crate::config::dynamic::{AlterOperation, apply_change, check_broker_change};
use crate::config::log_levels;
use crate::controller::ControllerError;

/// An answer's code and message.
pub(super) type Refused = (ErrorCode, String);

/// What becomes of one resource before the controller is asked.
pub(super) enum Checked {
    /// For the controller to decide.
    Forward,
    /// Done, or refused.
    Answered(Result<(), Refused>),
}

/// Type and name.
type ResourceKey = (i8, Str);
/// A code and a message.
type Answered = (i16, Option<Str>);

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    answer(broker, request, check).await
}

/// On a controller's listener: what changes a broker's settings was checked by that broker.
pub mod at_controller {
    use super::*;

    pub async fn handle(
        broker: &Arc<Broker>,
        _: &RequestContext,
        request: IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        answer(broker, request, |broker, resource, validate_only| {
            match ConfigResourceType::from_number(resource.resource_type) {
                Some(ConfigResourceType::BrokerLogger) => check(broker, resource, validate_only),
                _ => Checked::Forward,
            }
        })
        .await
    }
}

async fn answer(
    broker: &Arc<Broker>,
    request: IncrementalAlterConfigsRequest,
    check: impl Fn(&Broker, &AlterConfigsResource, bool) -> Checked,
) -> IncrementalAlterConfigsResponse {
    let IncrementalAlterConfigsRequest { resources, validate_only } = request;
    let decide = |resources| async move {
        let request = IncrementalAlterConfigsRequest { resources, validate_only };
        let response = broker.controller.incremental_alter_configs(request).await?;
        Ok(response.responses.into_iter().map(|answer| (answer.error_code, answer.error_message)).collect())
    };
    let key = |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let answers = alter(resources, key, |resource| check(broker, resource, validate_only), decide).await;
    let response = |((resource_type, resource_name), (error_code, error_message))| {
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    };
    let responses = answers.into_iter().map(response).collect();
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

/// Checks every resource here, lets the controller decide about those that passed, and puts the answers together in
/// the order of the request.
pub(super) async fn alter<R, F>(
    mut resources: Vec<R>,
    key: impl Fn(&R) -> ResourceKey,
    check: impl Fn(&R) -> Checked,
    decide: impl FnOnce(Vec<R>) -> F,
) -> Vec<(ResourceKey, Answered)>
where
    F: Future<Output = Result<Vec<Answered>, ControllerError>>,
{
    let keys: Vec<ResourceKey> = resources.iter().map(key).collect();
    let twice = named_twice(&keys);
    let check = |(resource, key)| match twice.contains(key) {
        true => Checked::Answered(Err(once())),
        false => check(resource),
    };
    let checked: Vec<Checked> = resources.iter().zip(&keys).map(check).collect();
    let mut forwarded = checked.iter().map(|checked| matches!(checked, Checked::Forward));
    resources.retain(|_| forwarded.next() == Some(true));
    let count = resources.len();
    let decided = match resources.is_empty() {
        true => Vec::new(),
        false => decide(resources).await.unwrap_or_else(|error| {
            vec![(error.error_code().code(), Some(Str::from(error.to_string()))); count]
        }),
    };
    let mut decided = decided.into_iter();
    let answer = |(key, checked)| {
        let answered = match checked {
            Checked::Forward => decided.next()?,
            Checked::Answered(result) => code_and_message(result),
        };
        Some((key, answered))
    };
    keys.into_iter().zip(checked).filter_map(answer).collect()
}

fn once() -> Refused {
    (ErrorCode::InvalidRequest, "Each resource must appear at most once.".to_owned())
}

fn code_and_message(result: Result<(), Refused>) -> Answered {
    match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err((error, message)) => (error.code(), Some(Str::from(message))),
    }
}

fn named_twice<K: Clone + Eq + std::hash::Hash>(keys: &[K]) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.iter().filter(|key| !seen.insert(*key)).cloned().collect()
}

/// No key twice, and no null where a value is needed.
pub(super) fn check_keys<'a>(
    entries: impl Iterator<Item = (&'a Str, bool)>,
    null_text: &str,
) -> Result<(), Refused> {
    let mut seen = HashSet::new();
    let mut nulls = Vec::new();
    for (name, is_null) in entries {
        if !seen.insert(name) {
            return Err((ErrorCode::InvalidRequest, "Error due to duplicate config keys".to_owned()));
        }
        if is_null {
            nulls.push(&**name);
        }
    }
    match nulls.is_empty() {
        true => Ok(()),
        false => Err((ErrorCode::InvalidRequest, format!("{null_text}{}", nulls.join(", ")))),
    }
}

fn check(broker: &Broker, resource: &AlterConfigsResource, validate_only: bool) -> Checked {
    let is_null =
        |c: &AlterableConfig| c.value.is_none() && c.config_operation != AlterOperation::Delete as i8;
    let entries = resource.configs.iter().map(|config| (&config.name, is_null(config)));
    if let Err(refused) = check_keys(entries, "Null value not supported for : ") {
        return Checked::Answered(Err(refused));
    }
    match ConfigResourceType::from_number(resource.resource_type) {
        Some(ConfigResourceType::BrokerLogger) => {
            Checked::Answered(alter_loggers(broker, resource, validate_only))
        }
        Some(ConfigResourceType::Broker) => match check_broker(broker, resource) {
            Ok(()) => Checked::Forward,
            Err(refused) => Checked::Answered(Err(refused)),
        },
        Some(_) => Checked::Forward,
        None => Checked::Answered(Err((
            ErrorCode::InvalidRequest,
            format!("Unknown resource type {}", resource.resource_type),
        ))),
    }
}

/// The broker whose settings are named must be this one.
pub(super) fn check_is_this_broker(broker: &Broker, name: &str) -> Result<(), Refused> {
    let invalid = |message| Err((ErrorCode::InvalidRequest, message));
    match name.parse::<i32>() {
        Err(_) => invalid(format!("Node id must be an integer, but it is: {name}")),
        Ok(id) if id != broker.node_id.0 => {
            invalid(format!("Unexpected broker id, expected {}, but received {name}", broker.node_id))
        }
        Ok(_) => Ok(()),
    }
}

fn check_broker(broker: &Broker, resource: &AlterConfigsResource) -> Result<(), Refused> {
    let target = target(broker, &resource.resource_name)?;
    let layers = broker.layers();
    let mut after = match target {
        BrokerTarget::ThisBroker => layers.dynamic_broker.clone(),
        BrokerTarget::AllBrokers => layers.dynamic_default.clone(),
    };
    for config in &resource.configs {
        let Some(operation) = AlterOperation::from_number(config.config_operation) else {
            let message = format!("Unknown operation type {}", config.config_operation);
            return Err((ErrorCode::UnknownServerError, message));
        };
        let value = config.value.as_deref().unwrap_or_default();
        apply_change(&mut after, &layers, &config.name, operation, value)
            .map_err(|message| (ErrorCode::InvalidConfig, message))?;
    }
    check_broker_change(&broker.config, &layers, target, &after)
        .map_err(|message| (ErrorCode::InvalidRequest, message))
}

/// Whose settings a BROKER resource of this name has.
pub(super) fn target(broker: &Broker, name: &str) -> Result<BrokerTarget, Refused> {
    match name {
        "" => Ok(BrokerTarget::AllBrokers),
        name => check_is_this_broker(broker, name).map(|()| BrokerTarget::ThisBroker),
    }
}

fn alter_loggers(
    broker: &Broker,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    check_is_this_broker(broker, &resource.resource_name)?;
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut changes = Vec::new();
    for config in &resource.configs {
        let name: &str = &config.name;
        if !log_levels::exists(name) {
            return Err((ErrorCode::InvalidConfig, format!("Logger {name} does not exist!")));
        }
        match AlterOperation::from_number(config.config_operation) {
            Some(AlterOperation::Set) => {
                let level = config.value.as_deref().unwrap_or_default();
                if !log_levels::LEVELS.contains(&level) {
                    let message = format!(
                        "Cannot set the log level of {name} to {level} as it is not a supported log level. Valid log \
                         levels are {}",
                        log_levels::LEVELS.join(", ")
                    );
                    return Err((ErrorCode::InvalidConfig, message));
                }
                changes.push((name, Some(level)));
            }
            Some(AlterOperation::Delete) if name == log_levels::ROOT => {
                return invalid("Removing the log level of the root logger is not allowed".to_owned());
            }
            Some(AlterOperation::Delete) => changes.push((name, None)),
            Some(operation) => {
                return invalid(format!(
                    "{} operation is not allowed for the BROKER_LOGGER resource",
                    operation.name()
                ));
            }
            None => return invalid(format!("Unknown operation type {}", config.config_operation)),
        }
    }
    if !validate_only {
        changes.into_iter().for_each(|(name, level)| log_levels::set(name, level));
    }
    Ok(())
}
