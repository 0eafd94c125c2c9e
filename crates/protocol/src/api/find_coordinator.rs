//! FindCoordinator, API key 10.
//!
//! Versions:
//! - 1: `KeyType`, `ThrottleTimeMs`
//! - 3: flexible
//! - 4: many keys at once
//! - 5: may answer TRANSACTION_ABORTABLE
//! - 6: coordinators of share partitions

use crate::{Message, Str};

/// Finds the broker that coordinates a group, a transaction or a share partition.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 10, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorRequest {
    #[field(versions = "0-3")]
    pub key: Str,
    #[field(versions = "1+")]
    pub key_type: i8,
    #[field(versions = "4+")]
    pub coordinator_keys: Vec<Str>,
}

/// The answer to [`FindCoordinatorRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 10, versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorResponse {
    #[field(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    #[field(versions = "0-3")]
    pub error_code: i16,
    #[field(versions = "1-3", default = empty, ignorable)]
    pub error_message: Option<Str>,
    #[field(versions = "0-3")]
    pub node_id: i32,
    #[field(versions = "0-3")]
    pub host: Str,
    #[field(versions = "0-3")]
    pub port: i32,
    #[field(versions = "4+")]
    pub coordinators: Vec<Coordinator>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Coordinator {
    pub key: Str,
    pub node_id: i32,
    pub host: Str,
    pub port: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
