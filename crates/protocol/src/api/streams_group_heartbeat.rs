//! StreamsGroupHeartbeat, API key 88.
//!
//! Unstable in 4.1.
//!
//! Versions:
//! - 1: `AcceptableRecoveryLag` has 64 bits and another place; `TopologyDescriptionRequired`

use crate::{Message, Str};

/// Joins, keeps alive, reassigns and leaves a streams group (KIP-1071).
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 88, versions = "0-1", flexible = "0+")]
pub struct StreamsGroupHeartbeatRequest {
    pub group_id: Str,
    pub member_id: Str,
    pub member_epoch: i32,
    pub endpoint_information_epoch: i32,
    pub instance_id: Option<Str>,
    pub rack_id: Option<Str>,
    #[field(default = -1)]
    pub rebalance_timeout_ms: i32,
    pub topology: Option<Topology>,
    pub active_tasks: Option<Vec<StreamsGroupHeartbeatRequestTaskIds>>,
    pub standby_tasks: Option<Vec<StreamsGroupHeartbeatRequestTaskIds>>,
    pub warmup_tasks: Option<Vec<StreamsGroupHeartbeatRequestTaskIds>>,
    pub process_id: Option<Str>,
    pub user_endpoint: Option<StreamsGroupHeartbeatRequestEndpoint>,
    pub client_tags: Option<Vec<KeyValue>>,
    pub task_offsets: Option<Vec<TaskOffset>>,
    pub task_end_offsets: Option<Vec<TaskOffset>>,
    pub shutdown_application: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Topology {
    pub epoch: i32,
    pub subtopologies: Vec<Subtopology>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Subtopology {
    pub subtopology_id: Str,
    pub source_topics: Vec<Str>,
    pub source_topic_regex: Vec<Str>,
    pub state_changelog_topics: Vec<TopicInfo>,
    pub repartition_sink_topics: Vec<Str>,
    pub repartition_source_topics: Vec<TopicInfo>,
    pub copartition_groups: Vec<CopartitionGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicInfo {
    pub name: Str,
    pub partitions: i32,
    pub replication_factor: i16,
    pub topic_configs: Vec<KeyValue>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct KeyValue {
    pub key: Str,
    pub value: Str,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CopartitionGroup {
    pub source_topics: Vec<i16>,
    pub source_topic_regex: Vec<i16>,
    pub repartition_source_topics: Vec<i16>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TaskIds")]
pub struct StreamsGroupHeartbeatRequestTaskIds {
    pub subtopology_id: Str,
    pub partitions: Vec<i32>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "Endpoint")]
pub struct StreamsGroupHeartbeatRequestEndpoint {
    pub host: Str,
    pub port: u16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TaskOffset {
    pub subtopology_id: Str,
    pub partition: i32,
    pub offset: i64,
}

/// The answer to [`StreamsGroupHeartbeatRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 88, versions = "0-1", flexible = "0+")]
pub struct StreamsGroupHeartbeatResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub member_id: Str,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    #[field(versions = "0")]
    pub acceptable_recovery_lag_legacy: i32,
    pub task_offset_interval_ms: i32,
    #[field(versions = "1+", default = -1, ignorable)]
    pub acceptable_recovery_lag: i64,
    pub status: Option<Vec<Status>>,
    pub active_tasks: Option<Vec<StreamsGroupHeartbeatResponseTaskIds>>,
    pub standby_tasks: Option<Vec<StreamsGroupHeartbeatResponseTaskIds>>,
    pub warmup_tasks: Option<Vec<StreamsGroupHeartbeatResponseTaskIds>>,
    #[field(versions = "1+")]
    pub topology_description_required: bool,
    pub endpoint_information_epoch: i32,
    pub partitions_by_user_endpoint: Option<Vec<EndpointToPartitions>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Status {
    pub status_code: i8,
    pub status_detail: Str,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TaskIds")]
pub struct StreamsGroupHeartbeatResponseTaskIds {
    pub subtopology_id: Str,
    pub partitions: Vec<i32>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct EndpointToPartitions {
    pub user_endpoint: StreamsGroupHeartbeatResponseEndpoint,
    pub active_partitions: Vec<TopicPartition>,
    pub standby_partitions: Vec<TopicPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "Endpoint")]
pub struct StreamsGroupHeartbeatResponseEndpoint {
    pub host: Str,
    pub port: u16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicPartition {
    pub topic: Str,
    pub partitions: Vec<i32>,
}
