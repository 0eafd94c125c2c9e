//! OffsetDelete (47): version 0.

use std::sync::Arc;

use ottla_coordinator::Request;
use ottla_model::ErrorCode;
use ottla_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::RequestContext;
use super::groups::{self, answer};
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    mut request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let unknown = refuse_unknown_topics(broker, &mut request);
    let group_id = request.group_id.clone();
    let asked = Request::OffsetDelete(request);
    let mut response = answer!(groups::ask(broker, context, &group_id, asked).await, OffsetDelete, error => {
        OffsetDeleteResponse { error_code: error.code(), ..Default::default() }
    });
    if response.error_code == 0 {
        for topic in unknown {
            match response.topics.iter_mut().find(|known| known.name == topic.name) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => response.topics.push(topic),
            }
        }
    }
    response
}

/// Takes topics and partitions that do not exist out of the request and answers them.
fn refuse_unknown_topics(
    broker: &Broker,
    request: &mut OffsetDeleteRequest,
) -> Vec<OffsetDeleteResponseTopic> {
    let image = broker.image();
    let mut unknown = Vec::new();
    for topic in &mut request.topics {
        let known = image.topics.by_name(&topic.name);
        let mut partitions = Vec::new();
        topic.partitions.retain(|partition| {
            let exists = known.is_some_and(|topic| topic.partitions.contains_key(&partition.partition_index));
            if !exists {
                partitions.push(OffsetDeleteResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                });
            }
            exists
        });
        if !partitions.is_empty() {
            unknown.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    unknown
}
