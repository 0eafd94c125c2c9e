//! Consumer groups (KIP-848).

use bytes::Bytes;
use ottla_model::Uuid;

use crate::{Message, Str};

/// Key of a consumer group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 3, versions = "0")]
pub struct ConsumerGroupMetadataKey {
    pub group_id: Str,
}

/// Epoch of the group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 3, versions = "0", flexible = "0+")]
pub struct ConsumerGroupMetadataValue {
    pub epoch: i32,
    #[field(tag = 0)]
    pub metadata_hash: i64,
}

/// Key of the partition counts a consumer group knew; no longer written.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 4, versions = "0")]
pub struct ConsumerGroupPartitionMetadataKey {
    pub group_id: Str,
}

/// The partition counts a consumer group knew; no longer written.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 4, versions = "0", flexible = "0+")]
pub struct ConsumerGroupPartitionMetadataValue {
    pub topics: Vec<TopicMetadata>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicMetadata {
    pub topic_id: Uuid,
    pub topic_name: Str,
    pub num_partitions: i32,
    pub partition_metadata: Vec<PartitionMetadata>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionMetadata {
    pub partition: i32,
    pub racks: Vec<Str>,
}

/// Key of a member of a consumer group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 5, versions = "0")]
pub struct ConsumerGroupMemberMetadataKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// A member and what it subscribes to.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 5, versions = "0", flexible = "0+")]
pub struct ConsumerGroupMemberMetadataValue {
    pub instance_id: Option<Str>,
    pub rack_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub subscribed_topic_names: Vec<Str>,
    pub subscribed_topic_regex: Option<Str>,
    #[field(default = -1)]
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<Str>,
    #[field(default = empty, tag = 0)]
    pub classic_member_metadata: Option<ClassicMemberMetadata>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ClassicMemberMetadata {
    pub session_timeout_ms: i32,
    pub supported_protocols: Vec<ClassicProtocol>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ClassicProtocol {
    pub name: Str,
    pub metadata: Bytes,
}

/// Key of the target assignment's epoch of a consumer group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 6, versions = "0")]
pub struct ConsumerGroupTargetAssignmentMetadataKey {
    pub group_id: Str,
}

/// Epoch of the target assignment.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 6, versions = "0", flexible = "0+")]
pub struct ConsumerGroupTargetAssignmentMetadataValue {
    pub assignment_epoch: i32,
    #[field(tag = 0)]
    pub assignment_timestamp: i64,
}

/// Key of a member's target assignment of a consumer group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 7, versions = "0")]
pub struct ConsumerGroupTargetAssignmentMemberKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// What a member is to be assigned.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 7, versions = "0", flexible = "0+")]
pub struct ConsumerGroupTargetAssignmentMemberValue {
    pub topic_partitions: Vec<ConsumerGroupTargetAssignmentMemberValueTopicPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartition")]
pub struct ConsumerGroupTargetAssignmentMemberValueTopicPartition {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// Key of a member's current assignment of a consumer group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 8, versions = "0")]
pub struct ConsumerGroupCurrentMemberAssignmentKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// What a member is assigned now, and its epoch.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 8, versions = "0", flexible = "0+")]
pub struct ConsumerGroupCurrentMemberAssignmentValue {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: i8,
    pub assigned_partitions: Vec<ConsumerGroupCurrentMemberAssignmentValueTopicPartitions>,
    pub partitions_pending_revocation: Vec<ConsumerGroupCurrentMemberAssignmentValueTopicPartitions>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartitions")]
pub struct ConsumerGroupCurrentMemberAssignmentValueTopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
    #[field(default = empty, tag = 0)]
    pub assignment_epochs: Option<Vec<i32>>,
}

/// Key of a resolved regular expression of a consumer group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 16, versions = "0")]
pub struct ConsumerGroupRegularExpressionKey {
    pub group_id: Str,
    pub regular_expression: Str,
}

/// The topics that a regular expression matches.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 16, versions = "0", flexible = "0+")]
pub struct ConsumerGroupRegularExpressionValue {
    pub topics: Vec<Str>,
    pub version: i64,
    pub timestamp: i64,
}
