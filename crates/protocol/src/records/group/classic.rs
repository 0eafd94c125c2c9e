//! Committed offsets of all groups, and classic groups.

use bytes::Bytes;
use ottla_model::Uuid;

use crate::{Message, Str};

/// Key of a committed offset, as brokers before 0.9 wrote it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 0, versions = "0")]
pub struct LegacyOffsetCommitKey {
    #[field(name = "group")]
    pub group: Str,
    #[field(name = "topic")]
    pub topic: Str,
    #[field(name = "partition")]
    pub partition: i32,
}

/// A committed offset, as brokers before 0.9 wrote it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 0, versions = "0")]
pub struct LegacyOffsetCommitValue {
    #[field(name = "offset")]
    pub offset: i64,
    #[field(name = "metadata")]
    pub metadata: Str,
    #[field(name = "commitTimestamp")]
    pub commit_timestamp: i64,
}

/// Key of a committed offset.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 1, versions = "0")]
pub struct OffsetCommitKey {
    #[field(name = "group")]
    pub group: Str,
    #[field(name = "topic")]
    pub topic: Str,
    #[field(name = "partition")]
    pub partition: i32,
}

/// A committed offset.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 1, versions = "0-4", flexible = "4+")]
pub struct OffsetCommitValue {
    #[field(name = "offset")]
    pub offset: i64,
    #[field(versions = "3+", default = -1, ignorable, name = "leaderEpoch")]
    pub leader_epoch: i32,
    #[field(name = "metadata")]
    pub metadata: Str,
    #[field(name = "commitTimestamp")]
    pub commit_timestamp: i64,
    #[field(versions = "1", default = -1, ignorable, name = "expireTimestamp")]
    pub expire_timestamp: i64,
    #[field(versions = "4+", tag = 0, ignorable, name = "topicId")]
    pub topic_id: Uuid,
}

/// Key of a classic group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 2, versions = "0")]
pub struct GroupMetadataKey {
    #[field(name = "group")]
    pub group: Str,
}

/// A generation of a classic group, with members and assignment.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 2, versions = "0-4", flexible = "4+")]
pub struct GroupMetadataValue {
    #[field(name = "protocolType")]
    pub protocol_type: Str,
    #[field(name = "generation")]
    pub generation: i32,
    #[field(name = "protocol")]
    pub protocol: Option<Str>,
    #[field(name = "leader")]
    pub leader: Option<Str>,
    #[field(versions = "2+", default = -1, ignorable, name = "currentStateTimestamp")]
    pub current_state_timestamp: i64,
    #[field(name = "members")]
    pub members: Vec<MemberMetadata>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct MemberMetadata {
    #[field(name = "memberId")]
    pub member_id: Str,
    #[field(versions = "3+", ignorable, name = "groupInstanceId")]
    pub group_instance_id: Option<Str>,
    #[field(name = "clientId")]
    pub client_id: Str,
    #[field(name = "clientHost")]
    pub client_host: Str,
    #[field(versions = "1+", default = -1, ignorable, name = "rebalanceTimeout")]
    pub rebalance_timeout: i32,
    #[field(name = "sessionTimeout")]
    pub session_timeout: i32,
    #[field(name = "subscription")]
    pub subscription: Bytes,
    #[field(name = "assignment")]
    pub assignment: Bytes,
}
