//! What goes into the coordinator and what comes out.

use bytes::Bytes;
use ottla_model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use ottla_protocol::Str;
use ottla_protocol::api::delete_groups::DeletableGroupResult;
use ottla_protocol::api::describe_groups::DescribedGroup;
use ottla_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupResponse};
use ottla_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use ottla_protocol::api::list_groups::{ListGroupsRequest, ListedGroup};
use ottla_protocol::api::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use ottla_protocol::api::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use ottla_protocol::api::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchResponseGroup};
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};

/// Names a waiting request; chosen by the caller, handed back with the answer. Every request is answered once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Names an append until it is committed or has failed; ascending in the order of appends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AppendId(pub u64);

/// Who sent a request.
#[derive(Clone, Debug, Default)]
pub struct ClientContext {
    /// Version of the request; some answers depend on it.
    pub version: i16,
    /// From the request header; empty if absent.
    pub client_id: Str,
    /// The peer's address in Java's form, such as `/127.0.0.1`.
    pub client_host: Str,
}

/// Something that happened.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "requests are the common case, and a box would cost an allocation each"
)]
pub enum Event {
    /// A client asks; its answer comes under `ticket`, at once or later.
    Request { ticket: Ticket, context: ClientContext, request: Request },
    /// The append and everything before it is committed; its first record has `base_offset`.
    Committed { append: AppendId, base_offset: Offset },
    /// The append was refused and nothing of it is in the log.
    AppendFailed { append: AppendId, error: ErrorCode },
    /// Time has passed; due at [`GroupCoordinator::next_deadline`](crate::GroupCoordinator::next_deadline).
    Tick,
    /// These topics are gone: their offsets are removed.
    TopicsDeleted { topics: Vec<Str> },
    /// The partition moves away: everyone who waits is told to look for the new coordinator.
    Unload,
}

/// A request for groups of this coordinator's partition. Requests of several groups are split by the caller.
#[derive(Debug)]
pub enum Request {
    /// `member_uuid`: 16 random bytes, used if a member id has to be made.
    JoinGroup {
        request: JoinGroupRequest,
        member_uuid: [u8; 16],
    },
    SyncGroup(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    /// Versions 0-2 name one member: the caller moves it to `members`.
    LeaveGroup(LeaveGroupRequest),
    DescribeGroups(Vec<Str>),
    ListGroups(ListGroupsRequest),
    DeleteGroups(Vec<Str>),
    /// Only with topics that exist, with name and topic id filled in.
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch {
        group: OffsetFetchRequestGroup,
        require_stable: bool,
    },
    OffsetDelete(OffsetDeleteRequest),
}

/// The answer to the [`Request`] of the same name.
#[derive(Clone, PartialEq, Debug)]
pub enum Response {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    DescribeGroups(Vec<DescribedGroup>),
    ListGroups(Vec<ListedGroup>),
    DeleteGroups(Vec<DeletableGroupResult>),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponseGroup),
    OffsetDelete(OffsetDeleteResponse),
}

impl Response {
    /// Turns an answer that could not be made durable into one that says so.
    pub(crate) fn into_failure(mut self, error: ErrorCode) -> Self {
        let code = error.code();
        match &mut self {
            Self::OffsetCommit(response) => {
                for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.error_code = code;
                }
            }
            Self::LeaveGroup(response) => {
                *response = LeaveGroupResponse { error_code: code, ..Default::default() };
            }
            Self::OffsetDelete(response) => {
                *response = OffsetDeleteResponse { error_code: code, ..Default::default() };
            }
            Self::DeleteGroups(results) => {
                for result in results {
                    result.error_code = code;
                }
            }
            Self::JoinGroup(response) => response.error_code = code,
            Self::SyncGroup(response) => response.error_code = code,
            Self::Heartbeat(response) => response.error_code = code,
            Self::OffsetFetch(response) => response.error_code = code,
            Self::DescribeGroups(_) | Self::ListGroups(_) => {}
        }
        self
    }
}

/// What the shard has to do after a step, in this order.
#[derive(Debug, Default)]
pub struct Actions {
    /// Each is to be written as one batch, in order; the outcome comes back as [`Event::Committed`] or
    /// [`Event::AppendFailed`], commits in the order of the appends.
    pub appends: Vec<Append>,
    pub replies: Vec<(Ticket, Response)>,
}

/// One atomic batch for the coordinator's partition, with the time of the step as timestamp of every record.
#[derive(Debug)]
pub struct Append {
    pub id: AppendId,
    /// Set for offsets committed in a transaction: the batch is transactional. Else producer id -1; the base
    /// sequence is 0 in both cases.
    pub producer: Option<(ProducerId, ProducerEpoch)>,
    pub records: Vec<Record>,
}

/// A record of `__consumer_offsets`; without a value it is a tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub key: Bytes,
    pub value: Option<Bytes>,
}
