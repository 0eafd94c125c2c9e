//! DescribeGroups, API key 15.
//!
//! Versions:
//! - 1: `ThrottleTimeMs`
//! - 3: authorized operations on request
//! - 4: `GroupInstanceId`: static members
//! - 5: flexible
//! - 6: unknown groups answer GROUP_ID_NOT_FOUND with a message

use bytes::Bytes;

use crate::{Message, Str};

/// Describes classic groups and their members.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsRequest {
    pub groups: Vec<Str>,
    #[field(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// The answer to [`DescribeGroupsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 15, versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsResponse {
    #[field(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribedGroup {
    pub error_code: i16,
    #[field(versions = "6+")]
    pub error_message: Option<Str>,
    pub group_id: Str,
    pub group_state: Str,
    pub protocol_type: Str,
    pub protocol_data: Str,
    pub members: Vec<DescribedGroupMember>,
    #[field(versions = "3+", default = i32::MIN)]
    pub authorized_operations: i32,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribedGroupMember {
    pub member_id: Str,
    #[field(versions = "4+", ignorable)]
    pub group_instance_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub member_metadata: Bytes,
    pub member_assignment: Bytes,
}
