//! Configs of topics, brokers, brokers' loggers, groups and subscriptions to metrics.

use std::collections::BTreeSet;

use ottla_client::admin::{ConfigChange, ConfigEntry, ConfigResourceType, Resource};
use ottla_client::blocking::block_on;

use super::super::session::Session;
use super::{Changes, Done, Entities, said, singular};

/// A kind of resources, and where the configs that are its own come from.
fn kind_of(kind: &str) -> (ConfigResourceType, &'static str) {
    match kind {
        "topics" => (ConfigResourceType::Topic, "DYNAMIC_TOPIC_CONFIG"),
        "brokers" => (ConfigResourceType::Broker, "DYNAMIC_BROKER_CONFIG"),
        "broker-loggers" => (ConfigResourceType::BrokerLogger, "DYNAMIC_BROKER_LOGGER_CONFIG"),
        "client-metrics" => (ConfigResourceType::ClientMetrics, "DYNAMIC_CLIENT_METRICS_CONFIG"),
        _ => (ConfigResourceType::Group, "DYNAMIC_GROUP_CONFIG"),
    }
}

/// The configs of a resource, by name; only its own unless `all`.
fn configs(session: &Session, kind: &str, name: &str, all: bool) -> Done<Vec<ConfigEntry>> {
    let (resource, mut own) = kind_of(kind);
    if kind == "brokers" && name.is_empty() {
        own = "DYNAMIC_DEFAULT_BROKER_CONFIG";
    }
    let resource = Resource { kind: resource, name: name.to_owned() };
    let mut configs = block_on(session.admin.describe_configs(&resource))?;
    configs.retain(|config| all || config.source == own);
    Ok(configs)
}

pub fn describe(session: &Session, entities: &Entities, all: bool) -> Done {
    let (kind, name) = entities.first();
    let names = match name {
        Some(name) if all || name.is_empty() || known(session, kind)?.contains(name) => vec![name.to_owned()],
        Some(name) => {
            let kind = singular(kind);
            println!("The {kind} '{name}' doesn't exist and doesn't have dynamic config.");
            return Ok(());
        }
        None => {
            let mut names: Vec<_> = known(session, kind)?.into_iter().collect();
            if kind == "brokers" {
                names.push(String::new());
            }
            names
        }
    };
    for name in names {
        let how = if all { "All" } else { "Dynamic" };
        match name.as_str() {
            "" => println!("Default configs for {kind} in the cluster are:"),
            name => println!("{how} configs for {} {name} are:", singular(kind)),
        }
        let null = |value: Option<String>| value.unwrap_or_else(|| "null".into());
        for config in configs(session, kind, &name, all)? {
            let synonyms = config.synonyms.into_iter();
            let synonyms = synonyms.map(|(source, name, value)| format!("{source}:{name}={}", null(value)));
            let synonyms: Vec<_> = synonyms.collect();
            let (name, value, sensitive) = (config.name, null(config.value), config.sensitive);
            println!("  {name}={value} sensitive={sensitive} synonyms={{{}}}", synonyms.join(", "));
        }
    }
    Ok(())
}

/// The names of what is there of a kind, or has configs.
fn known(session: &Session, kind: &str) -> Done<BTreeSet<String>> {
    let with_configs = |kind| -> Done<BTreeSet<String>> {
        let resources = block_on(session.admin.list_config_resources(&[kind]))?;
        Ok(resources.into_iter().map(|resource| resource.name).collect())
    };
    Ok(match kind_of(kind).0 {
        ConfigResourceType::Topic => session.topics()?.into_keys().collect(),
        ConfigResourceType::Broker | ConfigResourceType::BrokerLogger => {
            session.brokers()?.iter().map(ToString::to_string).collect()
        }
        ConfigResourceType::ClientMetrics => with_configs(ConfigResourceType::ClientMetrics)?,
        ConfigResourceType::Group => {
            let mut groups = with_configs(ConfigResourceType::Group)?;
            groups.extend(block_on(session.admin.list_groups())?.into_iter().map(|group| group.id));
            groups
        }
    })
}

pub fn alter(session: &Session, kind: &str, name: &str, changes: &Changes) -> Done {
    if kind == "broker-loggers" {
        let own = configs(session, kind, name, false)?;
        let unknown = changes.names().filter(|name| !own.iter().any(|config| config.name == *name));
        let unknown: Vec<_> = unknown.collect();
        if !unknown.is_empty() {
            return said(format!("Invalid broker logger(s): {}", unknown.join(",")));
        }
    }
    let delete = changes.delete.iter().map(|name| (name.clone(), ConfigChange::Delete));
    let set = changes.set.iter().map(|(name, value)| (name.clone(), ConfigChange::Set(value.clone())));
    let resource = Resource { kind: kind_of(kind).0, name: name.to_owned() };
    Ok(block_on(session.admin.alter_configs(&resource, &delete.chain(set).collect::<Vec<_>>()))?)
}
