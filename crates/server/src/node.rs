//! A node: what its roles share, and what starts and stops in which order.

use std::sync::Arc;

use arc_swap::Guard;
use ottla_metadata::MetadataImage;
use ottla_model::NodeId;

use crate::broker::Broker;
use crate::controller::ControllerHandle;

/// A running node.
pub struct Node {
    broker: Arc<Broker>,
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.broker.node_id
    }

    pub fn cluster_id(&self) -> &str {
        &self.broker.cluster_id
    }

    pub fn image(&self) -> Guard<Arc<MetadataImage>> {
        self.broker.image()
    }

    /// The way to the active controller.
    pub fn controller(&self) -> &ControllerHandle {
        &self.broker.controller
    }

    /// The broker role. Only called for requests on a broker's listener.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }
}
