//! ListConfigResources, API key 74.
//!
//! Versions:
//! - 0: client metrics only, as ListClientMetricsResources
//! - 1: resources of all types

use crate::{Message, Str};

/// Lists the resources that have configuration; version 0 knew client metrics only.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesRequest {
    #[field(versions = "1+")]
    pub resource_types: Vec<i8>,
}

/// The answer to [`ListConfigResourcesRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 74, versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub config_resources: Vec<ConfigResource>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ConfigResource {
    pub resource_name: Str,
    #[field(versions = "1+", default = 16, ignorable)]
    pub resource_type: i8,
}
