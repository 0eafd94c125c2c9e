//! Produce, API key 0.
//!
//! Versions:
//! - 3: `TransactionalId`; record batches of version 2
//! - 4: may answer KAFKA_STORAGE_ERROR
//! - 5: `LogStartOffset`
//! - 7: records may be compressed with zstd
//! - 8: `RecordErrors`
//! - 9: flexible
//! - 10: `CurrentLeader`, `NodeEndpoints`
//! - 11: may answer TRANSACTION_ABORTABLE
//! - 12: adds the partitions to the transaction (transaction.version 2)
//! - 13: topic ids instead of names

use ottla_model::Uuid;

use crate::{Message, Records, Str};

/// Appends record batches to partitions.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 0, versions = "3-13", flexible = "9+")]
pub struct ProduceRequest {
    pub transactional_id: Option<Str>,
    pub acks: i16,
    pub timeout_ms: i32,
    pub topic_data: Vec<TopicProduceData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicProduceData {
    #[field(versions = "0-12", ignorable)]
    pub name: Str,
    #[field(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    pub partition_data: Vec<PartitionProduceData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionProduceData {
    pub index: i32,
    pub records: Option<Records>,
}

/// The answer to [`ProduceRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 0, versions = "3-13", flexible = "9+")]
pub struct ProduceResponse {
    pub responses: Vec<TopicProduceResponse>,
    pub throttle_time_ms: i32,
    #[field(versions = "10+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicProduceResponse {
    #[field(versions = "0-12", ignorable)]
    pub name: Str,
    #[field(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    pub partition_responses: Vec<PartitionProduceResponse>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionProduceResponse {
    pub index: i32,
    pub error_code: i16,
    pub base_offset: i64,
    #[field(default = -1)]
    pub log_append_time_ms: i64,
    #[field(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    #[field(versions = "8+", ignorable)]
    pub record_errors: Vec<BatchIndexAndErrorMessage>,
    #[field(versions = "8+", ignorable)]
    pub error_message: Option<Str>,
    #[field(versions = "10+", tag = 0)]
    pub current_leader: LeaderIdAndEpoch,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct BatchIndexAndErrorMessage {
    pub batch_index: i32,
    pub batch_index_error_message: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct LeaderIdAndEpoch {
    #[field(default = -1)]
    pub leader_id: i32,
    #[field(default = -1)]
    pub leader_epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: Str,
    pub port: i32,
    pub rack: Option<Str>,
}
