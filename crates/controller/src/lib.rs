//! The controller's decisions: a request and the metadata give records and a response.
//!
//! Owns the rules by which topics, partitions, brokers, configs, features and producer ids change, and the only state
//! that is not in the metadata log: the brokers' sessions. Must not know sockets, the quorum, or time and randomness
//! other than as arguments.
//!
//! Invariants:
//! - A decision reads the image and returns records; it changes nothing. The records change the image when replayed,
//!   here and on every other node, the same way.
//! - The records of one decision are one atomic batch.
//! - Error codes and messages are Apache Kafka's.

mod bootstrap;
mod client_quotas;
mod cluster;
mod configs;
mod controller;
mod directories;
mod features;
mod heartbeats;
mod outcome;
mod partition_change;
mod placement;
mod producer_ids;
mod random;
mod reassignment;
mod replication;
mod state;
mod topic_names;
mod topics;

pub use bootstrap::bootstrap_or_default;
pub use controller::{Controller, ELECTIONS_PER_ROUND, RECORDS_PER_BATCH_MAX, TOO_MANY_RECORDS};
pub use features::{FeatureOutcome, kraft_version_refused};
pub use heartbeats::LOST_SESSION_PART;
pub use outcome::{Outcome, Refusal};
pub use placement::{PlacementError, UsableBroker, place};
pub use producer_ids::BLOCK_LEN as PRODUCER_ID_BLOCK_LEN;
pub use random::Random;
pub use state::ControllerConfig;
pub use topic_names::invalid_reason as invalid_topic_name;

pub(crate) use state::State;
