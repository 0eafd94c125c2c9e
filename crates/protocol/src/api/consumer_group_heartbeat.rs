//! ConsumerGroupHeartbeat, API key 68.
//!
//! Versions:
//! - 1: `SubscribedTopicRegex`; the client makes its member id

use ottla_model::Uuid;

use crate::{Message, Str};

/// Joins, keeps alive, reassigns and leaves a consumer group (KIP-848).
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatRequest {
    pub group_id: Str,
    pub member_id: Str,
    pub member_epoch: i32,
    pub instance_id: Option<Str>,
    pub rack_id: Option<Str>,
    #[field(default = -1)]
    pub rebalance_timeout_ms: i32,
    pub subscribed_topic_names: Option<Vec<Str>>,
    #[field(versions = "1+")]
    pub subscribed_topic_regex: Option<Str>,
    pub server_assignor: Option<Str>,
    pub topic_partitions: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartitions")]
pub struct ConsumerGroupHeartbeatRequestTopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// The answer to [`ConsumerGroupHeartbeatRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 68, versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub member_id: Option<Str>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    pub assignment: Option<Assignment>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Assignment {
    pub topic_partitions: Vec<ConsumerGroupHeartbeatResponseTopicPartitions>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartitions")]
pub struct ConsumerGroupHeartbeatResponseTopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}
