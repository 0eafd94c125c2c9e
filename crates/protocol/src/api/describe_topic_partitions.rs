//! DescribeTopicPartitions, API key 75.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Describes topics and partitions page by page.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 75, versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsRequest {
    pub topics: Vec<TopicRequest>,
    #[field(default = 2000)]
    pub response_partition_limit: i32,
    pub cursor: Option<DescribeTopicPartitionsRequestCursor>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicRequest {
    pub name: Str,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "Cursor")]
pub struct DescribeTopicPartitionsRequestCursor {
    pub topic_name: Str,
    pub partition_index: i32,
}

/// The answer to [`DescribeTopicPartitionsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 75, versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<DescribeTopicPartitionsResponseTopic>,
    pub next_cursor: Option<DescribeTopicPartitionsResponseCursor>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeTopicPartitionsResponseTopic {
    pub error_code: i16,
    pub name: Option<Str>,
    pub topic_id: Uuid,
    pub is_internal: bool,
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    #[field(default = i32::MIN)]
    pub topic_authorized_operations: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeTopicPartitionsResponsePartition {
    pub error_code: i16,
    pub partition_index: i32,
    pub leader_id: i32,
    #[field(default = -1)]
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    pub isr_nodes: Vec<i32>,
    pub eligible_leader_replicas: Option<Vec<i32>>,
    pub last_known_elr: Option<Vec<i32>>,
    pub offline_replicas: Vec<i32>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "Cursor")]
pub struct DescribeTopicPartitionsResponseCursor {
    pub topic_name: Str,
    pub partition_index: i32,
}
