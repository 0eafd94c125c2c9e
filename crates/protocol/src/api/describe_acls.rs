//! DescribeAcls, API key 29.
//!
//! Versions:
//! - 1: pattern types
//! - 2: flexible
//! - 3: users as resources

use crate::{Message, Str};

/// Lists the ACLs that match a filter.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 29, versions = "1-3", flexible = "2+")]
pub struct DescribeAclsRequest {
    pub resource_type_filter: i8,
    pub resource_name_filter: Option<Str>,
    #[field(default = 3)]
    pub pattern_type_filter: i8,
    pub principal_filter: Option<Str>,
    pub host_filter: Option<Str>,
    pub operation: i8,
    pub permission_type: i8,
}

/// The answer to [`DescribeAclsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 29, versions = "1-3", flexible = "2+")]
pub struct DescribeAclsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub resources: Vec<DescribeAclsResource>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeAclsResource {
    pub resource_type: i8,
    pub resource_name: Str,
    #[field(default = 3)]
    pub pattern_type: i8,
    pub acls: Vec<AclDescription>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AclDescription {
    pub principal: Str,
    pub host: Str,
    pub operation: i8,
    pub permission_type: i8,
}
