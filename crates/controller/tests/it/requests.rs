//! What clients ask, and the words in which they are refused.

use ottla_protocol::Str;
use ottla_protocol::api::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntityData, AlterClientQuotasRequestEntryData, OpData,
};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla_protocol::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use ottla_protocol::records::metadata::MetadataRecord;

use crate::cluster::{Cluster, WITH_ELR, WITHOUT_ELR};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

impl Cluster {
    fn configure(&mut self, resource: (i8, &str), name: &str, operation: i8, value: &str) -> (i16, String) {
        let config = AlterableConfig {
            name: Str::from(name),
            config_operation: operation,
            value: (operation != DELETE).then(|| Str::from(value)),
        };
        let (resource_type, resource_name) = (resource.0, Str::from(resource.1));
        let resource = AlterConfigsResource { resource_type, resource_name, configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let outcome = self.controller.incremental_alter_configs(&request);
        let response = self.perform(outcome).responses.remove(0);
        (response.error_code, response.error_message.map(String::from).unwrap_or_default())
    }

    fn update(&mut self, feature: &str, level: i16, upgrade_type: i8) -> (i16, String) {
        let update = FeatureUpdateKey {
            feature: Str::from(feature),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        let outcome = self.controller.update_features(&request, 1).outcome;
        let response = self.perform(outcome);
        (response.error_code, response.error_message.map(String::from).unwrap_or_default())
    }

    fn ask_for(&mut self, name: &str, partitions: i32, replicas: i16) -> (i16, String) {
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: partitions,
            replication_factor: replicas,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let outcome = self.controller.create_topics(&request);
        let result = self.perform(outcome).topics.remove(0);
        (result.error_code, result.error_message.map(String::from).unwrap_or_default())
    }
}

#[test]
fn quotas_are_checked_and_written() {
    let mut cluster = Cluster::new(WITH_ELR);
    let mut alter = |entity: &[(&str, Option<&str>)], key: &str, value: Option<f64>| {
        let part = |(kind, name): &(&str, Option<&str>)| AlterClientQuotasRequestEntityData {
            entity_type: Str::from(*kind),
            entity_name: name.map(Str::from),
        };
        let op = OpData { key: Str::from(key), value: value.unwrap_or(0.0), remove: value.is_none() };
        let entity = entity.iter().map(part).collect();
        let entries = vec![AlterClientQuotasRequestEntryData { entity, ops: vec![op] }];
        let request = AlterClientQuotasRequest { entries, ..Default::default() };
        let outcome = cluster.controller.alter_client_quotas(&request);
        let written = outcome.records.len();
        let response = cluster.perform(outcome).entries.remove(0);
        (response.error_code, response.error_message.map(String::from).unwrap_or_default(), written)
    };
    let alice = [("user", Some("alice")), ("client-id", None)];
    assert_eq!(alter(&alice, "producer_byte_rate", Some(1024.0)), (0, String::new(), 1));
    assert_eq!(alter(&alice, "producer_byte_rate", Some(1024.0)), (0, String::new(), 0));
    assert_eq!(alter(&alice, "consumer_byte_rate", None), (0, String::new(), 0));
    assert_eq!(alter(&alice, "producer_byte_rate", None), (0, String::new(), 1));
    let any_ip = [("ip", None)];
    assert_eq!(alter(&any_ip, "connection_creation_rate", Some(7.0)), (0, String::new(), 1));
    for (entity, key, value, message) in [
        (&alice[..], "producer_byte_rate", 1.5, "producer_byte_rate cannot be a fractional value."),
        (&alice, "request_percentage", 0.0, "Quota request_percentage must be greater than 0"),
        (&alice, "connection_creation_rate", 1.0, "Invalid configuration key connection_creation_rate"),
        (
            &any_ip,
            "connection_creation_rate",
            1e12,
            "Proposed value for connection_creation_rate is too large for an INT.",
        ),
        (&[("ip", Some("no host"))], "x", 1.0, "no host is not a valid IP or resolvable host."),
        (&[("group", None)], "x", 1.0, "Unhandled client quota entity type: group"),
        (&[("user", Some(""))], "x", 1.0, "Empty user not supported"),
        (&[], "x", 1.0, "Invalid empty client quota entity"),
    ] {
        assert_eq!(alter(entity, key, Some(value)), (42, message.into(), 0));
    }
    let quotas = &cluster.controller.image().client_quotas;
    assert_eq!(quotas.iter().count(), 1);
}

#[test]
fn configs_are_checked_and_written() {
    let mut cluster = Cluster::new(WITH_ELR);
    cluster.start(1);
    cluster.create("t", &[&[1]], &[("cleanup.policy", "compact")]);
    let t = (TOPIC, "t");
    assert_eq!(cluster.configure(t, "retention.ms", SET, "1000"), (0, String::new()));
    for (name, operation, value, message) in [
        ("foo", SET, "1", "Unknown topic config name: foo"),
        (
            "retention.ms",
            SET,
            "abc",
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        ("retention.ms", APPEND, "5", "Can't APPEND to key retention.ms because its type is not LIST."),
    ] {
        assert_eq!(cluster.configure(t, name, operation, value), (40, message.into()));
    }
    assert_eq!(cluster.configure(t, "cleanup.policy", APPEND, "delete").0, 0);
    let configs = cluster.controller.image().configs.topic("t");
    assert_eq!(configs.get("cleanup.policy").map(|value| &**value), Some("compact,delete"));
    let missing = cluster.configure((TOPIC, "x"), "retention.ms", SET, "1");
    assert_eq!(missing, (3, "The topic 'x' does not exist.".into()));
    let before = cluster.log.len();
    assert_eq!(cluster.configure(t, "retention.ms", SET, "1000").0, 0);
    assert_eq!(cluster.log.len(), before, "nothing changed, nothing is written");
    assert_eq!(
        cluster.configure((BROKER, ""), "min.insync.replicas", DELETE, "").0,
        40,
        "with ELR it stays set"
    );
    assert_eq!(cluster.configure(t, "min.insync.replicas", SET, "2").0, 0);
    assert!(
        matches!(cluster.log.last(), Some(MetadataRecord::ClearElr(record)) if *record.topic_name == *"t")
    );
}

#[test]
fn features_speak_kafkas_words() {
    let mut cluster = Cluster::new(WITHOUT_ELR);
    let failed = "The update failed for all features since the following feature had an error:";
    for (level, upgrade_type, message) in [
        (
            34,
            1,
            "Invalid update version 34 for feature metadata.version. Local controller 100 only supports versions 7-33",
        ),
        (
            32,
            1,
            "Invalid update version 32 for feature metadata.version. Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.",
        ),
        (
            32,
            2,
            "Unsupported metadata.version downgrade from 33 to 32. Refusing to perform the requested downgrade because it might delete metadata information.",
        ),
        (
            32,
            3,
            "Unsupported metadata.version downgrade from 33 to 32. Unsafe metadata downgrade is not supported in this version.",
        ),
    ] {
        assert_eq!(
            cluster.update("metadata.version", level, upgrade_type),
            (95, format!("{failed} {message}"))
        );
    }
    assert_eq!(cluster.update("eligible.leader.replicas.version", 1, 1), (0, String::new()));
    let written: Vec<&str> = cluster.log.iter().rev().take(2).map(MetadataRecord::name).collect();
    assert_eq!(written, ["FeatureLevelRecord", "ConfigRecord"]);
    assert_eq!(cluster.update("kraft.version", 0, 2).0, 95);
}

#[test]
fn topics_are_refused_in_kafkas_words() {
    let mut cluster = Cluster::new(WITH_ELR);
    cluster.start(1);
    for (name, partitions, replicas, code, message) in [
        ("a.b", 1, 1, 0, ""),
        ("a_b", 1, 1, 17, "Topic 'a_b' collides with existing topic: a.b"),
        ("a.b", 1, 1, 36, "Topic 'a.b' already exists."),
        ("t", 0, 1, 37, "Number of partitions was set to an invalid non-positive value."),
        (
            "t",
            1,
            3,
            38,
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.",
        ),
        ("t", 1, 0, 38, "Replication factor must be larger than 0, or -1 to use the default value."),
        ("t", 10_001, 1, 44, "Excessively large number of partitions per request."),
        ("__cluster_metadata", 1, 1, 42, "Creation of internal topic __cluster_metadata is prohibited."),
        ("", 1, 1, 17, "Topic name is invalid: the empty string is not allowed"),
    ] {
        assert_eq!(cluster.ask_for(name, partitions, replicas), (code, message.into()), "{name}");
    }
}
