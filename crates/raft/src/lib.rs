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
//! # How a driver uses it
//!
//! ```text
//! let mut raft = Raft::new(config, quorum-state, shape of the log, voters in the log)?;
//! perform(raft.step(now, Event::Start));
//! loop {
//!     wait for: a request, an answer, a finished sync, proposals, or raft.deadline()
//!     perform(raft.step(now, event));
//! }
//! ```
//!
//! `perform` does what [`Actions`] say, in the order of their fields, and may do it while it goes on with other events,
//! as long as each kind stays in order: appends and truncations reach the log as ordered, requests to one destination
//! leave as ordered. The machine itself holds back whatever promises something that is not yet [`Event::Stored`] or
//! [`Event::Flushed`], so a driver never has to know what waits for what. A driver that writes at once says `Stored`
//! in the next call; it syncs the log when it likes, and says `Flushed` then.
//!
//! *Requests to other nodes* ([`Actions::requests`]) carry a [`RequestId`] and a [`Destination`]: a node at its
//! address, or a bootstrap server, of which only the address is known. There is at most one under way to a
//! destination. Each is answered by exactly one [`Event::Answered`], with the [`Response`] or why there is none; a
//! request is given up after `controller.quorum.request.timeout.ms`. The machine itself waits and tries again.
//!
//! *Requests from other nodes* come as [`Event::Request`] with a [`Token`] that the answer carries in
//! [`Actions::answers`], at once or later: a fetch waits for data, a voter change until it is committed. An answer
//! whose connection is gone is dropped. After the node has stopped there are none.
//!
//! *Records* never pass through. A follower's driver parses what a fetch brought into [`FetchedBatch`]es, calls `step`
//! and writes as many of them as [`Actions::take`] says. A leader's driver fills [`Content::Read`] from its log when
//! it encodes the answer. Snapshots likewise: [`FetchedSnapshot`] says which bytes, the driver reads or writes them.
//!
//! After each step a driver looks at [`Raft::role`], [`Raft::epoch`] and [`Raft::leader`] to see whether leadership has
//! moved. A new leader's own service may start to propose once it has seen everything below [`Raft::epoch_start`]
//! committed.

mod config;
mod control;
mod event;
mod leader;
mod log;
mod machine;
mod message;
mod peers;
mod quorum_state;
mod random;
#[cfg(test)]
mod tests;
mod voters;

pub use config::{Address, Identity, Part, RaftConfig};
pub use control::ControlRecord;
pub use event::{
    Actions, Append, Body, Event, Fault, Outgoing, RequestId, SnapshotPiece, SnapshotProgress, Token,
};
pub use leader::Progress;
pub use log::{LogPosition, LogShape};
pub use machine::{Raft, Replicas, Role, StartError};
pub use message::{
    AddVoter, AnswerWhen, Ballot, BeginQuorumEpoch, Content, Destination, EndQuorumEpoch, Failure, Fetch,
    FetchSnapshot, Fetched, FetchedBatch, FetchedSnapshot, Leadership, Request, Response, ResponseBody,
    UpdateVoter, Vote,
};
pub use quorum_state::QuorumState;
pub use voters::{Endpoint, ReplicaKey, VersionRange, Voter, VoterHistory, VoterSet};
