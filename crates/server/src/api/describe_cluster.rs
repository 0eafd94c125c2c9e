//! DescribeCluster (60): versions 0 to 2. Brokers on a broker's listener, controllers on a controller's.

use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_model::{ErrorCode, NodeId};
use ottla_protocol::Str;
use ottla_protocol::api::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{RequestContext, authorized_operations, leaders};
use crate::broker::Broker;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;
/// "Not asked for".
const OPERATIONS_UNKNOWN: i32 = i32::MIN;

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    if let Err(refused) = check_type(&request, context, BROKERS) {
        return refused;
    }
    let image = broker.image();
    let shown = image.cluster.brokers().filter(|known| request.include_fenced_brokers || !known.fenced);
    let brokers: Vec<DescribeClusterBroker> = shown
        .filter_map(|known| {
            let listener = known.listener(&context.listener)?;
            Some(DescribeClusterBroker {
                broker_id: known.id.0,
                host: Str::from(&*listener.host),
                port: listener.port.into(),
                rack: known.rack.as_deref().map(Str::from),
                is_fenced: known.fenced,
            })
        })
        .collect();
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: Str::from(&*broker.cluster_id),
        controller_id: leaders::controller(&image, broker.node_id, &context.listener),
        brokers,
        cluster_authorized_operations: operations(&request),
        ..Default::default()
    }
}

/// The answer on a controller's listener; `leader` is the active controller.
pub fn describe_controllers(
    image: &MetadataImage,
    cluster_id: &str,
    leader: NodeId,
    context: &RequestContext,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if let Err(refused) = check_type(request, context, CONTROLLERS) {
        return refused;
    }
    let controllers = image.cluster.controllers().filter_map(|known| {
        let listener = known.listener(&context.listener)?;
        Some(DescribeClusterBroker {
            broker_id: known.id.0,
            host: Str::from(&*listener.host),
            port: listener.port.into(),
            ..Default::default()
        })
    });
    DescribeClusterResponse {
        endpoint_type: CONTROLLERS,
        cluster_id: Str::from(cluster_id),
        controller_id: leader.0,
        brokers: controllers.collect(),
        cluster_authorized_operations: operations(request),
        ..Default::default()
    }
}

fn check_type(
    request: &DescribeClusterRequest,
    context: &RequestContext,
    served: i8,
) -> Result<(), DescribeClusterResponse> {
    let (code, message) = match request.endpoint_type {
        asked if asked == served => return Ok(()),
        BROKERS | CONTROLLERS if context.api_version == 0 => {
            (ErrorCode::InvalidRequest, "The request was sent to an endpoint of another type")
        }
        BROKERS | CONTROLLERS => {
            (ErrorCode::MismatchedEndpointType, "The request was sent to an endpoint of the wrong type.")
        }
        _ => (ErrorCode::UnsupportedEndpointType, "Unsupported endpoint type"),
    };
    Err(DescribeClusterResponse {
        error_code: code.code(),
        error_message: Some(Str::from(message)),
        endpoint_type: request.endpoint_type,
        cluster_authorized_operations: OPERATIONS_UNKNOWN,
        ..Default::default()
    })
}

fn operations(request: &DescribeClusterRequest) -> i32 {
    match request.include_cluster_authorized_operations {
        true => authorized_operations::CLUSTER,
        false => OPERATIONS_UNKNOWN,
    }
}
