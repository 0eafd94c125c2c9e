//! InitProducerId, API key 22.
//!
//! Versions:
//! - 2: flexible
//! - 3: the producer id and epoch to go on with
//! - 4: may answer PRODUCER_FENCED
//! - 5: may answer TRANSACTION_ABORTABLE
//! - 6: two-phase commit (KIP-939); unstable

use crate::{Message, Str};

/// Gives a producer its id and epoch, and fences older ones with the same transactional id.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 22, versions = "0-6", flexible = "2+", unstable)]
pub struct InitProducerIdRequest {
    pub transactional_id: Option<Str>,
    pub transaction_timeout_ms: i32,
    #[field(versions = "3+", default = -1)]
    pub producer_id: i64,
    #[field(versions = "3+", default = -1)]
    pub producer_epoch: i16,
    #[field(versions = "6+")]
    pub enable2_pc: bool,
    #[field(versions = "6+")]
    pub keep_prepared_txn: bool,
}

/// The answer to [`InitProducerIdRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 22, versions = "0-6", flexible = "2+")]
pub struct InitProducerIdResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    #[field(default = -1)]
    pub producer_id: i64,
    pub producer_epoch: i16,
    #[field(versions = "6+", default = -1)]
    pub ongoing_txn_producer_id: i64,
    #[field(versions = "6+", default = -1)]
    pub ongoing_txn_producer_epoch: i16,
}
