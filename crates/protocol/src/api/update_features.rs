//! UpdateFeatures, API key 57.
//!
//! Versions:
//! - 1: `ValidateOnly`, `UpgradeType`
//! - 2: without a result per feature

use crate::{Message, Str};

/// Finalizes feature levels of the cluster.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesRequest {
    #[field(default = 60000, name = "timeoutMs")]
    pub timeout_ms: i32,
    pub feature_updates: Vec<FeatureUpdateKey>,
    #[field(versions = "1+")]
    pub validate_only: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct FeatureUpdateKey {
    pub feature: Str,
    pub max_version_level: i16,
    #[field(versions = "0")]
    pub allow_downgrade: bool,
    #[field(versions = "1+", default = 1)]
    pub upgrade_type: i8,
}

/// The answer to [`UpdateFeaturesRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 57, versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
    #[field(versions = "0-1", ignorable)]
    pub results: Vec<UpdatableFeatureResult>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct UpdatableFeatureResult {
    pub feature: Str,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
