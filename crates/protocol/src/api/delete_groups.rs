//! DeleteGroups, API key 42.
//!
//! Versions:
//! - 2: flexible
//! - 3: `ErrorMessage` of each group; may answer GROUP_DELETION_FAILED

use crate::{Message, Str};

/// Deletes empty groups.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 42, versions = "0-3", flexible = "2+")]
pub struct DeleteGroupsRequest {
    pub groups_names: Vec<Str>,
}

/// The answer to [`DeleteGroupsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 42, versions = "0-3", flexible = "2+")]
pub struct DeleteGroupsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<DeletableGroupResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DeletableGroupResult {
    pub group_id: Str,
    pub error_code: i16,
    #[field(versions = "3+", ignorable)]
    pub error_message: Option<Str>,
}
