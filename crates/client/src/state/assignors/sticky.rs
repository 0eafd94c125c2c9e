//! Sticky: everybody keeps what it has as far as the balance allows.
//!
//! Balanced means: no member has two partitions more than another that subscribes to one of them. Who claims a
//! partition in the highest generation has it; then what nobody has goes to those with least, topics with few
//! subscribers first; then single partitions move from those with more to those with less until it is balanced. Each
//! move lowers the sum of the squares of the members' counts, so it ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ottla_model::TopicPartition;

use super::{Member, Topics};

/// What a member says it owned, and in which generation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Claim {
    pub owned: Vec<TopicPartition>,
    pub generation: i32,
}

pub(super) fn assign(topics: &Topics, members: &[Member], claims: &[Claim]) -> Vec<Vec<TopicPartition>> {
    let mut balance = Balance::new(topics, members);
    let owners = owners(claims);
    let mut unowned = Vec::new();
    for (topic, racks) in topics {
        let Some(&pool) = balance.pool_of.get(topic) else { continue };
        for (partition, _) in (0..).zip(racks) {
            let partition = TopicPartition { topic: topic.clone(), partition };
            match owners.get(&partition) {
                Some(&owner) if balance.subscribes(owner, pool) => balance.give(owner, partition),
                _ => unowned.push((balance.pools[pool].len(), partition)),
            }
        }
    }
    unowned.sort();
    for (_, partition) in unowned {
        let least = balance.least(&partition.topic);
        balance.give(least, partition);
    }
    while balance.improve(&owners) {}
    balance.assigned.into_iter().map(|assigned| assigned.into_iter().collect()).collect()
}

/// Takes away what another member still claims: it is assigned once that one has given it up.
pub(super) fn withhold_what_moves(assigned: &mut [Vec<TopicPartition>], claims: &[Claim]) {
    let owners = owners(claims);
    let mut claimed: HashMap<&TopicPartition, Vec<usize>> = HashMap::new();
    for (member, claim) in claims.iter().enumerate() {
        claim.owned.iter().for_each(|partition| claimed.entry(partition).or_default().push(member));
    }
    for (member, assigned) in assigned.iter_mut().enumerate() {
        assigned.retain(|partition| {
            owners.get(partition) == Some(&member)
                || claimed
                    .get(partition)
                    .is_none_or(|claimants| claimants.iter().all(|other| *other == member))
        });
    }
}

/// The member of the highest generation that claims each partition. Two of the same generation: nobody, one of them
/// is wrong.
fn owners(claims: &[Claim]) -> HashMap<&TopicPartition, usize> {
    let mut best: HashMap<&TopicPartition, (i32, Option<usize>)> = HashMap::new();
    for (member, claim) in claims.iter().enumerate() {
        for partition in &claim.owned {
            let entry = best.entry(partition).or_insert((claim.generation, Some(member)));
            if entry.0 < claim.generation {
                *entry = (claim.generation, Some(member));
            } else if entry.0 == claim.generation && entry.1 != Some(member) {
                entry.1 = None;
            }
        }
    }
    best.into_iter().filter_map(|(partition, (_, member))| Some((partition, member?))).collect()
}

/// An assignment in the making. Topics with the same subscribers share a pool, which knows who has least.
struct Balance {
    assigned: Vec<BTreeSet<TopicPartition>>,
    /// Subscribers by how much they have.
    pools: Vec<BTreeSet<(usize, usize)>>,
    pool_of: BTreeMap<Arc<str>, usize>,
    pools_of_member: Vec<BTreeSet<usize>>,
}

impl Balance {
    fn new(topics: &Topics, members: &[Member]) -> Self {
        let mut subscribers: BTreeMap<&Arc<str>, BTreeSet<usize>> = BTreeMap::new();
        for (member, topic) in members
            .iter()
            .enumerate()
            .flat_map(|(m, member)| member.subscription.topics.iter().map(move |t| (m, t)))
        {
            if topics.contains_key(topic) {
                subscribers.entry(topic).or_default().insert(member);
            }
        }
        let mut balance = Self {
            assigned: vec![BTreeSet::new(); members.len()],
            pools: Vec::new(),
            pool_of: BTreeMap::new(),
            pools_of_member: vec![BTreeSet::new(); members.len()],
        };
        let mut known: HashMap<BTreeSet<usize>, usize> = HashMap::new();
        for (topic, members) in subscribers {
            let pool = *known.entry(members).or_insert_with_key(|members| {
                let pool = balance.pools.len();
                members.iter().for_each(|&member| {
                    balance.pools_of_member[member].insert(pool);
                });
                balance.pools.push(members.iter().map(|&member| (0, member)).collect());
                pool
            });
            balance.pool_of.insert(topic.clone(), pool);
        }
        balance
    }

    fn subscribes(&self, member: usize, pool: usize) -> bool {
        self.pools_of_member[member].contains(&pool)
    }

    /// The subscriber of `topic` with least partitions.
    fn least(&self, topic: &str) -> usize {
        let pool = &self.pools[self.pool_of[topic]];
        pool.first().expect("pools are made of subscribers").1
    }

    fn give(&mut self, member: usize, partition: TopicPartition) {
        let before = self.assigned[member].len();
        self.assigned[member].insert(partition);
        self.recount(member, before);
    }

    fn recount(&mut self, member: usize, before: usize) {
        for &pool in &self.pools_of_member[member] {
            self.pools[pool].remove(&(before, member));
            self.pools[pool].insert((self.assigned[member].len(), member));
        }
    }

    /// Moves partitions to members that have at least two less than their owner, first those that nobody had before;
    /// whether any did.
    fn improve(&mut self, owners: &HashMap<&TopicPartition, usize>) -> bool {
        let mut moved = false;
        for member in 0..self.assigned.len() {
            let mut rest: Vec<TopicPartition> = self.assigned[member].iter().cloned().collect();
            rest.sort_by_key(|partition| !owners.contains_key(partition));
            while let Some(partition) = rest.pop() {
                let least = self.least(&partition.topic);
                let before = self.assigned[member].len();
                if before >= self.assigned[least].len() + 2 {
                    self.assigned[member].remove(&partition);
                    self.recount(member, before);
                    self.give(least, partition);
                    moved = true;
                }
            }
        }
        moved
    }
}
