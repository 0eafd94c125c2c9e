//! TxnOffsetCommit, API key 28.
//!
//! Versions:
//! - 2: `LeaderEpoch`
//! - 3: flexible; member and generation
//! - 4: may answer TRANSACTION_ABORTABLE
//! - 5: adds the offsets partition to the transaction (transaction.version 2)
//! - 6: topic ids instead of names

use ottla_model::Uuid;

use crate::{Message, Str};

/// Stores a group's consumed offsets as a part of a transaction.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 28, versions = "0-6", flexible = "3+")]
pub struct TxnOffsetCommitRequest {
    pub transactional_id: Str,
    pub group_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    #[field(versions = "3+", default = -1)]
    pub generation_id_or_member_epoch: i32,
    #[field(versions = "3+")]
    pub member_id: Str,
    #[field(versions = "3+")]
    pub group_instance_id: Option<Str>,
    pub topics: Vec<TxnOffsetCommitRequestTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TxnOffsetCommitRequestTopic {
    #[field(versions = "0-5", ignorable)]
    pub name: Str,
    #[field(versions = "6+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<TxnOffsetCommitRequestPartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TxnOffsetCommitRequestPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[field(versions = "2+", default = -1, ignorable)]
    pub committed_leader_epoch: i32,
    pub committed_metadata: Option<Str>,
}

/// The answer to [`TxnOffsetCommitRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 28, versions = "0-6", flexible = "3+")]
pub struct TxnOffsetCommitResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<TxnOffsetCommitResponseTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TxnOffsetCommitResponseTopic {
    #[field(versions = "0-5", ignorable)]
    pub name: Str,
    #[field(versions = "6+", ignorable)]
    pub topic_id: Uuid,
    pub partitions: Vec<TxnOffsetCommitResponsePartition>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TxnOffsetCommitResponsePartition {
    pub partition_index: i32,
    pub error_code: i16,
}
