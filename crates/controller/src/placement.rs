//! Where the replicas of new partitions go: striped over racks and brokers.
//!
//! Leaders rotate over the unfenced brokers of all racks; followers walk the racks from the same place, so that
//! replicas of one partition are in as many racks as possible and neighbours of a failed broker share its load.

use std::collections::BTreeMap;

use ottla_model::NodeId;

use crate::Random;

/// A broker that may get replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableBroker {
    pub id: NodeId,
    pub rack: Option<String>,
    pub fenced: bool,
}

/// Why there is no placement; the text is what Kafka's clients see, after "Unable to replicate the partition n
/// time(s): ". All are `INVALID_REPLICATION_FACTOR`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("Invalid replication factor {0}: the replication factor must be positive.")]
    NotPositive(i16),
    #[error(
        "The target replication factor of {wanted} cannot be reached because only {registered} broker(s) are registered or some brokers have all their log directories cordoned."
    )]
    TooFewBrokers { wanted: i16, registered: usize },
    #[error("All brokers are currently fenced.")]
    AllFenced,
}

/// Replica lists for `partitions` new partitions; the first of each is the preferred leader.
pub fn place(
    brokers: impl IntoIterator<Item = UsableBroker>,
    partitions: usize,
    replication_factor: i16,
    random: &mut Random,
) -> Result<Vec<Vec<NodeId>>, PlacementError> {
    let mut racks = Racks::new(brokers, random);
    if replication_factor <= 0 {
        return Err(PlacementError::NotPositive(replication_factor));
    }
    if replication_factor as usize > racks.brokers {
        return Err(PlacementError::TooFewBrokers { wanted: replication_factor, registered: racks.brokers });
    }
    if racks.unfenced == 0 {
        return Err(PlacementError::AllFenced);
    }
    Ok((0..partitions).map(|_| racks.place(replication_factor as usize, random)).collect())
}

/// Brokers of one rack and one kind, walked in a circle whose start moves on with every partition.
#[derive(Default)]
struct Ring {
    brokers: Vec<NodeId>,
    start: usize,
    taken: usize,
    partition: usize,
}

impl Ring {
    fn next(&mut self, partition: usize) -> Option<NodeId> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.partition != partition {
            self.partition = partition;
            self.taken = 0;
            self.start = (self.start + 1) % self.brokers.len();
        }
        if self.taken >= self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.start + self.taken) % self.brokers.len()];
        self.taken += 1;
        Some(broker)
    }
}

#[derive(Default)]
struct Rack {
    unfenced: Ring,
    fenced: Ring,
}

struct Racks {
    racks: Vec<Rack>,
    brokers: usize,
    unfenced: usize,
    /// Partitions placed so far.
    partition: usize,
    offset: usize,
}

impl Racks {
    fn new(brokers: impl IntoIterator<Item = UsableBroker>, random: &mut Random) -> Self {
        let mut by_name: BTreeMap<Option<String>, Rack> = BTreeMap::new();
        for broker in brokers {
            let rack = by_name.entry(broker.rack).or_default();
            if broker.fenced { &mut rack.fenced } else { &mut rack.unfenced }.brokers.push(broker.id);
        }
        let mut racks: Vec<Rack> = by_name.into_values().collect();
        let (mut count, mut unfenced) = (0, 0);
        for rack in &mut racks {
            count += rack.unfenced.brokers.len() + rack.fenced.brokers.len();
            unfenced += rack.unfenced.brokers.len();
            for ring in [&mut rack.unfenced, &mut rack.fenced] {
                ring.brokers.sort_unstable();
                if !ring.brokers.is_empty() {
                    ring.start = random.below(ring.brokers.len());
                }
            }
        }
        let offset = if racks.is_empty() { 0 } else { random.below(racks.len()) };
        Self { racks, brokers: count, unfenced, partition: 0, offset }
    }

    fn place(&mut self, replicas: usize, random: &mut Random) -> Vec<NodeId> {
        if self.partition > 0 && self.partition.is_multiple_of(self.unfenced) {
            random.shuffle(&mut self.racks);
            for rack in &mut self.racks {
                random.shuffle(&mut rack.unfenced.brokers);
                random.shuffle(&mut rack.fenced.brokers);
            }
        }
        let (partition, count) = (self.partition, self.racks.len());
        let from = self.offset % count;
        self.partition += 1;
        self.offset = from + 1;

        // The caller saw at least one unfenced broker, and as many brokers as replicas: both walks end.
        let (leader_rack, leader) = (0..count)
            .map(|step| (from + step) % count)
            .find_map(|at| self.racks[at].unfenced.next(partition).map(|broker| (at, broker)))
            .expect("an unfenced broker");
        let mut placed = vec![leader];
        let (mut at, mut skip) = (from, Some(leader_rack));
        while placed.len() < replicas {
            if skip == Some(at) {
                skip = None;
            } else {
                let rack = &mut self.racks[at];
                let next = rack.unfenced.next(partition).or_else(|| rack.fenced.next(partition));
                placed.extend(next);
            }
            at = (at + 1) % count;
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn broker(id: i32, rack: &str, fenced: bool) -> UsableBroker {
        UsableBroker { id: NodeId(id), rack: (!rack.is_empty()).then(|| rack.to_string()), fenced }
    }

    #[test]
    fn refusals_speak_kafkas_words() {
        let mut random = Random::from_seed([1, 2]);
        let one = [broker(1, "", false)];
        let error = place(one.clone(), 1, 3, &mut random).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The target replication factor of 3 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."
        );
        assert_eq!(place([broker(1, "", true)], 1, 1, &mut random), Err(PlacementError::AllFenced));
        assert_eq!(place(one.clone(), 1, 0, &mut random), Err(PlacementError::NotPositive(0)));
        assert_eq!(place(one, 2, 1, &mut random), Ok(vec![vec![NodeId(1)]; 2]));
    }

    #[test]
    fn replicas_and_leaders_are_spread_over_racks() {
        for seed in 0..50 {
            let mut random = Random::from_seed([seed, 7]);
            let brokers: Vec<_> =
                (0..9).map(|id| broker(id, ["a", "b", "c"][id as usize % 3], false)).collect();
            let placed = place(brokers, 90, 3, &mut random).unwrap();
            let mut leaders: BTreeMap<i32, usize> = BTreeMap::new();
            for replicas in &placed {
                *leaders.entry(replicas[0].0 % 3).or_default() += 1;
                let racks: BTreeSet<i32> = replicas.iter().map(|id| id.0 % 3).collect();
                assert_eq!(racks.len(), 3, "{replicas:?}");
            }
            assert!(leaders.values().all(|&count| count == 30), "{leaders:?}");
        }
    }

    #[test]
    fn fenced_brokers_follow_but_do_not_lead() {
        for seed in 0..50 {
            let mut random = Random::from_seed([seed, 7]);
            let brokers = [broker(1, "a", true), broker(2, "a", false), broker(3, "b", true)];
            for replicas in place(brokers, 6, 3, &mut random).unwrap() {
                assert_eq!(replicas[0], NodeId(2));
                assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), 3);
            }
        }
    }
}
