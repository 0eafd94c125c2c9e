//! CreatePartitions, API key 37.
//!
//! Versions:
//! - 2: flexible
//! - 3: may answer THROTTLING_QUOTA_EXCEEDED

use crate::{Message, Str};

/// Adds partitions to topics.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsRequest {
    pub topics: Vec<CreatePartitionsTopic>,
    pub timeout_ms: i32,
    pub validate_only: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatePartitionsTopic {
    pub name: Str,
    pub count: i32,
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatePartitionsAssignment {
    pub broker_ids: Vec<i32>,
}

/// The answer to [`CreatePartitionsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 37, versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<CreatePartitionsTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CreatePartitionsTopicResult {
    pub name: Str,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
