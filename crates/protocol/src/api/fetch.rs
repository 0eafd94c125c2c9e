//! Fetch, API key 1.
//!
//! Versions:
//! - 4: `IsolationLevel`, `LastStableOffset`, `AbortedTransactions`
//! - 5: `LogStartOffset`
//! - 7: fetch sessions
//! - 9: `CurrentLeaderEpoch`
//! - 10: records may be compressed with zstd
//! - 11: `RackId`, `PreferredReadReplica`: fetching from followers
//! - 12: flexible; `LastFetchedEpoch` and `DivergingEpoch`; `CurrentLeader`, `SnapshotId` and `ClusterId` for
//!   KRaft
//! - 13: topic ids instead of names
//! - 14: may answer OFFSET_MOVED_TO_TIERED_STORAGE
//! - 15: `ReplicaState` instead of `ReplicaId`
//! - 16: `NodeEndpoints`
//! - 17: `ReplicaDirectoryId`
//! - 18: `HighWatermark`, as the follower knows it

use ottla_model::Uuid;

use crate::{Message, Records, Str};

/// Reads record batches of partitions: consumers, followers and KRaft voters alike.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchRequest {
    #[field(versions = "12+", tag = 0, ignorable)]
    pub cluster_id: Option<Str>,
    #[field(versions = "0-14", default = -1)]
    pub replica_id: i32,
    #[field(versions = "15+", tag = 1)]
    pub replica_state: ReplicaState,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    #[field(default = i32::MAX)]
    pub max_bytes: i32,
    pub isolation_level: i8,
    #[field(versions = "7+", ignorable)]
    pub session_id: i32,
    #[field(versions = "7+", default = -1, ignorable)]
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    #[field(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic>,
    #[field(versions = "11+", ignorable)]
    pub rack_id: Str,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ReplicaState {
    #[field(default = -1)]
    pub replica_id: i32,
    #[field(default = -1)]
    pub replica_epoch: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct FetchTopic {
    #[field(versions = "0-12", ignorable)]
    pub topic: Str,
    #[field(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct FetchPartition {
    pub partition: i32,
    #[field(versions = "9+", default = -1, ignorable)]
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    #[field(versions = "12+", default = -1)]
    pub last_fetched_epoch: i32,
    #[field(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    pub partition_max_bytes: i32,
    #[field(versions = "17+", tag = 0, ignorable)]
    pub replica_directory_id: Uuid,
    #[field(versions = "18+", default = i64::MAX, tag = 1, ignorable)]
    pub high_watermark: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ForgottenTopic {
    #[field(versions = "0-12", ignorable)]
    pub topic: Str,
    #[field(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// The answer to [`FetchRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 1, versions = "4-18", flexible = "12+")]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    #[field(versions = "7+", ignorable)]
    pub error_code: i16,
    #[field(versions = "7+")]
    pub session_id: i32,
    pub responses: Vec<FetchableTopicResponse>,
    #[field(versions = "16+", tag = 0)]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct FetchableTopicResponse {
    #[field(versions = "0-12", ignorable)]
    pub topic: Str,
    #[field(versions = "13+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionData {
    pub partition_index: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    #[field(default = -1)]
    pub last_stable_offset: i64,
    #[field(versions = "5+", default = -1, ignorable)]
    pub log_start_offset: i64,
    #[field(versions = "12+", tag = 0)]
    pub diverging_epoch: EpochEndOffset,
    #[field(versions = "12+", tag = 1)]
    pub current_leader: LeaderIdAndEpoch,
    #[field(versions = "12+", tag = 2)]
    pub snapshot_id: SnapshotId,
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    #[field(versions = "11+", default = -1)]
    pub preferred_read_replica: i32,
    pub records: Option<Records>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct EpochEndOffset {
    #[field(default = -1)]
    pub epoch: i32,
    #[field(default = -1)]
    pub end_offset: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct LeaderIdAndEpoch {
    #[field(default = -1)]
    pub leader_id: i32,
    #[field(default = -1)]
    pub leader_epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct SnapshotId {
    #[field(default = -1)]
    pub end_offset: i64,
    #[field(default = -1)]
    pub epoch: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: Str,
    pub port: i32,
    pub rack: Option<Str>,
}
