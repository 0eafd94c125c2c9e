//! CreateTopics (19): versions 2 to 7. Also creates topics that clients miss, where that is allowed.

use std::sync::Arc;

use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use tracing::{debug, info};

use super::RequestContext;
use crate::broker::{Broker, internal_topics};
use crate::controller::ControllerError;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let names: Vec<Str> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    broker.controller.create_topics(request).await.unwrap_or_else(|error| refused(names, error))
}

fn refused(names: Vec<Str>, error: ControllerError) -> CreateTopicsResponse {
    use ottla_protocol::api::create_topics::CreatableTopicResult;
    let topics = names.into_iter().map(|name| CreatableTopicResult {
        name,
        error_code: error.error_code().code(),
        error_message: Some(Str::from(error.to_string())),
        ..Default::default()
    });
    CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
}

/// Creates topics that a client asked about, with the broker's defaults; internal topics with settings of their own.
pub async fn create_automatically(broker: &Broker, names: Vec<Str>) {
    let topics = names.into_iter().map(|name| automatic(broker, name)).collect();
    let request = CreateTopicsRequest {
        topics,
        timeout_ms: broker.config.network.request_timeout_ms,
        ..Default::default()
    };
    match broker.controller.create_topics(request).await {
        Ok(response) => {
            for topic in response.topics {
                match ErrorCode::from_code(topic.error_code) {
                    Some(ErrorCode::None) => {
                        info!("created topic {} for a client that asked for it", topic.name)
                    }
                    Some(ErrorCode::TopicAlreadyExists) => {}
                    error => debug!(topic = %topic.name, ?error, "cannot create a topic for a client"),
                }
            }
        }
        Err(error) => debug!(%error, "cannot create topics for a client"),
    }
}

fn automatic(broker: &Broker, name: Str) -> CreatableTopic {
    let (offsets, transactions) = (&broker.config.offsets, &broker.config.transactions);
    let (num_partitions, replication_factor, configs) = match &*name {
        internal_topics::CONSUMER_OFFSETS => (
            offsets.topic_num_partitions,
            offsets.topic_replication_factor,
            vec![
                ("compression.type", "producer".to_owned()),
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", offsets.topic_segment_bytes.to_string()),
            ],
        ),
        internal_topics::TRANSACTION_STATE => (
            transactions.topic_num_partitions,
            transactions.topic_replication_factor,
            vec![
                ("compression.type", "uncompressed".to_owned()),
                ("cleanup.policy", "compact".to_owned()),
                ("min.insync.replicas", transactions.topic_min_insync_replicas.to_string()),
                ("segment.bytes", transactions.topic_segment_bytes.to_string()),
                ("unclean.leader.election.enable", "false".to_owned()),
            ],
        ),
        // The broker's defaults.
        _ => (-1, -1, Vec::new()),
    };
    let configs = configs
        .into_iter()
        .map(|(name, value)| CreatableTopicConfig { name: Str::from(name), value: Some(Str::from(value)) })
        .collect();
    CreatableTopic { name, num_partitions, replication_factor, configs, ..Default::default() }
}
