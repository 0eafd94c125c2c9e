//! Every controller tells the active one of itself: incarnation, endpoints, features (KIP-919).

use std::time::Duration;

use ottla_metadata::features::SUPPORTED;
use ottla_model::{NodeId, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::controller_registration::{ControllerRegistrationRequest, Feature, Listener};
use ottla_raft::Endpoint;

use super::client::ControllerClient;
use crate::config::ServerConfig;
use crate::metadata::MetadataHandle;

/// Pause after a registration that was refused.
const BACKOFF: Duration = Duration::from_secs(1);
/// Pause before this node takes its id back from another process: the first, doubled each time, and the longest.
const CONTESTED_BACKOFF: Duration = Duration::from_secs(2);
const CONTESTED_BACKOFF_MAX: Duration = Duration::from_secs(300);

/// What a controller says of itself; `endpoints` are its advertised controller listeners.
pub fn request(
    config: &ServerConfig,
    endpoints: &[Endpoint],
    incarnation: Uuid,
) -> ControllerRegistrationRequest {
    let listener = |endpoint: &Endpoint| Listener {
        name: Str::from(&endpoint.listener),
        host: Str::from(&endpoint.host),
        port: endpoint.port,
        security_protocol: config.security_protocol(&endpoint.listener).map_or(0, |protocol| protocol as i16),
    };
    let feature = |feature: &ottla_metadata::features::SupportedFeature| Feature {
        name: Str::from(feature.name),
        min_supported_version: feature.min,
        max_supported_version: feature.max,
    };
    ControllerRegistrationRequest {
        controller_id: config.node_id.0,
        incarnation_id: incarnation,
        zk_migration_ready: false,
        listeners: endpoints.iter().map(listener).collect(),
        features: SUPPORTED.iter().map(feature).collect(),
    }
}

/// Registers the controller as soon as the cluster's metadata.version knows of it, and again whenever the metadata has
/// another incarnation. Ends with the node.
pub async fn keep(
    client: ControllerClient,
    mut metadata: MetadataHandle,
    request: ControllerRegistrationRequest,
) {
    let mut contested = None;
    loop {
        let is_due = {
            let image = metadata.peek();
            let known = image.cluster.controller(NodeId(request.controller_id));
            image.metadata_version().supports_controller_registration()
                && known.map(|known| known.incarnation) != Some(request.incarnation_id)
        };
        if !is_due {
            metadata.changed().await;
            continue;
        }
        match client.register_controller(request.clone()).await {
            Ok(response) if response.error_code == 0 => {
                // Replaced after this, it was by another process of the same id, which will not stop either.
                let pause = contested.map_or(CONTESTED_BACKOFF, |pause: Duration| pause * 2);
                let pause = pause.min(CONTESTED_BACKOFF_MAX);
                if contested.replace(pause).is_some() {
                    tracing::error!(
                        id = request.controller_id,
                        "another process registers itself as this controller"
                    );
                }
                tokio::time::sleep(pause).await;
            }
            Ok(response) => {
                let message = response.error_message.unwrap_or_default();
                tracing::warn!(code = response.error_code, %message, "cannot register this controller");
                tokio::time::sleep(BACKOFF).await;
            }
            Err(super::ControllerError::Stopping) => return,
            Err(_) => {}
        }
    }
}
