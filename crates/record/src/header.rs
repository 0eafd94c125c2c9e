//! The 61-byte header of a record batch, format version 2.
//!
//! ```text
//!  0  i64 baseOffset            27 i64 baseTimestamp (delete horizon if bit 6)
//!  8  i32 batchLength           35 i64 maxTimestamp
//! 12  i32 partitionLeaderEpoch  43 i64 producerId
//! 16  i8  magic = 2             51 i16 producerEpoch
//! 17  u32 crc (of 21..end)      53 i32 baseSequence
//! 21  i16 attributes            57 i32 recordsCount
//! 23  i32 lastOffsetDelta       61 records
//! ```

use std::fmt;

use ottla_model::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId};

use crate::compression::Codec;
use crate::error::BatchError;

/// Size of the header.
pub const HEADER_BYTES: usize = 61;
/// Offset and length, the part of a batch that its length field does not count.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Where the checksummed part begins.
pub(crate) const CRC_START: usize = 21;
/// The smallest size by which Kafka recognizes any entry: a record of format 0 without its payload.
pub(crate) const MIN_ENTRY_BYTES: i32 = 14;

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

/// The attribute bits of a batch. Unused bits are kept as they came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// The codec of the records; [`BatchError::UnknownCodec`] for ids 5 to 7.
    pub fn codec(self) -> Result<Codec, BatchError> {
        let id = (self.0 & Self::CODEC) as u8;
        Codec::from_id(id).ok_or(BatchError::UnknownCodec(id))
    }

    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon.
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !Self::CODEC | codec as i16)
    }

    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.with(Self::LOG_APPEND_TIME, matches!(timestamp_type, TimestampType::LogAppendTime))
    }

    #[must_use]
    pub const fn with_transactional(self, on: bool) -> Self {
        self.with(Self::TRANSACTIONAL, on)
    }

    #[must_use]
    pub const fn with_control(self, on: bool) -> Self {
        self.with(Self::CONTROL, on)
    }

    #[must_use]
    pub const fn with_delete_horizon(self, on: bool) -> Self {
        self.with(Self::DELETE_HORIZON, on)
    }

    /// Without the bits that have no meaning, as Kafka writes when it rewrites attributes.
    #[must_use]
    pub(crate) const fn known(self) -> Self {
        Self(self.0 & 0x7f)
    }

    const fn with(self, bit: i16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#04x})", self.0)
    }
}

/// A parsed batch header. Plain values: nothing about them has been checked but magic and a sufficient length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes after the length field; [`Self::size_bytes`] minus 12.
    pub batch_length: i32,
    /// Set by the leader that appended the batch; outside the checksum.
    pub leader_epoch: LeaderEpoch,
    pub crc: u32,
    pub attributes: Attributes,
    /// Survives compaction, so it may exceed `record_count - 1`.
    pub last_offset_delta: i32,
    pub base_timestamp: Millis,
    pub max_timestamp: Millis,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// First sequence number, -1 without one. Coordinators of groups write 0 without a producer id.
    pub base_sequence: i32,
    pub record_count: i32,
}

impl Default for BatchHeader {
    /// An empty batch of no producer.
    fn default() -> Self {
        Self {
            base_offset: Offset::ZERO,
            batch_length: (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32,
            leader_epoch: LeaderEpoch::NONE,
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: 0,
            base_timestamp: Millis::NONE,
            max_timestamp: Millis::NONE,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: -1,
            record_count: 0,
        }
    }
}

impl BatchHeader {
    pub const MAGIC: i8 = 2;

    /// Reads the header at the front of `bytes`, which may end right behind it.
    ///
    /// Errors: [`BatchError::Truncated`] below 61 bytes, [`BatchError::Magic`], [`BatchError::Length`] for a length
    /// field that no batch can have.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        if let (Some(length), Some(magic)) = (bytes.get(8..12), bytes.get(16)) {
            let length = i32::from_be_bytes(length.try_into().unwrap_or_default());
            if length < MIN_ENTRY_BYTES {
                return Err(BatchError::Length(length));
            }
            if *magic as i8 != Self::MAGIC {
                return Err(BatchError::Magic(*magic as i8));
            }
            if length < (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32 {
                return Err(BatchError::Length(length));
            }
        }
        let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated { needed: HEADER_BYTES, available: bytes.len() });
        };
        Ok(Self::from_array(head))
    }

    fn from_array(head: &[u8; HEADER_BYTES]) -> Self {
        Self {
            base_offset: Offset(i64::from_be_bytes(field(head, 0))),
            batch_length: i32::from_be_bytes(field(head, 8)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(head, 12))),
            crc: u32::from_be_bytes(field(head, 17)),
            attributes: Attributes(i16::from_be_bytes(field(head, 21))),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: Millis(i64::from_be_bytes(field(head, 27))),
            max_timestamp: Millis(i64::from_be_bytes(field(head, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(head, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(head, 51))),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            record_count: i32::from_be_bytes(field(head, 57)),
        }
    }

    /// Writes all fields, the checksum as it is.
    pub fn write_to(&self, head: &mut [u8; HEADER_BYTES]) {
        head[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        head[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        head[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        head[16] = Self::MAGIC as u8;
        head[17..21].copy_from_slice(&self.crc.to_be_bytes());
        head[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        head[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        head[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        head[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        head[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        head[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        head[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        head[57..61].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// The header as bytes.
    pub fn to_array(&self) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        self.write_to(&mut head);
        head
    }

    /// Size of the whole batch, offset and length included.
    pub const fn size_bytes(&self) -> usize {
        self.batch_length as usize + LOG_OVERHEAD_BYTES
    }

    /// Offset of the last record (even if compaction removed it).
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.last_offset_delta as i64))
    }

    /// Offset of the first record behind the batch.
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// Sequence number of the last record, -1 without one; wraps from `i32::MAX` to 0.
    pub const fn last_sequence(&self) -> i32 {
        last_sequence(self.base_sequence, self.last_offset_delta)
    }

    pub fn codec(&self) -> Result<Codec, BatchError> {
        self.attributes.codec()
    }

    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    pub const fn has_producer_id(&self) -> bool {
        self.producer_id.0 >= 0
    }

    /// When tombstones and markers of this batch may go, if compaction has set it.
    pub const fn delete_horizon(&self) -> Option<Millis> {
        if self.attributes.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }
}

/// The sequence number `delta` records behind `base` (-1: none), wrapping from `i32::MAX` to 0.
pub const fn last_sequence(base: i32, delta: i32) -> i32 {
    if base < 0 {
        return -1;
    }
    // Two's complement does the wrap: past i32::MAX comes i32::MIN, which the mask turns into 0.
    base.wrapping_add(delta) & i32::MAX
}

fn field<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_round_trip(mut bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES)) {
            bytes[8] &= 0x7f;
            bytes[10] |= 1;
            bytes[16] = 2;
            let header = BatchHeader::parse(&bytes).unwrap();
            prop_assert_eq!(&header.to_array()[..], &bytes[..]);
        }
    }

    #[test]
    fn sequences_wrap() {
        assert_eq!(last_sequence(-1, 5), -1);
        assert_eq!(last_sequence(3, 4), 7);
        assert_eq!(last_sequence(i32::MAX, 0), i32::MAX);
        assert_eq!(last_sequence(i32::MAX, 1), 0);
        assert_eq!(last_sequence(i32::MAX - 1, 4), 2);
    }

    #[test]
    fn refuses_what_is_no_batch() {
        let good = BatchHeader::default().to_array();
        assert_eq!(BatchHeader::parse(&good), Ok(BatchHeader::default()));
        assert!(matches!(BatchHeader::parse(&good[..60]), Err(BatchError::Truncated { .. })));
        for (at, value, error) in [
            (16, 3, BatchError::Magic(3)),
            (16, 1, BatchError::Magic(1)),
            (16, 0xff, BatchError::Magic(-1)),
            (8, 0x80, BatchError::Length(i32::MIN + 49)),
            (11, 48, BatchError::Length(48)),
            (11, 13, BatchError::Length(13)),
        ] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(BatchHeader::parse(&bad), Err(error));
        }
    }
}
