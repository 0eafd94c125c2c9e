//! RemoveRaftVoter, API key 81.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Removes a voter from the KRaft quorum.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 81, versions = "0", flexible = "0+")]
pub struct RemoveRaftVoterRequest {
    pub cluster_id: Option<Str>,
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
}

/// The answer to [`RemoveRaftVoterRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 81, versions = "0", flexible = "0+")]
pub struct RemoveRaftVoterResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
