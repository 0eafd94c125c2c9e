//! The controller role: the thread that owns quorum and decisions, and the ways on which requests reach it.

pub mod client;
mod event_loop;
mod handle;
mod leadership;
pub mod registration;
mod start;
mod syncer;

pub use client::ControllerClient;
pub use handle::{ControllerError, ControllerHandle, QuorumInfo, QuorumLeader};
pub use start::{Options, Running, StartError, start};
