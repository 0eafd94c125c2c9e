//! What goes into the step machine and what comes out.

use ottla_model::{LeaderEpoch, Offset};

use crate::{ControlRecord, Destination, Failure, LogPosition, QuorumState, Request, Response};

/// Names a request that came in, until it is answered. The shell chooses it, a new one each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Names a request that went out, until its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node is up; comes first, once.
    Start,
    /// [`crate::Raft::deadline`] has passed. Early or late is harmless.
    Tick,
    /// An [`Actions::store`] is on disk. Comes once for each, in order; an earlier one may be left unwritten when a
    /// later one is.
    Stored,
    /// Everything of the log below `end` is on disk. Never of a sync that began before a truncation. Owed whenever
    /// [`crate::Raft::flushed`] is below [`crate::Raft::end`].
    Flushed { end: Offset },
    /// The node's own service wants this many records appended as one batch.
    Propose { records: u32 },
    /// Another node, or a tool, asks. Answered exactly once, maybe much later.
    Request { token: Token, request: Request },
    /// What became of a request. Comes exactly once for each of [`Actions::requests`].
    Answered { id: RequestId, result: Result<Response, Failure> },
    /// The last piece of a snapshot is written and synced under its name, and the log is empty and begins at its end.
    /// `control` are the quorum's records in it.
    SnapshotInstalled { snapshot: LogPosition, control: Vec<ControlRecord> },
    /// Snapshots were made or removed, or the log's start moved. `snapshots` are all there are, oldest first, without
    /// the one that formatting wrote.
    SnapshotsChanged { log_start: Offset, snapshots: Vec<LogPosition> },
    /// The `kraft.version` feature is to become this.
    SetKRaftVersion(i16),
    /// Stop leading, in this epoch for good. The node takes part in the next election.
    Resign,
    /// The node stops: a leader resigns and does not stand again. See [`crate::Raft::may_stop`].
    Shutdown,
}

/// What to do, in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Actions {
    /// Write and sync this, then say [`Event::Stored`]. What depends on it comes out of that step, so a driver may
    /// store at its leisure and go on with other events meanwhile.
    pub store: Option<QuorumState>,
    /// Remove everything from this offset on.
    pub truncate: Option<Offset>,
    /// Append these batches, say [`Event::Flushed`] when they are synced.
    pub append: Vec<Append>,
    /// Append the first so many batches of the response that is being handled, byte by byte, and leave the rest; say
    /// [`Event::Flushed`] when they are synced.
    pub take: usize,
    /// The piece of a snapshot in the response that is being handled belongs into the file of that snapshot.
    pub snapshot: Option<SnapshotPiece>,
    /// Everything below is committed.
    pub high_watermark: Option<Offset>,
    pub answers: Vec<(Token, Response)>,
    pub requests: Vec<Outgoing>,
    /// The node must stop at once; nothing else of this step is to be done.
    pub fault: Option<Fault>,
}

/// One batch to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub base: Offset,
    pub epoch: LeaderEpoch,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Control(Vec<ControlRecord>),
    /// The records of the [`Event::Propose`] that is being answered.
    Proposed {
        records: u32,
    },
}

/// What to do with bytes of a snapshot that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPiece {
    pub snapshot: LogPosition,
    /// 0: begin the file anew.
    pub position: i64,
    pub progress: SnapshotProgress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotProgress {
    More,
    /// Sync the file, give it its name, begin the log anew at its end; then [`Event::SnapshotInstalled`].
    Complete,
}

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub id: RequestId,
    pub to: Destination,
    pub request: Request,
}

/// Why a node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("epoch {epoch} has two leaders, {known} and {other}")]
    TwoLeaders { epoch: LeaderEpoch, known: ottla_model::NodeId, other: ottla_model::NodeId },
    #[error(
        "node {me}, this node's id, already leads epoch {epoch}: another process has it, or this node's metadata \
         directory was emptied while it led"
    )]
    LeadsElsewhere { epoch: LeaderEpoch, me: ottla_model::NodeId },
    #[error("the leader's log parts from this one at {at}, below what is committed, {high_watermark}")]
    CommittedLost { at: Offset, high_watermark: Offset },
    #[error("a peer found a request invalid: {0}")]
    Refused(&'static str),
}
