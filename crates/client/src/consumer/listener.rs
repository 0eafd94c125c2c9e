//! What an application may do when its group gives or takes partitions.

use std::collections::BTreeMap;

use ottla_model::{LeaderEpoch, Offset, TopicPartition};

use super::offsets::Committed;
use super::shared::Shared;
use crate::state::positions::Position;
use crate::state::reset_policy::OffsetSpec;

/// Hears of rebalances, inside [`Consumer::poll`](super::Consumer::poll). A rebalance waits for it, up to
/// `max.poll.interval.ms`.
pub trait RebalanceListener: Send {
    /// These partitions are assigned in addition; their positions can be changed before anything is fetched.
    fn assigned(&mut self, rebalance: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        let _ = (rebalance, partitions);
    }

    /// These partitions go to others next: the last chance to commit. With automatic commits that was done already.
    fn revoked(&mut self, rebalance: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        let _ = (rebalance, partitions);
    }

    /// These partitions may belong to others already, as the member was away too long: nothing can be committed.
    fn lost(&mut self, rebalance: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        let _ = (rebalance, partitions);
    }
}

/// A listener that does nothing.
impl RebalanceListener for () {}

/// The consumer as a [`RebalanceListener`] may use it.
pub struct Rebalance<'a> {
    pub(super) shared: &'a Shared,
    pub(super) commits: BTreeMap<TopicPartition, Committed>,
}

impl Rebalance<'_> {
    /// The offset of the next record of the partition, if it is known yet.
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.shared.core.lock().positions.position(partition).map(|position| position.offset)
    }

    /// Commits this offset when the listener returns, before the group goes on.
    pub fn commit(&mut self, partition: TopicPartition, offset: Offset) {
        let committed = Committed { offset, leader_epoch: LeaderEpoch::NONE, metadata: String::new() };
        self.commits.insert(partition, committed);
    }

    /// Goes on at this offset.
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) {
        self.shared.core.lock().positions.seek(partition, Position { offset, epoch: LeaderEpoch::NONE });
    }

    /// Goes on at the beginning, the end or a time.
    pub fn seek_to(&mut self, partition: &TopicPartition, spec: OffsetSpec) {
        self.shared.core.lock().positions.seek_to(partition, spec);
    }
}
