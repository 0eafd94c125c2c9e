//! What a leader checks in a produced batch, and what it changes in it.
//!
//! Two steps, as between them stand checks that need the partition: [`request_batch`] looks at the shape of a
//! request's `records`, [`produce_batch`] at the batch. Both check what Apache Kafka 4.4 checks and accept what it
//! accepts (offset deltas of uncompressed batches, for one, are stored as they came). Nothing is allocated for a
//! valid batch: records are walked in place, compressed ones in a buffer that the thread uses again.

mod recompress;
mod stream;
mod walk;

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset, TopicPartition};

use crate::batch::{Batch, StampedBatch};
use crate::compression::{self, Codec, Compression};
use crate::crc;
use crate::error::BatchError;
use crate::header::{
    BatchHeader, CRC_START, HEADER_BYTES, LOG_OVERHEAD_BYTES, MIN_ENTRY_BYTES, TimestampType,
};
use walk::Walk;

/// The topic settings that a produced batch is held against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProduceRules {
    /// `max.message.bytes`: of the batch, as sent and as stored.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub after_max_ms: i64,
    /// Whether `cleanup.policy` contains `compact`: records need keys.
    pub compacted: bool,
    /// `compression.type`, with the level of its codec; `None` is `producer`: stored as it came.
    pub compression: Option<Compression>,
    /// `max.decompressed.message.bytes`: of one record in a compressed batch.
    pub max_decompressed_record_bytes: usize,
    /// Of all records of a compressed batch. Ottla's own bound on the work that a compression bomb causes.
    pub max_decompressed_batch_bytes: u64,
}

impl Default for ProduceRules {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
            compacted: false,
            compression: None,
            max_decompressed_record_bytes: 2_147_483_639,
            max_decompressed_batch_bytes: 1 << 30,
        }
    }
}

/// A record that is to blame, by its index in the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordError {
    pub index: i32,
    pub message: Option<String>,
}

/// Why a batch was refused, as the produce response says it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidBatch {
    pub error: ErrorCode,
    /// What the client is told; for most errors nothing.
    pub message: Option<String>,
    pub record_errors: Vec<RecordError>,
    /// For the log.
    pub reason: String,
}

impl InvalidBatch {
    pub fn new(error: ErrorCode, reason: impl Into<String>) -> Self {
        Self { error, message: None, record_errors: Vec::new(), reason: reason.into() }
    }
}

impl fmt::Display for InvalidBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error.name(), self.reason)
    }
}

impl std::error::Error for InvalidBatch {}

impl From<BatchError> for InvalidBatch {
    fn from(error: BatchError) -> Self {
        Self::new(error.error_code(), error.to_string())
    }
}

/// Looks at the head of the first batch of a partition before anything else of a request: whether it is
/// transactional. What is wrong here fails the whole request, in all of its partitions.
///
/// Errors: `CORRUPT_MESSAGE` for a length or magic that cannot be, `UNKNOWN_SERVER_ERROR` for a length that no
/// buffer has.
pub fn is_transactional(records: &[u8]) -> Result<bool, InvalidBatch> {
    let corrupt = |message: String| {
        let error = InvalidBatch::new(ErrorCode::CorruptMessage, message.as_str());
        Err(InvalidBatch { message: Some(message), ..error })
    };
    let Some(length) = records.get(8..12).and_then(|length| length.try_into().ok()) else { return Ok(false) };
    let length = i32::from_be_bytes(length);
    if length < MIN_ENTRY_BYTES {
        return corrupt(format!(
            "Record size {length} is less than the minimum record overhead ({MIN_ENTRY_BYTES})"
        ));
    }
    let Some(magic) = records.get(16).map(|magic| *magic as i8) else { return Ok(false) };
    if !(0..=BatchHeader::MAGIC).contains(&magic) {
        return corrupt(format!("Invalid magic found in record: {magic}"));
    }
    if length.checked_add(LOG_OVERHEAD_BYTES as i32).is_none() {
        return Err(InvalidBatch::new(ErrorCode::UnknownServerError, "batch length overflows"));
    }
    let whole = records.len() >= length as usize + LOG_OVERHEAD_BYTES;
    Ok(whole && BatchHeader::parse(records).is_ok_and(|header| header.attributes.is_transactional()))
}

/// Takes the one batch out of a produce request's `records` of one partition.
///
/// Errors: `INVALID_RECORD` for no complete batch, a second one, or formats 0 and 1; `CORRUPT_MESSAGE` for a length
/// or magic that cannot be, in what follows too; `UNSUPPORTED_COMPRESSION_TYPE` for zstd below version 7. An incomplete
/// tail is ignored.
pub fn request_batch(records: &Bytes, produce_version: i16) -> Result<Batch, InvalidBatch> {
    let invalid = |reason| Err(InvalidBatch::new(ErrorCode::InvalidRecord, reason));
    let batch = match Batch::parse(records) {
        Ok(batch) => batch,
        Err(BatchError::Truncated { .. }) => return invalid("no complete batch"),
        Err(BatchError::Magic(0 | 1)) => return invalid("only format 2 is accepted"),
        Err(error) => return Err(error.into()),
    };
    if records.len() > batch.bytes.len() {
        let tail = &records[batch.bytes.len()..];
        // A tail too short for a magic still has a length that must be possible.
        if let Some(length) = tail.get(8..12).and_then(|length| length.try_into().ok())
            && i32::from_be_bytes(length) < MIN_ENTRY_BYTES
        {
            return Err(BatchError::Length(i32::from_be_bytes(length)).into());
        }
        match BatchHeader::parse(&records[batch.bytes.len()..]) {
            Err(BatchError::Truncated { .. }) => {}
            Ok(next) if next.size_bytes() > records.len() - batch.bytes.len() => {}
            Ok(_) | Err(BatchError::Magic(0 | 1)) => return invalid("more than one batch"),
            Err(error) => return Err(error.into()),
        }
    }
    if batch.header.codec() == Ok(Codec::Zstd) && produce_version < 7 {
        return Err(InvalidBatch::new(ErrorCode::UnsupportedCompressionType, "zstd needs version 7"));
    }
    Ok(batch)
}

/// Checks a client's batch and gives it the timestamps and the compression of the topic. The caller appends it with
/// [`ValidBatch::stamp`] once it knows the offset.
///
/// `partition` only names itself in messages. Errors: `INVALID_RECORD`, `MESSAGE_TOO_LARGE`,
/// `CORRUPT_MESSAGE`, `INVALID_TIMESTAMP`, `UNKNOWN_SERVER_ERROR` for what cannot be decompressed.
pub fn produce_batch(
    batch: Batch,
    rules: &ProduceRules,
    partition: &TopicPartition,
    now: Millis,
) -> Result<ValidBatch, InvalidBatch> {
    let header = &batch.header;
    let codec = header.codec()?;
    check_header(&batch, rules)?;
    batch.verify_crc()?;
    let target = rules.compression.unwrap_or(Compression::of(codec));
    let recompress = target.codec != codec;
    let mut walk = Walk::new(header, rules, now, codec != Codec::None);
    walk.continuous = codec != Codec::None && !recompress;

    let payload = &batch.bytes[HEADER_BYTES..];
    if codec == Codec::None {
        walk.slice(payload)?;
        if recompress {
            walk.verdict(partition)?;
            return recompress::rebuild(header, payload, target, rules, now);
        }
    } else {
        let rebuilt = with_decompressed(codec, payload, recompress, |data| {
            match data {
                Decompressed::Whole(data) => {
                    walk.slice(data)?;
                    if recompress {
                        walk.verdict(partition)?;
                        return recompress::rebuild(header, data, target, rules, now).map(Some);
                    }
                }
                Decompressed::Beyond => stream::walk(&mut walk, codec, payload)?,
            }
            Ok(None)
        })?;
        if let Some(rebuilt) = rebuilt {
            return Ok(rebuilt);
        }
    }
    walk.verdict(partition)?;
    let max_timestamp = match rules.timestamp_type {
        TimestampType::CreateTime => walk.max_timestamp,
        TimestampType::LogAppendTime => now,
    };
    Ok(ValidBatch::with_timestamps(batch, rules.timestamp_type, max_timestamp))
}

fn check_header(batch: &Batch, rules: &ProduceRules) -> Result<(), InvalidBatch> {
    let header = &batch.header;
    let invalid = |reason| Err(InvalidBatch::new(ErrorCode::InvalidRecord, reason));
    if header.base_offset != Offset::ZERO {
        return invalid("base offset is not 0");
    }
    if batch.bytes.len() > rules.max_message_bytes {
        return Err(InvalidBatch::new(
            ErrorCode::MessageTooLarge,
            format!("batch of {} bytes, allowed are {}", batch.bytes.len(), rules.max_message_bytes),
        ));
    }
    if header.record_count <= 0 || header.last_offset_delta.checked_add(1) != Some(header.record_count) {
        // A broken checksum is the better explanation, and what Kafka looks at first.
        batch.verify_crc()?;
        return invalid("record count and last offset delta do not agree");
    }
    if header.is_control() {
        batch.verify_crc()?;
        return invalid("clients may not write control records");
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        batch.verify_crc()?;
        return invalid("producer id without sequence number");
    }
    Ok(())
}

enum Decompressed<'a> {
    Whole(&'a [u8]),
    /// More than is decompressed at once.
    Beyond,
}

/// What the buffer of a thread keeps between batches.
const SCRATCH_KEPT_BYTES: usize = 4 << 20;
/// What is decompressed at once; larger batches are walked piece by piece.
const SCRATCH_MAX_BYTES: usize = 16 << 20;
/// A batch that is to be recompressed has to be there as a whole.
const RECOMPRESS_MAX_BYTES: usize = 256 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_decompressed<T>(
    codec: Codec,
    input: &[u8],
    whole: bool,
    then: impl FnOnce(Decompressed<'_>) -> Result<T, InvalidBatch>,
) -> Result<T, InvalidBatch> {
    SCRATCH.with_borrow_mut(|buffer| {
        let max_bytes = if whole { RECOMPRESS_MAX_BYTES } else { SCRATCH_MAX_BYTES };
        let outcome = match compression::decompress_into(codec, input, buffer, max_bytes) {
            Ok(len) => then(Decompressed::Whole(&buffer[..len])),
            Err(BatchError::TooLarge { .. }) if !whole => then(Decompressed::Beyond),
            Err(error) => Err(error.into()),
        };
        if buffer.len() > SCRATCH_KEPT_BYTES {
            *buffer = Vec::new();
        }
        outcome
    })
}

/// A batch that may be appended. Offset and leader epoch are still the client's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValidBatch {
    header: BatchHeader,
    bytes: Bytes,
}

impl ValidBatch {
    /// A batch that this node has built itself.
    pub fn trusted(batch: Batch) -> Self {
        Self { header: batch.header, bytes: batch.bytes }
    }

    /// The header as it will be written, but for base offset and leader epoch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Size of the whole batch.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Sets what the leader assigns. Neither is covered by the checksum.
    pub fn stamp(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> StampedBatch {
        StampedBatch::restamp(Batch { header: self.header, bytes: self.bytes }, base_offset, leader_epoch)
    }

    /// Corrects maximum timestamp and timestamp type; the checksum is adjusted, not computed anew.
    fn with_timestamps(batch: Batch, timestamp_type: TimestampType, max_timestamp: Millis) -> Self {
        let mut header = batch.header;
        if header.max_timestamp != max_timestamp || header.timestamp_type() != timestamp_type {
            header.attributes = header.attributes.known().with_timestamp_type(timestamp_type);
            header.max_timestamp = max_timestamp;
            let old = &batch.bytes[CRC_START..HEADER_BYTES];
            let new = &header.to_array()[CRC_START..];
            header.crc = crc::replace_head(header.crc, old, new, batch.bytes.len() - HEADER_BYTES);
        }
        Self { header, bytes: batch.bytes }
    }
}
