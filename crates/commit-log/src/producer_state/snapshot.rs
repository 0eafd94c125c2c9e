//! The `.snapshot` file: what is known of each producer below an offset.
//!
//! ```text
//! 0  i16 version = 1
//! 2  u32 crc-32c of 6..end
//! 6  i32 count
//! then per producer (46 bytes)
//!  0 i64 producer id          14 i64 last offset (-1)     34 i32 coordinator epoch (-1)
//!  8 i16 producer epoch       22 i32 offset delta         38 i64 first offset of the open transaction (-1)
//! 10 i32 last sequence (-1)   26 i64 timestamp
//! ```

use ottla_record::crc::crc32c;
use thiserror::Error;

use super::ProducerState;

const VERSION: i16 = 1;
const HEAD_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;
const CRC_START: usize = 6;

/// One producer in a snapshot, field by field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotEntry {
    pub producer_id: i64,
    pub epoch: i16,
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
    pub coordinator_epoch: i32,
    pub current_txn_first_offset: i64,
}

impl From<&ProducerState> for SnapshotEntry {
    fn from(state: &ProducerState) -> Self {
        let last = state.last_batch();
        Self {
            producer_id: state.producer_id.0,
            epoch: state.epoch.0,
            last_sequence: last.map_or(-1, |batch| batch.last_sequence),
            last_offset: last.map_or(-1, |batch| batch.last_offset),
            offset_delta: last.map_or(0, |batch| batch.offset_delta),
            timestamp: state.last_timestamp.0,
            coordinator_epoch: state.coordinator_epoch,
            current_txn_first_offset: state.current_txn_first_offset.map_or(-1, |offset| offset.0),
        }
    }
}

/// A snapshot that cannot be used; an older one is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SnapshotError {
    #[error("the snapshot's size does not fit its count")]
    Size,
    #[error("unknown snapshot version {0}")]
    Version(i16),
    #[error("the snapshot's checksum is wrong")]
    Crc,
}

pub fn encode_snapshot(entries: &[SnapshotEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + entries.len() * ENTRY_BYTES);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    for entry in entries {
        bytes.extend_from_slice(&entry.producer_id.to_be_bytes());
        bytes.extend_from_slice(&entry.epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset.to_be_bytes());
        bytes.extend_from_slice(&entry.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&entry.timestamp.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.to_be_bytes());
    }
    let crc = crc32c(&bytes[CRC_START..]);
    bytes[2..CRC_START].copy_from_slice(&crc.to_be_bytes());
    bytes
}

pub fn decode_snapshot(bytes: &[u8]) -> Result<Vec<SnapshotEntry>, SnapshotError> {
    let mut head = Fields(bytes);
    let (version, crc, count) =
        (i16::from_be_bytes(head.take()?), u32::from_be_bytes(head.take()?), head.take()?);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    if usize::try_from(u32::from_be_bytes(count)).ok().and_then(|count| count.checked_mul(ENTRY_BYTES))
        != Some(head.0.len())
    {
        return Err(SnapshotError::Size);
    }
    if bytes.get(CRC_START..).map(crc32c) != Some(crc) {
        return Err(SnapshotError::Crc);
    }
    head.0
        .chunks_exact(ENTRY_BYTES)
        .map(|entry| {
            let mut fields = Fields(entry);
            Ok(SnapshotEntry {
                producer_id: i64::from_be_bytes(fields.take()?),
                epoch: i16::from_be_bytes(fields.take()?),
                last_sequence: i32::from_be_bytes(fields.take()?),
                last_offset: i64::from_be_bytes(fields.take()?),
                offset_delta: i32::from_be_bytes(fields.take()?),
                timestamp: i64::from_be_bytes(fields.take()?),
                coordinator_epoch: i32::from_be_bytes(fields.take()?),
                current_txn_first_offset: i64::from_be_bytes(fields.take()?),
            })
        })
        .collect()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(SnapshotError::Size)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_snapshot_is_ten_bytes() {
        let bytes = encode_snapshot(&[]);
        assert_eq!(bytes.len(), 10);
        assert_eq!(decode_snapshot(&bytes), Ok(Vec::new()));
    }

    #[test]
    fn damage_is_noticed() {
        let entry = SnapshotEntry {
            producer_id: 7,
            epoch: 1,
            last_sequence: -1,
            last_offset: -1,
            offset_delta: 0,
            timestamp: 99,
            coordinator_epoch: 2,
            current_txn_first_offset: 5,
        };
        let bytes = encode_snapshot(&[entry]);
        assert_eq!(decode_snapshot(&bytes), Ok(vec![entry]));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            decode_snapshot(&bad).unwrap_err();
            decode_snapshot(&bytes[..at]).unwrap_err();
        }
    }
}
