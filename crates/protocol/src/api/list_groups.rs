//! ListGroups, API key 16.
//!
//! Versions:
//! - 1: `ThrottleTimeMs`
//! - 3: flexible
//! - 4: filter by state
//! - 5: filter by type

use crate::{Message, Str};

/// Lists the groups that a broker coordinates.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsRequest {
    #[field(versions = "4+")]
    pub states_filter: Vec<Str>,
    #[field(versions = "5+")]
    pub types_filter: Vec<Str>,
}

/// The answer to [`ListGroupsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 16, versions = "0-5", flexible = "3+")]
pub struct ListGroupsResponse {
    #[field(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub groups: Vec<ListedGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ListedGroup {
    pub group_id: Str,
    pub protocol_type: Str,
    #[field(versions = "4+", ignorable)]
    pub group_state: Str,
    #[field(versions = "5+", ignorable)]
    pub group_type: Str,
}
