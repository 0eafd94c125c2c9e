//! Plain values that every other crate speaks in: ids, epochs, offsets, time, and Kafka's error codes.
//!
//! Owns no behaviour beyond conversions and text forms. Must not know any other crate, and has no I/O,
//! clock or randomness.

mod config_resource;
mod error_code;
mod ids;
mod offset;
pub mod properties;
mod uuid;

pub use config_resource::ConfigResourceType;
pub use error_code::ErrorCode;
pub use ids::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, ProducerEpoch, ProducerId, TopicPartition};
pub use offset::{Millis, Offset};
pub use uuid::{ParseUuidError, Uuid};
