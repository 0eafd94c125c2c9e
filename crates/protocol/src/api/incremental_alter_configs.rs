//! IncrementalAlterConfigs, API key 44.
//!
//! Versions:
//! - 1: flexible

use crate::{Message, Str};

/// Sets, deletes, appends to or subtracts from single configuration entries.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 44, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsRequest {
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
    pub config_operation: i8,
    pub value: Option<Str>,
}

/// The answer to [`IncrementalAlterConfigsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 44, versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsResponse {
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
