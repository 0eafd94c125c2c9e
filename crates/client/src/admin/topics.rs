//! Topics: created, grown, deleted.

use ottla_protocol::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ottla_protocol::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};

use super::{Admin, missing};
use crate::client::Target;
use crate::error::{Error, Result};

/// A topic that is to be created.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// At most 249 letters, digits, dots, underscores and dashes.
    pub name: String,
    /// The broker's default if `None`.
    pub partitions: Option<i32>,
    /// The broker's default if `None`.
    pub replication_factor: Option<i16>,
    /// Replicas of every partition, instead of the two numbers above.
    pub assignments: Vec<Vec<i32>>,
    /// Names and values of configs, such as `retention.ms`.
    pub configs: Vec<(String, String)>,
}

impl Admin {
    /// Creates a topic. Committed when this returns; brokers hear of it a moment later.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        let by_hand = !topic.assignments.is_empty();
        let assignments = (0..).zip(&topic.assignments).map(|(partition_index, replicas)| {
            CreatableReplicaAssignment { partition_index, broker_ids: replicas.clone() }
        });
        let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        });
        let creatable = CreatableTopic {
            name: topic.name.as_str().into(),
            num_partitions: if by_hand { -1 } else { topic.partitions.unwrap_or(-1) },
            replication_factor: if by_hand { -1 } else { topic.replication_factor.unwrap_or(-1) },
            assignments: assignments.collect(),
            configs: configs.collect(),
        };
        let request = CreateTopicsRequest {
            topics: vec![creatable],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let check = |answer: &CreateTopicsResponse| {
            let Some(topic) = answer.topics.first() else { return missing() };
            Error::check(topic.error_code, topic.error_message.as_deref())
        };
        self.ask(Target::Controller, request, check).await.map(drop)
    }

    /// Deletes a topic with all that is in it.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name.into()), ..Default::default() }],
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let check = |answer: &DeleteTopicsResponse| {
            let Some(topic) = answer.responses.first() else { return missing() };
            Error::check(topic.error_code, topic.error_message.as_deref())
        };
        self.ask(Target::Controller, request, check).await.map(drop)
    }

    /// Grows a topic to so many partitions.
    pub async fn create_partitions(&self, name: &str, count: i32) -> Result<()> {
        let topic = CreatePartitionsTopic { name: name.into(), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let check = |answer: &CreatePartitionsResponse| {
            let Some(topic) = answer.results.first() else { return missing() };
            Error::check(topic.error_code, topic.error_message.as_deref())
        };
        self.ask(Target::Controller, request, check).await.map(drop)
    }
}
