//! ApiVersions, API key 18.
//!
//! The header of the response is always of version 0.
//!
//! Versions:
//! - 1: `ThrottleTimeMs`
//! - 3: flexible; name and version of the client software
//! - 4: features whose minimum level is 0 are listed
//! - 5: the request may name the node it means: `ClusterId`, `NodeId`

use crate::{Message, Str};

/// Tells which API keys, versions and features a node supports; the first request of most connections.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 18, versions = "0-5", flexible = "3+")]
pub struct ApiVersionsRequest {
    #[field(versions = "3+", ignorable)]
    pub client_software_name: Str,
    #[field(versions = "3+", ignorable)]
    pub client_software_version: Str,
    #[field(versions = "5+", ignorable)]
    pub cluster_id: Option<Str>,
    #[field(versions = "5+", default = -1, ignorable)]
    pub node_id: i32,
}

/// The answer to [`ApiVersionsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 18, versions = "0-5", flexible = "3+")]
pub struct ApiVersionsResponse {
    pub error_code: i16,
    pub api_keys: Vec<ApiVersion>,
    #[field(versions = "1+", ignorable)]
    pub throttle_time_ms: i32,
    #[field(versions = "3+", tag = 0, ignorable)]
    pub supported_features: Vec<SupportedFeatureKey>,
    #[field(versions = "3+", default = -1, tag = 1, ignorable)]
    pub finalized_features_epoch: i64,
    #[field(versions = "3+", tag = 2, ignorable)]
    pub finalized_features: Vec<FinalizedFeatureKey>,
    #[field(versions = "3+", tag = 3, ignorable)]
    pub zk_migration_ready: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct ApiVersion {
    pub api_key: i16,
    pub min_version: i16,
    pub max_version: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct SupportedFeatureKey {
    pub name: Str,
    pub min_version: i16,
    pub max_version: i16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct FinalizedFeatureKey {
    pub name: Str,
    pub max_version_level: i16,
    pub min_version_level: i16,
}
