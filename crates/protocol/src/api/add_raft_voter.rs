//! AddRaftVoter, API key 80.
//!
//! Versions:
//! - 1: `AckWhenCommitted`

use ottla_model::Uuid;

use crate::{Message, Str};

/// Adds a voter to the KRaft quorum.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 80, versions = "0-1", flexible = "0+")]
pub struct AddRaftVoterRequest {
    pub cluster_id: Option<Str>,
    pub timeout_ms: i32,
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
    pub listeners: Vec<Listener>,
    #[field(versions = "1+", default = true)]
    pub ack_when_committed: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}

/// The answer to [`AddRaftVoterRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 80, versions = "0-1", flexible = "0+")]
pub struct AddRaftVoterResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
