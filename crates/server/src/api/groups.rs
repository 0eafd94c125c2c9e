//! What the group APIs have in common: finding the coordinator and telling it who asks.

use std::sync::Arc;

use ottla_coordinator::{ClientContext, Request, Response};
use ottla_model::ErrorCode;
use ottla_protocol::Str;

use super::RequestContext;
use crate::broker::{Broker, internal_topics};

pub fn client_context(context: &RequestContext) -> ClientContext {
    ClientContext {
        version: context.api_version,
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: Str::from(context.client_host()),
    }
}

/// Size of the offsets topic, if it exists.
pub fn offsets_partitions(broker: &Broker) -> Option<i32> {
    let image = broker.image();
    image.topics.by_name(internal_topics::CONSUMER_OFFSETS).map(|topic| topic.partitions.len() as i32)
}

/// Asks the coordinator of one group. Errors: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS.
pub async fn ask(
    broker: &Arc<Broker>,
    context: &RequestContext,
    group_id: &str,
    request: Request,
) -> Result<Response, ErrorCode> {
    broker.groups.ask(offsets_partitions(broker), group_id, client_context(context), request).await
}

/// Takes the answer of the kind that was asked for.
macro_rules! answer {
    ($outcome:expr, $kind:ident, $error:ident => $failure:expr) => {
        match $outcome {
            Ok(ottla_coordinator::Response::$kind(response)) => response,
            Ok(other) => unreachable!("a coordinator answers what it was asked, not with {other:?}"),
            Err($error) => $failure,
        }
    };
}
pub(super) use answer;
