//! What nodes say to each other. Plain values: the shell maps them to and from Kafka's requests, checks cluster id and
//! shape (one topic, one partition) before it hands one in, and fills in bytes of records and snapshots.

use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch, NodeId, Offset};

use crate::{ControlRecord, Endpoint, LogPosition, ReplicaKey, VersionRange, Voter};

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// The node expected there; `None` for a bootstrap server.
    pub node: Option<NodeId>,
    pub host: String,
    pub port: u16,
}

/// A request and its API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// 52
    Vote(Vote),
    /// 53
    BeginQuorumEpoch(BeginQuorumEpoch),
    /// 54
    EndQuorumEpoch(EndQuorumEpoch),
    /// 1
    Fetch(Fetch),
    /// 59
    FetchSnapshot(FetchSnapshot),
    /// 80
    AddVoter(AddVoter),
    /// 81
    RemoveVoter(ReplicaKey),
    /// 82
    UpdateVoter(UpdateVoter),
    /// 18: which `kraft.version`s does the node support? Only ever sent.
    ApiVersions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    pub kind: Ballot,
    /// The candidate's epoch: bumped already by a candidate, not by one who asks beforehand.
    pub epoch: LeaderEpoch,
    pub candidate: ReplicaKey,
    /// Whom the candidate believes it asks; `None` where the version cannot say.
    pub voter: Option<ReplicaKey>,
    pub log_end: LogPosition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// Would you vote for me? (KIP-996). A peer that cannot be asked is [`Failure::UnsupportedVersion`].
    PreVote,
    Vote,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginQuorumEpoch {
    pub epoch: LeaderEpoch,
    pub leader: NodeId,
    pub voter: Option<ReplicaKey>,
    /// All of the leader's; empty where the version cannot say.
    pub endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndQuorumEpoch {
    pub epoch: LeaderEpoch,
    pub leader: NodeId,
    /// The best successor first; directories are zero where the version cannot say.
    pub preferred: Vec<ReplicaKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Id -1: a reader that is no replica.
    pub replica: ReplicaKey,
    pub epoch: LeaderEpoch,
    /// Where the replica's log ends (FetchOffset, LastFetchedEpoch).
    pub position: LogPosition,
    /// -1 where the replica knows none; [`Offset::MAX`] where the version cannot say.
    pub high_watermark: Offset,
    pub wait_ms_max: i64,
    pub bytes_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchSnapshot {
    pub replica: ReplicaKey,
    pub epoch: LeaderEpoch,
    pub snapshot: LogPosition,
    pub position: i64,
    pub bytes_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddVoter {
    pub key: ReplicaKey,
    pub endpoints: Vec<Endpoint>,
    pub answer: AnswerWhen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerWhen {
    /// Everything before version 1.
    Committed,
    Appended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateVoter {
    pub epoch: LeaderEpoch,
    pub voter: Voter,
}

/// Who leads, as far as the answering node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    /// The leader's, as far as known. Going out, the shell sends the one of the listener that the request came in on
    /// (NodeEndpoints); coming in, it is under the name of [`crate::RaftConfig::listener`].
    pub endpoints: Arc<[Endpoint]>,
}

/// The answer to a request. With an error the body is the request's own with nothing in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub error: ErrorCode,
    /// Of AddRaftVoter and RemoveRaftVoter.
    pub message: Option<String>,
    /// Of all but AddRaftVoter, RemoveRaftVoter and ApiVersions, which do not carry it.
    pub leadership: Leadership,
    pub body: ResponseBody,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    Vote { granted: bool },
    BeginQuorumEpoch,
    EndQuorumEpoch,
    Fetch(Fetched),
    FetchSnapshot(FetchedSnapshot),
    AddVoter,
    RemoveVoter,
    UpdateVoter,
    ApiVersions { kraft_version: Option<VersionRange> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// -1 where the leader knows none.
    pub high_watermark: Offset,
    pub log_start: Offset,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Going out: the shell adds what its log holds from here on, synced or not, at least one batch if there is one.
    /// A `bytes_max` of 0: nothing.
    Read { from: Offset, bytes_max: u32 },
    /// Coming in: the batches that arrived, checksums verified, in order.
    Batches(Vec<FetchedBatch>),
    /// The logs part here.
    Diverging(LogPosition),
    /// The log begins later: fetch this snapshot.
    Snapshot(LogPosition),
}

/// A batch as far as the quorum cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedBatch {
    pub base: Offset,
    /// The offset after its last record.
    pub end: Offset,
    pub epoch: LeaderEpoch,
    /// The records of a control batch that the quorum knows, each at its offset.
    pub control: Vec<(Offset, ControlRecord)>,
}

/// A piece of a snapshot. Going out without an error, `size` and `bytes` are the shell's to fill in: it reads up to the
/// request's `bytes_max` at `position`, or makes it SNAPSHOT_NOT_FOUND or POSITION_OUT_OF_RANGE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedSnapshot {
    pub snapshot: LogPosition,
    pub position: i64,
    /// Going out: the most to send; coming in: how many there are.
    pub bytes: u32,
    /// Of the whole snapshot.
    pub size: i64,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, a lost one, or no answer within `controller.quorum.request.timeout.ms`.
    Unreachable,
    /// The peer knows no version of the request that can say it.
    UnsupportedVersion,
}
