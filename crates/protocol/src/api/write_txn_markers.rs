//! WriteTxnMarkers, API key 27.
//!
//! Versions:
//! - 1: flexible
//! - 2: `TransactionVersion` of each marker

use crate::{Message, Str};

/// Writes commit or abort markers into partitions, from the transaction coordinator to leaders.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 27, versions = "1-2", flexible = "1+")]
pub struct WriteTxnMarkersRequest {
    pub markers: Vec<WritableTxnMarker>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct WritableTxnMarker {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub transaction_result: bool,
    pub topics: Vec<WritableTxnMarkerTopic>,
    pub coordinator_epoch: i32,
    #[field(versions = "2+", ignorable)]
    pub transaction_version: i8,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct WritableTxnMarkerTopic {
    pub name: Str,
    pub partition_indexes: Vec<i32>,
}

/// The answer to [`WriteTxnMarkersRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 27, versions = "1-2", flexible = "1+")]
pub struct WriteTxnMarkersResponse {
    pub markers: Vec<WritableTxnMarkerResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct WritableTxnMarkerResult {
    pub producer_id: i64,
    pub topics: Vec<WritableTxnMarkerTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct WritableTxnMarkerTopicResult {
    pub name: Str,
    pub partitions: Vec<WritableTxnMarkerPartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct WritableTxnMarkerPartitionResult {
    pub partition_index: i32,
    pub error_code: i16,
}
