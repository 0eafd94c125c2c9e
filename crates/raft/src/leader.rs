//! What a leader knows about the replicas, and the high watermark that follows from it.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{Millis, NodeId, Offset, Uuid};

use crate::{AnswerWhen, Fetch, ReplicaKey, Token, Voter, VoterSet};

/// Replicas that do not vote are forgotten when they have not fetched for this long.
const OBSERVER_FORGOTTEN_AFTER_MS: i64 = 300_000;

/// The most observers whose progress is kept; the one that fetched longest ago makes room.
const OBSERVERS_MAX: usize = 10_000;

/// How far a replica has fetched the leader's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub end_offset: Offset,
    /// When it last fetched; [`Millis::NONE`] if not in this epoch.
    pub last_fetch: Millis,
    /// When it last had everything the leader had; [`Millis::NONE`] if not in this epoch.
    pub last_caught_up: Millis,
}

const NEVER: Progress =
    Progress { end_offset: Offset::NONE, last_fetch: Millis::NONE, last_caught_up: Millis::NONE };

/// A fetch that waits for something to fetch.
#[derive(Debug)]
pub(crate) struct Parked {
    pub token: Token,
    pub fetch: Fetch,
    pub until: Millis,
}

/// A voter set that is on its way.
#[derive(Debug)]
pub(crate) struct VoterChange {
    /// Who asked, until answered.
    pub token: Token,
    pub stage: ChangeStage,
    pub until: Millis,
}

#[derive(Debug)]
pub(crate) enum ChangeStage {
    /// The new voter is asked what it supports.
    AskVersions { voter: Voter, answer: AnswerWhen },
    /// An added voter's set is in the log at this offset.
    Added(Offset),
    /// The set without a removed voter is.
    Removed(Offset),
}

/// A leader's term.
#[derive(Debug)]
pub(crate) struct Leader {
    pub epoch_start: Offset,
    /// Unknown until something of this epoch is committed.
    pub high_watermark: Option<Offset>,
    voters: BTreeMap<NodeId, (Uuid, Progress)>,
    observers: BTreeMap<ReplicaKey, Progress>,
    /// Waits for data, in the order of arrival.
    pub parked: Vec<Parked>,
    /// Voters heard of since [`Self::check_quorum_at`] was moved last.
    heard: BTreeSet<NodeId>,
    /// When the leader gives up unless enough voters are heard of.
    pub check_quorum_at: Millis,
    /// Voters that are to be told of this epoch, and when to look for those that do not fetch.
    pub untold: BTreeSet<NodeId>,
    pub tell_at: Millis,
    pub change: Option<VoterChange>,
    /// What voters say of themselves while kraft.version is 0.
    pub introduced: BTreeMap<NodeId, Voter>,
    /// Never, but in tests that show what comes of it.
    pub commits_old_epochs: bool,
}

impl Leader {
    pub fn new(now: Millis, epoch_start: Offset, check_quorum_at: Millis, voters: &VoterSet) -> Self {
        let mut leader = Self {
            epoch_start,
            high_watermark: None,
            voters: BTreeMap::new(),
            observers: BTreeMap::new(),
            parked: Vec::new(),
            heard: BTreeSet::new(),
            check_quorum_at,
            untold: BTreeSet::new(),
            tell_at: now,
            change: None,
            introduced: BTreeMap::new(),
            commits_old_epochs: false,
        };
        leader.set_voters(voters);
        leader
    }

    /// Follows a change of the voter set; the progress of replicas that change sides is kept. A voter whose directory
    /// becomes known is the same replica as before.
    pub fn set_voters(&mut self, voters: &VoterSet) {
        let mut known = std::mem::take(&mut self.voters);
        for Voter { key, .. } in voters.iter() {
            let same = |(directory, _): &(Uuid, Progress)| {
                key.directory.is_zero() || directory.is_zero() || *directory == key.directory
            };
            let progress = match known.get(&key.id) {
                Some(before) if same(before) => known.remove(&key.id).map(|(_, progress)| progress),
                _ => self.observers.remove(key),
            };
            self.voters.insert(key.id, (key.directory, progress.unwrap_or(NEVER)));
        }
        let left =
            known.into_iter().map(|(id, (directory, progress))| (ReplicaKey::new(id, directory), progress));
        self.observers.extend(left.filter(|(_, progress)| *progress != NEVER));
    }

    /// Records that `replica` has everything below `end`, of a log that ends at `log_end`.
    pub fn progressed(&mut self, now: Millis, replica: ReplicaKey, end: Offset, log_end: Offset) {
        let progress = match self.voters.get_mut(&replica.id) {
            Some((directory, progress)) if directory.is_zero() || *directory == replica.directory => progress,
            _ => {
                self.make_room(now, replica);
                self.observers.entry(replica).or_insert(NEVER)
            }
        };
        progress.last_fetch = now;
        progress.end_offset = end;
        if end >= log_end {
            progress.last_caught_up = now;
        }
    }

    fn make_room(&mut self, now: Millis, newcomer: ReplicaKey) {
        self.observers.retain(|_, progress| now - progress.last_fetch < OBSERVER_FORGOTTEN_AFTER_MS);
        if self.observers.len() >= OBSERVERS_MAX && !self.observers.contains_key(&newcomer) {
            let stalest =
                self.observers.iter().min_by_key(|(_, progress)| progress.last_fetch).map(|(&key, _)| key);
            if let Some(key) = stalest {
                self.observers.remove(&key);
            }
        }
    }

    /// Notes that a voter follows; whether with it enough have been heard of to begin a new period.
    pub fn hear(&mut self, voter: NodeId, enough: usize) -> bool {
        self.heard.insert(voter);
        let is_enough = self.heard.len() >= enough;
        if is_enough {
            self.heard.clear();
        }
        is_enough
    }

    /// The other voters that have not fetched since `since`.
    pub fn silent_voters(&self, me: NodeId, since: Millis) -> impl Iterator<Item = NodeId> {
        self.voters
            .iter()
            .filter(move |(id, (_, progress))| **id != me && progress.last_fetch <= since)
            .map(|(&id, _)| id)
    }

    /// The other voters, those with the longest log first.
    pub fn successors(&self, me: NodeId) -> Vec<ReplicaKey> {
        let mut others: Vec<_> = self.voters().filter(|(key, _)| key.id != me).collect();
        others.sort_by_key(|(_, progress)| std::cmp::Reverse(progress.end_offset));
        others.into_iter().map(|(key, _)| key).collect()
    }

    pub fn observer(&self, key: ReplicaKey) -> Option<Progress> {
        self.observers.get(&key).copied()
    }

    /// Advances the high watermark to what a majority of the voters holds; returns it if it moved.
    pub fn advance(&mut self) -> Option<Offset> {
        let mut ends: Vec<Offset> = self.voters.values().map(|(_, progress)| progress.end_offset).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let candidate = *ends.get(ends.len() / 2)?;
        let is_own = candidate > self.epoch_start || (self.commits_old_epochs && candidate > Offset::ZERO);
        let moved = is_own && self.high_watermark.is_none_or(|old| candidate > old);
        moved.then(|| *self.high_watermark.insert(candidate))
    }

    pub fn voters(&self) -> impl Iterator<Item = (ReplicaKey, Progress)> {
        self.voters.iter().map(|(&id, &(directory, progress))| (ReplicaKey::new(id, directory), progress))
    }

    pub fn observers(&self, now: Millis) -> impl Iterator<Item = (ReplicaKey, Progress)> {
        self.observers
            .iter()
            .filter(move |(_, progress)| now - progress.last_fetch < OBSERVER_FORGOTTEN_AFTER_MS)
            .map(|(&key, &progress)| (key, progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VersionRange;

    fn key(id: i32) -> ReplicaKey {
        ReplicaKey::new(NodeId(id), Uuid::from_u128(1000 + id as u128))
    }

    fn voters(ids: &[i32]) -> VoterSet {
        ids.iter()
            .map(|&id| Voter {
                key: key(id),
                endpoints: Vec::new(),
                kraft_version: VersionRange { min: 0, max: 1 },
            })
            .collect()
    }

    #[test]
    fn the_high_watermark_is_a_majoritys_and_of_the_own_epoch() {
        let mut leader = Leader::new(Millis(0), Offset(10), Millis(0), &voters(&[1, 2, 3]));
        leader.progressed(Millis(0), key(1), Offset(14), Offset(14));
        assert_eq!(leader.advance(), None);
        leader.progressed(Millis(0), key(2), Offset(10), Offset(14));
        assert_eq!(leader.advance(), None, "nothing of the own epoch is on a majority");
        leader.progressed(Millis(0), key(2), Offset(12), Offset(14));
        assert_eq!(leader.advance(), Some(Offset(12)));
        leader.progressed(Millis(0), key(3), Offset(11), Offset(14));
        assert_eq!(leader.advance(), None);
        leader.progressed(Millis(0), key(2), Offset(11), Offset(14));
        assert_eq!(leader.advance(), None, "never decreases");
        leader.progressed(Millis(0), key(4), Offset(14), Offset(14));
        assert_eq!(leader.advance(), None, "observers do not count");
    }

    #[test]
    fn replicas_keep_their_progress_when_they_change_sides() {
        let mut leader = Leader::new(Millis(0), Offset(0), Millis(0), &voters(&[1]));
        leader.progressed(Millis(5), key(2), Offset(7), Offset(7));
        leader.set_voters(&voters(&[1, 2]));
        assert_eq!(leader.voters().nth(1).unwrap().1.end_offset, Offset(7));
        assert_eq!(leader.observers(Millis(6)).count(), 0);
        leader.set_voters(&voters(&[1]));
        assert_eq!(leader.observers(Millis(6)).next().unwrap().0, key(2));
        assert_eq!(leader.observers(Millis(5 + OBSERVER_FORGOTTEN_AFTER_MS)).count(), 0);
    }
}
