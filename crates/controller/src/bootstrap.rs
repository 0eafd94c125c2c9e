//! The first records of a cluster.

use ottla_metadata::features::{METADATA_VERSION, MetadataVersion};
use ottla_protocol::Str;
use ottla_protocol::records::metadata::{FeatureLevelRecord, MetadataRecord};

/// The records that formatting left, or, where it left none, the newest metadata.version.
pub fn bootstrap_or_default(records: &[MetadataRecord]) -> Vec<MetadataRecord> {
    if !records.is_empty() {
        return records.to_vec();
    }
    let (name, feature_level) = (Str::from(METADATA_VERSION), MetadataVersion::LATEST.0);
    vec![MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level })]
}
