//! ListConfigResources (74): versions 0 and 1. What settings can be described for.

use std::sync::Arc;

use ottla_model::{ConfigResourceType, ErrorCode};
use ottla_protocol::Str;
use ottla_protocol::api::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::RequestContext;
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    use ConfigResourceType::*;
    let mut wanted = Vec::new();
    for number in &request.resource_types {
        match ConfigResourceType::from_number(*number) {
            Some(kind) => wanted.push(kind),
            None => {
                let error_code = ErrorCode::UnsupportedVersion.code();
                return ListConfigResourcesResponse { error_code, ..Default::default() };
            }
        }
    }
    if context.api_version == 0 {
        // Then the request was for client metrics only.
        wanted = vec![ClientMetrics];
    } else if wanted.is_empty() {
        wanted = vec![Group, ClientMetrics, BrokerLogger, Broker, Topic];
    }
    let image = broker.image();
    let brokers = || image.cluster.brokers().map(|broker| broker.id.to_string());
    let configured = |kind| {
        image
            .configs
            .iter()
            .filter(move |(resource, _)| resource.kind == kind)
            .map(|(r, _)| r.name.to_string())
    };
    let mut config_resources = Vec::new();
    let mut add = |kind: ConfigResourceType, names: &mut dyn Iterator<Item = String>| {
        config_resources.extend(
            names.map(|name| ConfigResource { resource_name: Str::from(name), resource_type: kind as i8 }),
        );
    };
    for kind in [Group, ClientMetrics, BrokerLogger, Broker, Topic] {
        if !wanted.contains(&kind) {
            continue;
        }
        match kind {
            Group | ClientMetrics => add(kind, &mut configured(kind)),
            BrokerLogger | Broker => add(kind, &mut brokers()),
            Topic => add(kind, &mut image.topics.iter_by_name("").map(|topic| topic.name.to_string())),
        }
    }
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}
