//! CreateTopics (19): versions 2 to 7, and the topics that are created without being asked for by name.

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::RequestContext;
use crate::broker::Broker;
use crate::broker::internal_topics::{CONSUMER_OFFSETS, SHARE_GROUP_STATE, TRANSACTION_STATE};
use crate::config::ServerConfig;
use crate::controller::ControllerHandle;

/// Leaves number of partitions and replicas to the controller's settings.
const DEFAULT: i32 = -1;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let names: Vec<Str> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    controller.create_topics(request).await.unwrap_or_else(|error| {
        let refused = |name| CreatableTopicResult {
            name,
            error_code: error.error_code().code(),
            error_message: Some(Str::from(error.to_string())),
            ..Default::default()
        };
        CreateTopicsResponse { topics: names.into_iter().map(refused).collect(), ..Default::default() }
    })
}

/// Whether a topic may have this name.
pub fn is_valid_topic_name(name: &str) -> bool {
    ottla_controller::invalid_topic_name(name).is_none()
}

/// Creates topics that a client asked for, or that the broker needs, with the settings they get then. Failures are
/// logged; whoever missed the topic asks again.
pub async fn create_automatically(broker: &Arc<Broker>, names: Vec<Str>) {
    let topics = names.into_iter().map(|name| automatic_topic(&broker.config, name)).collect();
    let request = CreateTopicsRequest { topics, ..Default::default() };
    match broker.controller.create_topics(request).await {
        Err(error) => tracing::warn!(%error, "cannot create topics"),
        Ok(response) => {
            for topic in response.topics {
                match ErrorCode::from_code(topic.error_code) {
                    Some(ErrorCode::None) => {
                        tracing::info!(topic = %topic.name, "created a topic on first use")
                    }
                    Some(ErrorCode::TopicAlreadyExists) => {}
                    code => {
                        let message = topic.error_message.as_deref().unwrap_or("");
                        tracing::warn!(topic = %topic.name, ?code, message, "cannot create a topic on first use");
                    }
                }
            }
        }
    }
}

fn automatic_topic(config: &ServerConfig, name: Str) -> CreatableTopic {
    let topic = |partitions: i32, replicas: i16, configs: &[(&str, String)]| CreatableTopic {
        name: name.clone(),
        num_partitions: partitions,
        replication_factor: replicas,
        assignments: Vec::new(),
        configs: configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig {
                name: Str::from(*name),
                value: Some(Str::from(value.as_str())),
            })
            .collect(),
    };
    let text = |value: &str| value.to_string();
    match &*name {
        CONSUMER_OFFSETS => topic(
            config.offsets.topic_num_partitions,
            config.offsets.topic_replication_factor,
            &[
                ("cleanup.policy", text("compact")),
                ("compression.type", text("producer")),
                ("segment.bytes", config.offsets.topic_segment_bytes.to_string()),
            ],
        ),
        TRANSACTION_STATE => topic(
            config.transactions.topic_num_partitions,
            config.transactions.topic_replication_factor,
            &[
                ("unclean.leader.election.enable", text("false")),
                ("compression.type", text("uncompressed")),
                ("cleanup.policy", text("compact")),
                ("min.insync.replicas", config.transactions.topic_min_insync_replicas.to_string()),
                ("segment.bytes", config.transactions.topic_segment_bytes.to_string()),
            ],
        ),
        SHARE_GROUP_STATE => topic(
            config.shares.topic_num_partitions,
            config.shares.topic_replication_factor,
            &[
                ("cleanup.policy", text("delete")),
                ("compression.type", text("none")),
                ("segment.bytes", config.shares.topic_segment_bytes.to_string()),
                ("retention.ms", text("-1")),
                ("min.insync.replicas", config.shares.topic_min_insync_replicas.to_string()),
            ],
        ),
        _ => topic(DEFAULT, DEFAULT as i16, &[]),
    }
}
