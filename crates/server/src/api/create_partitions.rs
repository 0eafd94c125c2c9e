//! CreatePartitions (37): versions 0 to 3.

use ottla_protocol::Str;
use ottla_protocol::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::RequestContext;
use crate::controller::ControllerHandle;

pub async fn handle(
    controller: &ControllerHandle,
    _: &RequestContext,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let names: Vec<Str> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    controller.create_partitions(request).await.unwrap_or_else(|error| {
        let refused = |name| CreatePartitionsTopicResult {
            name,
            error_code: error.error_code().code(),
            error_message: Some(Str::from(error.to_string())),
        };
        CreatePartitionsResponse { results: names.into_iter().map(refused).collect(), ..Default::default() }
    })
}
