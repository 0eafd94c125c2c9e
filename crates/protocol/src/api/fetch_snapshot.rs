//! FetchSnapshot, API key 59.
//!
//! Versions:
//! - 1: `ReplicaDirectoryId`; endpoints of the leader

use ottla_model::Uuid;

use crate::{Message, Records, Str};

/// Reads a piece of a KRaft snapshot.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 59, versions = "0-1", flexible = "0+")]
pub struct FetchSnapshotRequest {
    #[field(tag = 0)]
    pub cluster_id: Option<Str>,
    #[field(default = -1)]
    pub replica_id: i32,
    #[field(default = i32::MAX)]
    pub max_bytes: i32,
    pub topics: Vec<FetchSnapshotRequestTopicSnapshot>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicSnapshot")]
pub struct FetchSnapshotRequestTopicSnapshot {
    pub name: Str,
    pub partitions: Vec<FetchSnapshotRequestPartitionSnapshot>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionSnapshot")]
pub struct FetchSnapshotRequestPartitionSnapshot {
    pub partition: i32,
    pub current_leader_epoch: i32,
    pub snapshot_id: FetchSnapshotRequestSnapshotId,
    pub position: i64,
    #[field(versions = "1+", tag = 0, ignorable)]
    pub replica_directory_id: Uuid,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "SnapshotId")]
pub struct FetchSnapshotRequestSnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

/// The answer to [`FetchSnapshotRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 59, versions = "0-1", flexible = "0+")]
pub struct FetchSnapshotResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: Vec<FetchSnapshotResponseTopicSnapshot>,
    #[field(versions = "1+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicSnapshot")]
pub struct FetchSnapshotResponseTopicSnapshot {
    pub name: Str,
    pub partitions: Vec<FetchSnapshotResponsePartitionSnapshot>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionSnapshot")]
pub struct FetchSnapshotResponsePartitionSnapshot {
    pub index: i32,
    pub error_code: i16,
    pub snapshot_id: FetchSnapshotResponseSnapshotId,
    #[field(tag = 0)]
    pub current_leader: LeaderIdAndEpoch,
    pub size: i64,
    pub position: i64,
    pub unaligned_records: Records,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "SnapshotId")]
pub struct FetchSnapshotResponseSnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: Str,
    pub port: u16,
}
