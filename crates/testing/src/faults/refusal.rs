//! Answers that refuse a request with an error, for all that the request names.

use bytes::Bytes;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::api::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use ottla_protocol::api::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_protocol::api::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
use ottla_protocol::api::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_protocol::api::heartbeat::HeartbeatResponse;
use ottla_protocol::api::init_producer_id::InitProducerIdResponse;
use ottla_protocol::api::join_group::JoinGroupResponse;
use ottla_protocol::api::leave_group::LeaveGroupResponse;
use ottla_protocol::api::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use ottla_protocol::api::metadata::{MetadataRequest, MetadataResponse, MetadataResponseTopic};
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla_protocol::api::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup};
use ottla_protocol::api::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use ottla_protocol::api::sync_group::SyncGroupResponse;
use ottla_protocol::{ApiKey, Decoder, Message, Segment, encode_response};
use ottla_server::api::{Intervention, RequestContext};

/// Requests whose answer has one error.
const WITH_ONE_ERROR: &[ApiKey] = &[
    ApiKey::Heartbeat,
    ApiKey::InitProducerId,
    ApiKey::JoinGroup,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::FindCoordinator,
    ApiKey::OffsetFetch,
];

/// Requests that name topics or partitions, with an error for each.
const WITH_ERRORS: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::OffsetCommit,
    ApiKey::Metadata,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
];

pub fn is_known(key: ApiKey) -> bool {
    WITH_ONE_ERROR.contains(&key) || WITH_ERRORS.contains(&key)
}

/// A request, as far as it matters who is named in it.
pub enum Asked {
    Produce(ProduceRequest),
    Fetch(FetchRequest),
    ListOffsets(ListOffsetsRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
    FindCoordinator(FindCoordinatorRequest),
    Metadata(MetadataRequest),
    CreateTopics(CreateTopicsRequest),
    DeleteTopics(DeleteTopicsRequest),
    Other,
}

/// `None` for bytes that are no request.
pub fn decode(key: ApiKey, version: i16, body: Bytes) -> Option<Asked> {
    fn read<M: Message>(body: Bytes, version: i16, asked: impl FnOnce(M) -> Asked) -> Option<Asked> {
        M::decode(&mut Decoder::new(body), version).ok().map(asked)
    }
    match key {
        ApiKey::Produce => read(body, version, Asked::Produce),
        ApiKey::Fetch => read(body, version, Asked::Fetch),
        ApiKey::ListOffsets => read(body, version, Asked::ListOffsets),
        ApiKey::OffsetCommit => read(body, version, Asked::OffsetCommit),
        ApiKey::OffsetFetch => read(body, version, Asked::OffsetFetch),
        ApiKey::FindCoordinator => read(body, version, Asked::FindCoordinator),
        ApiKey::Metadata => read(body, version, Asked::Metadata),
        ApiKey::CreateTopics => read(body, version, Asked::CreateTopics),
        ApiKey::DeleteTopics => read(body, version, Asked::DeleteTopics),
        _ => Some(Asked::Other),
    }
}

impl Asked {
    /// Whether the request names a partition, by its topic's name or id.
    pub fn names(&self, topic: &str, partition: i32, name_of: &dyn Fn(Uuid) -> Option<String>) -> bool {
        let is = |name: &str, id: Uuid| name == topic || name_of(id).is_some_and(|name| name == topic);
        match self {
            Self::Produce(request) => request.topic_data.iter().any(|named| {
                is(&named.name, named.topic_id)
                    && named.partition_data.iter().any(|data| data.index == partition)
            }),
            Self::Fetch(request) => request.topics.iter().any(|named| {
                is(&named.topic, named.topic_id) && named.partitions.iter().any(|p| p.partition == partition)
            }),
            Self::ListOffsets(request) => request.topics.iter().any(|named| {
                named.name == *topic && named.partitions.iter().any(|p| p.partition_index == partition)
            }),
            Self::OffsetCommit(request) => request.topics.iter().any(|named| {
                is(&named.name, named.topic_id)
                    && named.partitions.iter().any(|p| p.partition_index == partition)
            }),
            _ => false,
        }
    }

    /// The answer that refuses it. A producer that wants no answer finds its connection closed, as from a broker.
    pub fn refuse(self, context: &RequestContext, code: ErrorCode) -> Intervention {
        let error_code = code.into();
        match self {
            Self::Produce(request) if request.acks == 0 => Intervention::Close,
            Self::Produce(request) => {
                let responses = request.topic_data.into_iter().map(|topic| TopicProduceResponse {
                    name: topic.name,
                    topic_id: topic.topic_id,
                    partition_responses: topic
                        .partition_data
                        .iter()
                        .map(|data| PartitionProduceResponse {
                            index: data.index,
                            error_code,
                            base_offset: -1,
                            log_append_time_ms: -1,
                            log_start_offset: -1,
                            ..Default::default()
                        })
                        .collect(),
                });
                answer(context, &ProduceResponse { responses: responses.collect(), ..Default::default() })
            }
            Self::Fetch(request) if request.session_epoch > 0 => {
                Self::Fetch(request).refuse_whole(context, ErrorCode::FetchSessionIdNotFound)
            }
            Self::Fetch(request) => {
                let responses = request.topics.into_iter().map(|topic| FetchableTopicResponse {
                    topic: topic.topic,
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| PartitionData {
                            partition_index: partition.partition,
                            error_code,
                            high_watermark: -1,
                            ..Default::default()
                        })
                        .collect(),
                });
                answer(context, &FetchResponse { responses: responses.collect(), ..Default::default() })
            }
            Self::ListOffsets(request) => {
                let topics = request.topics.into_iter().map(|topic| ListOffsetsTopicResponse {
                    name: topic.name,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| ListOffsetsPartitionResponse {
                            partition_index: partition.partition_index,
                            error_code,
                            ..Default::default()
                        })
                        .collect(),
                });
                answer(context, &ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
            }
            Self::OffsetCommit(request) => {
                let topics = request.topics.into_iter().map(|topic| OffsetCommitResponseTopic {
                    name: topic.name,
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| OffsetCommitResponsePartition {
                            partition_index: partition.partition_index,
                            error_code,
                        })
                        .collect(),
                });
                answer(context, &OffsetCommitResponse { topics: topics.collect(), ..Default::default() })
            }
            Self::Metadata(request) => {
                let topics =
                    request.topics.unwrap_or_default().into_iter().map(|topic| MetadataResponseTopic {
                        error_code,
                        name: topic.name.or_else(|| Some("".into())),
                        topic_id: topic.topic_id,
                        ..Default::default()
                    });
                answer(context, &MetadataResponse { topics: topics.collect(), ..Default::default() })
            }
            Self::CreateTopics(request) => {
                let topics = request.topics.into_iter().map(|topic| CreatableTopicResult {
                    name: topic.name,
                    error_code,
                    ..Default::default()
                });
                answer(context, &CreateTopicsResponse { topics: topics.collect(), ..Default::default() })
            }
            Self::DeleteTopics(request) => {
                let named = request.topics.into_iter().map(|topic| (topic.name, topic.topic_id));
                let named = named.chain(request.topic_names.into_iter().map(|name| (Some(name), Uuid::ZERO)));
                let responses = named.map(|(name, topic_id)| DeletableTopicResult {
                    name,
                    topic_id,
                    error_code,
                    error_message: None,
                });
                answer(
                    context,
                    &DeleteTopicsResponse { responses: responses.collect(), ..Default::default() },
                )
            }
            other => other.refuse_whole(context, code),
        }
    }

    /// An answer with one error.
    pub fn refuse_whole(self, context: &RequestContext, code: ErrorCode) -> Intervention {
        let error_code = code.into();
        match self {
            Self::Fetch(_) => answer(context, &FetchResponse { error_code, ..Default::default() }),
            Self::FindCoordinator(request) => {
                let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
                    key,
                    node_id: -1,
                    port: -1,
                    error_code,
                    ..Default::default()
                });
                let coordinators = coordinators.collect();
                let response = FindCoordinatorResponse {
                    error_code: if context.api_version < 4 { error_code } else { 0 },
                    coordinators,
                    ..Default::default()
                };
                answer(context, &response)
            }
            Self::OffsetFetch(request) => {
                let groups = request.groups.into_iter().map(|group| OffsetFetchResponseGroup {
                    group_id: group.group_id,
                    error_code,
                    ..Default::default()
                });
                let groups = groups.collect();
                let error_code = if context.api_version < 8 { error_code } else { 0 };
                answer(context, &OffsetFetchResponse { groups, error_code, ..Default::default() })
            }
            _ => match context.api_key {
                ApiKey::Heartbeat => answer(context, &HeartbeatResponse { error_code, ..Default::default() }),
                ApiKey::InitProducerId => {
                    answer(context, &InitProducerIdResponse { error_code, ..Default::default() })
                }
                ApiKey::JoinGroup => answer(context, &JoinGroupResponse { error_code, ..Default::default() }),
                ApiKey::LeaveGroup => {
                    answer(context, &LeaveGroupResponse { error_code, ..Default::default() })
                }
                ApiKey::SyncGroup => answer(context, &SyncGroupResponse { error_code, ..Default::default() }),
                _ => Intervention::Close,
            },
        }
    }
}

fn answer<M: Message>(context: &RequestContext, response: &M) -> Intervention {
    let encoded = encode_response(context.api_key, context.api_version, context.correlation_id, response);
    let segments = encoded.expect("an answer of errors can be encoded");
    let bytes = segments.iter().filter_map(|segment| match segment {
        Segment::Bytes(bytes) => Some(&bytes[..]),
        Segment::External { .. } => None,
    });
    Intervention::Answer(Bytes::from(bytes.collect::<Vec<_>>().concat()).split_off(size_of::<i32>()))
}
