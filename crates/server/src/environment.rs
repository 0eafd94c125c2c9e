//! What a node stands on: where its files are and whom it can reach.
//!
//! The rest of the world is of the thread, not of the node: the clock ([`crate::clock::set_for_thread`]), chance
//! ([`crate::random::set_for_thread`]) and time to wait, which is tokio's. A node runs as well in a runtime of one
//! thread: then its loops are tasks of it (`loops`), and with a paused clock whole clusters are steps of a simulation.

use std::sync::Arc;

use ottla_commit_log::{Disk, RealDisk};
use ottla_transport::{Network, Tcp};
use tokio::runtime::Handle;

use crate::api::RequestHook;

/// Disk and network of a node; the machine's own unless said otherwise.
#[derive(Clone, Debug)]
pub struct Environment {
    pub disk: Arc<dyn Disk>,
    pub network: Arc<dyn Network>,
    /// Where the quorum's connections are served, so that no disk of data holds up an election; unless said, in the
    /// runtime that starts the node.
    pub quorum_runtime: Option<Handle>,
    /// Who steps in before requests are handled; nobody, but in tests.
    pub hook: Option<Arc<dyn RequestHook>>,
}

impl Default for Environment {
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), network: Arc::new(Tcp), quorum_runtime: None, hook: None }
    }
}
