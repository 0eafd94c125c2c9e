//! CreateTopics, API key 19.
//!
//! Versions:
//! - 2: `ThrottleTimeMs`
//! - 4: -1 partitions or replication factor: the default of the broker
//! - 5: flexible; the response tells the configuration
//! - 6: may answer THROTTLING_QUOTA_EXCEEDED
//! - 7: the response tells the topic id

use ottla_model::Uuid;

use crate::{Message, Str};

/// Creates topics.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsRequest {
    pub topics: Vec<CreatableTopic>,
    #[field(default = 60000, name = "timeoutMs")]
    pub timeout_ms: i32,
    #[field(name = "validateOnly")]
    pub validate_only: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatableTopic {
    pub name: Str,
    pub num_partitions: i32,
    pub replication_factor: i16,
    pub assignments: Vec<CreatableReplicaAssignment>,
    pub configs: Vec<CreatableTopicConfig>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatableReplicaAssignment {
    pub partition_index: i32,
    pub broker_ids: Vec<i32>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatableTopicConfig {
    pub name: Str,
    pub value: Option<Str>,
}

/// The answer to [`CreateTopicsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 19, versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<CreatableTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatableTopicResult {
    pub name: Str,
    #[field(versions = "7+", ignorable)]
    pub topic_id: Uuid,
    pub error_code: i16,
    pub error_message: Option<Str>,
    #[field(versions = "5+", tag = 0, ignorable)]
    pub topic_config_error_code: i16,
    #[field(versions = "5+", default = -1, ignorable)]
    pub num_partitions: i32,
    #[field(versions = "5+", default = -1, ignorable)]
    pub replication_factor: i16,
    #[field(versions = "5+", default = empty, ignorable)]
    pub configs: Option<Vec<CreatableTopicConfigs>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatableTopicConfigs {
    pub name: Str,
    pub value: Option<Str>,
    pub read_only: bool,
    #[field(default = -1)]
    pub config_source: i8,
    pub is_sensitive: bool,
}
