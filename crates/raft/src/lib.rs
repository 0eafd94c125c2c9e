//! The KRaft quorum as a step machine.
//!
//! [`Raft::step`] takes the time and an [`Event`] and returns [`Actions`]: what to write to `quorum-state`, what to
//! append to the log, how far the log is committed. A finished disk write is an event like any other, so nothing
//! here ever waits. The driver around it (in the server crate) owns files, sockets and the clock.
//!
//! Must not know the wire protocol, record encoding, disks, or what the records mean.
//!
//! Invariants:
//! - An epoch is stored before anything is appended or answered in it.
//! - A node leads an epoch at most once: every start takes a new one.
//! - The high watermark never decreases, and moves only over what is synced on a majority of the voters and only
//!   once a record of the leader's own epoch is among it.
//! - The latest voter set counts as soon as it is appended, committed or not; truncating the log rolls it back.
//!
//! Today the machine elects itself where it is the only voter and refuses to start elsewhere; voters are sets,
//! progress is kept per replica, and the high watermark is a majority's, so that more voters are more events.

mod control;
mod leader;
mod machine;
mod quorum_state;
mod voters;

pub use control::ControlRecord;
pub use leader::Progress;
pub use machine::{Actions, Append, Body, Event, Identity, LogPosition, Raft, Replicas, Role, StartError};
pub use quorum_state::QuorumState;
pub use voters::{Endpoint, ReplicaKey, VersionRange, Voter, VoterHistory, VoterSet};
