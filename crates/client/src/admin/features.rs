//! Feature levels of the cluster, such as `metadata.version`.

use std::collections::BTreeMap;

use ottla_protocol::api::api_versions::ApiVersionsResponse;
use ottla_protocol::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::{Admin, checked};
use crate::client::{Target, probe};
use crate::error::{Error, Result};

/// What a broker can and the cluster does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// The lowest and the highest level that the broker asked knows, by feature.
    pub supported: BTreeMap<String, (i16, i16)>,
    /// The level in force, by feature; a feature that is off is not there.
    pub finalized: BTreeMap<String, i16>,
    /// The metadata offset at which this held; `None` from brokers that do not know yet.
    pub epoch: Option<i64>,
}

/// In which direction a level may go, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// Up only.
    Upgrade = 1,
    /// Down, unless metadata would be lost.
    SafeDowngrade = 2,
    /// Down, whatever is lost.
    UnsafeDowngrade = 3,
}

/// A level that is to be in force; 0 turns the feature off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Its name, such as `metadata.version`.
    pub feature: String,
    /// What is to be in force.
    pub level: i16,
    /// Which way it may go; any other way is an error.
    pub upgrade: UpgradeType,
}

impl Admin {
    /// What some broker supports, and what is in force.
    pub async fn describe_features(&self) -> Result<Features> {
        let check = |answer: &ApiVersionsResponse| checked(answer.error_code);
        let answer = self.ask(Target::Any, probe(), check).await?;
        let supported = answer
            .supported_features
            .into_iter()
            .map(|feature| (feature.name.as_str().to_owned(), (feature.min_version, feature.max_version)));
        let finalized = answer
            .finalized_features
            .into_iter()
            .map(|feature| (feature.name.as_str().to_owned(), feature.max_version_level));
        Ok(Features {
            supported: supported.collect(),
            finalized: finalized.collect(),
            epoch: (answer.finalized_features_epoch >= 0).then_some(answer.finalized_features_epoch),
        })
    }

    /// Changes levels, all or none; with `validate_only` it is only said whether that can be.
    pub async fn update_features(&self, updates: &[FeatureUpdate], validate_only: bool) -> Result<()> {
        let updates = updates.iter().map(|update| FeatureUpdateKey {
            feature: update.feature.as_str().into(),
            max_version_level: update.level,
            allow_downgrade: false,
            upgrade_type: update.upgrade as i8,
        });
        let request = UpdateFeaturesRequest {
            timeout_ms: self.timeout_ms(),
            feature_updates: updates.collect(),
            validate_only,
        };
        let check = |answer: &UpdateFeaturesResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())?;
            let mut features = answer.results.iter();
            features
                .try_for_each(|feature| Error::check(feature.error_code, feature.error_message.as_deref()))
        };
        self.ask(Target::Controller, request, check).await.map(drop)
    }
}
