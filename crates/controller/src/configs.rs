//! Dynamic configs of topics, brokers, groups and client-metrics subscriptions.
//!
//! What a broker checks of its own settings before it forwards a request is not repeated here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_metadata::configs::{self, ConfigDef, ConfigMap, ConfigType, Described};
use ottla_model::{ErrorCode, NodeId};
use ottla_protocol::Str;
use ottla_protocol::api::alter_configs::{self, AlterConfigsRequest, AlterConfigsResponse};
use ottla_protocol::api::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use ottla_protocol::records::metadata::{ClearElrRecord, ConfigRecord, MetadataRecord};

use crate::outcome::{code_and_message, each_once};
use crate::{Outcome, Refusal, State, topic_names};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const VALUE_LEN_MAX: usize = 32_767;
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigOperation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl ConfigOperation {
    fn of(code: i8) -> Option<Self> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract].into_iter().find(|op| *op as i8 == code)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ConfigChange {
    name: String,
    operation: ConfigOperation,
    value: String,
}

impl ConfigChange {
    pub fn set(name: String, value: String) -> Self {
        Self { name, operation: ConfigOperation::Set, value }
    }
}

/// Whether the resource exists already or is created by the same batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resource {
    Existing,
    New,
}

pub(crate) struct ConfigControl<'a> {
    pub state: &'a State<'a>,
}

impl ConfigControl<'_> {
    pub fn incremental_alter(
        &self,
        request: &IncrementalAlterConfigsRequest,
    ) -> Outcome<IncrementalAlterConfigsResponse> {
        let mut responses = Vec::with_capacity(request.resources.len());
        let records = self.alter_each(
            &request.resources,
            |resource| (resource.resource_type, &resource.resource_name),
            |resource| {
                read_changes(resource.configs.iter().map(|c| (&c.name, c.config_operation, c.value.as_ref())))
            },
            |(resource_type, resource_name), (error_code, error_message)| {
                let resource_name = resource_name.clone();
                responses.push(AlterConfigsResourceResponse {
                    error_code,
                    error_message,
                    resource_type,
                    resource_name,
                });
            },
        );
        let records = if request.validate_only { Vec::new() } else { records };
        Outcome::new(records, IncrementalAlterConfigsResponse { responses, ..Default::default() })
    }

    /// The old request: what is not named is deleted.
    pub fn alter_all(&self, request: &AlterConfigsRequest) -> Outcome<AlterConfigsResponse> {
        let mut responses = Vec::with_capacity(request.resources.len());
        let records = self.alter_each(
            &request.resources,
            |resource| (resource.resource_type, &resource.resource_name),
            |resource| {
                let mut changes =
                    read_changes(resource.configs.iter().map(|c| (&c.name, 0, c.value.as_ref())))?;
                let named: BTreeSet<String> = changes.iter().map(|change| change.name.clone()).collect();
                let known = self.state.configs(resource.resource_type, &resource.resource_name);
                for name in known.keys().filter(|name| !named.contains(&***name)) {
                    let (name, operation) = (name.to_string(), ConfigOperation::Delete);
                    changes.push(ConfigChange { name, operation, value: String::new() });
                }
                Ok(changes)
            },
            |(resource_type, resource_name), (error_code, error_message)| {
                let resource_name = resource_name.clone();
                responses.push(alter_configs::AlterConfigsResourceResponse {
                    error_code,
                    error_message,
                    resource_type,
                    resource_name,
                });
            },
        );
        let records = if request.validate_only { Vec::new() } else { records };
        Outcome::new(records, AlterConfigsResponse { responses, ..Default::default() })
    }

    /// The records of all changes that are allowed; `answer` is told what becomes of each resource.
    fn alter_each<'a, T>(
        &self,
        resources: &'a [T],
        key: impl Fn(&'a T) -> (i8, &'a Str),
        changes: impl Fn(&'a T) -> Result<Vec<ConfigChange>, Refusal>,
        mut answer: impl FnMut((i8, &'a Str), (i16, Option<Str>)),
    ) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for (resource, is_once) in each_once(resources, &key, "Each resource must appear at most once.") {
            let (kind, name) = key(resource);
            let result = is_once
                .and_then(|()| changes(resource))
                .and_then(|changes| self.alter(kind, name, &changes, Resource::Existing));
            answer((kind, name), code_and_message(&result));
            records.extend(result.unwrap_or_default());
        }
        records
    }

    /// The records for a topic that the same batch creates.
    pub fn topic_records(
        &self,
        topic: &Str,
        changes: &[ConfigChange],
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        self.alter(TOPIC, topic, changes, Resource::New)
    }

    /// Every setting of a topic with these overrides, as CreateTopics answers it.
    pub fn effective_topic_configs(&self, overrides: &BTreeMap<String, String>) -> Vec<Described> {
        let map: ConfigMap = overrides
            .iter()
            .map(|(name, value)| (Arc::from(name.as_str()), Arc::from(value.as_str())))
            .collect();
        let layers = self.state.layers();
        let mut all = layers.describe_topic_configs(&map);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn alter(
        &self,
        resource_type: i8,
        name: &Str,
        changes: &[ConfigChange],
        resource: Resource,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        let current = match resource {
            Resource::Existing => self.state.configs(resource_type, name),
            Resource::New => ConfigMap::new(),
        };
        let mut after = current.clone();
        let mut records = Vec::new();
        for change in changes {
            let before = current.get(change.name.as_str());
            let value = self.changed_value(resource_type, change, before.map(|value| &**value))?;
            match &value {
                Some(value) => after.insert(Arc::from(change.name.as_str()), Arc::from(value.as_str())),
                None => after.remove(change.name.as_str()),
            };
            // A broker's record is written even if nothing changes: it makes the broker read its key stores again.
            if resource_type == BROKER || value.as_deref() != before.map(|value| &**value) {
                records.push(MetadataRecord::Config(ConfigRecord {
                    resource_type,
                    resource_name: name.clone(),
                    name: Str::from(change.name.as_str()),
                    value: value.map(Str::from),
                }));
            }
        }
        self.check_resource(resource_type, name, resource)?;
        self.check_values(resource_type, &after)?;
        self.check_min_isr(resource_type, name, changes, &after)?;
        let touches_min_isr = changes.iter().any(|change| change.name == MIN_INSYNC_REPLICAS);
        if touches_min_isr
            && resource == Resource::Existing
            && !records.is_empty()
            && self.state.elr_enabled()
        {
            let topic_name = if resource_type == TOPIC { name.clone() } else { Str::default() };
            records.push(MetadataRecord::ClearElr(ClearElrRecord { topic_name }));
        }
        Ok(records)
    }

    fn changed_value(
        &self,
        resource_type: i8,
        change: &ConfigChange,
        before: Option<&str>,
    ) -> Result<Option<String>, Refusal> {
        let value = match change.operation {
            ConfigOperation::Delete => return Ok(None),
            ConfigOperation::Set => change.value.clone(),
            operation => {
                let def = definition(resource_type, &change.name);
                let Some(def) = def.filter(|def| def.kind == ConfigType::List) else {
                    let message = format!(
                        "Can't {} to key {} because its type is not LIST.",
                        operation.name(),
                        change.name
                    );
                    return Err(Refusal::new(ErrorCode::InvalidConfig, message));
                };
                let base = before.map(str::to_owned).or_else(|| self.inherited(resource_type, def));
                edit_list(base.as_deref().unwrap_or(""), operation, &change.value)
            }
        };
        if value.len() > VALUE_LEN_MAX {
            let message = format!(
                "The configuration value cannot be added because it exceeds the maximum value size of {VALUE_LEN_MAX} bytes."
            );
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        }
        Ok(Some(value))
    }

    /// What a list setting is while the resource has none of its own.
    fn inherited(&self, resource_type: i8, def: &'static ConfigDef) -> Option<String> {
        let layers = self.state.layers();
        let none = ConfigMap::new();
        match resource_type {
            TOPIC => layers.topic(&none, def.name),
            GROUP => layers.group(&none, def.name),
            BROKER => layers.broker(def.name),
            _ => def.default_value().ok().flatten(),
        }
        .map(|value| value.to_string())
    }

    fn check_resource(&self, resource_type: i8, name: &str, resource: Resource) -> Result<(), Refusal> {
        let invalid = |message: String| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        match resource_type {
            TOPIC if name.is_empty() => invalid("Default topic resources are not allowed.".into()),
            TOPIC => {
                if let Some(reason) = topic_names::invalid_reason(name) {
                    return Err(Refusal::new(ErrorCode::InvalidTopicException, reason));
                }
                if resource == Resource::Existing && self.state.topic(name).is_none() {
                    let message = format!("The topic '{name}' does not exist.");
                    return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, message));
                }
                Ok(())
            }
            BROKER if name.is_empty() => Ok(()),
            BROKER => match name.parse::<i32>() {
                Err(_) => invalid(format!("Invalid broker name {name}")),
                Ok(id)
                    if self.state.broker(NodeId(id)).is_none() && !self.state.is_controller(NodeId(id)) =>
                {
                    Err(Refusal::new(
                        ErrorCode::BrokerIdNotRegistered,
                        format!("No node with id {id} found."),
                    ))
                }
                Ok(_) => Ok(()),
            },
            CLIENT_METRICS if name.is_empty() => invalid("Subscription name can't be empty".into()),
            GROUP if name.is_empty() => invalid("Default group resources are not allowed.".into()),
            CLIENT_METRICS | GROUP => Ok(()),
            unknown => invalid(format!("Unknown resource type {unknown}")),
        }
    }

    fn check_values(&self, resource_type: i8, after: &ConfigMap) -> Result<(), Refusal> {
        let checked = match resource_type {
            TOPIC => configs::check_topic(after, &self.state.layers()),
            GROUP => configs::check_group(after, &self.state.layers()),
            CLIENT_METRICS => configs::check_client_metrics(after),
            _ => Ok(()),
        };
        checked.map_err(|(code, message)| Refusal::new(code, message))
    }

    /// With eligible leader replicas the cluster has one minimum of in-sync replicas, and it stays set.
    fn check_min_isr(
        &self,
        resource_type: i8,
        name: &str,
        changes: &[ConfigChange],
        after: &ConfigMap,
    ) -> Result<(), Refusal> {
        let touched = changes.iter().any(|change| change.name == MIN_INSYNC_REPLICAS);
        if resource_type != BROKER || !touched || !self.state.elr_enabled() {
            return Ok(());
        }
        let refuse = |message: &str| Err(Refusal::new(ErrorCode::InvalidConfig, message));
        if !name.is_empty() {
            return refuse("Broker-level min.insync.replicas cannot be altered while ELR is enabled.");
        }
        if !after.contains_key(MIN_INSYNC_REPLICAS) {
            return refuse("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.");
        }
        Ok(())
    }
}

fn definition(resource_type: i8, name: &str) -> Option<&'static ConfigDef> {
    match resource_type {
        TOPIC => configs::topic(name),
        BROKER => configs::broker(name),
        // Kafka knows the types of no other resource here, and so takes no entries for lists of theirs.
        _ => None,
    }
}

/// The changes a request asks for on one resource.
fn read_changes<'a>(
    entries: impl Iterator<Item = (&'a Str, i8, Option<&'a Str>)>,
) -> Result<Vec<ConfigChange>, Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::InvalidRequest, message);
    let (mut changes, mut seen, mut nulls) = (Vec::new(), BTreeSet::new(), Vec::new());
    for (name, code, value) in entries {
        let operation = ConfigOperation::of(code).ok_or_else(|| {
            Refusal::new(ErrorCode::UnknownServerError, format!("Unknown operation type {code}"))
        })?;
        if !seen.insert(name) {
            return Err(invalid("Error due to duplicate config keys".into()));
        }
        if value.is_none() && operation != ConfigOperation::Delete {
            nulls.push(name.to_string());
        }
        let value = value.map(|value| value.to_string()).unwrap_or_default();
        changes.push(ConfigChange { name: name.to_string(), operation, value });
    }
    match nulls.is_empty() {
        true => Ok(changes),
        false => Err(invalid(format!("Null value not supported for : {}", nulls.join(",")))),
    }
}

fn edit_list(base: &str, operation: ConfigOperation, edit: &str) -> String {
    let entries = |text: &str| -> Vec<String> {
        text.split(',').map(|entry| entry.trim().to_string()).filter(|entry| !entry.is_empty()).collect()
    };
    let mut list = entries(base);
    for entry in entries(edit) {
        match operation {
            ConfigOperation::Append if !list.contains(&entry) => list.push(entry),
            ConfigOperation::Subtract => list.retain(|known| *known != entry),
            _ => {}
        }
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_edited_without_doubles() {
        assert_eq!(edit_list("", ConfigOperation::Append, "compact"), "compact");
        assert_eq!(edit_list("delete", ConfigOperation::Append, "compact,delete"), "delete,compact");
        assert_eq!(edit_list("delete,compact", ConfigOperation::Subtract, "delete,x"), "compact");
    }
}
