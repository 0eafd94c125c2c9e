//! Range: consecutive partitions of each topic, the first members get one more if it does not come out even.
//!
//! Where members and replicas have racks in common and not every partition is everywhere, members first get partitions
//! with a replica in their rack, as many as their share allows, and topics with the same members and as many partitions
//! stay aligned; what is left is dealt as without racks (KIP-881).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_model::TopicPartition;

use super::{Member, Racks, Topics, in_order, rack_of};

pub(super) fn assign(topics: &Topics, members: &[Member]) -> Vec<Vec<TopicPartition>> {
    let order = in_order(members);
    let mut shares: Vec<Shares<'_>> =
        topics.iter().filter_map(|(topic, racks)| Shares::new(topic, racks, members, &order)).collect();
    if shares.iter().any(|shares| shares.by_rack) {
        deal_by_rack(&mut shares, members);
    }
    let mut assigned = vec![Vec::new(); members.len()];
    for mut shares in shares {
        shares.deal(|_, _, _| true);
        for (partition, owner) in (0..).zip(shares.owners) {
            if let Some(nth) = owner {
                let topic = Arc::clone(shares.topic);
                assigned[shares.members[nth]].push(TopicPartition { topic, partition });
            }
        }
    }
    assigned
}

/// Gives partitions to members in whose racks they are, as far as shares allow.
fn deal_by_rack(shares: &mut [Shares<'_>], members: &[Member]) {
    let has_rack = |shares: &&mut Shares<'_>| shares.members.iter().any(|m| rack_of(&members[*m]).is_some());
    let mut alike: BTreeMap<(Vec<usize>, usize), Vec<&mut Shares<'_>>> = BTreeMap::new();
    for shares in shares.iter_mut().filter(has_rack) {
        alike.entry((shares.members.clone(), shares.racks.len())).or_default().push(shares);
    }
    for (_, mut alike) in alike {
        match &mut alike[..] {
            [alone] if !alone.by_rack => {}
            [alone] => alone.deal(|shares, nth, partition| shares.matches(nth, partition, members)),
            // Of these one that is everywhere follows those that are not.
            several => deal_aligned(several, members),
        }
    }
}

/// Gives the partitions of the same number of several topics to one member each, in whose rack they all are.
fn deal_aligned(topics: &mut [&mut Shares<'_>], members: &[Member]) {
    for partition in 0..topics[0].racks.len() {
        let takes = |nth: usize| {
            topics.iter().all(|topic| topic.room(nth) > 0 && topic.matches(nth, partition, members))
        };
        if let Some(nth) = (0..topics[0].members.len()).find(|nth| takes(*nth)) {
            topics.iter_mut().for_each(|topic| topic.give(nth, partition));
        }
    }
}

/// Who gets what of a topic.
struct Shares<'a> {
    topic: &'a Arc<str>,
    /// Of each partition's replicas.
    racks: &'a [Racks],
    /// The subscribers, in their order.
    members: Vec<usize>,
    /// How many partitions each of them has.
    given: Vec<usize>,
    /// The subscriber that has each partition, counted as in `members`.
    owners: Vec<Option<usize>>,
    share: usize,
    /// So many members may have one more.
    extra: usize,
    /// Whether racks make a difference: some member's has replicas, and not of every partition.
    by_rack: bool,
}

impl<'a> Shares<'a> {
    fn new(topic: &'a Arc<str>, racks: &'a [Racks], all: &[Member], order: &[usize]) -> Option<Self> {
        let subscribes = |member: &usize| all[*member].subscription.topics.contains(topic);
        let members: Vec<usize> = order.iter().copied().filter(subscribes).collect();
        let share = racks.len().checked_div(members.len())?;
        let of_members: BTreeSet<_> = members.iter().filter_map(|member| rack_of(&all[*member])).collect();
        let everywhere: Racks = racks.iter().flatten().cloned().collect();
        let common = everywhere.iter().any(|rack| of_members.contains(&**rack));
        Some(Self {
            topic,
            racks,
            given: vec![0; members.len()],
            owners: vec![None; racks.len()],
            share,
            extra: racks.len() % members.len(),
            by_rack: common && racks.iter().any(|racks| *racks != everywhere),
            members,
        })
    }

    fn matches(&self, nth: usize, partition: usize, all: &[Member]) -> bool {
        rack_of(&all[self.members[nth]]).is_none_or(|rack| self.racks[partition].contains(rack))
    }

    /// How many more a member may get.
    fn room(&self, nth: usize) -> usize {
        (self.share + usize::from(self.extra > 0)).saturating_sub(self.given[nth])
    }

    fn give(&mut self, nth: usize, partition: usize) {
        self.owners[partition] = Some(nth);
        self.given[nth] += 1;
        self.extra -= usize::from(self.given[nth] > self.share);
    }

    /// Gives member after member the first free partitions that it may have.
    fn deal(&mut self, may: impl Fn(&Self, usize, usize) -> bool) {
        for nth in 0..self.members.len() {
            let room = self.room(nth);
            let free = (0..self.racks.len()).filter(|p| self.owners[*p].is_none() && may(self, nth, *p));
            let given: Vec<usize> = free.take(room).collect();
            given.into_iter().for_each(|partition| self.give(nth, partition));
        }
    }
}
