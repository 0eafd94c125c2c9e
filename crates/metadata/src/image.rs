//! The image: everything the records have said so far, immutable and cheap to clone.
//!
//! One file per aggregate: what it holds, how a record changes it, which records write it down again.
//! Invariants: writing an image and replaying that gives the same image; text and bytes share nothing with the
//! frames they came in.

mod acls;
mod client_quotas;
mod cluster;
mod configs;
mod delegation_tokens;
mod features;
mod producer_ids;
mod scram;
mod topics;

pub use acls::{Acl, AclsImage};
pub use client_quotas::{ClientQuotasImage, QuotaEntity};
pub use cluster::{BrokerRegistration, ClusterImage, ControllerRegistration, Listener, SupportedRange};
pub use configs::{ConfigResource, ConfigsImage};
pub use delegation_tokens::{DelegationToken, DelegationTokensImage};
pub use features::FeaturesImage;
pub use producer_ids::ProducerIdsImage;
pub use scram::{ScramCredential, ScramImage};
pub use topics::{LeaderRecoveryState, PartitionRegistration, TopicImage, TopicsImage};

use ottla_model::{Millis, Offset};
use ottla_protocol::records::metadata::MetadataRecord;

use crate::features::MetadataVersion;

/// Up to where an image has read, and when that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Offset of the last record that is contained; -1 for none.
    pub offset: Offset,
    /// Leader epoch of that record; -1 for none.
    pub epoch: i32,
    /// Timestamp of that record's batch; -1 for none.
    pub time: Millis,
}

impl Provenance {
    pub const NONE: Self = Self { offset: Offset::NONE, epoch: -1, time: Millis::NONE };
}

/// All of a cluster's metadata at one offset.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataImage {
    pub provenance: Provenance,
    pub features: FeaturesImage,
    pub cluster: ClusterImage,
    pub topics: TopicsImage,
    pub configs: ConfigsImage,
    pub client_quotas: ClientQuotasImage,
    pub producer_ids: ProducerIdsImage,
    pub acls: AclsImage,
    pub scram: ScramImage,
    pub delegation_tokens: DelegationTokensImage,
}

impl Default for MetadataImage {
    fn default() -> Self {
        Self {
            provenance: Provenance::NONE,
            features: FeaturesImage::default(),
            cluster: ClusterImage::default(),
            topics: TopicsImage::default(),
            configs: ConfigsImage::default(),
            client_quotas: ClientQuotasImage::default(),
            producer_ids: ProducerIdsImage::default(),
            acls: AclsImage::default(),
            scram: ScramImage::default(),
            delegation_tokens: DelegationTokensImage::default(),
        }
    }
}

/// How to write an image down.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// The level whose record versions are used; what they cannot hold is left out.
    pub metadata_version: MetadataVersion,
}

impl MetadataImage {
    /// The finalized metadata.version, or the lowest before one is.
    pub fn metadata_version(&self) -> MetadataVersion {
        self.features.metadata_version().unwrap_or(MetadataVersion::MIN)
    }

    /// The records of a snapshot, in Kafka's order; [`MetadataVersion::record_version`] tells their versions.
    pub fn write(&self, options: &WriteOptions) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        self.features.write(options, &mut records);
        self.cluster.write(options, &mut records);
        self.topics.write(options, &mut records);
        self.configs.write(&mut records);
        self.client_quotas.write(&mut records);
        self.producer_ids.write(&mut records);
        self.acls.write(&mut records);
        if options.metadata_version.supports_scram() {
            self.scram.write(&mut records);
        }
        if options.metadata_version.supports_delegation_tokens() {
            self.delegation_tokens.write(&mut records);
        }
        records
    }
}
