//! The latest offset of each key in the dirty part of a log.
//!
//! Keys are remembered by 128 bits of a keyed hash: who chooses keys cannot make two of them collide.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashMap;
use ottla_model::Offset;
use ottla_record::Batch;

use super::Cleanable;
use super::transactions::CleanedTransactions;
use crate::error::{IoContext, StorageError};
use crate::index::AbortedTxn;
use crate::scan::Walk;
use crate::segment::Segment;

/// Memory of one entry, as Kafka counts it: 16 bytes of hash and an offset.
const ENTRY_BYTES: usize = 24;

/// Keys and their latest offsets.
#[derive(Debug)]
pub(super) struct OffsetMap {
    latest: HashMap<u128, Offset, foldhash::fast::FixedState>,
    hashers: [RandomState; 2],
    entries_max: usize,
    /// The last offset that was looked at, -1 for none.
    latest_offset: Offset,
}

impl OffsetMap {
    pub(super) fn new(map_bytes: usize, load_factor: f64) -> Self {
        let entries_max = ((map_bytes / ENTRY_BYTES) as f64 * load_factor) as usize;
        Self {
            latest: HashMap::default(),
            hashers: [RandomState::new(), RandomState::new()],
            entries_max: entries_max.max(1),
            latest_offset: Offset::NONE,
        }
    }

    /// The last offset that was looked at.
    pub(super) fn latest_offset(&self) -> Offset {
        self.latest_offset
    }

    /// Everything below is in the map.
    pub(super) fn end_offset(&self) -> Offset {
        self.latest_offset + 1
    }

    fn hash(&self, key: &[u8]) -> u128 {
        u128::from(self.hashers[0].hash_one(key)) << 64 | u128::from(self.hashers[1].hash_one(key))
    }

    /// The latest offset of a key, -1 if it was not seen.
    pub(super) fn get(&self, key: &[u8]) -> Offset {
        self.latest.get(&self.hash(key)).copied().unwrap_or(Offset::NONE)
    }

    fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        if self.latest.len() >= self.entries_max && !self.latest.contains_key(&hash) {
            return false;
        }
        let latest = self.latest.entry(hash).or_insert(offset);
        *latest = offset.max(*latest);
        true
    }

    /// Reads the dirty segments until the map is full.
    pub(super) fn build(
        &mut self,
        segments: &[Arc<Segment>],
        cleanable: &Cleanable,
        aborted: Vec<AbortedTxn>,
        batch_bytes_max: usize,
        pace: &mut dyn FnMut(u64),
    ) -> Result<(), StorageError> {
        let mut transactions = CleanedTransactions::default();
        transactions.add(aborted);
        self.latest_offset = cleanable.first_dirty + -1;
        let first =
            segments.partition_point(|segment| segment.base_offset <= cleanable.first_dirty).max(1) - 1;
        let dirty = segments.partition_point(|segment| segment.base_offset < cleanable.first_uncleanable);
        for (at, segment) in segments[..dirty].iter().enumerate().skip(first) {
            let next_base = segments.get(at + 1).map_or(cleanable.first_uncleanable, |next| next.base_offset);
            if !self.add_segment(segment, cleanable.first_dirty, &mut transactions, batch_bytes_max, pace)? {
                return Ok(());
            }
            // Offsets may be missing at the end of a segment.
            self.latest_offset = self.latest_offset.max(next_base + -1);
        }
        Ok(())
    }

    /// Whether there was room for everything.
    fn add_segment(
        &mut self,
        segment: &Segment,
        start: Offset,
        transactions: &mut CleanedTransactions,
        batch_bytes_max: usize,
        pace: &mut dyn FnMut(u64),
    ) -> Result<bool, StorageError> {
        let path = || segment.log.path();
        let mut scan = segment.scan(0, Walk::Bodies)?;
        while let Some(at) = scan.next().during("read", path)? {
            let header = at.header;
            pace(at.size() as u64);
            if at.magic < 2 {
                for record in super::rewrite::legacy_records(&at, batch_bytes_max, path)? {
                    if let Some(key) = record.key.filter(|_| record.offset >= start)
                        && !self.put(&key, record.offset)
                    {
                        return Ok(false);
                    }
                }
            } else if header.is_control() {
                transactions.on_control_batch(&at, None);
            } else if !transactions.on_data_batch(&header) && header.last_offset() >= start {
                let batch = parse(at.bytes, path)?;
                let records = batch.records_within(batch_bytes_max);
                let records = records.map_err(|error| StorageError::corrupt(path(), error.to_string()))?;
                for record in records {
                    let record = record.map_err(|error| StorageError::corrupt(path(), error.to_string()))?;
                    if let Some(key) = record.key.filter(|_| record.offset >= start)
                        && !self.put(&key, record.offset)
                    {
                        return Ok(false);
                    }
                }
            }
            if header.last_offset() >= start {
                self.latest_offset = self.latest_offset.max(header.last_offset());
            }
        }
        Ok(true)
    }
}

/// A batch of its bytes in a segment.
pub(super) fn parse(bytes: &[u8], path: impl Fn() -> std::path::PathBuf) -> Result<Batch, StorageError> {
    Batch::parse(&bytes::Bytes::copy_from_slice(bytes))
        .map_err(|error| StorageError::corrupt(path(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_offset_counts_until_it_is_full() {
        let mut map = OffsetMap::new(24 * 10, 0.5);
        for offset in 0..5 {
            assert!(map.put(&[offset as u8], Offset(offset)));
        }
        assert!(map.put(&[1], Offset(9)) && map.put(&[1], Offset(7)));
        assert!(!map.put(&[5], Offset(10)));
        assert_eq!((map.get(&[1]), map.get(&[5])), (Offset(9), Offset::NONE));
    }
}
