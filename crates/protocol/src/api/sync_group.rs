//! SyncGroup, API key 14.
//!
//! Versions:
//! - 1: `ThrottleTimeMs`
//! - 3: `GroupInstanceId`: static members
//! - 4: flexible
//! - 5: `ProtocolType`, `ProtocolName`

use bytes::Bytes;

use crate::{Message, Str};

/// Distributes the assignment that a classic group's leader has made.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupRequest {
    pub group_id: Str,
    pub generation_id: i32,
    pub member_id: Str,
    #[field(versions = "3+")]
    pub group_instance_id: Option<Str>,
    #[field(versions = "5+", ignorable)]
    pub protocol_type: Option<Str>,
    #[field(versions = "5+", ignorable)]
    pub protocol_name: Option<Str>,
    pub assignments: Vec<SyncGroupRequestAssignment>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct SyncGroupRequestAssignment {
    pub member_id: Str,
    pub assignment: Bytes,
}

/// The answer to [`SyncGroupRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 14, versions = "0-5", flexible = "4+")]
pub struct SyncGroupResponse {
    #[field(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: i16,
    #[field(versions = "5+", ignorable)]
    pub protocol_type: Option<Str>,
    #[field(versions = "5+", ignorable)]
    pub protocol_name: Option<Str>,
    pub assignment: Bytes,
}
