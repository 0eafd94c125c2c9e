//! What a leader knows about the replicas, and the high watermark that follows from it.

use std::collections::BTreeMap;

use ottla_model::{Millis, NodeId, Offset, Uuid};

use crate::{ReplicaKey, Voter, VoterSet};

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

/// A leader's term.
#[derive(Debug)]
pub(crate) struct Leader {
    pub epoch_start: Offset,
    /// Unknown until something of this epoch is committed.
    pub high_watermark: Option<Offset>,
    voters: BTreeMap<NodeId, (Uuid, Progress)>,
    observers: BTreeMap<ReplicaKey, Progress>,
}

impl Leader {
    pub fn new(epoch_start: Offset, voters: &VoterSet) -> Self {
        let mut leader =
            Self { epoch_start, high_watermark: None, voters: BTreeMap::new(), observers: BTreeMap::new() };
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

    /// Advances the high watermark to what a majority of the voters holds; returns it if it moved.
    pub fn advance(&mut self) -> Option<Offset> {
        let mut ends: Vec<Offset> = self.voters.values().map(|(_, progress)| progress.end_offset).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let candidate = *ends.get(ends.len() / 2)?;
        let moved = candidate > self.epoch_start && self.high_watermark.is_none_or(|old| candidate > old);
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
        let mut leader = Leader::new(Offset(10), &voters(&[1, 2, 3]));
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
        let mut leader = Leader::new(Offset(0), &voters(&[1]));
        leader.progressed(Millis(5), key(2), Offset(7), Offset(7));
        leader.set_voters(&voters(&[1, 2]));
        assert_eq!(leader.voters().nth(1).unwrap().1.end_offset, Offset(7));
        assert_eq!(leader.observers(Millis(6)).count(), 0);
        leader.set_voters(&voters(&[1]));
        assert_eq!(leader.observers(Millis(6)).next().unwrap().0, key(2));
        assert_eq!(leader.observers(Millis(5 + OBSERVER_FORGOTTEN_AFTER_MS)).count(), 0);
    }
}
