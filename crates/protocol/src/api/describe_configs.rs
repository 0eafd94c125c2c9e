//! DescribeConfigs, API key 32.
//!
//! Versions:
//! - 1: synonyms and the source of a value
//! - 3: type and documentation of an entry
//! - 4: flexible

use crate::{Message, Str};

/// Reads configuration of topics, brokers, groups and other resources.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsRequest {
    pub resources: Vec<DescribeConfigsResource>,
    pub include_synonyms: bool,
    #[field(versions = "3+")]
    pub include_documentation: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeConfigsResource {
    pub resource_type: i8,
    pub resource_name: Str,
    pub configuration_keys: Option<Vec<Str>>,
}

/// The answer to [`DescribeConfigsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 32, versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<DescribeConfigsResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeConfigsResult {
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub resource_type: i8,
    pub resource_name: Str,
    pub configs: Vec<DescribeConfigsResourceResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeConfigsResourceResult {
    pub name: Str,
    pub value: Option<Str>,
    pub read_only: bool,
    #[field(default = -1)]
    pub config_source: i8,
    pub is_sensitive: bool,
    pub synonyms: Vec<DescribeConfigsSynonym>,
    #[field(versions = "3+", ignorable)]
    pub config_type: i8,
    #[field(versions = "3+", default = empty, ignorable)]
    pub documentation: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribeConfigsSynonym {
    pub name: Str,
    pub value: Option<Str>,
    pub source: i8,
}
