//! The server crate from outside, on real files.

mod cluster;
mod cluster_apis;
mod configs;
mod golden_metadata;
mod node;
mod offline_dirs;
mod quorum;
mod quorum_crash;
mod replicas;
mod replication;
mod rpc;
mod storage;
