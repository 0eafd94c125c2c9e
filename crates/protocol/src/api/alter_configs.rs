//! AlterConfigs, API key 33.
//!
//! Versions:
//! - 2: flexible

use crate::{Message, Str};

/// Replaces the whole configuration of resources; superseded by IncrementalAlterConfigs.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 33, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsRequest {
    pub resources: Vec<AlterConfigsResource>,
    pub validate_only: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterConfigsResource {
    pub resource_type: i8,
    pub resource_name: Str,
    pub configs: Vec<AlterableConfig>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterableConfig {
    pub name: Str,
    pub value: Option<Str>,
}

/// The answer to [`AlterConfigsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 33, versions = "0-2", flexible = "2+")]
pub struct AlterConfigsResponse {
    pub throttle_time_ms: i32,
    pub responses: Vec<AlterConfigsResourceResponse>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct AlterConfigsResourceResponse {
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub resource_type: i8,
    pub resource_name: Str,
}
