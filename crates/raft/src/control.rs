//! What the quorum itself writes into the log, between the records of its users.

use ottla_model::NodeId;

use crate::VoterSet;

/// A record of a control batch. Each takes one offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// First record of every epoch.
    LeaderChange { leader: NodeId, voters: Vec<NodeId>, granting: Vec<NodeId> },
    /// The `kraft.version` feature from here on.
    KRaftVersion(i16),
    /// The voters from here on (KIP-853).
    Voters(VoterSet),
}
