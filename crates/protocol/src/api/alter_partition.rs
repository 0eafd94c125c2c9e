//! AlterPartition, API key 56.
//!
//! Versions:
//! - 2: topic ids instead of names
//! - 3: `NewIsrWithEpochs`: the broker epoch beside each replica

use ottla_model::Uuid;

use crate::Message;

/// Proposes new in-sync replicas of partitions, from their leader to the controller.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 56, versions = "2-3", flexible = "0+")]
pub struct AlterPartitionRequest {
    pub broker_id: i32,
    #[field(default = -1)]
    pub broker_epoch: i64,
    pub topics: Vec<AlterPartitionRequestTopicData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct AlterPartitionRequestTopicData {
    pub topic_id: Uuid,
    pub partitions: Vec<AlterPartitionRequestPartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct AlterPartitionRequestPartitionData {
    pub partition_index: i32,
    pub leader_epoch: i32,
    #[field(versions = "0-2")]
    pub new_isr: Vec<i32>,
    #[field(versions = "3+")]
    pub new_isr_with_epochs: Vec<BrokerState>,
    pub leader_recovery_state: i8,
    pub partition_epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct BrokerState {
    pub broker_id: i32,
    #[field(default = -1)]
    pub broker_epoch: i64,
}

/// The answer to [`AlterPartitionRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 56, versions = "2-3", flexible = "0+")]
pub struct AlterPartitionResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: Vec<AlterPartitionResponseTopicData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct AlterPartitionResponseTopicData {
    pub topic_id: Uuid,
    pub partitions: Vec<AlterPartitionResponsePartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct AlterPartitionResponsePartitionData {
    pub partition_index: i32,
    pub error_code: i16,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    pub leader_recovery_state: i8,
    pub partition_epoch: i32,
}
