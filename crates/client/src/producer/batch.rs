//! A batch that is sent: header and body apart, so that a new sequence number changes 61 bytes and copies none.

use std::sync::Arc;

use bytes::Bytes;
use ottla_model::{Millis, ProducerEpoch, ProducerId};
use ottla_protocol::Records;
use ottla_record::crc::{combine, crc32c};
use ottla_record::{
    Attributes, BatchHeader, Codec, Compression, HEADER_BYTES, LOG_OVERHEAD_BYTES, RecordView,
};
use ottla_record::{compression, encode_record};

use super::memory::{Buffer, Memory};
use crate::state::accumulator::OpenBatch;
use crate::state::delivery::Decider;

/// What the checksum does not cover.
const CRC_END: usize = 21;

/// Compresses what a batch holds, if it is not yet.
pub(super) fn compress(
    mut open: OpenBatch<Buffer>,
    compression: Compression,
    memory: &Arc<Memory>,
) -> OpenBatch<Buffer> {
    if open.codec == compression.codec {
        return open;
    }
    let write = |plain: &[u8], out: &mut Vec<u8>| compression::compress(compression, plain, out);
    open.buffer = memory.rewrite(open.buffer, write);
    open.codec = compression.codec;
    open
}

#[derive(Debug)]
pub(super) struct Batch {
    body: Bytes,
    body_crc: u32,
    codec: Codec,
    records: u32,
    base_timestamp: Millis,
    max_timestamp: Millis,
    pub created_ms: u64,
    pub flush_epoch: u64,
    pub decider: Decider,
}

impl Batch {
    /// Closes a batch as it is.
    pub fn close(open: OpenBatch<Buffer>) -> Self {
        let body = Bytes::from_owner(open.buffer);
        Self {
            body_crc: crc32c(&body),
            body,
            codec: open.codec,
            records: open.records,
            base_timestamp: open.base_timestamp,
            max_timestamp: open.max_timestamp,
            created_ms: open.created_ms,
            flush_epoch: open.flush_epoch,
            decider: open.decider,
        }
    }

    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes in a request.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// The batch as it is sent under this producer and sequence number.
    pub fn to_wire(&self, producer: Option<(ProducerId, ProducerEpoch)>, base_sequence: i32) -> Records {
        let (producer_id, producer_epoch) = producer.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE));
        let header = BatchHeader {
            batch_length: (self.size_bytes() - LOG_OVERHEAD_BYTES) as i32,
            attributes: Attributes::default().with_codec(self.codec),
            last_offset_delta: self.records as i32 - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count: self.records as i32,
            ..Default::default()
        };
        let mut head = header.to_array();
        let crc = combine(crc32c(&head[CRC_END..]), self.body_crc, self.body.len());
        head[CRC_END - 4..CRC_END].copy_from_slice(&crc.to_be_bytes());
        Records::Chunks(vec![Bytes::copy_from_slice(&head), self.body.clone()])
    }

    /// Cuts a batch that the broker finds too large into halves, or into pieces of `bytes` if those are smaller. Its
    /// receipts follow. `None` if the batch cannot be read, which was written here.
    pub fn split(&self, bytes: usize, compression: Compression, memory: &Arc<Memory>) -> Option<Vec<Self>> {
        let data = compression::decompress(self.codec, &self.body, usize::MAX >> 1).ok()?;
        let limit = bytes.min(data.len() / 2).max(1);
        let mut parts: Vec<(Vec<u8>, u32, Millis)> = Vec::new();
        let mut firsts = Vec::new();
        let (mut at, mut index) = (0, 0);
        while at < data.len() {
            let begin = at;
            let record = RecordView::read(&data, &mut at).ok()?;
            let fits = parts.last().is_some_and(|(part, ..)| part.len() + at - begin <= limit);
            if !fits {
                parts.push((Vec::with_capacity(limit), 0, Millis::NONE));
                firsts.push(index);
            }
            let (part, records, max_timestamp) = parts.last_mut()?;
            let headers: Vec<_> = record.headers().collect();
            let (delta, number) = (record.timestamp_delta, *records as i32);
            encode_record(
                part,
                record.attributes,
                delta,
                number,
                record.key,
                record.value,
                headers.into_iter(),
            );
            *records += 1;
            *max_timestamp = (*max_timestamp).max(self.base_timestamp + delta);
            index += 1;
        }
        let deciders = self.decider.split(&firsts);
        let part = |((bytes, records, max_timestamp), decider)| {
            let (base_timestamp, created_ms) = (self.base_timestamp, self.created_ms);
            let flush_epoch = self.flush_epoch;
            let buffer = memory.replace(bytes);
            let mut open = OpenBatch::new(buffer, base_timestamp, created_ms, flush_epoch, decider, 0);
            (open.records, open.max_timestamp) = (records, max_timestamp);
            Self::close(compress(open, compression, memory))
        };
        Some(parts.into_iter().zip(deciders).map(part).collect())
    }
}
