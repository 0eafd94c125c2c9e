//! AddOffsetsToTxn, API key 25.
//!
//! Versions:
//! - 2: may answer PRODUCER_FENCED
//! - 3: flexible
//! - 4: may answer TRANSACTION_ABORTABLE

use crate::{Message, Str};

/// Adds a group's offsets partition to a transaction.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 25, versions = "0-4", flexible = "3+")]
pub struct AddOffsetsToTxnRequest {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub group_id: Str,
}

/// The answer to [`AddOffsetsToTxnRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 25, versions = "0-4", flexible = "3+")]
pub struct AddOffsetsToTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
}
