//! Giving a batch the topic's codec: the same records, deltas built anew.

use ottla_model::{ErrorCode, Millis, Offset};

use super::{InvalidBatch, ProduceRules, ValidBatch};
use crate::batch::Batch;
use crate::builder::BatchBuilder;
use crate::compression::Compression;
use crate::error::BatchError;
use crate::header::{BatchHeader, TimestampType};
use crate::record::RecordView;

/// `data` are the decompressed records, which have been walked.
pub(super) fn rebuild(
    header: &BatchHeader,
    data: &[u8],
    target: Compression,
    rules: &ProduceRules,
    now: Millis,
) -> Result<ValidBatch, InvalidBatch> {
    // Kafka's builder refuses what it would have stored as it came.
    let refused = |reason| Err(InvalidBatch::new(ErrorCode::UnknownServerError, reason));
    if header.has_producer_id() && header.producer_epoch.0 < 0 {
        return refused("producer id without an epoch");
    }
    let mut builder = BatchBuilder::new(target).base_offset(Offset::ZERO).producer(
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
    );
    if header.is_transactional() {
        builder = builder.transactional();
    }
    if rules.timestamp_type == TimestampType::LogAppendTime {
        builder = builder.log_append_time(now);
    }
    let mut at = 0;
    let mut headers = Vec::new();
    for index in 0..header.record_count {
        let record =
            RecordView::read(data, &mut at).map_err(|reason| BatchError::Record { index, reason })?;
        let timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => Millis(header.base_timestamp.0.wrapping_add(record.timestamp_delta)),
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        if timestamp.0 < -1 {
            return refused("negative timestamp");
        }
        headers.clear();
        headers.extend(record.headers());
        builder.append_with_headers(timestamp, record.key, record.value, &headers);
    }
    let batch = Batch::parse(&builder.build())?;
    if batch.bytes.len() > rules.max_message_bytes {
        return Err(InvalidBatch::new(
            ErrorCode::MessageTooLarge,
            "batch is too large with the topic's codec",
        ));
    }
    Ok(ValidBatch::trusted(batch))
}
