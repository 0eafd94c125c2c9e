//! ShareGroupHeartbeat, API key 76.
//!
//! Versions:
//! - 0: only in 4.0, unstable

use ottla_model::Uuid;

use crate::{Message, Str};

/// Joins, keeps alive, reassigns and leaves a share group (KIP-932).
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 76, versions = "1", flexible = "0+")]
pub struct ShareGroupHeartbeatRequest {
    pub group_id: Str,
    pub member_id: Str,
    pub member_epoch: i32,
    pub rack_id: Option<Str>,
    pub subscribed_topic_names: Option<Vec<Str>>,
}

/// The answer to [`ShareGroupHeartbeatRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 76, versions = "1", flexible = "0+")]
pub struct ShareGroupHeartbeatResponse {
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
    pub topic_partitions: Vec<TopicPartitions>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}
