//! Streams groups (KIP-1071).

use crate::{Message, Str};

/// Key of a streams group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 17, versions = "0")]
pub struct StreamsGroupMetadataKey {
    pub group_id: Str,
}

/// Epoch of the group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 17, versions = "0", flexible = "0+")]
pub struct StreamsGroupMetadataValue {
    pub epoch: i32,
    pub metadata_hash: i64,
    #[field(default = -1, tag = 0)]
    pub validated_topology_epoch: i32,
    #[field(default = empty, tag = 1)]
    pub last_assignment_configs: Option<Vec<LastAssignmentConfig>>,
    #[field(default = -1, tag = 2)]
    pub stored_description_topology_epoch: i32,
    #[field(default = -1, tag = 3)]
    pub failed_description_topology_epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct LastAssignmentConfig {
    pub key: Str,
    pub value: Str,
}

/// Key of a member of a streams group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 19, versions = "0")]
pub struct StreamsGroupMemberMetadataKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// A member and what it subscribes to.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 19, versions = "0", flexible = "0+")]
pub struct StreamsGroupMemberMetadataValue {
    pub instance_id: Option<Str>,
    pub rack_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    #[field(default = -1)]
    pub rebalance_timeout_ms: i32,
    pub topology_epoch: i32,
    pub process_id: Str,
    pub user_endpoint: Option<Endpoint>,
    pub client_tags: Vec<KeyValue>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub host: Str,
    pub port: u16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct KeyValue {
    pub key: Str,
    pub value: Str,
}

/// Key of the target assignment's epoch of a streams group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 20, versions = "0")]
pub struct StreamsGroupTargetAssignmentMetadataKey {
    pub group_id: Str,
}

/// Epoch of the target assignment.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 20, versions = "0", flexible = "0+")]
pub struct StreamsGroupTargetAssignmentMetadataValue {
    pub assignment_epoch: i32,
    #[field(tag = 0)]
    pub assignment_timestamp: i64,
}

/// Key of a member's target assignment of a streams group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 21, versions = "0")]
pub struct StreamsGroupTargetAssignmentMemberKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// What a member is to be assigned.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 21, versions = "0", flexible = "0+")]
pub struct StreamsGroupTargetAssignmentMemberValue {
    pub active_tasks: Vec<StreamsGroupTargetAssignmentMemberValueTaskIds>,
    pub standby_tasks: Vec<StreamsGroupTargetAssignmentMemberValueTaskIds>,
    pub warmup_tasks: Vec<StreamsGroupTargetAssignmentMemberValueTaskIds>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TaskIds")]
pub struct StreamsGroupTargetAssignmentMemberValueTaskIds {
    pub subtopology_id: Str,
    pub partitions: Vec<i32>,
}

/// Key of a member's current assignment of a streams group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 22, versions = "0")]
pub struct StreamsGroupCurrentMemberAssignmentKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// What a member is assigned now, and its epoch.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 22, versions = "0", flexible = "0+")]
pub struct StreamsGroupCurrentMemberAssignmentValue {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: i8,
    pub active_tasks: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>,
    pub standby_tasks: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>,
    pub warmup_tasks: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>,
    pub active_tasks_pending_revocation: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>,
    pub standby_tasks_pending_revocation: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>,
    pub warmup_tasks_pending_revocation: Vec<StreamsGroupCurrentMemberAssignmentValueTaskIds>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TaskIds")]
pub struct StreamsGroupCurrentMemberAssignmentValueTaskIds {
    pub subtopology_id: Str,
    pub partitions: Vec<i32>,
    #[field(default = empty, tag = 0)]
    pub assignment_epochs: Option<Vec<i32>>,
}

/// Key of the topology of a streams group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 23, versions = "0")]
pub struct StreamsGroupTopologyKey {
    pub group_id: Str,
}

/// The topology that the group runs.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 23, versions = "0", flexible = "0+")]
pub struct StreamsGroupTopologyValue {
    pub epoch: i32,
    pub subtopologies: Vec<Subtopology>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Subtopology {
    pub subtopology_id: Str,
    pub source_topics: Vec<Str>,
    pub source_topic_regex: Vec<Str>,
    pub state_changelog_topics: Vec<StreamsGroupTopologyValueTopicInfo>,
    pub repartition_sink_topics: Vec<Str>,
    pub repartition_source_topics: Vec<StreamsGroupTopologyValueTopicInfo>,
    pub copartition_groups: Vec<CopartitionGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicInfo")]
pub struct StreamsGroupTopologyValueTopicInfo {
    pub name: Str,
    pub partitions: i32,
    pub replication_factor: i16,
    pub topic_configs: Vec<TopicConfig>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicConfig {
    #[field(name = "key")]
    pub key: Str,
    #[field(name = "value")]
    pub value: Str,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CopartitionGroup {
    pub source_topics: Vec<i16>,
    pub source_topic_regex: Vec<i16>,
    pub repartition_source_topics: Vec<i16>,
}
