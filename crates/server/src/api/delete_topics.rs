//! DeleteTopics (20): versions 1 to 6. By name, or from version 6 by id.

use ottla_protocol::Str;
use ottla_protocol::api::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .iter()
        .map(|name| DeleteTopicState { name: Some(name.clone()), ..Default::default() });
    let asked: Vec<DeleteTopicState> = by_name.chain(request.topics.iter().cloned()).collect();
    controller.delete_topics(request).await.unwrap_or_else(|error| {
        let refused = |topic: DeleteTopicState| DeletableTopicResult {
            name: topic.name,
            topic_id: topic.topic_id,
            error_code: error.error_code().code(),
            error_message: Some(Str::from(error.to_string())),
        };
        DeleteTopicsResponse { responses: asked.into_iter().map(refused).collect(), ..Default::default() }
    })
}
