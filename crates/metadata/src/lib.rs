//! What the cluster knows about itself: metadata records become a delta, a delta and an image the next image.
//!
//! Also the table of feature levels and the table of configs, as both are facts that records are checked
//! against. Pure: no I/O, clock or randomness. Must not know who decides (controller) or who acts (server).

mod delta;
mod image;

pub mod configs;
pub mod features;

pub use delta::{MetadataChanges, MetadataDelta, ReplayError, TopicChange, TopicChangeKind};
pub use image::{
    Acl, AclsImage, BrokerRegistration, ClientQuotasImage, ClusterImage, ConfigResource, ConfigsImage,
    ControllerRegistration, DelegationToken, DelegationTokensImage, FeaturesImage, LeaderRecoveryState,
    Listener, MetadataImage, PartitionRegistration, ProducerIdsImage, Provenance, QuotaEntity,
    ScramCredential, ScramImage, SupportedRange, TopicImage, TopicsImage, WriteOptions,
};
