//! Heartbeat, API key 12.
//!
//! Versions:
//! - 1: `ThrottleTimeMs`
//! - 3: `GroupInstanceId`: static members
//! - 4: flexible

use crate::{Message, Str};

/// Keeps a member of a classic group alive and tells it about rebalances.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatRequest {
    pub group_id: Str,
    pub generation_id: i32,
    pub member_id: Str,
    #[field(versions = "3+")]
    pub group_instance_id: Option<Str>,
}

/// The answer to [`HeartbeatRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 12, versions = "0-4", flexible = "4+")]
pub struct HeartbeatResponse {
    #[field(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: i16,
}
