//! What the controls look at: the image with everything decided so far, and the controller's own settings.

use std::sync::Arc;

use ottla_metadata::configs::{ConfigMap, Layers};
use ottla_metadata::features::{ELIGIBLE_LEADER_REPLICAS_VERSION, MetadataVersion};
use ottla_metadata::{BrokerRegistration, ConfigResource, MetadataImage, PartitionRegistration, TopicImage};
use ottla_model::{ConfigResourceType, NodeId, Uuid};
use ottla_protocol::Str;

use crate::placement::UsableBroker;

/// The settings of the node that a controller decides by.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    pub node_id: NodeId,
    /// Of the broker in this process, if there is one.
    pub incarnation: Option<Uuid>,
    pub cluster_id: Str,
    /// The node's `server.properties`.
    pub static_broker: ConfigMap,
    /// `num.partitions`
    pub default_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `broker.session.timeout.ms`
    pub session_timeout_ms: i64,
    /// `delete.topic.enable`
    pub delete_topic_enable: bool,
}

/// The directory of a replica that no broker has placed yet.
const UNASSIGNED: Uuid = Uuid::ONE;
/// The directory of a replica whose broker does not tell directories.
const MIGRATING: Uuid = Uuid::ZERO;

pub(crate) struct State<'a> {
    pub image: &'a MetadataImage,
    pub config: &'a ControllerConfig,
}

impl State<'_> {
    pub fn metadata_version(&self) -> MetadataVersion {
        self.image.metadata_version()
    }

    pub fn elr_enabled(&self) -> bool {
        self.metadata_version().supports_eligible_leader_replicas()
            && self.image.features.level(ELIGIBLE_LEADER_REPLICAS_VERSION) > 0
    }

    pub fn has_directories(&self) -> bool {
        self.metadata_version().supports_directories()
    }

    pub fn topic(&self, name: &str) -> Option<&TopicImage> {
        self.image.topics.by_name(name).map(|topic| &**topic)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<&TopicImage> {
        self.image.topics.by_id(id).map(|topic| &**topic)
    }

    pub fn topics(&self) -> impl Iterator<Item = &TopicImage> {
        self.image.topics.iter_by_name("").map(|topic| &**topic)
    }

    pub fn broker(&self, id: NodeId) -> Option<&BrokerRegistration> {
        self.image.cluster.broker(id).map(|broker| &**broker)
    }

    pub fn brokers(&self) -> impl Iterator<Item = &BrokerRegistration> {
        self.image.cluster.brokers().map(|broker| &**broker)
    }

    /// Whether the broker may lead and be in sync.
    pub fn is_active(&self, id: NodeId) -> bool {
        self.broker(id).is_some_and(BrokerRegistration::is_active)
    }

    pub fn is_controller(&self, id: NodeId) -> bool {
        id == self.config.node_id || self.image.cluster.controller(id).is_some()
    }

    /// Brokers that get replicas of new partitions.
    pub fn usable_brokers(&self) -> impl Iterator<Item = UsableBroker> {
        let usable =
            |broker: &&BrokerRegistration| !broker.in_controlled_shutdown && !Self::is_cordoned(broker);
        self.brokers().filter(usable).map(|broker| UsableBroker {
            id: broker.id,
            rack: broker.rack.as_deref().map(str::to_owned),
            fenced: broker.fenced,
        })
    }

    /// Whether the broker wants no new replicas in any of its directories.
    pub fn is_cordoned(broker: &BrokerRegistration) -> bool {
        let cordoned = broker.cordoned_directories.as_deref().unwrap_or_default();
        !broker.directories.is_empty()
            && broker.directories.iter().all(|directory| cordoned.contains(directory))
    }

    pub fn has_online_directory(&self, id: NodeId, partition: &PartitionRegistration) -> bool {
        let Some(broker) = self.broker(id) else { return false };
        partition.directory(id).is_none_or(|directory| broker.has_online_directory(directory))
    }

    /// Where a new replica lies as far as the controller can tell: there is a choice only with one directory.
    pub fn default_directory(&self, id: NodeId) -> Uuid {
        match self.broker(id).map(|broker| &broker.directories[..]) {
            Some([only]) => *only,
            Some([]) => MIGRATING,
            Some(_) | None => UNASSIGNED,
        }
    }

    /// The node's static settings below the cluster's dynamic defaults.
    pub fn layers(&self) -> Layers {
        Layers {
            dynamic_default: self.image.configs.of(&ConfigResource::default_broker()),
            static_broker: self.config.static_broker.clone(),
            ..Layers::default()
        }
    }

    pub fn configs(&self, resource_type: i8, name: &str) -> ConfigMap {
        match ConfigResourceType::from_number(resource_type) {
            Some(kind) => self.image.configs.of(&ConfigResource { kind, name: Arc::from(name) }),
            None => ConfigMap::new(),
        }
    }

    pub fn unclean_election_enabled(&self, topic: &str) -> bool {
        let value = self.layers().topic(&self.image.configs.topic(topic), "unclean.leader.election.enable");
        value.and_then(|value| value.as_bool()).unwrap_or(false)
    }

    /// The in-sync replicas a partition needs, never more than it has replicas.
    pub fn effective_min_isr(&self, topic: &str, replicas: usize) -> usize {
        let value = self.layers().topic(&self.image.configs.topic(topic), "min.insync.replicas");
        let min_isr = value.and_then(|value| value.as_i64()).unwrap_or(1).max(1);
        replicas.min(min_isr as usize)
    }
}
