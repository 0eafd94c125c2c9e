//! LeaveGroup, API key 13.
//!
//! Versions:
//! - 1: `ThrottleTimeMs`
//! - 3: many members at once
//! - 4: flexible
//! - 5: `Reason`

use crate::{Message, Str};

/// Takes members out of a classic group.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupRequest {
    pub group_id: Str,
    #[field(versions = "0-2")]
    pub member_id: Str,
    #[field(versions = "3+")]
    pub members: Vec<MemberIdentity>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct MemberIdentity {
    pub member_id: Str,
    pub group_instance_id: Option<Str>,
    #[field(versions = "5+", ignorable)]
    pub reason: Option<Str>,
}

/// The answer to [`LeaveGroupRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 13, versions = "0-5", flexible = "4+")]
pub struct LeaveGroupResponse {
    #[field(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: i16,
    #[field(versions = "3+")]
    pub members: Vec<MemberResponse>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct MemberResponse {
    pub member_id: Str,
    pub group_instance_id: Option<Str>,
    pub error_code: i16,
}
