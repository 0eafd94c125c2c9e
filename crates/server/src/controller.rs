//! The controller role: the thread that owns quorum and decisions, and the ways on which requests reach it.

pub mod client;
mod event_loop;
mod handle;
mod leadership;
pub mod registration;
mod start;
mod stepped;
mod syncer;

pub use client::ControllerClient;
pub use event_loop::Fault;
pub use handle::{ControllerError, ControllerHandle, QuorumInfo, QuorumLeader};
pub use start::{Options, Running, StartError, start};
pub use stepped::Stepped;
