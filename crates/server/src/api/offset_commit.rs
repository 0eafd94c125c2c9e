//! OffsetCommit (8): versions 2 to 10; version 10 names topics by id.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;

/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 10;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    mut request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let asked_for: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut response = refuse_unknown_topics(broker, context.api_version, &mut request);
    if request.topics.is_empty() {
        merge_topics(&mut response);
        return response;
    }
    let group_id = request.group_id.clone();
    let accepted: usize = request.topics.iter().map(|topic| topic.partitions.len()).sum();
    let asked = Request::OffsetCommit(request);
    let (committed, failure) = match groups::ask(broker, context, &group_id, asked).await {
        Err(error) => (OffsetCommitResponse::default(), error),
        outcome => (answer!(outcome, OffsetCommit, error => unreachable!("{error}")), ErrorCode::None),
    };
    // The coordinator answers for the partitions that were left, in their order.
    let mut errors = committed.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
    let mut left = accepted;
    for partition in response.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if partition.error_code == 0 && left > 0 {
            left -= 1;
            partition.error_code = errors.next().unwrap_or(failure.code());
        }
    }
    if accepted < asked_for {
        merge_topics(&mut response);
    }
    response
}

/// A topic that the request names several times is answered once. Kafka does so if it refuses something by itself; else
/// it passes on what the coordinator says.
fn merge_topics(response: &mut OffsetCommitResponse) {
    if response.topics.len() < 2 {
        return;
    }
    let mut places: HashMap<(Uuid, Str), usize> = HashMap::with_capacity(response.topics.len());
    let mut merged: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(response.topics.len());
    for topic in response.topics.drain(..) {
        match places.entry((topic.topic_id, topic.name.clone())) {
            Entry::Occupied(place) => merged[*place.get()].partitions.extend(topic.partitions),
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(topic);
            }
        }
    }
    response.topics = merged;
}

/// Takes topics and partitions that do not exist out of the request and gives the answer to all of it, in which only
/// they have errors. Fills in names and ids of the others.
fn refuse_unknown_topics(
    broker: &Broker,
    version: i16,
    request: &mut OffsetCommitRequest,
) -> OffsetCommitResponse {
    let image = broker.image();
    let mut response = OffsetCommitResponse::default();
    for topic in &mut request.topics {
        let known = if version >= TOPIC_ID_VERSION {
            image.topics.by_id(topic.topic_id)
        } else {
            image.topics.by_name(&topic.name)
        };
        let missing = match known {
            Some(_) => ErrorCode::UnknownTopicOrPartition,
            None if version >= TOPIC_ID_VERSION => ErrorCode::UnknownTopicId,
            None => ErrorCode::UnknownTopicOrPartition,
        };
        let exists = |partition: i32| known.is_some_and(|topic| topic.partitions.contains_key(&partition));
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: if exists(partition.partition_index) { 0 } else { missing.code() },
        });
        response.topics.push(OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        });
        topic.partitions.retain(|partition| exists(partition.partition_index));
        if let Some(known) = known {
            if version >= TOPIC_ID_VERSION {
                topic.name = Str::from(known.name.as_ref());
            }
            topic.topic_id = known.id;
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    response
}
