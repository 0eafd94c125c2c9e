//! Messages inside the bytes fields of others: the protocol of classic consumer groups, and forwarded principals.

use bytes::Bytes;

use crate::{Message, Str};

/// What a member of a classic consumer group subscribes to; metadata of its JoinGroup.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0-3")]
pub struct ConsumerProtocolSubscription {
    pub topics: Vec<Str>,
    pub user_data: Option<Bytes>,
    #[field(versions = "1+", ignorable)]
    pub owned_partitions: Vec<ConsumerProtocolSubscriptionTopicPartition>,
    #[field(versions = "2+", default = -1, ignorable)]
    pub generation_id: i32,
    #[field(versions = "3+", ignorable)]
    pub rack_id: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartition")]
pub struct ConsumerProtocolSubscriptionTopicPartition {
    pub topic: Str,
    pub partitions: Vec<i32>,
}

/// What a member of a classic consumer group is assigned; in its SyncGroup.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0-3")]
pub struct ConsumerProtocolAssignment {
    pub assigned_partitions: Vec<ConsumerProtocolAssignmentTopicPartition>,
    pub user_data: Option<Bytes>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicPartition")]
pub struct ConsumerProtocolAssignmentTopicPartition {
    pub topic: Str,
    pub partitions: Vec<i32>,
}

/// A principal, as an Envelope carries it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0", flexible = "0+")]
pub struct DefaultPrincipalData {
    pub r#type: Str,
    pub name: Str,
    pub token_authenticated: bool,
}
