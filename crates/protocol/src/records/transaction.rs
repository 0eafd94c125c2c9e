//! Records of `__transaction_state`.

use bytes::Bytes;

use super::coordinator::coordinator_records;
use crate::encoder::EncodeErrorKind;
use crate::schema::MessageSchema;
use crate::{DecodeError, DecodeErrorKind, Decoder, EncodeError, Encoder, Message, Str, Tree, Versions};

coordinator_records! {
    /// Key of a record in `__transaction_state`.
    TransactionRecordKey,
    /// Value of a record in `__transaction_state`.
    TransactionRecordValue:
    0 => TransactionLog(TransactionLogKey, TransactionLogValue),
}

/// Key of a transactional id.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_key, key = 0, versions = "0")]
pub struct TransactionLogKey {
    pub transactional_id: Str,
}

/// State of a transactional id: producer id and epoch, and the transaction that is under way.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(coordinator_value, key = 0, versions = "0-1", flexible = "1+")]
pub struct TransactionLogValue {
    pub producer_id: i64,
    #[field(versions = "1+", default = -1, tag = 0)]
    pub previous_producer_id: i64,
    #[field(versions = "1+", default = -1, tag = 1)]
    pub next_producer_id: i64,
    pub producer_epoch: i16,
    #[field(versions = "1+", default = -1, tag = 3)]
    pub next_producer_epoch: i16,
    pub transaction_timeout_ms: i32,
    pub transaction_status: i8,
    pub transaction_partitions: Option<Vec<PartitionsSchema>>,
    pub transaction_last_update_timestamp_ms: i64,
    pub transaction_start_timestamp_ms: i64,
    #[field(versions = "1+", tag = 2)]
    pub client_transaction_version: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct PartitionsSchema {
    pub topic: Str,
    pub partition_ids: Vec<i32>,
}
