//! What this node asks of the quorum's other nodes, and what they answer.

use std::sync::Arc;

use ottla_commit_log::METADATA_TOPIC;
use ottla_metadata::features::KRAFT_VERSION;
use ottla_model::{ErrorCode, LeaderEpoch, NodeId, Offset, Uuid};
use ottla_protocol::api::add_raft_voter::{self, AddRaftVoterRequest};
use ottla_protocol::api::begin_quorum_epoch::{
    self, BeginQuorumEpochRequest, BeginQuorumEpochRequestPartitionData, BeginQuorumEpochRequestTopicData,
    BeginQuorumEpochResponse,
};
use ottla_protocol::api::end_quorum_epoch::{
    EndQuorumEpochRequest, EndQuorumEpochRequestPartitionData, EndQuorumEpochRequestTopicData,
    EndQuorumEpochResponse, ReplicaInfo,
};
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ReplicaState};
use ottla_protocol::api::fetch_snapshot::{
    FetchSnapshotRequest, FetchSnapshotRequestPartitionSnapshot, FetchSnapshotRequestSnapshotId,
    FetchSnapshotRequestTopicSnapshot, FetchSnapshotResponse,
};
use ottla_protocol::api::remove_raft_voter::RemoveRaftVoterRequest;
use ottla_protocol::api::update_raft_voter::{self, KRaftVersionFeature, UpdateRaftVoterRequest};
use ottla_protocol::api::vote::{VoteRequest, VoteRequestPartitionData, VoteRequestTopicData, VoteResponse};
use ottla_protocol::{ApiKey, EncodeError, Records, Str};
use ottla_raft::{
    AnswerWhen, Ballot, BeginQuorumEpoch, Content, EndQuorumEpoch, Endpoint, Failure, Fetch, FetchSnapshot,
    Fetched, FetchedSnapshot, Leadership, LogPosition, ReplicaKey, Request, Response, ResponseBody,
    VersionRange, Vote,
};

use super::{METADATA_TOPIC_ID, Reply};
use crate::rpc::{NodeClient, RpcError};

/// What every request of this node says or needs.
#[derive(Clone, Debug)]
pub struct Asker {
    pub cluster_id: Str,
    /// The listener under whose name endpoints in answers stand: `controller.listener.names[0]`.
    pub listener: String,
    /// What AddRaftVoter gives the leader to commit the change.
    pub timeout_ms: i32,
}

/// Why an answer was not understood, or never came.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error("the answer does not speak of the metadata partition")]
    Shape,
}

impl AskError {
    /// What the step machine is told.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Rpc(RpcError::UnsupportedVersion(_) | RpcError::Encode(_)) => Failure::UnsupportedVersion,
            _ => Failure::Unreachable,
        }
    }

    /// Whether the connection may be used again: nothing was sent on it.
    pub fn leaves_connection(&self) -> bool {
        self.failure() == Failure::UnsupportedVersion
    }
}

impl From<EncodeError> for AskError {
    fn from(error: EncodeError) -> Self {
        Self::Rpc(error.into())
    }
}

/// Error and leadership of an answer: the partition's, or the top-level error when it has no partition.
struct Head {
    error: ErrorCode,
    leadership: Leadership,
}

fn error_of(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

fn node_of(id: i32) -> Option<NodeId> {
    (id >= 0).then_some(NodeId(id))
}

const UNKNOWN_LEADER: (i32, i32) = (-1, -1);

impl Asker {
    fn head(&self, error_code: i16, (leader, epoch): (i32, i32), endpoint: Option<(&str, u16)>) -> Head {
        let endpoint = endpoint.filter(|_| leader >= 0).map(|(host, port)| Endpoint {
            listener: self.listener.clone(),
            host: host.to_owned(),
            port,
        });
        Head {
            error: error_of(error_code),
            leadership: Leadership {
                epoch: LeaderEpoch(epoch),
                leader: node_of(leader),
                endpoints: endpoint.into_iter().collect::<Arc<[_]>>(),
            },
        }
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&self, client: &mut NodeClient, request: &Request) -> Result<Reply, AskError> {
        match request {
            Request::Vote(vote) => {
                let version = client.version_of(ApiKey::Vote);
                if vote.kind == Ballot::PreVote && version.is_none_or(|version| version < 2) {
                    return Err(RpcError::UnsupportedVersion(ApiKey::Vote).into());
                }
                self.voted(client.call(&self.vote(vote)).await?)
            }
            Request::BeginQuorumEpoch(begin) => {
                self.begun_quorum_epoch(client.call(&self.begin_quorum_epoch(begin)).await?)
            }
            Request::EndQuorumEpoch(end) => {
                self.ended_quorum_epoch(client.call(&self.end_quorum_epoch(end)).await?)
            }
            Request::Fetch(fetch) => {
                let version = client.version_of(ApiKey::Fetch).filter(|version| *version >= 13);
                let version = version.ok_or(RpcError::UnsupportedVersion(ApiKey::Fetch))?;
                self.fetched(client.call(&self.fetch(fetch, version)).await?)
            }
            Request::FetchSnapshot(fetch) => {
                self.fetched_snapshot(client.call(&self.fetch_snapshot(fetch)).await?)
            }
            Request::AddVoter(add) => {
                let listener = |endpoint: &Endpoint| add_raft_voter::Listener {
                    name: Str::from(&endpoint.listener),
                    host: Str::from(&endpoint.host),
                    port: endpoint.port,
                };
                let response = client
                    .call(&AddRaftVoterRequest {
                        cluster_id: Some(self.cluster_id.clone()),
                        timeout_ms: self.timeout_ms,
                        voter_id: add.key.id.0,
                        voter_directory_id: add.key.directory,
                        listeners: add.endpoints.iter().map(listener).collect(),
                        ack_when_committed: add.answer == AnswerWhen::Committed,
                    })
                    .await?;
                let head = self.head(response.error_code, UNKNOWN_LEADER, None);
                Ok(with_message(reply(head, ResponseBody::AddVoter), response.error_message))
            }
            Request::RemoveVoter(key) => {
                let response = client
                    .call(&RemoveRaftVoterRequest {
                        cluster_id: Some(self.cluster_id.clone()),
                        voter_id: key.id.0,
                        voter_directory_id: key.directory,
                    })
                    .await?;
                let head = self.head(response.error_code, UNKNOWN_LEADER, None);
                Ok(with_message(reply(head, ResponseBody::RemoveVoter), response.error_message))
            }
            Request::UpdateVoter(update) => {
                let voter = &update.voter;
                let listener = |endpoint: &Endpoint| update_raft_voter::Listener {
                    name: Str::from(&endpoint.listener),
                    host: Str::from(&endpoint.host),
                    port: endpoint.port,
                };
                let response = client
                    .call(&UpdateRaftVoterRequest {
                        cluster_id: Some(self.cluster_id.clone()),
                        current_leader_epoch: update.epoch.0,
                        voter_id: voter.key.id.0,
                        voter_directory_id: voter.key.directory,
                        listeners: voter.endpoints.iter().map(listener).collect(),
                        k_raft_version_feature: KRaftVersionFeature {
                            min_supported_version: voter.kraft_version.min,
                            max_supported_version: voter.kraft_version.max,
                        },
                    })
                    .await?;
                let leader = &response.current_leader;
                let endpoint = u16::try_from(leader.port).ok().filter(|port| *port != 0);
                let endpoint = endpoint.map(|port| (&*leader.host, port));
                let known = (leader.leader_id, leader.leader_epoch);
                Ok(reply(self.head(response.error_code, known, endpoint), ResponseBody::UpdateVoter))
            }
            // Asked when the connection was made.
            Request::ApiVersions => {
                let mut features = client.peer().supported_features.iter();
                let kraft_version = features
                    .find(|feature| *feature.name == *KRAFT_VERSION)
                    .map(|feature| VersionRange { min: feature.min_version, max: feature.max_version });
                Ok(reply(self.head(0, UNKNOWN_LEADER, None), ResponseBody::ApiVersions { kraft_version }))
            }
        }
    }

    fn vote(&self, vote: &Vote) -> VoteRequest {
        let voter = vote.voter.unwrap_or(NOBODY);
        let partition = VoteRequestPartitionData {
            partition_index: 0,
            replica_epoch: vote.epoch.0,
            replica_id: vote.candidate.id.0,
            replica_directory_id: vote.candidate.directory,
            voter_directory_id: voter.directory,
            last_offset_epoch: vote.log_end.epoch.0,
            last_offset: vote.log_end.offset.0,
            pre_vote: vote.kind == Ballot::PreVote,
        };
        let topic = VoteRequestTopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
        let cluster_id = Some(self.cluster_id.clone());
        VoteRequest { cluster_id, voter_id: voter.id.0, topics: vec![topic] }
    }

    fn voted(&self, response: VoteResponse) -> Result<Reply, AskError> {
        let data = response.topics.first().and_then(|topic| topic.partitions.first());
        let head = self.partition_head(
            response.error_code,
            data.map(|data| (data.error_code, data.leader_id, data.leader_epoch)),
            response.node_endpoints.first().map(|e| (&*e.host, e.port)),
        )?;
        let granted = data.is_some_and(|data| data.vote_granted);
        Ok(reply(head, ResponseBody::Vote { granted }))
    }

    fn begin_quorum_epoch(&self, begin: &BeginQuorumEpoch) -> BeginQuorumEpochRequest {
        let voter = begin.voter.unwrap_or(NOBODY);
        let partition = BeginQuorumEpochRequestPartitionData {
            partition_index: 0,
            voter_directory_id: voter.directory,
            leader_id: begin.leader.0,
            leader_epoch: begin.epoch.0,
        };
        let topic = BeginQuorumEpochRequestTopicData {
            topic_name: METADATA_TOPIC.into(),
            partitions: vec![partition],
        };
        let leader_endpoint = |endpoint: &Endpoint| begin_quorum_epoch::LeaderEndpoint {
            name: Str::from(&endpoint.listener),
            host: Str::from(&endpoint.host),
            port: endpoint.port,
        };
        BeginQuorumEpochRequest {
            cluster_id: Some(self.cluster_id.clone()),
            voter_id: voter.id.0,
            topics: vec![topic],
            leader_endpoints: begin.endpoints.iter().map(leader_endpoint).collect(),
        }
    }

    fn begun_quorum_epoch(&self, response: BeginQuorumEpochResponse) -> Result<Reply, AskError> {
        let data = response.topics.first().and_then(|topic| topic.partitions.first());
        let head = self.partition_head(
            response.error_code,
            data.map(|data| (data.error_code, data.leader_id, data.leader_epoch)),
            response.node_endpoints.first().map(|e| (&*e.host, e.port)),
        )?;
        Ok(reply(head, ResponseBody::BeginQuorumEpoch))
    }

    fn end_quorum_epoch(&self, end: &EndQuorumEpoch) -> EndQuorumEpochRequest {
        let candidate =
            |key: &ReplicaKey| ReplicaInfo { candidate_id: key.id.0, candidate_directory_id: key.directory };
        let partition = EndQuorumEpochRequestPartitionData {
            partition_index: 0,
            leader_id: end.leader.0,
            leader_epoch: end.epoch.0,
            preferred_successors: end.preferred.iter().map(|key| key.id.0).collect(),
            preferred_candidates: end.preferred.iter().map(candidate).collect(),
        };
        let topic =
            EndQuorumEpochRequestTopicData { topic_name: METADATA_TOPIC.into(), partitions: vec![partition] };
        let cluster_id = Some(self.cluster_id.clone());
        EndQuorumEpochRequest { cluster_id, topics: vec![topic], leader_endpoints: Vec::new() }
    }

    fn ended_quorum_epoch(&self, response: EndQuorumEpochResponse) -> Result<Reply, AskError> {
        let data = response.topics.first().and_then(|topic| topic.partitions.first());
        let head = self.partition_head(
            response.error_code,
            data.map(|data| (data.error_code, data.leader_id, data.leader_epoch)),
            response.node_endpoints.first().map(|e| (&*e.host, e.port)),
        )?;
        Ok(reply(head, ResponseBody::EndQuorumEpoch))
    }

    /// Version 15 moved the replica's id.
    fn fetch(&self, fetch: &Fetch, version: i16) -> FetchRequest {
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: fetch.epoch.0,
            fetch_offset: fetch.position.offset.0,
            last_fetched_epoch: fetch.position.epoch.0,
            log_start_offset: -1,
            partition_max_bytes: 0,
            replica_directory_id: fetch.replica.directory,
            high_watermark: fetch.high_watermark.0,
        };
        let topic = FetchTopic {
            topic: METADATA_TOPIC.into(),
            topic_id: METADATA_TOPIC_ID,
            partitions: vec![partition],
        };
        let state = ReplicaState { replica_id: fetch.replica.id.0, replica_epoch: -1 };
        let (replica_id, replica_state) =
            if version < 15 { (fetch.replica.id.0, ReplicaState::default()) } else { (-1, state) };
        FetchRequest {
            cluster_id: Some(self.cluster_id.clone()),
            replica_id,
            replica_state,
            max_wait_ms: fetch.wait_ms_max as i32,
            max_bytes: fetch.bytes_max as i32,
            topics: vec![topic],
            ..Default::default()
        }
    }

    fn fetched(&self, response: FetchResponse) -> Result<Reply, AskError> {
        let data =
            response.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let endpoint = response.node_endpoints.first();
        let endpoint = endpoint.and_then(|e| Some((&*e.host, u16::try_from(e.port).ok()?)));
        let leader = data
            .as_ref()
            .map(|data| (data.error_code, data.current_leader.leader_id, data.current_leader.leader_epoch));
        let head = self.partition_head(response.error_code, leader, endpoint)?;
        let Some(data) = data else {
            let content = Content::Batches(Vec::new());
            let nothing = Fetched { high_watermark: Offset::NONE, log_start: Offset::ZERO, content };
            return Ok(reply(head, ResponseBody::Fetch(nothing)));
        };
        let position =
            |epoch: i32, offset: i64| LogPosition { epoch: LeaderEpoch(epoch), offset: Offset(offset) };
        let (diverging, snapshot) = (&data.diverging_epoch, &data.snapshot_id);
        let content = if diverging.epoch >= 0 && diverging.end_offset >= 0 {
            Content::Diverging(position(diverging.epoch, diverging.end_offset))
        } else if snapshot.epoch >= 0 && snapshot.end_offset >= 0 {
            Content::Snapshot(position(snapshot.epoch, snapshot.end_offset))
        } else {
            // The driver looks into the records.
            Content::Batches(Vec::new())
        };
        let fetched = Fetched {
            high_watermark: Offset(data.high_watermark),
            log_start: Offset(data.log_start_offset),
            content,
        };
        let records = data.records.unwrap_or(Records::EMPTY);
        Ok(Reply { records, ..reply(head, ResponseBody::Fetch(fetched)) })
    }

    fn fetch_snapshot(&self, fetch: &FetchSnapshot) -> FetchSnapshotRequest {
        let partition = FetchSnapshotRequestPartitionSnapshot {
            partition: 0,
            current_leader_epoch: fetch.epoch.0,
            snapshot_id: FetchSnapshotRequestSnapshotId {
                end_offset: fetch.snapshot.offset.0,
                epoch: fetch.snapshot.epoch.0,
            },
            position: fetch.position,
            replica_directory_id: fetch.replica.directory,
        };
        let topic =
            FetchSnapshotRequestTopicSnapshot { name: METADATA_TOPIC.into(), partitions: vec![partition] };
        FetchSnapshotRequest {
            cluster_id: Some(self.cluster_id.clone()),
            replica_id: fetch.replica.id.0,
            max_bytes: fetch.bytes_max as i32,
            topics: vec![topic],
        }
    }

    fn fetched_snapshot(&self, response: FetchSnapshotResponse) -> Result<Reply, AskError> {
        let data = response.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
        let endpoint = response.node_endpoints.first().map(|e| (&*e.host, e.port));
        // Apache Kafka 4.4.0 fails to encode any error of the partition and says this instead.
        let error_code = match error_of(response.error_code) {
            ErrorCode::UnknownServerError => ErrorCode::SnapshotNotFound.code(),
            error => error.code(),
        };
        let leader = data
            .as_ref()
            .map(|data| (data.error_code, data.current_leader.leader_id, data.current_leader.leader_epoch));
        let head = self.partition_head(error_code, leader, endpoint)?;
        let data = data.unwrap_or_default();
        let piece = FetchedSnapshot {
            snapshot: LogPosition {
                epoch: LeaderEpoch(data.snapshot_id.epoch),
                offset: Offset(data.snapshot_id.end_offset),
            },
            position: data.position,
            bytes: data.unaligned_records.len() as u32,
            size: data.size,
        };
        Ok(Reply { records: data.unaligned_records, ..reply(head, ResponseBody::FetchSnapshot(piece)) })
    }

    /// From the partition's error, leader and epoch; a top-level error stands alone.
    fn partition_head(
        &self,
        error_code: i16,
        partition: Option<(i16, i32, i32)>,
        endpoint: Option<(&str, u16)>,
    ) -> Result<Head, AskError> {
        match partition {
            _ if error_code != 0 => Ok(self.head(error_code, UNKNOWN_LEADER, None)),
            Some((code, leader, epoch)) => Ok(self.head(code, (leader, epoch), endpoint)),
            None => Err(AskError::Shape),
        }
    }
}

const NOBODY: ReplicaKey = ReplicaKey { id: NodeId::NONE, directory: Uuid::ZERO };

fn reply(head: Head, body: ResponseBody) -> Reply {
    Reply::from(Response { error: head.error, message: None, leadership: head.leadership, body })
}

fn with_message(mut reply: Reply, message: Option<Str>) -> Reply {
    reply.response.message = message.map(String::from);
    reply
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ottla_protocol::{Decoder, Message, RequestHeader, ResponseHeader};
    use serde_json::Value;

    use super::*;
    use crate::quorum::wire::serve::QuorumRequest;

    /// Between nodes of Apache Kafka 4.4.0, and answers of theirs to a client; see testdata/golden.
    const FRAMES: &str = include_str!("../../../../../testdata/golden/frames/frames.jsonl");

    fn bytes(frame: &Value) -> Bytes {
        let hex = frame.as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Every captured exchange of `R` about the metadata partition: what a node asked is understood and asked again in
    /// the same bytes, and what was answered is read and answered again. Returns how many there were.
    fn exchanges<R: QuorumRequest>(
        write: impl Fn(&Asker, Request) -> Option<R>,
        read: impl Fn(&Asker, R::Response) -> Result<Reply, AskError>,
    ) -> usize {
        let mut count = 0;
        for frame in FRAMES.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let version = frame["version"].as_i64().unwrap() as i16;
            if frame["api"] != R::KEY as i16 {
                continue;
            }
            let mut d = Decoder::new(bytes(&frame["request"]));
            RequestHeader::decode_frame(&mut d).unwrap();
            let asked = R::decode(&mut d, version).unwrap();
            let Some(request) = asked.read() else { continue };
            let cluster_id = asked.cluster_id().unwrap_or_default().into();
            let asker = Asker { cluster_id, listener: "CONTROLLER".into(), timeout_ms: 2000 };
            // The schema-driven client leaves out what nodes always say.
            if frame["from"].as_str().unwrap().starts_with("broker/controller") {
                let again = write(&asker, request).expect("a request of its own kind");
                assert_eq!(again.encode_to_bytes(version), asked.encode_to_bytes(version), "{:?}", R::KEY);
            }
            let mut d = Decoder::new(bytes(&frame["response"]));
            ResponseHeader::decode(&mut d, R::KEY.response_header_version(version)).unwrap();
            let answered = R::Response::decode(&mut d, version).unwrap();
            let again = R::answer(read(&asker, answered.clone()).unwrap(), "CONTROLLER", version);
            assert_eq!(again.encode_to_bytes(version), answered.encode_to_bytes(version), "{:?}", R::KEY);
            count += 1;
        }
        count
    }

    #[test]
    fn kafkas_exchanges_are_ours() {
        let vote = |asker: &Asker, request| match request {
            Request::Vote(vote) => Some(asker.vote(&vote)),
            _ => None,
        };
        assert_eq!(exchanges::<VoteRequest>(vote, Asker::voted), 4);
        let begin = |asker: &Asker, request| match request {
            Request::BeginQuorumEpoch(begin) => Some(asker.begin_quorum_epoch(&begin)),
            _ => None,
        };
        assert_eq!(exchanges::<BeginQuorumEpochRequest>(begin, Asker::begun_quorum_epoch), 4);
        let end = |asker: &Asker, request| match request {
            Request::EndQuorumEpoch(end) => Some(asker.end_quorum_epoch(&end)),
            _ => None,
        };
        assert_eq!(exchanges::<EndQuorumEpochRequest>(end, Asker::ended_quorum_epoch), 4);
    }
}
