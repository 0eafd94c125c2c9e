//! FindCoordinator (10): versions 0 to 6; since version 4 for several keys.

use std::sync::Arc;

use ottla_coordinator::partition_for;
use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

use super::{RequestContext, leaders};
use crate::broker::{Broker, internal_topics};

/// From this version on several keys are asked for.
const KEYS_VERSION: i16 = 4;
/// From this version on there are share coordinators.
const SHARE_VERSION: i16 = 6;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if context.api_version >= KEYS_VERSION {
        let find = |key| find(broker, context, request.key_type, key);
        let coordinators = request.coordinator_keys.into_iter().map(find).collect();
        return FindCoordinatorResponse { coordinators, ..Default::default() };
    }
    let found = find(broker, context, request.key_type, request.key);
    let error = ErrorCode::from_code(found.error_code).unwrap_or(ErrorCode::UnknownServerError);
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: Some(Str::from_static(message(error))),
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    }
}

fn find(broker: &Arc<Broker>, context: &RequestContext, key_type: i8, key: Str) -> Coordinator {
    let outcome = endpoint(broker, context, key_type, &key);
    let error_code = outcome.as_ref().err().copied().unwrap_or_default().code();
    let (node_id, host, port) = outcome.clone().unwrap_or((-1, Str::EMPTY, -1));
    // Only a type that Kafka does not know is explained.
    let error_message = match outcome {
        Err(error) if !(GROUP..=SHARE).contains(&key_type) => message(error),
        _ => "",
    };
    Coordinator { key, node_id, host, port, error_code, error_message: Some(Str::from_static(error_message)) }
}

/// The broker that leads the partition that the key belongs to. A topic that is missing is created, meanwhile the
/// client is told to try again (15).
fn endpoint(
    broker: &Arc<Broker>,
    context: &RequestContext,
    key_type: i8,
    key: &str,
) -> Result<(i32, Str, i32), ErrorCode> {
    match key_type {
        GROUP => {}
        // Neither is served yet: nobody will become their coordinator.
        TRANSACTION => return Err(ErrorCode::CoordinatorNotAvailable),
        SHARE if context.api_version >= SHARE_VERSION => return Err(ErrorCode::CoordinatorNotAvailable),
        SHARE => return Err(ErrorCode::InvalidRequest),
        _ => return Err(ErrorCode::InvalidRequest),
    }
    let image = broker.image();
    let Some(topic) = image.topics.by_name(internal_topics::CONSUMER_OFFSETS) else {
        broker.create_topics_in_background(vec![Str::from_static(internal_topics::CONSUMER_OFFSETS)]);
        return Err(ErrorCode::CoordinatorNotAvailable);
    };
    let index = partition_for(key, topic.partitions.len() as i32);
    let partition = topic.partitions.get(&index).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let at = leaders::endpoint(&image, partition.leader, &context.listener);
    let at = at.ok_or(ErrorCode::CoordinatorNotAvailable)?;
    Ok((partition.leader.0, Str::from(at.host.as_ref()), i32::from(at.port)))
}

/// Kafka's words, which versions before 4 carry.
fn message(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::None => "NONE",
        ErrorCode::CoordinatorNotAvailable => "The coordinator is not available.",
        ErrorCode::InvalidRequest => {
            "This most likely occurs because of a request being malformed by the client library or the message was \
             sent to an incompatible broker. See the broker logs for more details."
        }
        _ => "The server experienced an unexpected error when processing the request.",
    }
}
