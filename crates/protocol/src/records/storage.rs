//! Files beside the log, and records of tiered storage's `__remote_log_metadata`.

use bytes::Bytes;
use ottla_model::Uuid;

use crate::{Message, Str};

/// A `.snapshot` file of producer state behind its version.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "1")]
pub struct ProducerSnapshot {
    pub crc: u32,
    pub producer_entries: Vec<ProducerEntry>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ProducerEntry {
    pub producer_id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
    pub coordinator_epoch: i32,
    pub current_txn_first_offset: i64,
}

/// An entry of a `.txnindex` file.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0")]
pub struct AbortedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
    pub last_stable_offset: i64,
}

/// A log segment was, or is being, copied to remote storage.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 0, versions = "0", flexible = "0+")]
pub struct RemoteLogSegmentMetadataRecord {
    pub remote_log_segment_id: RemoteLogSegmentMetadataRecordRemoteLogSegmentIdEntry,
    pub start_offset: i64,
    pub end_offset: i64,
    pub broker_id: i32,
    pub max_timestamp_ms: i64,
    pub event_timestamp_ms: i64,
    pub segment_leader_epochs: Vec<RemoteLogSegmentMetadataRecordSegmentLeaderEpochEntry>,
    pub segment_size_in_bytes: i32,
    pub custom_metadata: Option<Bytes>,
    pub remote_log_segment_state: i8,
    #[field(tag = 0)]
    pub txn_index_empty: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "RemoteLogSegmentIdEntry")]
pub struct RemoteLogSegmentMetadataRecordRemoteLogSegmentIdEntry {
    pub topic_id_partition: RemoteLogSegmentMetadataRecordTopicIdPartitionEntry,
    pub id: Uuid,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicIdPartitionEntry")]
pub struct RemoteLogSegmentMetadataRecordTopicIdPartitionEntry {
    pub name: Str,
    pub id: Uuid,
    pub partition: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "SegmentLeaderEpochEntry")]
pub struct RemoteLogSegmentMetadataRecordSegmentLeaderEpochEntry {
    pub leader_epoch: i32,
    pub offset: i64,
}

/// A remote log segment's state has changed.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 1, versions = "0", flexible = "0+")]
pub struct RemoteLogSegmentMetadataUpdateRecord {
    pub remote_log_segment_id: RemoteLogSegmentMetadataUpdateRecordRemoteLogSegmentIdEntry,
    pub broker_id: i32,
    pub event_timestamp_ms: i64,
    pub custom_metadata: Option<Bytes>,
    pub remote_log_segment_state: i8,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "RemoteLogSegmentIdEntry")]
pub struct RemoteLogSegmentMetadataUpdateRecordRemoteLogSegmentIdEntry {
    pub topic_id_partition: RemoteLogSegmentMetadataUpdateRecordTopicIdPartitionEntry,
    pub id: Uuid,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicIdPartitionEntry")]
pub struct RemoteLogSegmentMetadataUpdateRecordTopicIdPartitionEntry {
    pub name: Str,
    pub id: Uuid,
    pub partition: i32,
}

/// A partition's remote data is being deleted.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 2, versions = "0", flexible = "0+")]
pub struct RemotePartitionDeleteMetadataRecord {
    pub topic_id_partition: RemotePartitionDeleteMetadataRecordTopicIdPartitionEntry,
    pub broker_id: i32,
    pub event_timestamp_ms: i64,
    pub remote_partition_delete_state: i8,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicIdPartitionEntry")]
pub struct RemotePartitionDeleteMetadataRecordTopicIdPartitionEntry {
    pub name: Str,
    pub id: Uuid,
    pub partition: i32,
}

/// A remote log segment, as in a snapshot of remote log metadata.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(metadata, key = 3, versions = "0", flexible = "0+")]
pub struct RemoteLogSegmentMetadataSnapshotRecord {
    pub segment_id: Uuid,
    pub start_offset: i64,
    pub end_offset: i64,
    pub broker_id: i32,
    pub max_timestamp_ms: i64,
    pub event_timestamp_ms: i64,
    pub segment_leader_epochs: Vec<RemoteLogSegmentMetadataSnapshotRecordSegmentLeaderEpochEntry>,
    pub segment_size_in_bytes: i32,
    pub custom_metadata: Option<Bytes>,
    pub remote_log_segment_state: i8,
    #[field(tag = 0)]
    pub txn_index_empty: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "SegmentLeaderEpochEntry")]
pub struct RemoteLogSegmentMetadataSnapshotRecordSegmentLeaderEpochEntry {
    pub leader_epoch: i32,
    pub offset: i64,
}
