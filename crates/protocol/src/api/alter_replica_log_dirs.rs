//! AlterReplicaLogDirs, API key 34.
//!
//! Versions:
//! - 2: flexible

use crate::{Message, Str};

/// Moves replicas between the log directories of a broker.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 34, versions = "1-2", flexible = "2+")]
pub struct AlterReplicaLogDirsRequest {
    pub dirs: Vec<AlterReplicaLogDir>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterReplicaLogDir {
    pub path: Str,
    pub topics: Vec<AlterReplicaLogDirTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterReplicaLogDirTopic {
    pub name: Str,
    pub partitions: Vec<i32>,
}

/// The answer to [`AlterReplicaLogDirsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 34, versions = "1-2", flexible = "2+")]
pub struct AlterReplicaLogDirsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<AlterReplicaLogDirTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterReplicaLogDirTopicResult {
    pub topic_name: Str,
    pub partitions: Vec<AlterReplicaLogDirPartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterReplicaLogDirPartitionResult {
    pub partition_index: i32,
    pub error_code: i16,
}
