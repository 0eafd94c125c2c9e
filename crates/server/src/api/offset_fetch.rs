//! OffsetFetch (9): versions 1 to 10; since version 8 for several groups, in version 10 with topic ids.

use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_metadata::MetadataImage;
use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;

/// From this version on the answer has a place for an error of the whole group.
const GROUP_ERROR_VERSION: i16 = 2;
/// From this version on the request names several groups.
const GROUPS_VERSION: i16 = 8;
/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 10;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let version = context.api_version;
    if version >= GROUPS_VERSION {
        let mut response = OffsetFetchResponse::default();
        for group in request.groups {
            response.groups.push(fetch(broker, context, group, request.require_stable).await);
        }
        return response;
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            partition_indexes: topic.partition_indexes,
            ..Default::default()
        });
        topics.collect::<Vec<_>>()
    });
    let asked = topics.clone().unwrap_or_default();
    let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
    let group = fetch(broker, context, group, request.require_stable).await;
    if group.error_code != 0 && version < GROUP_ERROR_VERSION {
        let failed = |topic: OffsetFetchRequestTopics| OffsetFetchResponseTopics {
            name: topic.name,
            partitions: topic
                .partition_indexes
                .iter()
                .map(|index| failed(*index, group.error_code))
                .collect(),
            ..Default::default()
        };
        let topics = asked.into_iter().map(failed).map(single_group_topic).collect();
        return OffsetFetchResponse { topics, ..Default::default() };
    }
    let topics = group.topics.into_iter().map(single_group_topic).collect();
    OffsetFetchResponse { topics, error_code: group.error_code, ..Default::default() }
}

async fn fetch(
    broker: &Arc<Broker>,
    context: &RequestContext,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let by_id = context.api_version >= TOPIC_ID_VERSION;
    let unknown = if by_id { name_topics(&broker.image(), &mut group) } else { Vec::new() };
    let group_id = group.group_id.clone();
    let asked = Request::OffsetFetch { group, require_stable };
    let mut response = answer!(groups::ask(broker, context, &group_id, asked).await, OffsetFetch, error => {
        OffsetFetchResponseGroup { group_id, error_code: error.code(), ..Default::default() }
    });
    if by_id && response.error_code == 0 {
        let image = broker.image();
        // All offsets of a group: those of topics that are gone have no id to be named by.
        response.topics.retain_mut(|topic| {
            if topic.topic_id.is_zero() {
                topic.topic_id = image.topics.id(&topic.name).unwrap_or_default();
            }
            !topic.topic_id.is_zero()
        });
        response.topics.extend(unknown);
    }
    response
}

/// Fills in the names of topics; those whose id is not known are taken out and answered here.
fn name_topics(image: &MetadataImage, group: &mut OffsetFetchRequestGroup) -> Vec<OffsetFetchResponseTopics> {
    let mut unknown = Vec::new();
    let Some(topics) = &mut group.topics else { return unknown };
    topics.retain_mut(|topic| match image.topics.by_id(topic.topic_id) {
        Some(known) => {
            topic.name = Str::from(known.name.as_ref());
            true
        }
        None => {
            let error = ErrorCode::UnknownTopicId.code();
            unknown.push(OffsetFetchResponseTopics {
                topic_id: topic.topic_id,
                partitions: topic.partition_indexes.iter().map(|index| failed(*index, error)).collect(),
                ..Default::default()
            });
            false
        }
    });
    unknown
}

fn failed(partition_index: i32, error_code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::EMPTY),
        error_code,
    }
}

/// The form of versions before there were several groups.
fn single_group_topic(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    });
    OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
}
