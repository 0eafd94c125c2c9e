//! The pass over a batch's records.

use ottla_model::{ErrorCode, Millis, TopicPartition};

use super::{InvalidBatch, ProduceRules, RecordError};
use crate::error::BatchError;
use crate::header::{BatchHeader, TimestampType};
use crate::record::RecordView;
use crate::varint;

/// Checks record after record; remembers who is to blame, as the response names all of them.
pub(super) struct Walk {
    count: i32,
    base_timestamp: i64,
    /// The timestamp of all records of a LogAppendTime batch.
    append_time: Option<i64>,
    now: i64,
    before_max_ms: i64,
    after_max_ms: i64,
    timestamp_type: TimestampType,
    needs_keys: bool,
    max_record_bytes: usize,
    pub max_batch_bytes: u64,
    compressed: bool,
    /// Whether offset deltas have to be 0, 1, 2, …
    pub continuous: bool,
    gap: bool,
    index: i32,
    blamed: Vec<Blame>,
    /// The largest timestamp so far, -1 without any.
    pub max_timestamp: Millis,
}

/// The fields of a record that are looked at.
pub(super) struct Fields {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key_len: Option<usize>,
    pub value_len: Option<usize>,
}

impl Fields {
    /// Reads a record without headers, and its size; `None` for any other.
    #[inline(always)]
    fn read(data: &[u8], at: &mut usize) -> Option<(Self, usize)> {
        let size = usize::try_from(varint::read_i32(data, at)?).ok()?;
        let start = *at;
        let body = data.get(start..start.checked_add(size)?)?;
        let mut at_field = 1;
        let timestamp_delta = varint::read_i64(body, &mut at_field)?;
        let offset_delta = varint::read_i32(body, &mut at_field)?;
        let key_len = skip(body, &mut at_field)?;
        let value_len = skip(body, &mut at_field)?;
        // No headers: a single 0 at the end.
        if at_field + 1 != size || body.last() != Some(&0) {
            return None;
        }
        *at = start + size;
        Some((Self { timestamp_delta, offset_delta, key_len, value_len }, size))
    }
}

#[inline(always)]
fn skip(body: &[u8], at: &mut usize) -> Option<Option<usize>> {
    let len = varint::read_i32(body, at)?;
    if len < 0 {
        return Some(None);
    }
    *at = at.checked_add(len as usize).filter(|at| *at <= body.len())?;
    Some(Some(len as usize))
}

struct Blame {
    index: i32,
    kind: BlameKind,
}

enum BlameKind {
    NoKey,
    OutOfRange { timestamp: i64, offset: i32 },
    LogAppendTime { timestamp: i64, offset: i32, key_len: usize, value_len: usize },
}

impl Walk {
    pub fn new(header: &BatchHeader, rules: &ProduceRules, now: Millis, compressed: bool) -> Self {
        Self {
            count: header.record_count,
            base_timestamp: header.base_timestamp.0,
            append_time: (header.timestamp_type() == TimestampType::LogAppendTime)
                .then_some(header.max_timestamp.0),
            now: now.0,
            before_max_ms: rules.before_max_ms,
            after_max_ms: rules.after_max_ms,
            timestamp_type: rules.timestamp_type,
            needs_keys: rules.compacted,
            max_record_bytes: if compressed { rules.max_decompressed_record_bytes } else { usize::MAX },
            max_batch_bytes: rules.max_decompressed_batch_bytes,
            compressed,
            continuous: false,
            gap: false,
            index: 0,
            blamed: Vec::new(),
            max_timestamp: Millis::NONE,
        }
    }

    /// Walks all records of a batch that is there as a whole.
    pub fn slice(&mut self, data: &[u8]) -> Result<(), BatchError> {
        let mut at = 0;
        while self.index < self.count {
            // Records without headers that are well-formed go the short way; the long one finds out what is wrong.
            let start = at;
            let (fields, size) = match Fields::read(data, &mut at) {
                Some(read) => read,
                None => {
                    at = start;
                    let view = RecordView::read(data, &mut at).map_err(|reason| {
                        let endless = data[start..].iter().take(5).filter(|byte| **byte >= 0x80).count() == 5;
                        if endless && !self.compressed {
                            BatchError::EndlessLength { index: self.index }
                        } else {
                            self.error(reason)
                        }
                    })?;
                    let fields = Fields {
                        timestamp_delta: view.timestamp_delta,
                        offset_delta: view.offset_delta,
                        key_len: view.key.map(<[u8]>::len),
                        value_len: view.value.map(<[u8]>::len),
                    };
                    (fields, view.size_bytes)
                }
            };
            self.check_size(size)?;
            self.record(fields);
        }
        if at != data.len() {
            return Err(self.error("Incorrect declared batch size, records still remaining in file"));
        }
        Ok(())
    }

    pub fn is_complete(&self) -> bool {
        self.index >= self.count
    }

    pub fn error(&self, reason: &'static str) -> BatchError {
        BatchError::Record { index: self.index, reason }
    }

    #[inline]
    pub fn check_size(&self, record_bytes: usize) -> Result<(), BatchError> {
        if record_bytes > self.max_record_bytes {
            return Err(BatchError::TooLarge { limit: self.max_record_bytes });
        }
        Ok(())
    }

    #[inline]
    pub fn record(&mut self, fields: Fields) {
        let timestamp = match self.append_time {
            None => self.base_timestamp.wrapping_add(fields.timestamp_delta),
            Some(append_time) => append_time,
        };
        if timestamp > self.max_timestamp.0 {
            self.max_timestamp = Millis(timestamp);
        }
        let age = self.now.wrapping_sub(timestamp);
        let in_range = age <= self.before_max_ms && age.wrapping_neg() <= self.after_max_ms;
        let judged = self.timestamp_type == TimestampType::CreateTime && timestamp != -1;
        if (self.needs_keys && fields.key_len.is_none())
            || (judged && !in_range)
            || (!judged && self.append_time.is_some())
        {
            self.blame(&fields, timestamp, judged);
        }
        self.gap |= fields.offset_delta != self.index;
        self.index += 1;
    }

    #[cold]
    fn blame(&mut self, fields: &Fields, timestamp: i64, judged: bool) {
        let offset = fields.offset_delta;
        let kind = if self.needs_keys && fields.key_len.is_none() {
            BlameKind::NoKey
        } else if judged {
            BlameKind::OutOfRange { timestamp, offset }
        } else {
            let key_len = fields.key_len.unwrap_or(0);
            let value_len = fields.value_len.unwrap_or(0);
            BlameKind::LogAppendTime { timestamp, offset, key_len, value_len }
        };
        self.blamed.push(Blame { index: self.index, kind });
    }

    /// Whether the batch may be appended, after all records.
    pub fn verdict(&self, partition: &TopicPartition) -> Result<(), InvalidBatch> {
        if !self.blamed.is_empty() {
            return Err(self.refusal(partition));
        }
        if self.continuous && self.gap {
            return Err(InvalidBatch::new(ErrorCode::UnknownServerError, "offset deltas are not continuous"));
        }
        Ok(())
    }

    fn refusal(&self, partition: &TopicPartition) -> InvalidBatch {
        let record_errors: Vec<RecordError> = self
            .blamed
            .iter()
            .map(|blame| RecordError { index: blame.index, message: Some(self.describe(blame, partition)) })
            .collect();
        let by_time = self.blamed.iter().any(|blame| !matches!(blame.kind, BlameKind::NoKey));
        let (error, message) = if by_time {
            let message = "One or more records have been rejected due to invalid timestamp".to_owned();
            (ErrorCode::InvalidTimestamp, message)
        } else {
            let first: Vec<String> = record_errors
                .iter()
                .take(3)
                .map(|error| {
                    let message = error.message.as_deref().unwrap_or("null");
                    format!("RecordError(batchIndex={}, message='{message}')", error.index)
                })
                .collect();
            let message = format!(
                "One or more records have been rejected due to {} record errors in total, and only showing the \
                 first three errors at most: [{}]",
                record_errors.len(),
                first.join(", ")
            );
            (ErrorCode::InvalidRecord, message)
        };
        InvalidBatch { error, reason: message.clone(), message: Some(message), record_errors }
    }

    fn describe(&self, blame: &Blame, partition: &TopicPartition) -> String {
        match blame.kind {
            BlameKind::NoKey => {
                format!("Compacted topic cannot accept message without key in topic partition {partition}")
            }
            BlameKind::OutOfRange { timestamp, offset } => format!(
                "Timestamp {timestamp} of message with offset {offset} is out of range. The timestamp should be \
                 within [{}, {}]",
                self.now.wrapping_sub(self.before_max_ms),
                self.now.wrapping_add(self.after_max_ms)
            ),
            BlameKind::LogAppendTime { timestamp, offset, key_len, value_len } => {
                let class = if self.compressed { "PartialDefaultRecord" } else { "DefaultRecord" };
                format!(
                    "Invalid timestamp type in message {class}(offset={offset}, timestamp={timestamp}, \
                     key={key_len} bytes, value={value_len} bytes). Producer should not set timestamp type to \
                     LogAppendTime."
                )
            }
        }
    }
}
