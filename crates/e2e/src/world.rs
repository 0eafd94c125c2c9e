//! The nodes that the tests of one run share: the judge and the candidate, started on first use.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use crate::node::{Brand, Node};

static NODES: Mutex<[Option<Arc<Node>>; 5]> = Mutex::new([const { None }; 5]);

/// Apache Kafka 4.4.0 with default settings.
pub fn judge() -> Result<Arc<Node>> {
    shared(0, Brand::Apache).context("start the judge")
}

/// The node under test with default settings.
pub fn candidate() -> Result<Arc<Node>> {
    shared(1, Brand::candidate()).context("start the candidate")
}

/// Where scripts are compared: Apache Kafka 4.4.0 with Apache's, the node under test and another Apache Kafka with
/// Ottla's. Scripts list all that is there, so what other tests leave must not be.
pub fn scripts() -> Result<[Arc<Node>; 3]> {
    let judge = shared(2, Brand::Apache).context("start the scripts' judge")?;
    let candidate = shared(3, Brand::candidate()).context("start the scripts' candidate")?;
    Ok([judge, candidate, shared(4, Brand::Apache).context("start the scripts' second judge")?])
}

/// Kills the shared nodes; called once at the end of the run, as statics are never dropped.
pub fn close() {
    *NODES.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = [const { None }; 5];
}

fn shared(slot: usize, brand: Brand) -> Result<Arc<Node>> {
    let mut nodes = NODES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // A node that crashed in one test must not fail all that follow.
    if let Some(node) = nodes[slot].as_ref().filter(|node| node.answers()) {
        return Ok(Arc::clone(node));
    }
    let node = Arc::new(Node::start(brand, "auto.create.topics.enable=true")?);
    nodes[slot] = Some(Arc::clone(&node));
    Ok(node)
}
