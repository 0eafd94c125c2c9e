//! Metadata (3): versions 0 to 13. Brokers, topics and leaders as this broker knows them; may create topics.

use std::collections::HashSet;
use std::sync::Arc;

use ottla_controller::invalid_topic_name;
use ottla_metadata::{MetadataImage, PartitionRegistration, TopicImage};
use ottla_model::{ErrorCode, NodeId, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};

use super::{RequestContext, authorized_operations, leaders};
use crate::broker::{Broker, internal_topics};

/// Up to this version replicas on brokers that are away are left out.
const LIVE_REPLICAS_ONLY_VERSION: i16 = 0;
/// From this version on a missing listener has a code of its own.
const LISTENER_NOT_FOUND_VERSION: i16 = 6;
/// In these versions a topic may be asked for by name only, although there is an id in the request.
const IDS_NOT_ALLOWED_VERSIONS: std::ops::RangeInclusive<i16> = 10..=11;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: MetadataRequest,
) -> MetadataResponse {
    let version = context.api_version;
    let image = broker.image();
    let mut response = MetadataResponse {
        cluster_id: Some(Str::from(broker.cluster_id.as_ref())),
        controller_id: leaders::controller(&image, broker.node_id, &context.listener),
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = authorized_operations::CLUSTER;
    }
    let wanted = match request.topics {
        // Before version 1 there was no null: an empty list asked for all.
        Some(topics) if version > 0 || !topics.is_empty() => Some(topics),
        _ => None,
    };
    if let Some(topics) = &wanted
        && IDS_NOT_ALLOWED_VERSIONS.contains(&version)
        && topics.iter().any(|topic| !topic.topic_id.is_zero())
    {
        response.topics = topics.iter().map(|topic| refused(topic, ErrorCode::InvalidRequest)).collect();
        return response;
    }
    if let Some(topics) = &wanted
        && topics.iter().any(|topic| topic.topic_id.is_zero() && topic.name.is_none())
    {
        response.topics = topics.iter().map(|topic| refused(topic, ErrorCode::UnknownServerError)).collect();
        return response;
    }
    response.brokers = image
        .cluster
        .alive_brokers()
        .filter_map(|registration| {
            let listener = registration.listener(&context.listener)?;
            Some(MetadataResponseBroker {
                node_id: registration.id.0,
                host: Str::from(listener.host.as_ref()),
                port: i32::from(listener.port),
                rack: registration.rack.as_deref().map(Str::from),
            })
        })
        .collect();
    let describe = Describe {
        image: &image,
        listener: &context.listener,
        version,
        with_operations: request.include_topic_authorized_operations,
    };
    let Some(wanted) = wanted else {
        response.topics = image.topics.iter().map(|topic| describe.topic(topic)).collect();
        return response;
    };
    let auto_create = request.allow_auto_topic_creation && broker.config.topic_defaults.auto_create;
    let mut missing: Vec<Str> = Vec::new();
    let mut seen = HashSet::new();
    for topic in wanted {
        if !seen.insert((topic.topic_id, topic.name.clone())) {
            continue;
        }
        response.topics.push(match (topic.topic_id, topic.name) {
            (Uuid::ZERO, Some(name)) => match image.topics.by_name(&name) {
                Some(known) => describe.topic(known),
                None if invalid_topic_name(&name).is_some() => {
                    refused_name(name, ErrorCode::InvalidTopicException)
                }
                None => {
                    missing.push(name.clone());
                    refused_name(name, ErrorCode::UnknownTopicOrPartition)
                }
            },
            (id, _) => match image.topics.by_id(id) {
                Some(known) => describe.topic(known),
                None => MetadataResponseTopic {
                    error_code: ErrorCode::UnknownTopicId.code(),
                    topic_id: id,
                    ..Default::default()
                },
            },
        });
    }
    if auto_create && !missing.is_empty() {
        broker.create_topics_in_background(missing);
    }
    response
}

fn refused(topic: &MetadataRequestTopic, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        name: topic.name.clone().or(Some(Str::default())),
        topic_id: topic.topic_id,
        ..Default::default()
    }
}

fn refused_name(name: Str, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        is_internal: internal_topics::is_internal(&name),
        name: Some(name),
        ..Default::default()
    }
}

/// How topics are described in one answer.
struct Describe<'a> {
    image: &'a MetadataImage,
    listener: &'a str,
    version: i16,
    with_operations: bool,
}

impl Describe<'_> {
    fn topic(&self, topic: &TopicImage) -> MetadataResponseTopic {
        let mut described = MetadataResponseTopic {
            error_code: ErrorCode::None.code(),
            name: Some(Str::from(topic.name.as_ref())),
            topic_id: topic.id,
            is_internal: internal_topics::is_internal(&topic.name),
            partitions: topic
                .partitions
                .iter()
                .map(|(index, partition)| self.partition(*index, partition))
                .collect(),
            ..Default::default()
        };
        if self.with_operations {
            described.topic_authorized_operations = authorized_operations::TOPIC;
        }
        described
    }

    fn partition(&self, index: i32, partition: &PartitionRegistration) -> MetadataResponsePartition {
        let filter = |ids: &[NodeId]| -> Vec<i32> {
            let all_listed = self.version > LIVE_REPLICAS_ONLY_VERSION;
            let is_alive = |id: NodeId| leaders::endpoint(self.image, id, self.listener).is_some();
            ids.iter().filter(|id| all_listed || is_alive(**id)).map(|id| id.0).collect()
        };
        let replica_nodes = filter(&partition.replicas);
        let isr_nodes = filter(&partition.isr);
        let (error, leader_id) = match leaders::leader(self.image, partition, self.listener) {
            Err(ErrorCode::ListenerNotFound) if self.version < LISTENER_NOT_FOUND_VERSION => {
                (ErrorCode::LeaderNotAvailable, NodeId::NONE)
            }
            Err(error) => (error, NodeId::NONE),
            Ok(leader) if replica_nodes.len() < partition.replicas.len() => {
                (ErrorCode::ReplicaNotAvailable, leader)
            }
            Ok(leader) => (ErrorCode::None, leader),
        };
        MetadataResponsePartition {
            error_code: error.code(),
            partition_index: index,
            leader_id: leader_id.0,
            leader_epoch: partition.leader_epoch.0,
            replica_nodes,
            isr_nodes,
            offline_replicas: leaders::offline_replicas(self.image, partition, self.listener),
        }
    }
}
