//! The table of Kafka's settings, their values, and how an effective value is found.
//!
//! Owns names, types, defaults, allowed values and the messages of refusal, which clients see and which
//! therefore are Kafka's. Must not know files or who asks.

mod broker;
mod check;
mod client_metrics;
mod def;
mod dynamic;
mod effective;
mod group;
mod topic;
mod value;

pub use check::{Refused, check_client_metrics, check_group, check_topic};
pub use def::{ConfigDef, ConfigType, Importance, Synonym, UpdateMode, Valid};
pub use dynamic::{BrokerTarget, NotDynamic, check_broker_value, heeded, ignored, not_dynamic};
pub use effective::{
    ConfigMap, ConfigSource, Described, Layers, SynonymValue, broker_or_listener, broker_synonyms,
    split_listener_prefix,
};
pub use value::{ConfigError, ConfigValue, iso_8601_millis, split_host_port};

/// The definition of a node's setting, by its name without listener prefix.
pub fn broker(name: &str) -> Option<&'static ConfigDef> {
    find(&broker::BROKER, name).or_else(|| find(&broker::OTTLA_BROKER, name))
}

/// The definition of a topic's setting.
pub fn topic(name: &str) -> Option<&'static ConfigDef> {
    find(&topic::TOPIC, name).or_else(|| find(&topic::OTTLA_TOPIC, name))
}

/// The definition of a group's setting.
pub fn group(name: &str) -> Option<&'static ConfigDef> {
    find(&group::GROUP, name)
}

/// The definition of a setting of a client-metrics subscription.
pub fn client_metrics(name: &str) -> Option<&'static ConfigDef> {
    find(&client_metrics::CLIENT_METRICS, name)
}

/// Every setting of a node, Ottla's own last.
pub fn all_broker() -> impl Iterator<Item = &'static ConfigDef> {
    broker::BROKER.iter().chain(&broker::OTTLA_BROKER)
}

/// Every setting of a topic, Ottla's own last.
pub fn all_topic() -> impl Iterator<Item = &'static ConfigDef> {
    topic::TOPIC.iter().chain(&topic::OTTLA_TOPIC)
}

/// Every setting of a group.
pub fn all_group() -> impl Iterator<Item = &'static ConfigDef> {
    group::GROUP.iter()
}

/// Every setting of a client-metrics subscription.
pub fn all_client_metrics() -> impl Iterator<Item = &'static ConfigDef> {
    client_metrics::CLIENT_METRICS.iter()
}

/// Tables are sorted by name, which a test holds.
fn find(table: &'static [ConfigDef], name: &str) -> Option<&'static ConfigDef> {
    table.binary_search_by(|def| def.name.cmp(name)).ok().and_then(|at| table.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_complete_and_their_defaults_valid() {
        for (table, len) in [
            (&broker::BROKER[..], 382),
            (&broker::OTTLA_BROKER[..], 1),
            (&topic::TOPIC[..], 38),
            (&topic::OTTLA_TOPIC[..], 1),
            (&group::GROUP[..], 27),
            (&client_metrics::CLIENT_METRICS[..], 3),
        ] {
            assert_eq!(table.len(), len);
            assert!(table.is_sorted_by(|a, b| a.name < b.name));
            for def in table {
                assert!(def.default_value().is_ok(), "{}", def.name);
                // Every row's check takes the values of its type.
                for text in ["1", "-5", "0.5", "true", "a,b,", ""] {
                    let _ = def.parse(text);
                }
                for synonym in def.synonyms {
                    assert!(broker(synonym.name).is_some(), "{}", synonym.name);
                }
            }
        }
    }
}
