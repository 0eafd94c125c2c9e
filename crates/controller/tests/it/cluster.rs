//! A controller with its log in memory: appends and replays as the server does.

use std::collections::BTreeMap;

use ottla_controller::{Controller, ControllerConfig, Outcome, Random};
use ottla_metadata::features::{SUPPORTED, SupportedFeature};
use ottla_metadata::{MetadataImage, PartitionRegistration};
use ottla_model::{Millis, NodeId, Offset, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::broker_heartbeat::BrokerHeartbeatRequest;
use ottla_protocol::api::broker_registration::{BrokerRegistrationRequest, Feature, Listener};
use ottla_protocol::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla_protocol::records::metadata::{FeatureLevelRecord, MetadataRecord};

pub const WITH_ELR: &[(&str, i16)] = &[("metadata.version", 33), ("eligible.leader.replicas.version", 1)];
pub const WITHOUT_ELR: &[(&str, i16)] = &[("metadata.version", 33)];

pub struct Cluster {
    pub controller: Controller,
    pub log: Vec<MetadataRecord>,
    pub now: Millis,
    pub epochs: BTreeMap<i32, i64>,
}

/// Leader, in-sync replicas, eligible ones, the last known leader, leader epoch.
pub type State = (i32, Vec<i32>, Vec<i32>, Vec<i32>, i32);

pub fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

pub fn config() -> ControllerConfig {
    ControllerConfig {
        node_id: NodeId(100),
        incarnation: None,
        cluster_id: Str::from("cluster"),
        static_broker: Default::default(),
        default_partitions: 1,
        default_replication_factor: 1,
        session_timeout_ms: 9000,
        delete_topic_enable: true,
    }
}

impl Cluster {
    /// Node 100 is the active controller of a new cluster with these features.
    pub fn new(features: &[(&str, i16)]) -> Self {
        let random = Random::from_seed([3, 4]);
        let image = MetadataImage::default();
        let controller = Controller::new(Millis(0), config(), image, Offset(0), BTreeMap::new(), random);
        let mut cluster = Self { controller, log: Vec::new(), now: Millis(0), epochs: BTreeMap::new() };
        let level = |(name, feature_level): &(&str, i16)| {
            let (name, feature_level) = (Str::from(*name), *feature_level);
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level })
        };
        let bootstrap: Vec<_> = features.iter().map(level).collect();
        let records = cluster.controller.activate(&bootstrap, false);
        cluster.append(records);
        cluster
    }

    pub fn append(&mut self, records: Vec<MetadataRecord>) {
        self.controller.replay(self.now, Offset(self.log.len() as i64), &records).unwrap();
        self.log.extend(records);
    }

    pub fn perform<R>(&mut self, outcome: Outcome<R>) -> R {
        self.append(outcome.records);
        outcome.response
    }

    /// Answers the error code.
    pub fn register(&mut self, id: i32, incarnation: u128, previous_epoch: i64) -> i16 {
        let feature = |feature: &SupportedFeature| Feature {
            name: Str::from(feature.name),
            min_supported_version: feature.min,
            max_supported_version: feature.max,
        };
        let (name, host) = (Str::from("PLAINTEXT"), Str::from("h"));
        let request = BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: Str::from("cluster"),
            incarnation_id: Uuid::from_u128(1000 + incarnation),
            listeners: vec![Listener { name, host, port: 9092, security_protocol: 0 }],
            features: SUPPORTED.iter().map(feature).collect(),
            log_dirs: vec![Uuid::from_u128(7000 + id as u128)],
            previous_broker_epoch: previous_epoch,
            ..Default::default()
        };
        let outcome = self.controller.register_broker(self.now, &request);
        let response = self.perform(outcome);
        if response.error_code == 0 {
            self.epochs.insert(id, response.broker_epoch);
        }
        response.error_code
    }

    /// Answers error code, whether the broker is fenced, and whether it may stop.
    pub fn heartbeat(&mut self, id: i32, want_shut_down: bool) -> (i16, bool, bool) {
        let request = BrokerHeartbeatRequest {
            broker_id: id,
            broker_epoch: self.epochs[&id],
            current_metadata_offset: self.log.len() as i64 - 1,
            want_shut_down,
            cordoned_log_dirs: Some(Vec::new()),
            ..Default::default()
        };
        let outcome = self.controller.heartbeat(self.now, &request);
        let response = self.perform(outcome);
        (response.error_code, response.is_fenced, response.should_shut_down)
    }

    pub fn start(&mut self, id: i32) {
        assert_eq!(self.register(id, id as u128, -1), 0);
        assert_eq!(self.heartbeat(id, false), (0, false, false));
    }

    pub fn create(&mut self, name: &str, replicas: &[&[i32]], configs: &[(&str, &str)]) {
        let assignments = (0..)
            .zip(replicas)
            .map(|(partition_index, ids)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: ids.to_vec(),
            })
            .collect();
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: Str::from(*name),
            value: Some(Str::from(*value)),
        };
        let topic = CreatableTopic {
            name: Str::from(name),
            num_partitions: -1,
            replication_factor: -1,
            assignments,
            configs: configs.iter().map(config).collect(),
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let outcome = self.controller.create_topics(&request);
        let response = self.perform(outcome);
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics[0].error_message);
    }

    pub fn partition(&self, topic: &str, index: i32) -> PartitionRegistration {
        let topic = self.controller.image().topics.by_name(topic).unwrap();
        PartitionRegistration::clone(topic.partitions.get(&index).unwrap())
    }

    /// Of partition 0.
    pub fn state(&self, topic: &str) -> State {
        let p = self.partition(topic, 0);
        (p.leader.0, ids(&p.isr), ids(&p.elr), ids(&p.last_known_elr), p.leader_epoch.0)
    }
}
