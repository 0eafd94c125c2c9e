//! Which leader epoch wrote which offsets.
//!
//! Owns the entries of `leader-epoch-checkpoint`, ascending in both epoch and start offset. Must not know files: the
//! log writes the text when it is due. The file may lag behind after a crash: what it lacks is found again in the
//! batches behind the recovery point.

use ottla_model::{LeaderEpoch, Offset};

use crate::checkpoint::EpochEntry;

/// The leader epochs of one log.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochEntry>,
}

impl EpochCache {
    /// From a file; entries out of order are dropped from the first one on that is.
    pub fn new(entries: Vec<EpochEntry>) -> Self {
        let mut cache = Self::default();
        for entry in entries {
            if cache
                .latest()
                .is_none_or(|latest| latest.epoch < entry.epoch && latest.start_offset <= entry.start_offset)
            {
                cache.entries.push(entry);
            }
        }
        cache
    }

    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// Notes that `epoch` begins at `start_offset`; whatever contradicts it goes. Whether anything changed.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        if !epoch.is_some() || (start_offset < Offset::ZERO) {
            return false;
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch && latest.start_offset <= start_offset) {
            return false;
        }
        while self.latest().is_some_and(|latest| latest.epoch >= epoch || latest.start_offset >= start_offset)
        {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// Corrects entries by a batch that is known to be in the log (recovery: the file may lag behind the log, and may
    /// still have entries that a truncation took away).
    pub fn observe(&mut self, epoch: LeaderEpoch, base_offset: Offset) {
        if !epoch.is_some() || self.epoch_of(base_offset) == Some(epoch) {
            return;
        }
        if self.epoch_of(base_offset).is_some_and(|known| known > epoch) {
            self.entries.retain(|entry| entry.epoch <= epoch);
        }
        if self.epoch_of(base_offset) != Some(epoch) {
            self.assign(epoch, base_offset);
        }
    }

    /// Forgets epochs that begin at or behind `end_offset`.
    pub fn truncate_from_end(&mut self, end_offset: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// Forgets what lies wholly below the log start; the epoch of `log_start` then begins there.
    pub fn truncate_from_start(&mut self, log_start: Offset) -> bool {
        let covering = self.entries.iter().rposition(|entry| entry.start_offset <= log_start);
        match covering {
            Some(index) if index > 0 || self.entries[0].start_offset < log_start => {
                self.entries.drain(..index);
                self.entries[0].start_offset = log_start;
                true
            }
            _ => false,
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The epoch that wrote `offset`, if known.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.entries.iter().rev().find(|entry| entry.start_offset <= offset).map(|entry| entry.epoch)
    }

    /// Where `epoch` ends in this log (OffsetForLeaderEpoch): the largest known epoch not above it, and the offset
    /// behind its last record. `None`: undefined, on the wire (-1, -1).
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest()?;
        if !epoch.is_some() {
            return None;
        }
        if epoch == latest.epoch {
            return Some((epoch, log_end));
        }
        let higher = self.entries.iter().find(|entry| entry.epoch > epoch)?;
        match self.entries.iter().rev().find(|entry| entry.epoch <= epoch) {
            Some(floor) => Some((floor.epoch, higher.start_offset)),
            None => Some((epoch, higher.start_offset)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        EpochCache {
            entries: entries
                .iter()
                .map(|(epoch, start)| EpochEntry { epoch: LeaderEpoch(*epoch), start_offset: Offset(*start) })
                .collect(),
        }
    }

    #[test]
    fn ends_of_epochs() {
        let epochs = cache(&[(2, 10), (5, 20)]);
        let end = |epoch| epochs.end_offset_for(LeaderEpoch(epoch), Offset(30)).map(|(e, o)| (e.0, o.0));
        assert_eq!(end(-1), None);
        assert_eq!(end(1), Some((1, 10)));
        assert_eq!(end(2), Some((2, 20)));
        assert_eq!(end(4), Some((2, 20)));
        assert_eq!(end(5), Some((5, 30)));
        assert_eq!(end(6), None);
        assert_eq!(EpochCache::default().end_offset_for(LeaderEpoch(0), Offset(3)), None);
    }

    #[test]
    fn both_ends_are_cut() {
        let mut epochs = cache(&[(0, 0), (2, 10), (5, 20)]);
        assert!(!epochs.truncate_from_end(Offset(21)));
        assert!(epochs.truncate_from_end(Offset(20)));
        assert!(epochs.truncate_from_start(Offset(12)));
        assert_eq!(epochs, cache(&[(2, 12)]));
        assert!(!epochs.truncate_from_start(Offset(12)));
    }

    #[test]
    fn batches_correct_stale_entries() {
        let mut epochs = cache(&[(0, 0), (6, 100)]);
        epochs.observe(LeaderEpoch(0), Offset(50));
        assert_eq!(epochs, cache(&[(0, 0), (6, 100)]));
        epochs.observe(LeaderEpoch(5), Offset(90));
        epochs.observe(LeaderEpoch(5), Offset(105));
        epochs.observe(LeaderEpoch(7), Offset(110));
        assert_eq!(epochs, cache(&[(0, 0), (5, 90), (7, 110)]));
        let mut epochs = cache(&[(0, 0), (6, 100)]);
        epochs.observe(LeaderEpoch(0), Offset(105));
        assert_eq!(epochs, cache(&[(0, 0)]));
    }

    #[test]
    fn the_same_epoch_again_changes_nothing() {
        let mut epochs = cache(&[(0, 0), (2, 10)]);
        assert!(!epochs.assign(LeaderEpoch(2), Offset(15)));
        assert!(epochs.assign(LeaderEpoch(3), Offset(10)));
        assert_eq!(epochs, cache(&[(0, 0), (3, 10)]));
    }

    proptest! {
        #[test]
        fn entries_stay_ascending(steps in proptest::collection::vec((0..3u8, 0..20i32, 0..100i64), 0..40)) {
            let mut epochs = EpochCache::default();
            for (step, epoch, offset) in steps {
                match step {
                    0 => { epochs.assign(LeaderEpoch(epoch), Offset(offset)); }
                    1 => { epochs.truncate_from_end(Offset(offset)); }
                    _ => { epochs.truncate_from_start(Offset(offset)); }
                }
                prop_assert!(epochs.entries().windows(2).all(|pair| pair[0].epoch < pair[1].epoch
                    && pair[0].start_offset < pair[1].start_offset));
            }
        }
    }
}
