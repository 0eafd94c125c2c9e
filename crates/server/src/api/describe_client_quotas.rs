//! DescribeClientQuotas (48): versions 0 and 1. From the image; KIP-546, KIP-612.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::QuotaEntity;
use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData, EntryData,
    ValueData,
};

use super::RequestContext;
use crate::broker::Broker;

/// What a part of an entity must be.
enum Match<'a> {
    /// `None`: the default of its type.
    Name(Option<&'a str>),
    Any,
}

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let filter = match filter(&request.components) {
        Ok(filter) => filter,
        Err((error, message)) => {
            return DescribeClientQuotasResponse {
                error_code: error.code(),
                error_message: Some(Str::from(message)),
                ..Default::default()
            };
        }
    };
    let image = broker.image();
    let matching = image.client_quotas.iter().filter(|(entity, _)| matches(entity, &filter, request.strict));
    let entries = matching.map(|(entity, quotas)| EntryData {
        entity: entity
            .parts()
            .map(|(kind, name)| EntityData { entity_type: kind.into(), entity_name: name.map(Str::from) })
            .collect(),
        values: quotas
            .iter()
            .map(|(key, value)| ValueData { key: key.as_ref().into(), value: *value })
            .collect(),
    });
    DescribeClientQuotasResponse { entries: Some(entries.collect()), ..Default::default() }
}

type Filter<'a> = BTreeMap<&'a str, Match<'a>>;

fn filter(components: &[ComponentData]) -> Result<Filter<'_>, (ErrorCode, String)> {
    let invalid = |message: &str| Err((ErrorCode::InvalidRequest, message.to_owned()));
    let mut filter = Filter::new();
    for component in components {
        let kind = &*component.entity_type;
        if kind.is_empty() {
            return invalid("Invalid empty entity type.");
        }
        if filter.contains_key(kind) {
            return invalid(&format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        if !["user", "client-id", "ip"].contains(&kind) {
            return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {kind}")));
        }
        let wanted = match (component.match_type, component.r#match.as_deref()) {
            (0, Some(name)) => Match::Name(Some(name)),
            (0, None) => {
                return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.");
            }
            (1, None) => Match::Name(None),
            (2, None) => Match::Any,
            (1, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.");
            }
            (2, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.");
            }
            (unknown, _) => return invalid(&format!("Unknown match type {unknown}")),
        };
        filter.insert(kind, wanted);
    }
    if filter.contains_key("ip") && filter.len() > 1 {
        return invalid(
            "Invalid entity filter component combination: IP filter component should not be used with user or \
             clientId filter component.",
        );
    }
    Ok(filter)
}

fn matches(entity: &QuotaEntity, filter: &Filter<'_>, strict: bool) -> bool {
    let part = |kind: &str| entity.parts().find(|(known, _)| *known == kind).map(|(_, name)| name);
    (!strict || entity.parts().count() == filter.len())
        && filter.iter().all(|(kind, wanted)| match (part(kind), wanted) {
            (Some(name), Match::Name(wanted)) => name == *wanted,
            (found, Match::Any) => found.is_some(),
            (None, Match::Name(_)) => false,
        })
}
