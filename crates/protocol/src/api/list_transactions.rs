//! ListTransactions, API key 66.
//!
//! Versions:
//! - 1: filter by duration
//! - 2: filter by a regular expression

use crate::{Message, Str};

/// Lists the transactions that a broker coordinates.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 66, versions = "0-2", flexible = "0+")]
pub struct ListTransactionsRequest {
    pub state_filters: Vec<Str>,
    pub producer_id_filters: Vec<i64>,
    #[field(versions = "1+", default = -1)]
    pub duration_filter: i64,
    #[field(versions = "2+")]
    pub transactional_id_pattern: Option<Str>,
}

/// The answer to [`ListTransactionsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 66, versions = "0-2", flexible = "0+")]
pub struct ListTransactionsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub unknown_state_filters: Vec<Str>,
    pub transaction_states: Vec<TransactionState>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TransactionState {
    pub transactional_id: Str,
    pub producer_id: i64,
    pub transaction_state: Str,
}
