//! What clients asked and were told, kept apart from the cluster, and whether the cluster still stands by it.
//!
//! Each partition has one idempotent producer that sends the numbers from 0 on and goes on only when a number is
//! acknowledged: so a record's number is its offset, or something was lost, doubled or put out of order.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_record::Batches;

#[derive(Debug, Default)]
pub struct Ledger {
    /// By partition: how many numbers were acknowledged.
    acknowledged: BTreeMap<i32, i64>,
    /// By reader and partition: the highest high watermark it was told.
    seen: BTreeMap<(i32, i32), i64>,
    /// By group: the last offset that was acknowledged, and the last that was asked for.
    committed: BTreeMap<String, (i64, i64)>,
    acknowledgements: usize,
    reads: usize,
    /// Everything heals: operators bring all topics back to all hosts.
    pub winds_down: bool,
    /// The first thing that cannot be.
    broken: Option<String>,
}

impl Ledger {
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
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

    pub fn commits(&mut self, group: &str, offset: i64) {
        self.committed.entry(group.to_owned()).or_insert((-1, -1)).1 = offset;
    }

    pub fn commit_acknowledged(&mut self, group: &str, offset: i64) {
        self.acknowledgements += 1;
        self.committed.entry(group.to_owned()).or_insert((-1, -1)).0 = offset;
    }

    /// A coordinator says what is committed, to a client that has no commit under way.
    pub fn fetched(&mut self, group: &str, offset: i64) {
        self.reads += 1;
        let (acknowledged, asked) = self.committed.get(group).copied().unwrap_or((-1, -1));
        if offset < acknowledged || offset > asked {
            self.breaks(format!(
                "group {group} is at {offset}, but {acknowledged} was acknowledged and {asked} asked for"
            ));
        }
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
