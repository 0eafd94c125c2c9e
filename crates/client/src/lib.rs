//! A Kafka client that works against Ottla and Apache Kafka alike.
//!
//! Settings take Kafka's names ([`ClientConfig`]); a [`Client`] is the network handle that everything else uses. All
//! sockets and timers of a client live on one thread of its own: async functions here run on any executor, and
//! [`blocking`] has the same for programs without one.
//!
//! The crate is a shell around plain state: the modules of `state` decide and know no sockets, tasks or clocks; what is
//! beside them does the I/O.
//!
//! Versions are those of the workspace and follow semantic versioning. What a release changes in the public API is
//! compared with the one before by `cargo semver-checks -p ottla-client`, against the version in the registry, or
//! against a commit with `--baseline-rev`.

#![warn(missing_docs)]

pub mod admin;
pub mod blocking;
pub mod client;
pub mod config;
pub mod consumer;
mod error;
pub mod producer;
mod record;
mod state;

pub use admin::Admin;
pub use client::{CallOptions, Client, CoordinatorKey, Lane, Peers, Target};
pub use config::{ClientConfig, ConfigError};
pub use consumer::{Consumer, ConsumerRecord, RecordRef, RecordStream, Records};
pub use error::{Error, Result};
pub use ottla_model as model;
pub use ottla_protocol as protocol;
pub use producer::{Choice, Partitioner, Producer, Receipt, TrySendError};
pub use record::{Header, Record, RecordMetadata};
pub use state::metadata;
