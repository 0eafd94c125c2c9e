//! The nodes that the tests of one run share: the judge and the candidate, started on first use.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

use crate::node::{Brand, Node};

static NODES: Mutex<[Option<Arc<Node>>; 3]> = Mutex::new([None, None, None]);

/// Apache Kafka 4.4.0 with default settings.
pub fn judge() -> Result<Arc<Node>> {
    shared(0, Brand::Apache).context("start the judge")
}

/// The node under test with default settings.
pub fn candidate() -> Result<Arc<Node>> {
    shared(1, Brand::candidate()).context("start the candidate")
}

/// Another Apache Kafka 4.4.0, on which Ottla's scripts do what Apache's did on the judge.
pub fn second_judge() -> Result<Arc<Node>> {
    shared(2, Brand::Apache).context("start the second judge")
}

/// Kills the shared nodes; called once at the end of the run, as statics are never dropped.
pub fn close() {
    *NODES.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = [None, None, None];
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
