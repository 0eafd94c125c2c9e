//! JoinGroup, API key 11.
//!
//! Versions:
//! - 1: `RebalanceTimeoutMs`
//! - 2: `ThrottleTimeMs`
//! - 4: a new member is sent back once with its id (MEMBER_ID_REQUIRED)
//! - 5: `GroupInstanceId`: static members
//! - 6: flexible
//! - 7: `ProtocolType`; `ProtocolName` may be null
//! - 8: `Reason`
//! - 9: `SkipAssignment`

use bytes::Bytes;

use crate::{Message, Str};

/// Enters a classic group and waits for its next generation.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupRequest {
    pub group_id: Str,
    pub session_timeout_ms: i32,
    #[field(versions = "1+", default = -1, ignorable)]
    pub rebalance_timeout_ms: i32,
    pub member_id: Str,
    #[field(versions = "5+")]
    pub group_instance_id: Option<Str>,
    pub protocol_type: Str,
    pub protocols: Vec<JoinGroupRequestProtocol>,
    #[field(versions = "8+", ignorable)]
    pub reason: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct JoinGroupRequestProtocol {
    pub name: Str,
    pub metadata: Bytes,
}

/// The answer to [`JoinGroupRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 11, versions = "0-9", flexible = "6+")]
pub struct JoinGroupResponse {
    #[field(versions = "2+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: i16,
    #[field(default = -1)]
    pub generation_id: i32,
    #[field(versions = "7+", ignorable)]
    pub protocol_type: Option<Str>,
    #[field(nullable = "7+")]
    pub protocol_name: Option<Str>,
    pub leader: Str,
    #[field(versions = "9+")]
    pub skip_assignment: bool,
    pub member_id: Str,
    pub members: Vec<JoinGroupResponseMember>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct JoinGroupResponseMember {
    pub member_id: Str,
    #[field(versions = "5+", ignorable)]
    pub group_instance_id: Option<Str>,
    pub metadata: Bytes,
}
