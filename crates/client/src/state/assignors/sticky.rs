//! Sticky: everybody keeps what it has as far as the balance allows.
//!
//! Balanced means: no member has two partitions more than another that subscribes to one of them. Who claims a
//! partition in the highest generation has it; then what nobody has goes to those with least, topics with few
//! subscribers first; then single partitions move from those with more to those with less until it is balanced. Each
//! move lowers the sum of the squares of the members' counts, so it ends. At last members hand partitions on to each
//! other where that leaves more of them with a replica in their reader's rack (KIP-881); their number grows each time,
//! so that ends, too. A member without a rack is near to all.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use ottla_model::TopicPartition;

use super::{Member, Racks, Topics, rack_of};

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
    let everywhere: Racks = topics.values().flatten().flatten().cloned().collect();
    if members.iter().filter_map(rack_of).any(|rack| everywhere.contains(rack)) {
        balance.exchange(&Nearness { topics, members });
    }
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

    /// Whether a member with as many partitions as this one has now may have one of `topic`.
    fn may_have(&self, member: usize, topic: &str) -> bool {
        self.subscribes(member, self.pool_of[topic])
            && self.assigned[member].len() < self.assigned[self.least(topic)].len() + 2
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

    /// Hands partitions on until no chain of members can be found that leaves more partitions near their member.
    fn exchange(&mut self, nearness: &Nearness<'_>) {
        let mut better = true;
        while std::mem::take(&mut better) {
            for owner in 0..self.assigned.len() {
                let far = self.assigned[owner].iter().filter(|partition| !nearness.is_near(owner, partition));
                // Whom one does not help it does not help if it is like that one.
                let mut hopeless = BTreeSet::new();
                for partition in far.cloned().collect::<Vec<_>>() {
                    let kind = (self.pool_of[&partition.topic], nearness.racks(&partition));
                    if !hopeless.contains(&kind) {
                        match self.chain(owner, &partition, nearness) {
                            Some(chain) => {
                                self.hand_on(chain);
                                better = true;
                            }
                            None => drop(hopeless.insert(kind)),
                        }
                    }
                }
            }
        }
    }

    /// Who hands which partition to whom, the last one first, so that one that is far from its owner gets to a member
    /// near it, and none gets farther away. Each member that gets one hands on another, up to [`Self::last`].
    fn chain(&self, owner: usize, far: &TopicPartition, nearness: &Nearness<'_>) -> Option<Vec<Handover>> {
        let mut reached: BTreeMap<usize, Handover> = BTreeMap::new();
        let mut queue = VecDeque::from([owner]);
        while let Some(member) = queue.pop_front() {
            if member != owner
                && let Some(last) = self.last(owner, member, nearness)
            {
                let mut chain = Vec::from_iter(last);
                let mut at = member;
                while at != owner {
                    let handover = reached.remove(&at)?;
                    at = handover.from;
                    chain.push(handover);
                }
                return Some(chain);
            }
            let offered = match member == owner {
                true => vec![far],
                false => self.assigned[member].iter().collect(),
            };
            let mut kinds = BTreeSet::new();
            for partition in offered {
                let pool = self.pool_of[&partition.topic];
                if !kinds.insert((pool, nearness.racks(partition))) {
                    continue;
                }
                for &(_, to) in &self.pools[pool] {
                    if to != owner
                        && !reached.contains_key(&to)
                        && nearness.is_near(to, partition)
                        && self.may_have(to, &partition.topic)
                    {
                        reached.insert(to, Handover { from: member, partition: partition.clone(), to });
                        queue.push_back(to);
                    }
                }
            }
        }
        None
    }

    /// How a chain from `owner` may end with `member`: with the one more partition that the owner had, handed on to
    /// nobody, or with one that the owner is no farther from.
    fn last(&self, owner: usize, member: usize, nearness: &Nearness<'_>) -> Option<Option<Handover>> {
        let pools = &self.pools_of_member[owner];
        let alike = pools.len() == 1 && *pools == self.pools_of_member[member];
        if alike && self.assigned[owner].len() > self.assigned[member].len() {
            return Some(None);
        }
        let mut back = self.assigned[member].iter().filter(|back| {
            (nearness.is_near(owner, back) || !nearness.is_near(member, back))
                && self.may_have(owner, &back.topic)
        });
        let partition = back.next()?.clone();
        Some(Some(Handover { from: member, partition, to: owner }))
    }

    fn hand_on(&mut self, chain: Vec<Handover>) {
        for Handover { from, partition, to } in chain {
            let before = (self.assigned[from].len(), self.assigned[to].len());
            self.assigned[from].remove(&partition);
            self.assigned[to].insert(partition);
            self.recount(from, before.0);
            self.recount(to, before.1);
        }
    }
}

/// One partition from one member to another.
#[derive(Clone)]
struct Handover {
    from: usize,
    partition: TopicPartition,
    to: usize,
}

/// Who has a replica in the own rack.
struct Nearness<'a> {
    topics: &'a Topics,
    members: &'a [Member],
}

impl<'a> Nearness<'a> {
    fn racks(&self, partition: &TopicPartition) -> &'a Racks {
        &self.topics[&partition.topic][partition.partition as usize]
    }

    /// Whether the member has no rack, or one of the partition's.
    fn is_near(&self, member: usize, partition: &TopicPartition) -> bool {
        rack_of(&self.members[member]).is_none_or(|rack| self.racks(partition).contains(rack))
    }
}
