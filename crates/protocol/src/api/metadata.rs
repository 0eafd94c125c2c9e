//! Metadata, API key 3.
//!
//! Versions:
//! - 1: `Rack`, `ControllerId`, `IsInternal`
//! - 2: `ClusterId`
//! - 3: `ThrottleTimeMs`
//! - 4: `AllowAutoTopicCreation`
//! - 5: `OfflineReplicas`
//! - 7: `LeaderEpoch`
//! - 8: authorized operations on request
//! - 9: flexible
//! - 10: `TopicId`
//! - 11: without authorized operations on the cluster
//! - 12: topics by id
//! - 13: `ErrorCode` of the whole

use ottla_model::Uuid;

use crate::{Message, Str};

/// Describes the brokers, and topics with their partitions, leaders and replicas.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataRequest {
    #[field(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic>>,
    #[field(versions = "4+", default = true)]
    pub allow_auto_topic_creation: bool,
    #[field(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    #[field(versions = "8+")]
    pub include_topic_authorized_operations: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct MetadataRequestTopic {
    #[field(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    #[field(nullable = "10+")]
    pub name: Option<Str>,
}

/// The answer to [`MetadataRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 3, versions = "0-13", flexible = "9+")]
pub struct MetadataResponse {
    #[field(versions = "3+", ignorable)]
    pub throttle_time_ms: i32,
    pub brokers: Vec<MetadataResponseBroker>,
    #[field(versions = "2+", ignorable)]
    pub cluster_id: Option<Str>,
    #[field(versions = "1+", default = -1, ignorable)]
    pub controller_id: i32,
    pub topics: Vec<MetadataResponseTopic>,
    #[field(versions = "8-10", default = i32::MIN)]
    pub cluster_authorized_operations: i32,
    #[field(versions = "13+", ignorable)]
    pub error_code: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct MetadataResponseBroker {
    pub node_id: i32,
    pub host: Str,
    pub port: i32,
    #[field(versions = "1+", ignorable)]
    pub rack: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct MetadataResponseTopic {
    pub error_code: i16,
    #[field(nullable = "12+")]
    pub name: Option<Str>,
    #[field(versions = "10+", ignorable)]
    pub topic_id: Uuid,
    #[field(versions = "1+", ignorable)]
    pub is_internal: bool,
    pub partitions: Vec<MetadataResponsePartition>,
    #[field(versions = "8+", default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct MetadataResponsePartition {
    pub error_code: i16,
    pub partition_index: i32,
    pub leader_id: i32,
    #[field(versions = "7+", default = -1, ignorable)]
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    pub isr_nodes: Vec<i32>,
    #[field(versions = "5+", ignorable)]
    pub offline_replicas: Vec<i32>,
}
