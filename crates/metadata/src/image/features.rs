//! Finalized feature levels.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_protocol::records::metadata::{FeatureLevelRecord, MetadataRecord};

use super::WriteOptions;
use crate::ReplayError;
use crate::features::{KRAFT_VERSION, METADATA_VERSION, MetadataVersion, SupportedFeature};

/// Levels by feature name; a feature that is not there has level 0. kraft.version is not kept here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeaturesImage {
    finalized: OrdMap<Arc<str>, i16>,
}

impl FeaturesImage {
    /// `None` as long as the log has not told one.
    pub fn metadata_version(&self) -> Option<MetadataVersion> {
        self.finalized.get(METADATA_VERSION).copied().map(MetadataVersion)
    }

    /// The finalized level, 0 when there is none.
    pub fn level(&self, name: &str) -> i16 {
        self.finalized.get(name).copied().unwrap_or(0)
    }

    /// All features with a level, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i16)> {
        self.finalized.iter().map(|(name, level)| (&**name, *level))
    }

    /// Fails for a level that this software does not run; features unknown to it are kept.
    pub(crate) fn replay(&mut self, record: &FeatureLevelRecord) -> Result<(), ReplayError> {
        let name: &str = &record.name;
        if name == KRAFT_VERSION {
            return Ok(());
        }
        if let Some(feature) = SupportedFeature::named(name)
            && !feature.supports(record.feature_level)
        {
            return Err(ReplayError::UnsupportedFeatureLevel {
                name: name.to_owned(),
                level: record.feature_level,
                min: feature.min,
                max: feature.max,
            });
        }
        match record.feature_level {
            0 => drop(self.finalized.remove(name)),
            level => drop(self.finalized.insert(name.into(), level)),
        }
        Ok(())
    }

    pub(super) fn write(&self, options: &WriteOptions, records: &mut Vec<MetadataRecord>) {
        let mut level = |name: &str, level: i16| {
            records.push(FeatureLevelRecord { name: name.into(), feature_level: level }.into());
        };
        if self.finalized.contains_key(METADATA_VERSION) {
            level(METADATA_VERSION, options.metadata_version.0);
        }
        self.iter().filter(|(name, _)| *name != METADATA_VERSION).for_each(|(name, at)| level(name, at));
    }
}
