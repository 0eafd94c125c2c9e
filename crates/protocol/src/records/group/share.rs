//! Share groups (KIP-932).

use ottla_model::Uuid;

use crate::{Message, Str};

/// Key of a member of a share group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 10, versions = "0")]
pub struct ShareGroupMemberMetadataKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// A member and what it subscribes to.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 10, versions = "0", flexible = "0+")]
pub struct ShareGroupMemberMetadataValue {
    pub rack_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub subscribed_topic_names: Vec<Str>,
}

/// Key of a share group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 11, versions = "0")]
pub struct ShareGroupMetadataKey {
    pub group_id: Str,
}

/// Epoch of the group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 11, versions = "0", flexible = "0+")]
pub struct ShareGroupMetadataValue {
    pub epoch: i32,
    pub metadata_hash: i64,
}

/// Key of the target assignment's epoch of a share group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 12, versions = "0")]
pub struct ShareGroupTargetAssignmentMetadataKey {
    pub group_id: Str,
}

/// Epoch of the target assignment.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 12, versions = "0", flexible = "0+")]
pub struct ShareGroupTargetAssignmentMetadataValue {
    pub assignment_epoch: i32,
    #[field(tag = 0)]
    pub assignment_timestamp: i64,
}

/// Key of a member's target assignment of a share group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 13, versions = "0")]
pub struct ShareGroupTargetAssignmentMemberKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// What a member is to be assigned.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 13, versions = "0", flexible = "0+")]
pub struct ShareGroupTargetAssignmentMemberValue {
    pub topic_partitions: Vec<ShareGroupTargetAssignmentMemberValueTopicPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartition")]
pub struct ShareGroupTargetAssignmentMemberValueTopicPartition {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// Key of a member's current assignment of a share group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 14, versions = "0")]
pub struct ShareGroupCurrentMemberAssignmentKey {
    pub group_id: Str,
    pub member_id: Str,
}

/// What a member is assigned now, and its epoch.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 14, versions = "0", flexible = "0+")]
pub struct ShareGroupCurrentMemberAssignmentValue {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: i8,
    pub assigned_partitions: Vec<ShareGroupCurrentMemberAssignmentValueTopicPartitions>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartitions")]
pub struct ShareGroupCurrentMemberAssignmentValueTopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// Key of its initialized topics of a share group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 15, versions = "0")]
pub struct ShareGroupStatePartitionMetadataKey {
    pub group_id: Str,
}

/// Topics whose share state is, or is being, initialized or deleted.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 15, versions = "0", flexible = "0+")]
pub struct ShareGroupStatePartitionMetadataValue {
    pub initializing_topics: Vec<TopicPartitionsInfo>,
    pub initialized_topics: Vec<TopicPartitionsInfo>,
    pub deleting_topics: Vec<ShareGroupStatePartitionMetadataValueTopicInfo>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicPartitionsInfo {
    pub topic_id: Uuid,
    pub topic_name: Str,
    pub partitions: Vec<i32>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicInfo")]
pub struct ShareGroupStatePartitionMetadataValueTopicInfo {
    pub topic_id: Uuid,
    pub topic_name: Str,
}
