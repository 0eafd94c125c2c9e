//! What other nodes and tools ask of the quorum, and the answers to them.

use ottla_model::{ErrorCode, LeaderEpoch, NodeId, Offset, Uuid};
use ottla_protocol::api::add_raft_voter::{AddRaftVoterRequest, AddRaftVoterResponse};
use ottla_protocol::api::begin_quorum_epoch::{
    self, BeginQuorumEpochRequest, BeginQuorumEpochResponse, BeginQuorumEpochResponsePartitionData,
    BeginQuorumEpochResponseTopicData,
};
use ottla_protocol::api::end_quorum_epoch::{
    self, EndQuorumEpochRequest, EndQuorumEpochResponse, EndQuorumEpochResponsePartitionData,
    EndQuorumEpochResponseTopicData,
};
use ottla_protocol::api::fetch::{
    self, EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData, SnapshotId,
};
use ottla_protocol::api::fetch_snapshot::{
    self, FetchSnapshotRequest, FetchSnapshotResponse, FetchSnapshotResponsePartitionSnapshot,
    FetchSnapshotResponseSnapshotId, FetchSnapshotResponseTopicSnapshot,
};
use ottla_protocol::api::remove_raft_voter::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use ottla_protocol::api::update_raft_voter::{
    CurrentLeader, UpdateRaftVoterRequest, UpdateRaftVoterResponse,
};
use ottla_protocol::api::vote::{
    self, VoteRequest, VoteResponse, VoteResponsePartitionData, VoteResponseTopicData,
};
use ottla_protocol::{Request, Str};
use ottla_raft::{
    AddVoter, AnswerWhen, Ballot, BeginQuorumEpoch, Content, EndQuorumEpoch, Endpoint, Fetch, FetchSnapshot,
    LogPosition, ReplicaKey, ResponseBody, UpdateVoter, VersionRange, Vote, Voter,
};

use super::{METADATA_TOPIC_ID, Reply, is_metadata_topic};
use ottla_commit_log::METADATA_TOPIC;

/// A request that the quorum answers.
pub trait QuorumRequest: Request {
    fn cluster_id(&self) -> Option<&str>;

    /// `None`: it does not name exactly the one partition of the metadata topic.
    fn read(&self) -> Option<ottla_raft::Request>;

    /// The answer to a request that never reached the quorum.
    fn refused(error: ErrorCode) -> Self::Response;

    /// The quorum's answer to a request of `version` that came in on `listener`.
    fn answer(reply: Reply, listener: &str, version: i16) -> Self::Response;
}

/// The only entry, if there is only one.
fn only<T>(entries: &[T]) -> Option<&T> {
    match entries {
        [entry] => Some(entry),
        _ => None,
    }
}

fn replica(id: i32, directory: Uuid) -> ReplicaKey {
    ReplicaKey::new(NodeId(id), directory)
}

/// Whom a request is meant for; versions that cannot say leave it at -1.
fn voter(id: i32, directory: Uuid) -> Option<ReplicaKey> {
    (id >= 0).then(|| replica(id, directory))
}

fn leader_id(reply: &Reply) -> i32 {
    reply.response.leadership.leader.unwrap_or(NodeId::NONE).0
}

fn leader_epoch(reply: &Reply) -> i32 {
    reply.response.leadership.epoch.0
}

/// Where the leader is reached on `listener`.
fn leader_endpoint<'a>(reply: &'a Reply, listener: &str) -> Option<(NodeId, &'a Endpoint)> {
    let leadership = &reply.response.leadership;
    let endpoint = leadership.endpoints.iter().find(|endpoint| endpoint.listener == listener)?;
    Some((leadership.leader?, endpoint))
}

macro_rules! node_endpoints {
    ($api:ident, $reply:expr, $listener:expr, $allowed:expr $(, $field:ident: $value:expr)?) => {
        leader_endpoint($reply, $listener)
            .filter(|_| $allowed)
            .map(|(id, endpoint)| $api::NodeEndpoint {
                node_id: id.0,
                host: Str::from(&endpoint.host),
                port: endpoint.port.into(),
                $($field: $value,)?
            })
            .into_iter()
            .collect()
    };
}

macro_rules! endpoints {
    ($listeners:expr) => {
        $listeners
            .iter()
            .map(|listener| Endpoint {
                listener: listener.name.to_string(),
                host: listener.host.to_string(),
                port: listener.port,
            })
            .collect()
    };
}

impl QuorumRequest for VoteRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        let topic = only(&self.topics).filter(|topic| is_metadata_topic(&topic.topic_name))?;
        let data = only(&topic.partitions).filter(|data| data.partition_index == 0)?;
        Some(ottla_raft::Request::Vote(Vote {
            kind: if data.pre_vote { Ballot::PreVote } else { Ballot::Vote },
            epoch: LeaderEpoch(data.replica_epoch),
            candidate: replica(data.replica_id, data.replica_directory_id),
            voter: voter(self.voter_id, data.voter_directory_id),
            log_end: LogPosition {
                epoch: LeaderEpoch(data.last_offset_epoch),
                offset: Offset(data.last_offset),
            },
        }))
    }

    fn refused(error: ErrorCode) -> VoteResponse {
        VoteResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, listener: &str, version: i16) -> VoteResponse {
        let partition = VoteResponsePartitionData {
            partition_index: 0,
            error_code: reply.response.error.code(),
            leader_id: leader_id(&reply),
            leader_epoch: leader_epoch(&reply),
            vote_granted: matches!(reply.response.body, ResponseBody::Vote { granted: true }),
        };
        VoteResponse {
            error_code: 0,
            topics: vec![VoteResponseTopicData {
                topic_name: METADATA_TOPIC.into(),
                partitions: vec![partition],
            }],
            node_endpoints: node_endpoints!(vote, &reply, listener, version >= 1),
        }
    }
}

impl QuorumRequest for BeginQuorumEpochRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        let topic = only(&self.topics).filter(|topic| is_metadata_topic(&topic.topic_name))?;
        let data = only(&topic.partitions).filter(|data| data.partition_index == 0)?;
        Some(ottla_raft::Request::BeginQuorumEpoch(BeginQuorumEpoch {
            epoch: LeaderEpoch(data.leader_epoch),
            leader: NodeId(data.leader_id),
            voter: voter(self.voter_id, data.voter_directory_id),
            endpoints: endpoints!(self.leader_endpoints),
        }))
    }

    fn refused(error: ErrorCode) -> BeginQuorumEpochResponse {
        BeginQuorumEpochResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, listener: &str, version: i16) -> BeginQuorumEpochResponse {
        let partition = BeginQuorumEpochResponsePartitionData {
            partition_index: 0,
            error_code: reply.response.error.code(),
            leader_id: leader_id(&reply),
            leader_epoch: leader_epoch(&reply),
        };
        BeginQuorumEpochResponse {
            error_code: 0,
            topics: vec![BeginQuorumEpochResponseTopicData {
                topic_name: METADATA_TOPIC.into(),
                partitions: vec![partition],
            }],
            node_endpoints: node_endpoints!(begin_quorum_epoch, &reply, listener, version >= 1),
        }
    }
}

impl QuorumRequest for EndQuorumEpochRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        let topic = only(&self.topics).filter(|topic| is_metadata_topic(&topic.topic_name))?;
        let data = only(&topic.partitions).filter(|data| data.partition_index == 0)?;
        let named =
            |info: &end_quorum_epoch::ReplicaInfo| replica(info.candidate_id, info.candidate_directory_id);
        let by_id = |&id: &i32| replica(id, Uuid::ZERO);
        Some(ottla_raft::Request::EndQuorumEpoch(EndQuorumEpoch {
            epoch: LeaderEpoch(data.leader_epoch),
            leader: NodeId(data.leader_id),
            preferred: match data.preferred_candidates.is_empty() {
                true => data.preferred_successors.iter().map(by_id).collect(),
                false => data.preferred_candidates.iter().map(named).collect(),
            },
        }))
    }

    fn refused(error: ErrorCode) -> EndQuorumEpochResponse {
        EndQuorumEpochResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, listener: &str, version: i16) -> EndQuorumEpochResponse {
        let partition = EndQuorumEpochResponsePartitionData {
            partition_index: 0,
            error_code: reply.response.error.code(),
            leader_id: leader_id(&reply),
            leader_epoch: leader_epoch(&reply),
        };
        EndQuorumEpochResponse {
            error_code: 0,
            topics: vec![EndQuorumEpochResponseTopicData {
                topic_name: METADATA_TOPIC.into(),
                partitions: vec![partition],
            }],
            node_endpoints: node_endpoints!(end_quorum_epoch, &reply, listener, version >= 1),
        }
    }
}

/// Of the metadata partition alone, by its topic's id, so from version 13 on.
impl QuorumRequest for FetchRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        let topic = only(&self.topics).filter(|topic| topic.topic_id == METADATA_TOPIC_ID)?;
        let data = only(&topic.partitions).filter(|data| data.partition == 0)?;
        // Version 15 moved the id.
        let id = self.replica_id.max(self.replica_state.replica_id);
        Some(ottla_raft::Request::Fetch(Fetch {
            replica: replica(id, data.replica_directory_id),
            epoch: LeaderEpoch(data.current_leader_epoch),
            position: LogPosition {
                epoch: LeaderEpoch(data.last_fetched_epoch),
                offset: Offset(data.fetch_offset),
            },
            high_watermark: Offset(data.high_watermark),
            wait_ms_max: self.max_wait_ms.into(),
            bytes_max: self.max_bytes.max(0) as u32,
        }))
    }

    fn refused(error: ErrorCode) -> FetchResponse {
        FetchResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, listener: &str, version: i16) -> FetchResponse {
        let current_leader =
            LeaderIdAndEpoch { leader_id: leader_id(&reply), leader_epoch: leader_epoch(&reply) };
        let node_endpoints = node_endpoints!(fetch, &reply, listener, version >= 16, rack: None);
        let mut partition = PartitionData {
            error_code: reply.response.error.code(),
            high_watermark: -1,
            log_start_offset: 0,
            current_leader,
            aborted_transactions: Some(Vec::new()),
            records: Some(reply.records),
            ..Default::default()
        };
        if let ResponseBody::Fetch(fetched) = &reply.response.body
            && reply.response.error.is_ok()
        {
            partition.high_watermark = fetched.high_watermark.0;
            partition.log_start_offset = fetched.log_start.0;
            match fetched.content {
                Content::Diverging(LogPosition { epoch, offset }) => {
                    partition.diverging_epoch = EpochEndOffset { epoch: epoch.0, end_offset: offset.0 };
                }
                Content::Snapshot(LogPosition { epoch, offset }) => {
                    partition.snapshot_id = SnapshotId { end_offset: offset.0, epoch: epoch.0 };
                }
                Content::Read { .. } | Content::Batches(_) => {}
            }
        }
        FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic: METADATA_TOPIC.into(),
                topic_id: METADATA_TOPIC_ID,
                partitions: vec![partition],
            }],
            node_endpoints,
            ..Default::default()
        }
    }
}

impl QuorumRequest for FetchSnapshotRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        let topic = only(&self.topics).filter(|topic| is_metadata_topic(&topic.name))?;
        let data = only(&topic.partitions).filter(|data| data.partition == 0)?;
        Some(ottla_raft::Request::FetchSnapshot(FetchSnapshot {
            replica: replica(self.replica_id, data.replica_directory_id),
            epoch: LeaderEpoch(data.current_leader_epoch),
            snapshot: LogPosition {
                epoch: LeaderEpoch(data.snapshot_id.epoch),
                offset: Offset(data.snapshot_id.end_offset),
            },
            position: data.position,
            bytes_max: self.max_bytes.max(0) as u32,
        }))
    }

    fn refused(error: ErrorCode) -> FetchSnapshotResponse {
        FetchSnapshotResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, listener: &str, version: i16) -> FetchSnapshotResponse {
        let current_leader = fetch_snapshot::LeaderIdAndEpoch {
            leader_id: leader_id(&reply),
            leader_epoch: leader_epoch(&reply),
        };
        let node_endpoints = node_endpoints!(fetch_snapshot, &reply, listener, version >= 1);
        let mut partition = FetchSnapshotResponsePartitionSnapshot {
            error_code: reply.response.error.code(),
            current_leader,
            ..Default::default()
        };
        if let ResponseBody::FetchSnapshot(piece) = &reply.response.body {
            partition.snapshot_id = FetchSnapshotResponseSnapshotId {
                end_offset: piece.snapshot.offset.0,
                epoch: piece.snapshot.epoch.0,
            };
            if reply.response.error.is_ok() {
                partition.size = piece.size;
                partition.position = piece.position;
                partition.unaligned_records = reply.records;
            }
        }
        FetchSnapshotResponse {
            topics: vec![FetchSnapshotResponseTopicSnapshot {
                name: METADATA_TOPIC.into(),
                partitions: vec![partition],
            }],
            node_endpoints,
            ..Default::default()
        }
    }
}

impl QuorumRequest for AddRaftVoterRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        Some(ottla_raft::Request::AddVoter(AddVoter {
            key: replica(self.voter_id, self.voter_directory_id),
            endpoints: endpoints!(self.listeners),
            answer: if self.ack_when_committed { AnswerWhen::Committed } else { AnswerWhen::Appended },
        }))
    }

    fn refused(error: ErrorCode) -> AddRaftVoterResponse {
        AddRaftVoterResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, _: &str, _: i16) -> AddRaftVoterResponse {
        AddRaftVoterResponse {
            throttle_time_ms: 0,
            error_code: reply.response.error.code(),
            error_message: reply.response.message.map(Str::from),
        }
    }
}

impl QuorumRequest for RemoveRaftVoterRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        Some(ottla_raft::Request::RemoveVoter(replica(self.voter_id, self.voter_directory_id)))
    }

    fn refused(error: ErrorCode) -> RemoveRaftVoterResponse {
        RemoveRaftVoterResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, _: &str, _: i16) -> RemoveRaftVoterResponse {
        RemoveRaftVoterResponse {
            throttle_time_ms: 0,
            error_code: reply.response.error.code(),
            error_message: reply.response.message.map(Str::from),
        }
    }
}

impl QuorumRequest for UpdateRaftVoterRequest {
    fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    fn read(&self) -> Option<ottla_raft::Request> {
        let range = &self.k_raft_version_feature;
        Some(ottla_raft::Request::UpdateVoter(UpdateVoter {
            epoch: LeaderEpoch(self.current_leader_epoch),
            voter: Voter {
                key: replica(self.voter_id, self.voter_directory_id),
                endpoints: endpoints!(self.listeners),
                kraft_version: VersionRange {
                    min: range.min_supported_version,
                    max: range.max_supported_version,
                },
            },
        }))
    }

    fn refused(error: ErrorCode) -> UpdateRaftVoterResponse {
        UpdateRaftVoterResponse { error_code: error.code(), ..Default::default() }
    }

    fn answer(reply: Reply, listener: &str, _: i16) -> UpdateRaftVoterResponse {
        let endpoint = leader_endpoint(&reply, listener).map(|(_, endpoint)| endpoint);
        UpdateRaftVoterResponse {
            throttle_time_ms: 0,
            error_code: reply.response.error.code(),
            current_leader: CurrentLeader {
                leader_id: leader_id(&reply),
                leader_epoch: leader_epoch(&reply),
                host: endpoint.map_or(Str::default(), |endpoint| Str::from(&endpoint.host)),
                port: endpoint.map_or(0, |endpoint| endpoint.port.into()),
            },
        }
    }
}
