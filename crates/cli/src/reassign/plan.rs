//! Who is to have which partition: read, written, and made so that brokers share alike.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use ottla_client::admin::Partition;
use ottla_client::metadata::Metadata;
use serde_json::{Value, json};

use crate::exit::usage;
use crate::select;

/// Replicas of partitions, the preferred leader first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan(BTreeMap<Partition, Vec<i32>>);

impl Plan {
    /// Where these partitions are now.
    pub fn of(metadata: &Metadata, partitions: impl IntoIterator<Item = Partition>) -> Result<Self> {
        let mut plan = BTreeMap::new();
        for place in partitions {
            let Some(known) = metadata.partition(&place.0, place.1) else {
                return Err(select::no_topic(&format!("{} with a partition {}", place.0, place.1)));
            };
            plan.insert(place, known.replicas.iter().map(|node| node.0).collect());
        }
        Ok(Self(plan))
    }

    /// Reads Kafka's form: version 1, partitions with topic, partition and replicas.
    pub fn parse(text: &str) -> Result<Self> {
        let expected =
            r#"expected {"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,2]}]}"#;
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return usage(format!("{error}; {expected}")),
        };
        let read = |entry: &Value| -> Option<(Partition, Vec<i32>)> {
            let number = |value: &Value| value.as_i64().and_then(|number| i32::try_from(number).ok());
            let topic = entry.get("topic")?.as_str()?.to_owned();
            let partition = number(entry.get("partition")?)?;
            let replicas =
                entry.get("replicas")?.as_array()?.iter().map(number).collect::<Option<Vec<_>>>()?;
            Some(((topic, partition), replicas))
        };
        if value.get("version").and_then(Value::as_i64) != Some(1) {
            return usage(format!("no plan of version 1; {expected}"));
        }
        let mut plan = BTreeMap::new();
        for entry in value.get("partitions").and_then(Value::as_array).into_iter().flatten() {
            let Some((place, replicas)) = read(entry) else { return usage(format!("{entry}; {expected}")) };
            let twice = replicas.iter().collect::<BTreeSet<_>>().len() < replicas.len();
            if replicas.is_empty() || twice {
                return usage(format!(
                    "{}-{}: replicas {replicas:?} are none, or one is there twice",
                    place.0, place.1
                ));
            }
            if plan.insert(place.clone(), replicas).is_some() {
                return usage(format!("{}-{} is there twice", place.0, place.1));
            }
        }
        match plan.is_empty() {
            true => usage(format!("no partitions; {expected}")),
            false => Ok(Self(plan)),
        }
    }

    pub fn to_json(&self) -> Value {
        let partitions = self.0.iter().map(|((topic, partition), replicas)| {
            json!({"topic": topic, "partition": partition, "replicas": replicas})
        });
        json!({"version": 1, "partitions": partitions.collect::<Vec<_>>()})
    }

    pub fn moves(&self) -> impl Iterator<Item = (&Partition, &Vec<i32>)> {
        self.0.iter()
    }

    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.0.keys().cloned()
    }

    pub fn replicas(&self, place: &Partition) -> &[i32] {
        self.0.get(place).map_or(&[], Vec::as_slice)
    }
}

/// How partitions are to be spread.
pub struct Rebalance {
    pub brokers: Vec<i32>,
    pub racks: BTreeMap<i32, Option<String>>,
    /// As many replicas as a partition has if `None`.
    pub replication: Option<usize>,
}

impl Rebalance {
    /// A plan in which brokers have replicas and preferred leaders alike, replicas of a partition are on different
    /// racks where there are enough, and a replica moves only for one of these reasons.
    pub fn plan(&self, current: &Plan) -> Result<Plan> {
        let mut replicas: BTreeMap<i32, usize> = self.brokers.iter().map(|id| (*id, 0)).collect();
        let wanted = |now: &Vec<i32>| self.replication.unwrap_or(now.len());
        let total: usize = current.0.values().map(wanted).sum();
        let fair = total.div_ceil(self.brokers.len().max(1));
        let mut plan = BTreeMap::new();
        // First what stays: nobody keeps more than a fair share.
        for (place, now) in &current.0 {
            if wanted(now) > self.brokers.len() {
                let (brokers, wanted) = (self.brokers.len(), wanted(now));
                return usage(format!(
                    "{brokers} brokers cannot have {wanted} replicas of {}-{}",
                    place.0, place.1
                ));
            }
            let mut kept: Vec<i32> = Vec::new();
            for id in now {
                let Some(load) = replicas.get_mut(id) else { continue };
                if *load < fair && kept.len() < wanted(now) && self.fits(*id, &kept) {
                    *load += 1;
                    kept.push(*id);
                }
            }
            plan.insert(place.clone(), kept);
        }
        // Then what is missing, from whoever has least.
        for (place, chosen) in &mut plan {
            while chosen.len() < wanted(&current.0[place]) {
                let now = &current.0[place];
                let free = self.brokers.iter().filter(|id| !chosen.contains(id));
                let best = free
                    .min_by_key(|id| (!self.fits(**id, chosen), replicas[*id], !now.contains(id), **id))
                    .copied();
                let Some(best) = best else { break };
                *replicas.entry(best).or_default() += 1;
                chosen.push(best);
            }
        }
        let mut leaders: BTreeMap<i32, usize> = BTreeMap::new();
        let fair = plan.len().div_ceil(self.brokers.len().max(1));
        for (place, chosen) in &mut plan {
            let now = current.0[place].first();
            let load = |id: &i32| leaders.get(id).copied().unwrap_or(0);
            let stays = |id: &i32| Some(id) == now && load(id) < fair;
            let first = (0..chosen.len()).min_by_key(|at| (!stays(&chosen[*at]), load(&chosen[*at]), *at));
            if let Some(first) = first {
                let leader = chosen.remove(first);
                chosen.insert(0, leader);
                *leaders.entry(leader).or_default() += 1;
            }
        }
        Ok(Plan(plan))
    }

    /// Whether a broker's rack has no replica yet, or there are too few racks for all to differ.
    fn fits(&self, id: i32, chosen: &[i32]) -> bool {
        let rack = |id: &i32| self.racks.get(id).cloned().flatten();
        let racks: BTreeSet<_> = self.brokers.iter().map(rack).collect();
        let used: BTreeSet<_> = chosen.iter().map(rack).collect();
        used.len() == racks.len() || !used.contains(&rack(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(replicas: &[&[i32]]) -> Plan {
        let entries = (0..).zip(replicas).map(|(partition, ids)| (("a".to_owned(), partition), ids.to_vec()));
        Plan(entries.collect())
    }

    fn rebalance(brokers: &[i32], racks: &[&str]) -> Rebalance {
        let racks = brokers.iter().zip(racks).map(|(id, rack)| (*id, Some(rack.to_string())));
        Rebalance { brokers: brokers.to_vec(), racks: racks.collect(), replication: None }
    }

    #[test]
    fn what_is_even_stays() {
        let even = plan(&[&[1, 2], &[2, 3], &[3, 1]]);
        assert_eq!(rebalance(&[1, 2, 3], &["a", "b", "c"]).plan(&even).unwrap(), even);
    }

    #[test]
    fn a_new_broker_gets_its_share_and_a_retired_one_nothing() {
        let moved = rebalance(&[1, 2], &["a", "b"]).plan(&plan(&[&[1], &[1], &[1], &[1]])).unwrap();
        assert_eq!(moved, plan(&[&[1], &[1], &[2], &[2]]));
        let moved = rebalance(&[2, 3], &["a", "b"]).plan(&plan(&[&[1, 2], &[2, 1]])).unwrap();
        assert_eq!(moved, plan(&[&[2, 3], &[3, 2]]).with_either_order(&moved));
    }

    #[test]
    fn replicas_are_on_different_racks() {
        let moved = rebalance(&[1, 2, 3, 4], &["a", "a", "b", "b"]).plan(&plan(&[&[1, 2], &[3, 4]])).unwrap();
        for (place, replicas) in moved.moves() {
            assert!(
                replicas[0] <= 2 && replicas[1] > 2 || replicas[0] > 2 && replicas[1] <= 2,
                "{place:?} {replicas:?}"
            );
        }
    }

    #[test]
    fn more_replicas() {
        let more = Rebalance { replication: Some(2), ..rebalance(&[1, 2, 3], &["a", "b", "c"]) };
        let grown = more.plan(&plan(&[&[1], &[2], &[3]])).unwrap();
        for (place, replicas) in grown.moves() {
            assert_eq!((replicas.len(), replicas[0]), (2, place.1 + 1));
        }
        assert!(Rebalance { replication: Some(4), ..more }.plan(&grown).is_err());
    }

    #[test]
    fn kafkas_form() {
        let some = plan(&[&[1, 2], &[2]]);
        assert_eq!(Plan::parse(&some.to_json().to_string()).unwrap(), some);
        for wrong in [
            "",
            "[]",
            r#"{"version":2,"partitions":[]}"#,
            r#"{"version":1,"partitions":[]}"#,
            r#"{"version":1,"partitions":[{"topic":"a","partition":0}]}"#,
            r#"{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[1,1]}]}"#,
        ] {
            assert_eq!(crate::exit::code(&Plan::parse(wrong).unwrap_err()), 2, "{wrong}");
        }
    }

    impl Plan {
        /// These replicas in the other's order, where they are the same.
        fn with_either_order(mut self, other: &Plan) -> Plan {
            for (place, replicas) in &mut self.0 {
                let sorted = |ids: &[i32]| ids.iter().copied().collect::<BTreeSet<_>>();
                if sorted(replicas) == sorted(other.replicas(place)) {
                    *replicas = other.replicas(place).to_vec();
                }
            }
            self
        }
    }
}
