//! The controller role: the thread that owns quorum and decisions, and the handle by which requests reach it.

mod event_loop;
mod handle;

pub use event_loop::{Options, Running, StartError, start};
pub use handle::{ControllerError, ControllerHandle, QuorumInfo};
