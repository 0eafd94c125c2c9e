//! Control records: transaction markers and what the quorum writes about itself.
//!
//! The key is an i16 version and an i16 type; values other than transaction markers are opaque here.

use bytes::Bytes;
use ottla_model::{Millis, ProducerEpoch, ProducerId};

use crate::builder::BatchBuilder;

/// What a control record says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ControlType {
    Abort,
    Commit,
    LeaderChange,
    SnapshotHeader,
    SnapshotFooter,
    KraftVersion,
    KraftVoters,
    /// A type that readers ignore.
    Unknown(i16),
}

impl ControlType {
    /// Reads a control record's key; `None` if it is shorter than four bytes or of a negative version. Newer
    /// versions are read as version 0.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let [v0, v1, t0, t1] = *key.first_chunk::<4>()?;
        if i16::from_be_bytes([v0, v1]) < 0 {
            return None;
        }
        Some(Self::from_id(i16::from_be_bytes([t0, t1])))
    }

    pub const fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KraftVersion,
            6 => Self::KraftVoters,
            id => Self::Unknown(id),
        }
    }

    pub const fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KraftVersion => 5,
            Self::KraftVoters => 6,
            Self::Unknown(id) => id,
        }
    }

    /// The key of a control record of this type.
    pub const fn to_key(self) -> [u8; 4] {
        let [t0, t1] = self.id().to_be_bytes();
        [0, 0, t0, t1]
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TransactionResult {
    Abort,
    Commit,
}

/// A transaction marker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EndTxnMarker {
    pub result: TransactionResult,
    /// Epoch of the transaction coordinator that ordered it.
    pub coordinator_epoch: i32,
}

impl EndTxnMarker {
    /// Reads key and value of a control record; `None` if it is no marker or cut off.
    pub fn parse(key: &[u8], value: &[u8]) -> Option<Self> {
        let result = match ControlType::from_key(key)? {
            ControlType::Abort => TransactionResult::Abort,
            ControlType::Commit => TransactionResult::Commit,
            _ => return None,
        };
        let version = i16::from_be_bytes(*value.first_chunk::<2>()?);
        let epoch = value.get(2..)?.first_chunk::<4>()?;
        (version >= 0).then_some(Self { result, coordinator_epoch: i32::from_be_bytes(*epoch) })
    }

    /// The marker's batch at offset 0, to be stamped by the log.
    pub fn to_batch(self, producer_id: ProducerId, epoch: ProducerEpoch, timestamp: Millis) -> Bytes {
        let mut builder = BatchBuilder::default().producer(producer_id, epoch, -1).transactional().control();
        let control_type = match self.result {
            TransactionResult::Abort => ControlType::Abort,
            TransactionResult::Commit => ControlType::Commit,
        };
        let mut value = [0; 6];
        value[2..].copy_from_slice(&self.coordinator_epoch.to_be_bytes());
        builder.append_control(timestamp, control_type, &value);
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    #[test]
    fn markers_round_trip() {
        let marker = EndTxnMarker { result: TransactionResult::Commit, coordinator_epoch: 7 };
        let batch = Batch::parse(&marker.to_batch(ProducerId(3), ProducerEpoch(2), Millis(5))).unwrap();
        batch.verify_crc().unwrap();
        assert!(batch.header.is_control() && batch.header.is_transactional());
        assert_eq!((batch.header.base_sequence, batch.bytes.len()), (-1, 78));
        let record = batch.records().unwrap().next().unwrap().unwrap();
        assert_eq!(EndTxnMarker::parse(&record.key.unwrap(), &record.value.unwrap()), Some(marker));
    }

    #[test]
    fn keys_of_other_types_and_versions() {
        for id in 0..9 {
            assert_eq!(
                ControlType::from_key(&ControlType::from_id(id).to_key()),
                Some(ControlType::from_id(id))
            );
        }
        assert_eq!(ControlType::from_key(&[0, 9, 0, 1]), Some(ControlType::Commit));
        assert_eq!(ControlType::from_key(&[0xff, 0xff, 0, 1]), None);
        assert_eq!(ControlType::from_key(&[0, 0, 0]), None);
        assert_eq!(EndTxnMarker::parse(&[0, 0, 0, 1], &[0, 0, 0]), None);
    }
}
