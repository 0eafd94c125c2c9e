//! What clients asked and were told, kept apart from the cluster, and whether the cluster still stands by it.
//!
//! Each partition has one idempotent producer that sends the numbers from 0 on and goes on only when a number is
//! acknowledged: so a record's number is its offset, or something was lost, doubled or put out of order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ottla_coordinator::partition_for;
use ottla_metadata::FeaturesImage;
use ottla_metadata::features::KRAFT_VERSION;
use ottla_model::Offset;
use ottla_record::Batches;

use super::client::OFFSETS_PARTITIONS;

#[derive(Debug, Default)]
pub struct Ledger {
    /// By partition: how many numbers were acknowledged.
    acknowledged: BTreeMap<i32, i64>,
    /// By reader and partition: the highest high watermark it was told.
    seen: BTreeMap<(i32, i32), i64>,
    /// By group and partition.
    committed: BTreeMap<(String, i32), Committed>,
    /// By partition of the offsets topic: who coordinates its groups, and where in the metadata log that was known.
    coordinators: BTreeMap<i32, (Offset, i32)>,
    /// By group, generation and partition: the member that owns it.
    owners: BTreeMap<(String, i32, i32), String>,
    /// By node and partition: the highest leader epoch in which it has served.
    epochs: BTreeMap<(i32, i32), i32>,
    /// By node and broker: the epochs of the incarnations that the node has heard of.
    incarnations: BTreeMap<(i32, i32), BTreeSet<i64>>,
    /// By feature: the highest level to which it was raised.
    features: BTreeMap<String, i16>,
    /// Votes that were taken from controllers.
    pub voters_changed: usize,
    /// Every controller has its vote.
    pub all_vote: bool,
    /// By controller: how often its disk was replaced by an empty one.
    new_disks: BTreeMap<i32, u32>,
    /// The controller whose disk is to be replaced next.
    pub to_replace: Option<i32>,
    /// The controller with an empty disk and no vote yet.
    pub newcomer: Option<i32>,
    acknowledgements: usize,
    reads: usize,
    /// Everything heals: operators bring all topics back to all hosts.
    pub winds_down: bool,
    /// The first thing that cannot be.
    broken: Option<String>,
}

/// Offsets of one partition, committed by one group. They only grow: those of a member's generation are above all of
/// the generations before.
#[derive(Debug)]
struct Committed {
    /// The highest that was asked for.
    asked: i64,
    /// By node: the highest that it acknowledged, or told somebody who asked.
    known: BTreeMap<i32, i64>,
}

impl Default for Committed {
    fn default() -> Self {
        Self { asked: -1, known: BTreeMap::new() }
    }
}

impl Ledger {
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A controller is to lose all that it has.
    pub fn replace_disk(&mut self, controller: i32) {
        *self.new_disks.entry(controller).or_default() += 1;
        (self.to_replace, self.newcomer) = (Some(controller), Some(controller));
    }

    /// How often a controller's disk was replaced.
    pub fn new_disks(&self, controller: i32) -> u32 {
        self.new_disks.get(&controller).copied().unwrap_or(0)
    }

    /// Acknowledgements of records and offsets so far.
    pub fn acknowledgements(&self) -> usize {
        self.acknowledgements
    }

    pub fn reads(&self) -> usize {
        self.reads
    }

    /// `offset` is -1 where the answer was that the record is there already.
    pub fn acknowledged(&mut self, partition: i32, number: i64, offset: i64) {
        self.acknowledgements += 1;
        self.acknowledged.insert(partition, number + 1);
        if offset >= 0 && offset != number {
            self.breaks(format!(
                "partition {partition}: number {number} was acknowledged at offset {offset}"
            ));
        }
    }

    /// A reader got a record.
    pub fn read(&mut self, reader: i32, partition: i32, offset: i64, number: i64) {
        self.reads += 1;
        let seen = self.seen.entry((reader, partition)).or_insert(-1);
        let before = std::mem::replace(seen, offset);
        if offset != number || offset != before + 1 {
            self.breaks(format!(
                "partition {partition}: reader {reader} found number {number} at offset {offset}, after {before}"
            ));
        }
    }

    /// The highest leader epoch in which a node has served a partition; -1 if none.
    pub fn epoch_of(&self, node: i32, partition: i32) -> i32 {
        self.epochs.get(&(node, partition)).copied().unwrap_or(-1)
    }

    /// A node took `epoch` for its own when it was asked; it had taken `before` for its own when the question was sent.
    pub fn served(&mut self, node: i32, partition: i32, epoch: i32, before: i32) {
        let highest = self.epochs.entry((node, partition)).or_insert(epoch);
        *highest = (*highest).max(epoch);
        if epoch < before {
            self.breaks(format!("node {node} serves partition {partition} in epoch {epoch} after {before}"));
        }
    }

    /// A node knows the broker in this incarnation.
    pub fn knows(&mut self, node: i32, broker: i32, epoch: i64) {
        self.incarnations.entry((node, broker)).or_default().insert(epoch);
    }

    /// The first incarnation of a broker that a node has heard of, and the last, if these are not the same.
    pub fn ended_incarnation(&self, node: i32, broker: i32) -> Option<(i64, i64)> {
        let known = self.incarnations.get(&(node, broker))?;
        let (first, last) = (*known.first()?, *known.last()?);
        (first < last).then_some((first, last))
    }

    pub fn raised(&mut self, feature: &str, level: i16) {
        let known = self.features.entry(feature.to_owned()).or_insert(level);
        *known = level.max(*known);
    }

    /// Levels that were raised.
    pub fn features(&self) -> usize {
        self.features.len()
    }

    /// Whether a host knows what was acknowledged of features. The quorum keeps `kraft.version` to itself.
    pub fn audit_features(&mut self, host: i32, image: &FeaturesImage) {
        let lost =
            self.features.iter().find(|(name, level)| *name != KRAFT_VERSION && image.level(name) < **level);
        if let Some((name, level)) = lost {
            let what = format!("host {host}: {name} is {}, but was raised to {level}", image.level(name));
            self.breaks(what);
        }
    }

    fn committed(&mut self, group: &str, partition: i32) -> &mut Committed {
        self.committed.entry((group.to_owned(), partition)).or_default()
    }

    pub fn commits(&mut self, group: &str, partition: i32, offset: i64) {
        let committed = self.committed(group, partition);
        committed.asked = committed.asked.max(offset);
    }

    fn know(&mut self, node: i32, group: &str, partition: i32, offset: i64) {
        let known = self.committed(group, partition).known.entry(node).or_insert(-1);
        *known = offset.max(*known);
    }

    pub fn commit_acknowledged(&mut self, node: i32, group: &str, partition: i32, offset: i64) {
        self.acknowledgements += 1;
        self.know(node, group, partition, offset);
    }

    /// The metadata log says up to `offset` who coordinates the groups of a partition of the offsets topic.
    pub fn coordinates(&mut self, offsets_partition: i32, node: i32, offset: Offset) {
        let known = self.coordinators.entry(offsets_partition).or_insert((offset, node));
        *known = (*known).max((offset, node));
    }

    /// What a node must know, or more, of what is committed. Of one that has been replaced and has not heard of it,
    /// that is what it knew before: as Apache Kafka's, a coordinator that is cut off answers from its memory.
    pub fn must_know(&mut self, node: i32, group: &str, partition: i32) -> i64 {
        let coordinator = self.coordinators.get(&partition_for(group, OFFSETS_PARTITIONS));
        let is_replaced = coordinator.is_some_and(|(_, coordinator)| *coordinator != node);
        let known = &self.committed(group, partition).known;
        let of_whom = known.iter().filter(|(by, _)| !is_replaced || **by == node);
        of_whom.map(|(_, offset)| *offset).max().unwrap_or(-1)
    }

    /// A node says what is committed; when it was asked it had to know `at_least`.
    pub fn fetched(&mut self, node: i32, group: &str, partition: i32, offset: i64, at_least: i64) {
        self.reads += 1;
        self.know(node, group, partition, offset);
        let asked = self.committed(group, partition).asked;
        if offset < at_least || offset > asked {
            self.breaks(format!(
                "group {group} is at {offset} of partition {partition}, but {at_least} was committed and {asked} asked for"
            ));
        }
    }

    /// A member was told what it owns in a generation.
    pub fn owns(&mut self, group: &str, generation: i32, member: &str, partitions: &[i32]) {
        for partition in partitions {
            let key = (group.to_owned(), generation, *partition);
            let owner = self.owners.entry(key).or_insert_with(|| member.to_owned());
            if owner != member {
                let what = format!(
                    "group {group}: both {owner} and {member} own partition {partition} in generation {generation}"
                );
                return self.breaks(what);
            }
        }
    }

    /// Generations of all groups in which somebody owned something.
    pub fn generations(&self) -> usize {
        let of_groups: BTreeSet<(&str, i32)> =
            self.owners.keys().map(|(group, generation, _)| (group.as_str(), *generation)).collect();
        of_groups.len()
    }

    /// Whether a replica of `partition` holds what was acknowledged, each number once and in its place.
    pub fn audit(&mut self, host: i32, partition: i32, log: Bytes) {
        let mut next = 0;
        for batch in Batches::new(log) {
            let numbers = batch.map_err(|error| error.to_string()).and_then(|batch| numbers(&batch));
            let numbers = match numbers {
                Ok(numbers) => numbers,
                Err(error) => return self.breaks(format!("host {host}, partition {partition}: {error}")),
            };
            for (offset, number) in numbers {
                if offset != number || offset != next {
                    return self.breaks(format!(
                        "host {host}, partition {partition}: number {number} at offset {offset}"
                    ));
                }
                next += 1;
            }
        }
        let acknowledged = self.acknowledged.get(&partition).copied().unwrap_or(0);
        let seen =
            self.seen.iter().filter(|((_, of), _)| *of == partition).map(|(_, offset)| offset + 1).max();
        if next < acknowledged.max(seen.unwrap_or(0)) {
            self.breaks(format!(
                "host {host}, partition {partition} ends at {next}, but {acknowledged} records were acknowledged"
            ));
        }
    }
}

/// The offsets and numbers of a batch.
pub fn numbers(batch: &ottla_record::Batch) -> Result<Vec<(i64, i64)>, String> {
    batch.verify_crc().map_err(|error| error.to_string())?;
    let mut numbers = Vec::new();
    for record in batch.records().map_err(|error| error.to_string())? {
        let record = record.map_err(|error| error.to_string())?;
        let value = record.value.as_deref().and_then(<[u8]>::first_chunk::<8>).ok_or("a record of nobody")?;
        numbers.push((record.offset.0, i64::from_be_bytes(*value)));
    }
    Ok(numbers)
}
