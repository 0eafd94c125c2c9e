//! Making batches: what coordinators, the quorum, the log cleaner, clients and tests append.

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId};

use crate::compression::{self, Codec, Compression};
use crate::control::ControlType;
use crate::crc::crc32c;
use crate::encode::encode_record;
use crate::header::{BatchHeader, CRC_START, HEADER_BYTES, LOG_OVERHEAD_BYTES, TimestampType};
use crate::record::Record;

/// Collects records and writes them as one batch, byte for byte as Apache Kafka does (uncompressed; compressed
/// ones depend on the compressor).
///
/// Setters first, then records, then [`Self::build`]. The base timestamp is that of the first record unless set.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    compression: Compression,
    base_timestamp: Option<Millis>,
    max_timestamp: Option<Millis>,
    /// What an emptied batch keeps.
    max_timestamp_if_empty: Option<Millis>,
    last_offset_delta: Option<i32>,
    /// Room for the header, then the records.
    buffer: Vec<u8>,
    next_offset_delta: i32,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new(Compression::NONE)
    }
}

impl BatchBuilder {
    /// An empty batch at offset 0, CreateTime, of no producer and no leader epoch.
    pub fn new(compression: Compression) -> Self {
        let mut header = BatchHeader::default();
        header.attributes = header.attributes.with_codec(compression.codec);
        Self {
            header,
            compression,
            base_timestamp: None,
            max_timestamp: None,
            max_timestamp_if_empty: None,
            last_offset_delta: None,
            buffer: vec![0; HEADER_BYTES],
            next_offset_delta: 0,
        }
    }

    /// Takes over what compaction keeps of a batch: offsets, epoch, producer, sequence, attributes, append time. With
    /// CreateTime the largest timestamp is that of the records that stay (of all, if none stays).
    ///
    /// The codec is the header's where it is known; records are added with [`Self::append_record`].
    pub fn like(header: &BatchHeader) -> Self {
        let codec = header.codec().unwrap_or(Codec::None);
        let mut builder = Self::new(Compression::of(codec));
        builder.header = BatchHeader { record_count: 0, max_timestamp: Millis::NONE, ..*header };
        builder.header.attributes = header.attributes.with_codec(codec);
        builder.base_timestamp = header.delete_horizon();
        match header.timestamp_type() {
            TimestampType::LogAppendTime => builder.max_timestamp = Some(header.max_timestamp),
            TimestampType::CreateTime => builder.max_timestamp_if_empty = Some(header.max_timestamp),
        }
        builder.last_offset_delta = Some(header.last_offset_delta);
        builder
    }

    #[must_use]
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.header.base_offset = offset;
        self
    }

    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = epoch;
        self
    }

    /// The producer's id, epoch and the sequence number of the first record (-1: none).
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    #[must_use]
    pub fn control(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_control(true);
        self
    }

    /// Marks the batch as LogAppendTime, appended at `now`. Records keep the producer's deltas.
    #[must_use]
    pub fn log_append_time(mut self, now: Millis) -> Self {
        self.header.attributes = self.header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.max_timestamp = Some(now);
        self
    }

    /// Marks the batch with the time at which its tombstones and markers may go; deltas are relative to it.
    #[must_use]
    pub fn delete_horizon(mut self, horizon: Millis) -> Self {
        self.header.attributes = self.header.attributes.with_delete_horizon(true);
        self.base_timestamp = Some(horizon);
        self
    }

    /// What deltas are relative to, where it is not the first record's timestamp.
    #[must_use]
    pub fn base_timestamp(mut self, timestamp: Millis) -> Self {
        self.base_timestamp = Some(timestamp);
        self
    }

    /// The batch's last offset, where it is not the last record's (compaction keeps it).
    #[must_use]
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = Some(delta);
        self
    }

    /// Adds a record at the next offset.
    pub fn append(&mut self, timestamp: Millis, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.append_at(self.next_offset_delta, timestamp, key, value, std::iter::empty(), 0);
    }

    /// Adds a record with headers at the next offset.
    pub fn append_with_headers(
        &mut self,
        timestamp: Millis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        self.append_at(self.next_offset_delta, timestamp, key, value, headers.iter().copied(), 0);
    }

    /// Adds a record at its own offset, which must not be below the base offset, with its own timestamp.
    pub fn append_record(&mut self, record: &Record) {
        let delta = (record.offset - self.header.base_offset) as i32;
        let headers = record.headers.iter().map(|header| (&header.key[..], header.value.as_deref()));
        self.append_at(
            delta,
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
            record.attributes,
        );
    }

    /// Adds a control record at the next offset; the batch must be a [`Self::control`] one.
    pub fn append_control(&mut self, timestamp: Millis, control_type: ControlType, value: &[u8]) {
        debug_assert!(self.header.is_control());
        let key = control_type.to_key();
        self.append(timestamp, Some(&key), Some(value));
    }

    fn append_at<'a>(
        &mut self,
        offset_delta: i32,
        timestamp: Millis,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
        attributes: i8,
    ) {
        let base_timestamp = *self.base_timestamp.get_or_insert(timestamp);
        let delta = timestamp.0.wrapping_sub(base_timestamp.0);
        encode_record(&mut self.buffer, attributes, delta, offset_delta, key, value, headers);

        self.header.record_count += 1;
        self.next_offset_delta = offset_delta + 1;
        if self.header.max_timestamp < timestamp {
            self.header.max_timestamp = timestamp;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Size of the batch so far, before compression.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How much the batch grows by a record at the next offset, before compression: an upper bound.
    pub fn record_size_bytes(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
        const MOST_OVERHEAD: usize = 5 + 1 + 10 + 5 + 5 + 5 + 1;
        MOST_OVERHEAD + key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
    }

    /// Writes header and checksum. A batch without records is one that compaction emptied: it keeps its header.
    pub fn build(mut self) -> Bytes {
        let header = &mut self.header;
        header.base_timestamp = self.base_timestamp.unwrap_or(Millis::NONE);
        header.last_offset_delta = self.last_offset_delta.unwrap_or((self.next_offset_delta - 1).max(0));
        let kept = if header.record_count == 0 { self.max_timestamp_if_empty } else { None };
        if let Some(max_timestamp) = self.max_timestamp.or(kept) {
            header.max_timestamp = max_timestamp;
        }
        let mut buffer = self.buffer;
        if self.compression.codec == Codec::None || header.record_count == 0 {
            if header.record_count == 0 {
                buffer.truncate(HEADER_BYTES);
            }
        } else {
            let mut compressed = Vec::with_capacity(HEADER_BYTES + buffer.len() / 2);
            compressed.resize(HEADER_BYTES, 0);
            compression::compress(self.compression, &buffer[HEADER_BYTES..], &mut compressed);
            buffer = compressed;
        }
        header.batch_length = (buffer.len() - LOG_OVERHEAD_BYTES) as i32;
        let head = header.to_array();
        buffer[..HEADER_BYTES].copy_from_slice(&head);
        let crc = crc32c(&buffer[CRC_START..]);
        buffer[17..21].copy_from_slice(&crc.to_be_bytes());
        buffer.into()
    }
}
