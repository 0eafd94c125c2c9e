//! EndTxn, API key 26.
//!
//! Versions:
//! - 2: may answer PRODUCER_FENCED
//! - 3: flexible
//! - 4: may answer TRANSACTION_ABORTABLE
//! - 5: the response tells the next producer id and epoch (transaction.version 2)

use crate::{Message, Str};

/// Commits or aborts a transaction.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 26, versions = "0-5", flexible = "3+")]
pub struct EndTxnRequest {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub committed: bool,
}

/// The answer to [`EndTxnRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 26, versions = "0-5", flexible = "3+")]
pub struct EndTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    #[field(versions = "5+", default = -1, ignorable)]
    pub producer_id: i64,
    #[field(versions = "5+", default = -1, ignorable)]
    pub producer_epoch: i16,
}
