//! Configs of topics, brokers, groups.

use ottla_model::{ConfigResourceType, NodeId};
use ottla_protocol::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ottla_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use ottla_protocol::api::list_config_resources::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::{Admin, checked, missing};
use crate::client::{Peers, Target};
use crate::error::{Error, Result};

/// A resource; the empty name of a broker is the default of all brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Topic, broker, broker logger, client metrics or group.
    pub kind: ConfigResourceType,
    /// The topic, the group, or the id of the broker.
    pub name: String,
}

/// A config as a broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The name of the config.
    pub name: String,
    /// `None` for what is secret.
    pub value: Option<String>,
    /// Who says so, in Kafka's words: `DYNAMIC_TOPIC_CONFIG`, `STATIC_BROKER_CONFIG`, `DEFAULT_CONFIG` and so on.
    pub source: &'static str,
    /// Whether it changes with a restart only.
    pub read_only: bool,
    /// Whether it is a secret, which is not told.
    pub sensitive: bool,
    /// Where values come from, the one in force first: source, name, value.
    pub synonyms: Vec<(&'static str, String, Option<String>)>,
}

impl ConfigEntry {
    /// Whether it was set for this resource itself.
    pub fn is_own(&self, kind: ConfigResourceType) -> bool {
        match kind {
            ConfigResourceType::Broker => {
                self.source.starts_with("DYNAMIC_") && self.source.contains("BROKER")
            }
            _ => self.source.starts_with("DYNAMIC_") && !self.source.contains("BROKER_CONFIG"),
        }
    }
}

/// What is to become of a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// It gets this value.
    Set(String),
    /// Back to what holds without it.
    Delete,
}

impl Admin {
    /// All configs of a resource, by name.
    pub async fn describe_configs(&self, resource: &Resource) -> Result<Vec<ConfigEntry>> {
        let described = DescribeConfigsResource {
            resource_type: resource.kind as i8,
            resource_name: resource.name.as_str().into(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![described],
            include_synonyms: true,
            include_documentation: false,
        };
        let check = |answer: &DescribeConfigsResponse| {
            let Some(result) = answer.results.first() else { return missing() };
            Error::check(result.error_code, result.error_message.as_deref())
        };
        let answer = self.ask(self.configs_of(resource), request, check).await?;
        let configs = answer.results.into_iter().flat_map(|result| result.configs);
        let text = |text: ottla_protocol::Str| text.as_str().to_owned();
        let mut entries: Vec<_> = configs
            .map(|config| ConfigEntry {
                name: text(config.name),
                value: config.value.map(text),
                source: source_name(config.config_source),
                read_only: config.read_only,
                sensitive: config.is_sensitive,
                synonyms: config
                    .synonyms
                    .into_iter()
                    .map(|synonym| (source_name(synonym.source), text(synonym.name), synonym.value.map(text)))
                    .collect(),
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The resources of these kinds, of all if there are none: topics, brokers and groups whether they have configs of
    /// their own or not.
    pub async fn list_config_resources(&self, kinds: &[ConfigResourceType]) -> Result<Vec<Resource>> {
        let resource_types = kinds.iter().map(|kind| *kind as i8).collect();
        let check = |answer: &ListConfigResourcesResponse| checked(answer.error_code);
        let answer = self.ask(Target::Any, ListConfigResourcesRequest { resource_types }, check).await?;
        let resources = answer.config_resources.into_iter().filter_map(|resource| {
            let kind = ConfigResourceType::from_number(resource.resource_type)?;
            Some(Resource { kind, name: resource.resource_name.as_str().to_owned() })
        });
        Ok(resources.collect())
    }

    /// Changes some configs of a resource and leaves the others.
    pub async fn alter_configs(&self, resource: &Resource, changes: &[(String, ConfigChange)]) -> Result<()> {
        let configs = changes.iter().map(|(name, change)| {
            let (config_operation, value) = match change {
                ConfigChange::Set(value) => (0, Some(value.as_str().into())),
                ConfigChange::Delete => (1, None),
            };
            AlterableConfig { name: name.as_str().into(), config_operation, value }
        });
        let altered = AlterConfigsResource {
            resource_type: resource.kind as i8,
            resource_name: resource.name.as_str().into(),
            configs: configs.collect(),
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![altered], validate_only: false };
        let check = |answer: &IncrementalAlterConfigsResponse| {
            let Some(result) = answer.responses.first() else { return missing() };
            Error::check(result.error_code, result.error_message.as_deref())
        };
        self.ask(self.configs_of(resource), request, check).await.map(drop)
    }

    /// Whom to ask: a node knows its own configs; brokers pass changes on to the active controller, controllers do not.
    fn configs_of(&self, resource: &Resource) -> Target {
        match (resource.kind, resource.name.parse(), self.client.peers()) {
            (ConfigResourceType::Broker | ConfigResourceType::BrokerLogger, Ok(id), _) => {
                Target::Node(NodeId(id))
            }
            (.., Peers::Brokers) => Target::Any,
            (.., Peers::Controllers) => Target::Controller,
        }
    }
}

fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}
