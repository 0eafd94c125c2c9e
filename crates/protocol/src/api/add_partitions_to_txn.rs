//! AddPartitionsToTxn, API key 24.
//!
//! Versions:
//! - 0-3: from clients; later ones are for brokers only
//! - 2: may answer PRODUCER_FENCED
//! - 3: flexible
//! - 4: many transactions at once; `VerifyOnly`
//! - 5: may answer TRANSACTION_ABORTABLE

use crate::{Message, Str};

/// Adds partitions to a transaction, or verifies that they belong to it.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 24, versions = "0-5", flexible = "3+")]
pub struct AddPartitionsToTxnRequest {
    #[field(versions = "4+")]
    pub transactions: Vec<AddPartitionsToTxnTransaction>,
    #[field(versions = "0-3")]
    pub v3_and_below_transactional_id: Str,
    #[field(versions = "0-3")]
    pub v3_and_below_producer_id: i64,
    #[field(versions = "0-3")]
    pub v3_and_below_producer_epoch: i16,
    #[field(versions = "0-3")]
    pub v3_and_below_topics: Vec<AddPartitionsToTxnTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AddPartitionsToTxnTransaction {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub verify_only: bool,
    pub topics: Vec<AddPartitionsToTxnTopic>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AddPartitionsToTxnTopic {
    pub name: Str,
    pub partitions: Vec<i32>,
}

/// The answer to [`AddPartitionsToTxnRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 24, versions = "0-5", flexible = "3+")]
pub struct AddPartitionsToTxnResponse {
    pub throttle_time_ms: i32,
    #[field(versions = "4+", ignorable)]
    pub error_code: i16,
    #[field(versions = "4+")]
    pub results_by_transaction: Vec<AddPartitionsToTxnResult>,
    #[field(versions = "0-3")]
    pub results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AddPartitionsToTxnResult {
    pub transactional_id: Str,
    pub topic_results: Vec<AddPartitionsToTxnTopicResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AddPartitionsToTxnTopicResult {
    pub name: Str,
    pub results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AddPartitionsToTxnPartitionResult {
    pub partition_index: i32,
    pub partition_error_code: i16,
}
