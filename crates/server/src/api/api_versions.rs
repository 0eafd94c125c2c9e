//! ApiVersions (18): versions 0 to 5. Tells which keys and versions this listener serves, and the features.
//!
//! A version that is not known is answered in the form of version 0, so that every client can find the common
//! one. KIP-35, KIP-511, KIP-584; version 5 checks that the client reached the node it meant.

use ottla_metadata::features::KRAFT_VERSION;
use ottla_model::ErrorCode;
use ottla_protocol::api::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use ottla_protocol::{ApiKey, Decoder, Listener, Message, Str, Versions};

use super::{Answer, ListenerContext, Rejected, RequestContext};

/// Clients up to this version refuse features whose lowest level is zero.
const MIN_LEVEL_ABOVE_ZERO_VERSION: i16 = 3;

pub fn answer(
    listener: &ListenerContext,
    context: &RequestContext,
    mut body: Decoder,
) -> Result<Answer, Rejected> {
    if !ApiKey::ApiVersions.stable_versions().contains(context.api_version) {
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            api_keys: vec![row(ApiKey::ApiVersions, listener.kind)],
            ..Default::default()
        };
        return Answer::new(&RequestContext { api_version: 0, ..context.clone() }, &response);
    }
    let request = ApiVersionsRequest::decode(&mut body, context.api_version)?;
    let response = match check(listener, context, &request) {
        ErrorCode::None => offer(listener, context),
        error => ApiVersionsResponse { error_code: error.code(), ..Default::default() },
    };
    Answer::new(context, &response)
}

fn check(listener: &ListenerContext, context: &RequestContext, request: &ApiVersionsRequest) -> ErrorCode {
    let version = context.api_version;
    if version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        return ErrorCode::InvalidRequest;
    }
    if version >= 5 {
        let node = &listener.node;
        match (&request.cluster_id, request.node_id) {
            (None, -1) => {}
            (Some(cluster_id), node_id) if node_id != -1 => {
                if **cluster_id != *node.cluster_id() || node_id != node.id().0 {
                    return ErrorCode::RebootstrapRequired;
                }
            }
            _ => return ErrorCode::InvalidRequest,
        }
    }
    ErrorCode::None
}

fn offer(listener: &ListenerContext, context: &RequestContext) -> ApiVersionsResponse {
    let image = listener.node.image();
    let features = &image.features;
    ApiVersionsResponse {
        api_keys: listener.offered().iter().filter_map(|key| offered(listener, *key)).collect(),
        supported_features: ottla_metadata::features::SUPPORTED
            .iter()
            .filter(|feature| context.api_version > MIN_LEVEL_ABOVE_ZERO_VERSION || feature.min > 0)
            .map(|feature| SupportedFeatureKey {
                name: Str::from(feature.name),
                min_version: feature.min,
                max_version: feature.max,
            })
            .collect(),
        finalized_features_epoch: image.provenance.offset.0,
        finalized_features: features
            .iter()
            .chain([(KRAFT_VERSION, listener.node.controller().kraft_version())])
            .filter(|(_, level)| *level != 0)
            .map(|(name, level)| FinalizedFeatureKey {
                name: Str::from(name),
                max_version_level: level,
                min_version_level: level,
            })
            .collect(),
        ..Default::default()
    }
}

/// What a broker passes on it offers as far as the active controller serves it.
fn offered(listener: &ListenerContext, key: ApiKey) -> Option<ApiVersion> {
    let mut row = row(key, listener.kind);
    if listener.kind == Listener::Broker
        && key.is_forwarded()
        && let Some(served) = listener.node.broker().controller.served(key)
    {
        let common = Versions::new(row.min_version, row.max_version).intersect(served);
        if common.is_empty() {
            return None;
        }
        (row.min_version, row.max_version) = (common.min, common.max);
    }
    Some(row)
}

fn row(key: ApiKey, listener: Listener) -> ApiVersion {
    let versions = key.stable_versions();
    ApiVersion {
        api_key: key as i16,
        // Old librdkafka takes a broker without version 0 for one without batches, and stops.
        min_version: if key == ApiKey::Produce && listener == Listener::Broker { 0 } else { versions.min },
        max_version: versions.max,
    }
}

/// Letters and digits, with dots and dashes between them.
fn is_software_name(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    outer(text.chars().next()) && outer(text.chars().next_back()) && text.chars().all(inner)
}
