//! The node: broker and controller in one process, their APIs, and the wiring between the pure cores.

pub mod api;
pub mod broker;
pub mod clock;
pub mod config;
pub mod controller;
pub mod environment;
mod loops;
pub mod metadata;
pub mod network;
pub mod node;
pub mod quorum;
pub mod random;
pub mod rpc;
pub mod storage;
mod watch;
