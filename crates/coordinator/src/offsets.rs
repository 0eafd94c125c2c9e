//! Committed offsets of a group, and offsets of transactions that are still open.

use std::collections::BTreeMap;

use ottla_model::{Millis, Offset, ProducerId, Uuid};
use ottla_protocol::Str;

/// One committed position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OffsetAndMetadata {
    pub offset: i64,
    /// -1 if unknown.
    pub leader_epoch: i32,
    pub metadata: Str,
    pub commit_timestamp: Millis,
    /// Set by old clients that chose a retention time.
    pub expire_timestamp: Option<Millis>,
    /// Zero if unknown.
    pub topic_id: Uuid,
    /// Where its record is; decides between a transaction's offset and a later one.
    pub record_offset: Offset,
}

/// The offsets of one group, by topic and partition.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    topics: BTreeMap<Str, BTreeMap<i32, OffsetAndMetadata>>,
}

impl Offsets {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub fn len(&self) -> usize {
        self.topics.values().map(BTreeMap::len).sum()
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&OffsetAndMetadata> {
        self.topics.get(topic)?.get(&partition)
    }

    /// The name as it is stored here, or else a copy of it: frames must not be kept alive.
    pub fn stored_name(&self, topic: &Str) -> Str {
        self.topics.get_key_value(topic).map_or_else(|| topic.detached(), |(name, _)| name.clone())
    }

    pub fn put(&mut self, topic: Str, partition: i32, value: OffsetAndMetadata) {
        self.topics.entry(topic).or_default().insert(partition, value);
    }

    pub fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    pub fn topics(&self) -> impl Iterator<Item = (&Str, &BTreeMap<i32, OffsetAndMetadata>)> {
        self.topics.iter()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Str, i32, &OffsetAndMetadata)> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, value)| (topic, *partition, value))
        })
    }
}

/// Group, topic, partition.
type Slot = (Str, Str, i32);

/// Offsets that transactions have written and neither committed nor aborted.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    by_producer: BTreeMap<ProducerId, BTreeMap<Slot, OffsetAndMetadata>>,
    /// How many open transactions hold an offset of the slot.
    holders: BTreeMap<Slot, usize>,
}

impl Transactions {
    pub fn put(&mut self, producer: ProducerId, slot: Slot, value: OffsetAndMetadata) {
        if self.by_producer.entry(producer).or_default().insert(slot.clone(), value).is_none() {
            *self.holders.entry(slot).or_default() += 1;
        }
    }

    /// Ends the producer's transaction and gives what it wrote.
    pub fn end(&mut self, producer: ProducerId) -> BTreeMap<Slot, OffsetAndMetadata> {
        let written = self.by_producer.remove(&producer).unwrap_or_default();
        for slot in written.keys() {
            release(&mut self.holders, slot);
        }
        written
    }

    /// Forgets the slot in every open transaction: its offset was deleted.
    pub fn remove(&mut self, group: &Str, topic: &Str, partition: i32) {
        let slot = (group.clone(), topic.clone(), partition);
        if self.holders.remove(&slot).is_some() {
            for written in self.by_producer.values_mut() {
                written.remove(&slot);
            }
        }
    }

    pub fn holds(&self, group: &Str, topic: &Str, partition: i32) -> bool {
        !self.holders.is_empty() && self.holders.contains_key(&(group.clone(), topic.clone(), partition))
    }

    /// The slots of a group, or of all groups, that open transactions hold.
    pub fn slots_of<'a>(&'a self, group: &'a Str) -> impl Iterator<Item = (&'a Str, i32)> {
        let first = (group.clone(), Str::EMPTY, i32::MIN);
        let of_group = self.holders.range(first..).take_while(move |((owner, ..), _)| owner == group);
        of_group.map(|((_, topic, partition), _)| (topic, *partition))
    }

    pub fn slots(&self) -> impl Iterator<Item = (&Str, &Str, i32)> {
        self.holders.keys().map(|(group, topic, partition)| (group, topic, *partition))
    }
}

fn release(holders: &mut BTreeMap<Slot, usize>, slot: &Slot) {
    if let Some(count) = holders.get_mut(slot) {
        *count -= 1;
        if *count == 0 {
            holders.remove(slot);
        }
    }
}
