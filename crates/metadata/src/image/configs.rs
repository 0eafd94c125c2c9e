//! Configs that are set dynamically, by resource.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_model::{ConfigResourceType, NodeId};
use ottla_protocol::records::metadata::{ConfigRecord, MetadataRecord};

use crate::ReplayError;
use crate::configs::{self, BrokerTarget, ConfigMap, Layers};

/// What is set, by resource; a resource without settings is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigsImage {
    resources: OrdMap<ConfigResource, ConfigMap>,
}

/// What a setting belongs to. A BROKER with an empty name is every broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    pub kind: ConfigResourceType,
    pub name: Arc<str>,
}

impl ConfigResource {
    pub fn new(kind: ConfigResourceType, name: &str) -> Self {
        Self { kind, name: name.into() }
    }

    pub fn topic(name: &str) -> Self {
        Self::new(ConfigResourceType::Topic, name)
    }

    pub fn broker(id: NodeId) -> Self {
        Self::new(ConfigResourceType::Broker, &id.to_string())
    }

    /// The defaults of all brokers.
    pub fn default_broker() -> Self {
        Self::new(ConfigResourceType::Broker, "")
    }

    pub fn group(id: &str) -> Self {
        Self::new(ConfigResourceType::Group, id)
    }
}

impl ConfigsImage {
    /// What is set on a resource; empty if nothing is.
    pub fn of(&self, resource: &ConfigResource) -> ConfigMap {
        self.resources.get(resource).cloned().unwrap_or_default()
    }

    pub fn topic(&self, name: &str) -> ConfigMap {
        self.of(&ConfigResource::topic(name))
    }

    pub fn get(&self, resource: &ConfigResource, name: &str) -> Option<&Arc<str>> {
        self.resources.get(resource)?.get(name)
    }

    /// All resources with settings, by type and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ConfigResource, &ConfigMap)> {
        self.resources.iter()
    }

    /// A broker's settings: its file's and what it heeds of what is set for it and for all brokers.
    pub fn layers(&self, broker: NodeId, static_broker: ConfigMap) -> Layers {
        let heeded = |target, resource| configs::heeded(target, self.of(&resource));
        Layers {
            dynamic_broker: heeded(BrokerTarget::ThisBroker, ConfigResource::broker(broker)),
            dynamic_default: heeded(BrokerTarget::AllBrokers, ConfigResource::default_broker()),
            static_broker,
        }
    }

    pub(crate) fn replay(&mut self, record: &ConfigRecord) -> Result<ConfigResource, ReplayError> {
        let bad = ReplayError::BadValue {
            record: "ConfigRecord",
            field: "resourceType",
            value: record.resource_type.into(),
        };
        let kind = ConfigResourceType::from_number(record.resource_type).ok_or(bad)?;
        let resource = ConfigResource::new(kind, &record.resource_name);
        let mut settings = self.of(&resource);
        match &record.value {
            Some(value) => drop(settings.insert(Arc::from(&*record.name), Arc::from(&**value))),
            None => drop(settings.remove(&*record.name)),
        }
        match settings.is_empty() {
            true => drop(self.resources.remove(&resource)),
            false => drop(self.resources.insert(resource.clone(), settings)),
        }
        Ok(resource)
    }

    /// Whether something was set.
    pub(crate) fn remove(&mut self, resource: &ConfigResource) -> bool {
        self.resources.remove(resource).is_some()
    }

    pub(super) fn write(&self, records: &mut Vec<MetadataRecord>) {
        for (resource, settings) in &self.resources {
            for (name, value) in settings {
                let record = ConfigRecord {
                    resource_type: resource.kind as i8,
                    resource_name: resource.name.as_ref().into(),
                    name: name.as_ref().into(),
                    value: Some(value.as_ref().into()),
                };
                records.push(record.into());
            }
        }
    }
}
