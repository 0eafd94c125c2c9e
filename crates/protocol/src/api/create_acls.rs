//! CreateAcls, API key 30.
//!
//! Versions are as in DescribeAcls.

use crate::{Message, Str};

/// Creates ACLs.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 30, versions = "1-3", flexible = "2+")]
pub struct CreateAclsRequest {
    pub creations: Vec<AclCreation>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AclCreation {
    pub resource_type: i8,
    pub resource_name: Str,
    #[field(default = 3)]
    pub resource_pattern_type: i8,
    pub principal: Str,
    pub host: Str,
    pub operation: i8,
    pub permission_type: i8,
}

/// The answer to [`CreateAclsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 30, versions = "1-3", flexible = "2+")]
pub struct CreateAclsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<AclCreationResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AclCreationResult {
    pub error_code: i16,
    pub error_message: Option<Str>,
}
