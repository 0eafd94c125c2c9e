//! Requests to other nodes: at most one under way to each destination, and a pause after one that failed.

use std::collections::BTreeMap;

use ottla_model::{LeaderEpoch, Millis, NodeId};

use crate::{Ballot, Destination, LogPosition, RequestId};

/// What a request that is under way was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Vote { kind: Ballot, epoch: LeaderEpoch, voter: NodeId },
    Begin { epoch: LeaderEpoch, voter: NodeId },
    End { epoch: LeaderEpoch, voter: NodeId },
    Fetch { epoch: LeaderEpoch, position: LogPosition },
    FetchSnapshot { epoch: LeaderEpoch, snapshot: LogPosition, position: i64 },
    UpdateVoter { epoch: LeaderEpoch },
    Join,
    Versions,
}

impl Purpose {
    /// The voter that is asked as such.
    pub fn voter(self) -> Option<NodeId> {
        match self {
            Self::Vote { voter, .. } | Self::Begin { voter, .. } | Self::End { voter, .. } => Some(voter),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Vote { .. } => "Vote",
            Self::Begin { .. } => "BeginQuorumEpoch",
            Self::End { .. } => "EndQuorumEpoch",
            Self::Fetch { .. } => "Fetch",
            Self::FetchSnapshot { .. } => "FetchSnapshot",
            Self::UpdateVoter { .. } => "UpdateRaftVoter",
            Self::Join => "AddRaftVoter",
            Self::Versions => "ApiVersions",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Peers {
    last_id: u64,
    under_way: BTreeMap<RequestId, (Destination, Purpose)>,
    pauses: BTreeMap<Destination, Millis>,
}

/// Why nothing can be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReady {
    Busy,
    Paused { until: Millis },
}

impl Peers {
    pub fn ready(&self, now: Millis, to: &Destination) -> Result<(), NotReady> {
        if self.under_way.values().any(|(known, _)| known == to) {
            return Err(NotReady::Busy);
        }
        match self.pauses.get(to) {
            Some(&until) if until > now => Err(NotReady::Paused { until }),
            _ => Ok(()),
        }
    }

    pub fn send(&mut self, to: Destination, purpose: Purpose) -> RequestId {
        self.last_id += 1;
        let id = RequestId(self.last_id);
        self.pauses.remove(&to);
        self.under_way.insert(id, (to, purpose));
        id
    }

    /// `None`: answered before, or never sent.
    pub fn answered(&mut self, id: RequestId) -> Option<(Destination, Purpose)> {
        self.under_way.remove(&id)
    }

    pub fn pause(&mut self, to: Destination, until: Millis) {
        self.pauses.insert(to, until);
    }

    pub fn forget_pauses(&mut self) {
        self.pauses.clear();
    }
}
