//! The election state that must survive a crash.

use ottla_model::{LeaderEpoch, NodeId};

use crate::ReplicaKey;

/// Content of the `quorum-state` file. Written and synced before anything is done that depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct QuorumState {
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    /// Whom this node voted for in `epoch`; kept when that node becomes the leader, absent on the leader itself.
    pub voted: Option<ReplicaKey>,
}
