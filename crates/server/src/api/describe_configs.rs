//! DescribeConfigs (32): versions 1 to 4. Effective settings, where they come from, and what they mean.

use std::sync::Arc;

use ottla_metadata::ConfigResource;
use ottla_metadata::configs::{ConfigSource, Described, Layers};
use ottla_model::{ConfigResourceType, ErrorCode};
use ottla_protocol::Str;
use ottla_protocol::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::RequestContext;
use crate::broker::Broker;
use crate::config::log_levels;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let described = describe(broker, resource);
            let wanted = |name: &str| match &resource.configuration_keys {
                Some(keys) if !keys.is_empty() => keys.iter().any(|key| &**key == name),
                _ => true,
            };
            let (error, message, described) = match described {
                Ok(described) => (ErrorCode::None, String::new(), described),
                Err((error, message)) => (error, message, Vec::new()),
            };
            DescribeConfigsResult {
                error_code: error.code(),
                error_message: Some(Str::from(message)),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                configs: described
                    .into_iter()
                    .filter(|entry| wanted(&entry.name))
                    .map(|entry| on_the_wire(entry, &request))
                    .collect(),
            }
        })
        .collect();
    DescribeConfigsResponse { results, ..Default::default() }
}

type Refused = (ErrorCode, String);

fn describe(broker: &Broker, resource: &DescribeConfigsResource) -> Result<Vec<Described>, Refused> {
    let name: &str = &resource.resource_name;
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let image = broker.image();
    match ConfigResourceType::from_number(resource.resource_type) {
        Some(ConfigResourceType::Topic) => {
            if let Some(reason) = ottla_controller::invalid_topic_name(name) {
                return Err((ErrorCode::InvalidTopicException, reason));
            }
            if image.topics.by_name(name).is_none() {
                return Err((ErrorCode::UnknownTopicOrPartition, String::new()));
            }
            Ok(broker.layers().describe_topic_configs(&image.configs.topic(name)))
        }
        Some(ConfigResourceType::Broker) if name.is_empty() => Ok(broker.layers().describe_default_brokers()),
        Some(ConfigResourceType::Broker) => {
            if broker_id(name)? != broker.node_id.0 {
                return invalid(format!(
                    "Unexpected broker id, expected {} or empty string, but received {name}",
                    broker.node_id
                ));
            }
            Ok(broker.layers().describe_node())
        }
        Some(ConfigResourceType::BrokerLogger) if name.is_empty() => {
            invalid("Broker id must not be empty".to_owned())
        }
        Some(ConfigResourceType::BrokerLogger) => {
            if broker_id(name)? != broker.node_id.0 {
                return invalid(format!(
                    "Unexpected broker id, expected {} but received {name}",
                    broker.node_id
                ));
            }
            Ok(log_levels::all().into_iter().map(|(name, level)| logger(name, level)).collect())
        }
        Some(ConfigResourceType::ClientMetrics) if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty".to_owned())
        }
        Some(kind @ ConfigResourceType::ClientMetrics) => {
            Ok(Layers::describe_client_metrics(&image.configs.of(&ConfigResource::new(kind, name))))
        }
        Some(ConfigResourceType::Group) if name.is_empty() => {
            invalid("Group name must not be empty".to_owned())
        }
        Some(kind @ ConfigResourceType::Group) => {
            Ok(broker.layers().describe_group_configs(&image.configs.of(&ConfigResource::new(kind, name))))
        }
        None => invalid(UNKNOWN_TYPE.to_owned()),
    }
}

/// What Kafka says when it has nothing to say about a request of wrong form.
const UNKNOWN_TYPE: &str = "This most likely occurs because of a request being malformed by the client library or the \
    message was sent to an incompatible broker. See the broker logs for more details.";

/// A broker's or logger's resource name is the number of a broker.
fn broker_id(name: &str) -> Result<i32, Refused> {
    let refused = || (ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}"));
    name.parse().map_err(|_| refused())
}

fn logger(name: String, level: String) -> Described {
    Described {
        name,
        value: Some(level),
        source: ConfigSource::BrokerLogger,
        synonyms: Vec::new(),
        kind: None,
        read_only: false,
        sensitive: false,
        doc: None,
    }
}

fn on_the_wire(entry: Described, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = match request.include_synonyms {
        true => entry.synonyms,
        false => Vec::new(),
    };
    DescribeConfigsResourceResult {
        name: Str::from(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: Str::from(synonym.name),
                value: synonym.value.map(Str::from),
                source: synonym.source as i8,
            })
            .collect(),
        config_type: entry.kind.map_or(0, |kind| kind as i8),
        documentation: entry.doc.filter(|_| request.include_documentation).map(Str::from_static),
    }
}
