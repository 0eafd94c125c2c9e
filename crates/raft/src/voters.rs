//! Who votes: replica keys, voter sets, and how they changed along the log.

use std::collections::BTreeMap;
use std::fmt;

use ottla_model::{NodeId, Offset, Uuid};

use crate::ControlRecord;

/// A replica of the metadata log: a node and the directory its log lies in. A zero directory means "not known",
/// which is how voters from static configuration appear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    pub id: NodeId,
    pub directory: Uuid,
}

impl ReplicaKey {
    pub fn new(id: NodeId, directory: Uuid) -> Self {
        Self { id, directory }
    }
}

impl fmt::Debug for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ReplicaKey {
    /// As Apache Kafka prints it in error messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.directory.is_zero() {
            write!(f, "ReplicaKey(id={}, directoryId=<undefined>)", self.id)
        } else {
            write!(f, "ReplicaKey(id={}, directoryId={})", self.id, self.directory)
        }
    }
}

/// Where a voter can be reached, by listener name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
}

/// The `kraft.version` levels a node supports, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    pub min: i16,
    pub max: i16,
}

impl VersionRange {
    pub fn contains(self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub key: ReplicaKey,
    pub endpoints: Vec<Endpoint>,
    pub kraft_version: VersionRange,
}

/// The voters of one moment, at most one per node id, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VoterSet(BTreeMap<NodeId, Voter>);

impl VoterSet {
    pub fn get(&self, id: NodeId) -> Option<&Voter> {
        self.0.get(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Voter> {
        self.0.values()
    }

    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.0.keys().copied()
    }

    /// How many voters decide.
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this replica votes: its id is a voter's and the voter's directory is its own or not known.
    pub fn contains(&self, replica: ReplicaKey) -> bool {
        self.get(replica.id)
            .is_some_and(|voter| voter.key.directory.is_zero() || voter.key.directory == replica.directory)
    }

    pub fn is_only_voter(&self, replica: ReplicaKey) -> bool {
        self.len() == 1 && self.contains(replica)
    }

    /// This set with `voter` in place of whoever had its id.
    pub fn with(&self, voter: Voter) -> Self {
        let mut voters = self.0.clone();
        voters.insert(voter.key.id, voter);
        Self(voters)
    }

    /// This set without whoever has this id.
    pub fn without(&self, id: NodeId) -> Self {
        let mut voters = self.0.clone();
        voters.remove(&id);
        Self(voters)
    }
}

impl FromIterator<Voter> for VoterSet {
    fn from_iter<I: IntoIterator<Item = Voter>>(voters: I) -> Self {
        Self(voters.into_iter().map(|voter| (voter.key.id, voter)).collect())
    }
}

/// The voter sets and `kraft.version`s along the log, uncommitted ones included.
#[derive(Clone, Debug, Default)]
pub struct VoterHistory {
    /// From `controller.quorum.voters`; counts only while the log holds no voter set.
    configured: VoterSet,
    sets: BTreeMap<Offset, VoterSet>,
    versions: BTreeMap<Offset, i16>,
}

impl VoterHistory {
    pub fn new(configured: VoterSet) -> Self {
        Self { configured, ..Self::default() }
    }

    /// `controller.quorum.voters`.
    pub fn configured(&self) -> &VoterSet {
        &self.configured
    }

    /// Forgets everything for what a snapshot says that ends at `end`.
    pub fn restart(&mut self, end: Offset, control: &[ControlRecord]) {
        self.sets.clear();
        self.versions.clear();
        for record in control {
            self.observe(Offset(end.0 - 1), record);
        }
    }

    /// Takes note of a control record at `offset`. Records of a snapshot have the offset before the snapshot's end,
    /// so those of the snapshot that formatting wrote have -1.
    pub fn observe(&mut self, offset: Offset, record: &ControlRecord) {
        match record {
            ControlRecord::KRaftVersion(version) => {
                self.versions.insert(offset, *version);
            }
            ControlRecord::Voters(set) => {
                self.sets.insert(offset, set.clone());
            }
            ControlRecord::LeaderChange { .. } => {}
        }
    }

    /// Forgets what was observed at `end` and after: the log was truncated.
    pub fn truncate(&mut self, end: Offset) {
        self.sets.split_off(&end);
        self.versions.split_off(&end);
    }

    /// Forgets what a snapshot ending at `start` made obsolete.
    pub fn trim(&mut self, start: Offset) {
        fn keep_last_below<T>(map: &mut BTreeMap<Offset, T>, start: Offset) {
            if let Some((&last, _)) = map.range(..start).next_back() {
                *map = map.split_off(&last);
            }
        }
        keep_last_below(&mut self.sets, start);
        keep_last_below(&mut self.versions, start);
    }

    pub fn latest(&self) -> &VoterSet {
        self.sets.last_key_value().map_or(&self.configured, |(_, set)| set)
    }

    /// The set before the latest.
    pub fn previous(&self) -> &VoterSet {
        self.sets.values().rev().nth(1).unwrap_or(&self.configured)
    }

    /// Offset of the latest voter set; `None` if it is the configured one.
    pub fn latest_offset(&self) -> Option<Offset> {
        self.sets.last_key_value().map(|(&offset, _)| offset)
    }

    pub fn kraft_version(&self) -> i16 {
        self.versions.last_key_value().map_or(0, |(_, &version)| version)
    }

    /// Voter set and `kraft.version` as of the log's first `end` records: what a snapshot up to there contains.
    pub fn at(&self, end: Offset) -> (Option<&VoterSet>, i16) {
        let set = self.sets.range(..end).next_back().map(|(_, set)| set);
        let version = self.versions.range(..end).next_back().map_or(0, |(_, &version)| version);
        (set, version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(id: i32, directory: u128) -> Voter {
        Voter {
            key: ReplicaKey::new(NodeId(id), Uuid::from_u128(directory)),
            endpoints: Vec::new(),
            kraft_version: VersionRange { min: 0, max: 1 },
        }
    }

    #[test]
    fn a_voter_without_a_directory_matches_any() {
        let set: VoterSet = [voter(1, 0), voter(2, 500)].into_iter().collect();
        assert!(set.contains(ReplicaKey::new(NodeId(1), Uuid::from_u128(7))));
        assert!(set.contains(ReplicaKey::new(NodeId(2), Uuid::from_u128(500))));
        assert!(!set.contains(ReplicaKey::new(NodeId(2), Uuid::from_u128(7))));
        assert!(!set.contains(ReplicaKey::new(NodeId(3), Uuid::from_u128(7))));
    }

    #[test]
    fn history_follows_truncation_and_snapshots() {
        let set = |id| VoterSet::from_iter([voter(id, 500)]);
        let mut history = VoterHistory::new(set(9));
        assert_eq!((history.latest(), history.latest_offset(), history.kraft_version()), (&set(9), None, 0));
        history.observe(Offset(-1), &ControlRecord::KRaftVersion(1));
        for (offset, id) in [(-1, 1), (2, 2), (40, 3)] {
            history.observe(Offset(offset), &ControlRecord::Voters(set(id)));
        }
        assert_eq!(history.latest(), &set(3));
        assert_eq!(history.at(Offset(40)), (Some(&set(2)), 1));
        assert_eq!(history.at(Offset(0)), (Some(&set(1)), 1));
        history.truncate(Offset(40));
        assert_eq!(history.latest(), &set(2));
        history.trim(Offset(30));
        assert_eq!(history.at(Offset(0)).0, None);
        assert_eq!(history.at(Offset(30)), (Some(&set(2)), 1));
    }
}
