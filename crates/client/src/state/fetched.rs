//! What Fetch answers brought and the application has not had yet.
//!
//! Batches stay slices of the received frames until the application comes for them; then a batch is checked,
//! decompressed once, and handed out whole or, at `max.poll.records`, in parts that share its buffer. Batches of
//! aborted transactions and control batches are passed over; the position moves behind them all the same, and behind
//! what compaction removed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Millis, Offset, TopicPartition};
use ottla_protocol::api::fetch::AbortedTransaction;
use ottla_record::control::{EndTxnMarker, TransactionResult};
use ottla_record::{Batch, BatchError, BatchHeader, Batches, Codec, RecordView, TimestampType, compression};

use super::buffers::Buffers;
use super::positions::Position;

/// Records of one partition, in order: a run of a batch, decompressed. Clones share the buffer.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    partition: TopicPartition,
    header: BatchHeader,
    data: Bytes,
    /// Where in `data` the first record begins.
    start: usize,
    /// How many records from there on.
    count: usize,
    next: Position,
}

/// One record in its place; everything borrows from the batch's buffer.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    batch: &'a RecordBatch,
    view: RecordView<'a>,
}

impl RecordBatch {
    /// Where the records are from.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no record; a batch that a poll gave has at least one.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records; costs nothing but the reading of their lengths.
    pub fn iter(&self) -> RecordRefs<'_> {
        RecordRefs { batch: self, at: self.start, left: self.count }
    }

    /// What the application's position is after these records.
    pub fn next_position(&self) -> Position {
        self.next
    }
}

impl<'a> IntoIterator for &'a RecordBatch {
    type Item = RecordRef<'a>;
    type IntoIter = RecordRefs<'a>;

    fn into_iter(self) -> RecordRefs<'a> {
        self.iter()
    }
}

/// The records of a [`RecordBatch`].
#[derive(Clone, Debug)]
pub struct RecordRefs<'a> {
    batch: &'a RecordBatch,
    at: usize,
    left: usize,
}

impl<'a> Iterator for RecordRefs<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        // All of them were read once when the batch was made.
        let view = RecordView::read(&self.batch.data, &mut self.at).ok()?;
        Some(RecordRef { batch: self.batch, view })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordRefs<'_> {}

impl<'a> RecordRef<'a> {
    /// Name of its topic.
    pub fn topic(&self) -> &'a str {
        &self.batch.partition.topic
    }

    /// Index of its partition.
    pub fn partition(&self) -> i32 {
        self.batch.partition.partition
    }

    /// Topic and partition, as seeks and commits take them.
    pub fn topic_partition(&self) -> &'a TopicPartition {
        &self.batch.partition
    }

    /// Its place in the partition. Offsets grow, but may have gaps: compaction and transactions leave some.
    pub fn offset(&self) -> Offset {
        self.batch.header.base_offset + i64::from(self.view.offset_delta)
    }

    /// When the record was made, or appended to the log, as the topic is configured: [`Self::timestamp_type`].
    pub fn timestamp(&self) -> Millis {
        match self.timestamp_type() {
            TimestampType::LogAppendTime => self.batch.header.max_timestamp,
            TimestampType::CreateTime => self.batch.header.base_timestamp + self.view.timestamp_delta,
        }
    }

    /// Whose clock [`Self::timestamp`] is of.
    pub fn timestamp_type(&self) -> TimestampType {
        self.batch.header.timestamp_type()
    }

    /// Epoch of the leader that appended the record.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.batch.header.leader_epoch
    }

    /// The key; `None` where the record has none, which is not an empty one.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.view.key
    }

    /// The payload; none: a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.view.value
    }

    /// Keys and values of the headers. Keys are UTF-8 by convention.
    pub fn headers(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.view.headers()
    }

    /// A record that outlives the batch: it shares the batch's buffer and keeps it alive. For records that are kept
    /// for long, copy what is needed instead.
    pub fn to_shared(&self) -> ConsumerRecord {
        let share = |bytes: &[u8]| self.batch.data.slice_ref(bytes);
        ConsumerRecord {
            topic: self.batch.partition.topic.clone(),
            partition: self.partition(),
            offset: self.offset(),
            timestamp: self.timestamp(),
            timestamp_type: self.timestamp_type(),
            leader_epoch: self.leader_epoch(),
            key: self.key().map(share),
            value: self.value().map(share),
            headers: self.headers().map(|(key, value)| (share(key), value.map(share))).collect(),
        }
    }
}

/// A record on its own; see [`RecordRef::to_shared`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerRecord {
    /// Name of its topic.
    pub topic: Arc<str>,
    /// Index of its partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: Offset,
    /// When it was made or appended, in milliseconds since 1970 (UTC).
    pub timestamp: Millis,
    /// Which of the two `timestamp` is.
    pub timestamp_type: TimestampType,
    /// Epoch of the leader that appended the record.
    pub leader_epoch: LeaderEpoch,
    /// The key; `None` where the record has none.
    pub key: Option<Bytes>,
    /// The payload; none: a tombstone.
    pub value: Option<Bytes>,
    /// Keys and values of the headers, in their order.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// One partition's part of a Fetch answer.
#[derive(Debug)]
pub struct Fetched {
    pub partition: TopicPartition,
    /// The run of the partition for which it was fetched.
    pub run: u64,
    bytes: usize,
    batches: Batches,
    /// Where the next record is taken from: what is in front of it in a batch is passed over.
    from: Offset,
    epoch: LeaderEpoch,
    /// `None`: read uncommitted, everything is visible.
    aborted: Option<VecDeque<AbortedTransaction>>,
    aborted_producers: BTreeSet<i64>,
    check_crcs: bool,
    open: Option<RecordBatch>,
    /// What batches are decompressed into.
    buffers: Arc<Buffers>,
}

impl Fetched {
    /// `records` as they were received, asked for from offset `from` on. `aborted` as the answer of a read-committed
    /// fetch has it.
    pub fn new(
        partition: TopicPartition,
        run: u64,
        from: Offset,
        records: Bytes,
        aborted: Option<Vec<AbortedTransaction>>,
        check_crcs: bool,
    ) -> Self {
        let aborted = aborted.map(|mut aborted| {
            aborted.sort_by_key(|aborted| aborted.first_offset);
            aborted.into()
        });
        Self {
            partition,
            run,
            bytes: records.len(),
            batches: Batches::new(records),
            from,
            epoch: LeaderEpoch::NONE,
            aborted,
            aborted_producers: BTreeSet::new(),
            check_crcs,
            open: None,
            buffers: Arc::default(),
        }
    }

    /// Size as received.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// The offset behind the last whole batch of `records`, without looking into batches; `None` if there is none.
    /// The walk costs a header each.
    pub fn end_of(records: &Bytes) -> Option<Offset> {
        Batches::new(records.clone()).map_while(Result::ok).last().map(|batch| batch.header.next_offset())
    }

    /// The next records, at most `max` (not zero); `None` at the end. The position after an end that had no records
    /// for the application is [`Self::position`].
    pub fn take(&mut self, max: usize) -> Result<Option<RecordBatch>, BatchError> {
        loop {
            if let Some(open) = &mut self.open {
                let mut part = open.clone();
                if open.count <= max {
                    self.open = None;
                } else {
                    part.count = max;
                    let mut at = open.start;
                    for _ in 0..max {
                        RecordView::read(&open.data, &mut at)
                            .map_err(|reason| BatchError::Record { index: 0, reason })?;
                    }
                    open.start = at;
                    open.count -= max;
                    let first = open.iter().next().map_or(open.next.offset, |record| record.offset());
                    part.next.offset = first;
                }
                self.from = part.next.offset;
                self.epoch = part.next.epoch;
                return Ok(Some(part));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch?;
            if self.check_crcs {
                batch.verify_crc()?;
            }
            self.open = self.visible(&batch)?;
            if self.open.is_none() {
                self.from = self.from.max(batch.header.next_offset());
                self.epoch = batch.header.leader_epoch;
            }
        }
    }

    /// Where the application is after everything that was taken.
    pub fn position(&self) -> Position {
        Position { offset: self.from, epoch: self.epoch }
    }

    /// The records of a batch from the position on; `None` if the application sees none of it.
    fn visible(&mut self, batch: &Batch) -> Result<Option<RecordBatch>, BatchError> {
        let header = batch.header;
        if header.last_offset() < self.from {
            return Ok(None);
        }
        if let Some(aborted) = &mut self.aborted {
            while let Some(next) = aborted.pop_front_if(|next| next.first_offset <= header.last_offset().0) {
                self.aborted_producers.insert(next.producer_id);
            }
            if header.is_control() {
                if is_abort(batch)? {
                    self.aborted_producers.remove(&header.producer_id.0);
                }
            } else if header.is_transactional() && self.aborted_producers.contains(&header.producer_id.0) {
                return Ok(None);
            }
        }
        if header.is_control() {
            return Ok(None);
        }
        let data = self.data(batch)?;
        let (mut at, mut start, mut skipped) = (0, 0, 0);
        for index in 0..header.record_count {
            let record =
                RecordView::read(&data, &mut at).map_err(|reason| BatchError::Record { index, reason })?;
            if header.base_offset + i64::from(record.offset_delta) < self.from {
                start = at;
                skipped = index + 1;
            }
        }
        if at != data.len() {
            let reason = "Incorrect declared batch size, records still remaining in file";
            return Err(BatchError::Record { index: header.record_count, reason });
        }
        let count = (header.record_count - skipped).max(0) as usize;
        let next = Position { offset: header.next_offset(), epoch: header.leader_epoch };
        let partition = self.partition.clone();
        Ok((count > 0).then_some(RecordBatch { partition, header, data, start, count, next }))
    }

    /// The records' bytes: a slice of the frame, or decompressed.
    fn data(&self, batch: &Batch) -> Result<Bytes, BatchError> {
        match batch.header.codec()? {
            Codec::None => Ok(batch.payload()),
            codec => self.buffers.fill(|buffer| {
                let bytes_max = Batch::MAX_DECOMPRESSED_BYTES;
                compression::decompress_into(codec, &batch.payload(), buffer, bytes_max)
            }),
        }
    }
}

fn is_abort(batch: &Batch) -> Result<bool, BatchError> {
    let Some(record) = batch.records()?.next().transpose()? else { return Ok(false) };
    let marker = EndTxnMarker::parse(&record.key.unwrap_or_default(), &record.value.unwrap_or_default());
    Ok(marker.is_some_and(|marker| marker.result == TransactionResult::Abort))
}

/// Answers in the order in which they came, bounded by whoever fetches.
#[derive(Debug, Default)]
pub struct FetchBuffer {
    queue: VecDeque<Fetched>,
    bytes: usize,
    buffers: Arc<Buffers>,
}

impl FetchBuffer {
    pub fn push(&mut self, mut fetched: Fetched) {
        self.bytes += fetched.size_bytes();
        fetched.buffers = Arc::clone(&self.buffers);
        self.queue.push_back(fetched);
    }

    /// Bytes as received that wait.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of a partition that wait.
    pub fn size_of(&self, partition: &TopicPartition) -> usize {
        self.queue.iter().filter(|fetched| fetched.partition == *partition).map(Fetched::size_bytes).sum()
    }

    /// Drops what `keep` does not want any more.
    pub fn retain(&mut self, mut keep: impl FnMut(&Fetched) -> bool) {
        self.queue.retain(|fetched| {
            let keep = keep(fetched);
            if !keep {
                self.bytes -= fetched.size_bytes();
            }
            keep
        });
    }

    /// Takes the first answer that `wanted` accepts.
    pub fn take_first(&mut self, wanted: impl Fn(&Fetched) -> bool) -> Option<Fetched> {
        let index = self.queue.iter().position(wanted)?;
        let fetched = self.queue.remove(index)?;
        self.bytes -= fetched.size_bytes();
        Some(fetched)
    }

    /// Puts back what was taken and not used up.
    pub fn push_front(&mut self, fetched: Fetched) {
        self.bytes += fetched.size_bytes();
        self.queue.push_front(fetched);
    }
}

#[cfg(test)]
mod tests;
