//! Batches as a leader sends them, and what of them an application sees.

use ottla_model::{ProducerEpoch, ProducerId};
use ottla_record::{BatchBuilder, Codec, Compression, Record};

use super::*;

struct Log {
    bytes: Vec<u8>,
    next: i64,
}

impl Log {
    fn new() -> Self {
        Self { bytes: Vec::new(), next: 0 }
    }

    fn batch(mut self, records: i64, codec: Codec, producer: Option<i64>) -> Self {
        let mut batch = BatchBuilder::new(Compression::of(codec))
            .base_offset(Offset(self.next))
            .leader_epoch(LeaderEpoch(self.next as i32));
        if let Some(producer) = producer {
            batch = batch.producer(ProducerId(producer), ProducerEpoch(0), 0).transactional();
        }
        for record in 0..records {
            let offset = self.next + record;
            batch.append_record(&Record {
                timestamp: Millis(1_000 + offset),
                offset: Offset(offset),
                value: Some(format!("v{offset}").into()),
                headers: vec![ottla_record::Header { key: "h".into(), value: None }],
                ..Default::default()
            });
        }
        self.bytes.extend_from_slice(&batch.build());
        self.next += records;
        self
    }

    fn marker(mut self, producer: i64, result: TransactionResult) -> Self {
        let marker = EndTxnMarker { result, coordinator_epoch: 0 };
        let bytes = marker.to_batch(ProducerId(producer), ProducerEpoch(0), Millis(5));
        let batch = Batch::parse(&bytes).unwrap();
        self.bytes.extend_from_slice(
            &ottla_record::StampedBatch::restamp(batch, Offset(self.next), LeaderEpoch(0)).to_bytes(),
        );
        self.next += 1;
        self
    }

    fn fetched(self, from: i64, aborted: Option<Vec<AbortedTransaction>>) -> Fetched {
        Fetched::new(TopicPartition::new("t", 0), 1, Offset(from), self.bytes.into(), aborted, true)
    }
}

/// The offsets that calls of `take(max)` give.
fn taken(fetched: &mut Fetched, max: usize) -> Vec<Vec<i64>> {
    let mut all = Vec::new();
    while let Some(batch) = fetched.take(max).unwrap() {
        let offsets: Vec<i64> = batch.iter().map(|record| record.offset().0).collect();
        assert_eq!((offsets.len(), batch.iter().len()), (batch.len(), batch.len()));
        for record in &batch {
            assert_eq!(record.value().unwrap(), format!("v{}", record.offset()).as_bytes());
            assert_eq!(record.timestamp().0, 1_000 + record.offset().0);
            assert_eq!(record.headers().collect::<Vec<_>>(), [(&b"h"[..], None)]);
            let shared = record.to_shared();
            assert_eq!((shared.value.as_deref(), shared.offset), (record.value(), record.offset()));
        }
        assert_eq!(fetched.position(), batch.next_position());
        all.push(offsets);
    }
    all
}

#[test]
fn batches_are_cut_at_the_limit_and_begin_at_the_position() {
    for codec in Codec::ALL {
        let log = Log::new().batch(5, codec, None).batch(2, codec, None);
        assert_eq!(Fetched::end_of(&Bytes::copy_from_slice(&log.bytes)), Some(Offset(7)));
        let mut fetched = log.fetched(1, None);
        assert_eq!(taken(&mut fetched, 3), [vec![1, 2, 3], vec![4], vec![5, 6]]);
        assert_eq!(fetched.position(), Position { offset: Offset(7), epoch: LeaderEpoch(5) });
    }
}

#[test]
fn aborted_transactions_and_markers_are_passed_over() {
    let log = || {
        Log::new()
            .batch(2, Codec::None, Some(1))
            .batch(1, Codec::None, Some(2))
            .marker(1, TransactionResult::Abort)
            .batch(1, Codec::None, Some(1))
            .marker(2, TransactionResult::Commit)
            .marker(1, TransactionResult::Commit)
    };
    let aborted = vec![AbortedTransaction { producer_id: 1, first_offset: 0 }];
    let mut committed = log().fetched(0, Some(aborted));
    assert_eq!(taken(&mut committed, 9), [[2], [4]]);
    // Behind the markers at the end, too.
    assert_eq!(committed.position().offset, Offset(7));
    assert_eq!(taken(&mut log().fetched(0, None), 9), [vec![0, 1], vec![2], vec![4]]);
}

#[test]
fn a_tail_that_was_cut_off_waits_for_the_next_fetch() {
    let mut log = Log::new().batch(1, Codec::None, None).batch(1, Codec::None, None);
    log.bytes.truncate(log.bytes.len() - 1);
    assert_eq!(taken(&mut log.fetched(0, None), 9), [[0]]);
}

#[test]
fn broken_bytes_are_an_error_not_a_loss() {
    let mut log = Log::new().batch(1, Codec::None, None).batch(1, Codec::None, None);
    let last = log.bytes.len() - 1;
    log.bytes[last] ^= 1;
    let mut fetched = log.fetched(0, None);
    assert!(fetched.take(9).unwrap().is_some());
    assert!(matches!(fetched.take(9), Err(BatchError::Crc { .. })));
    assert_eq!(fetched.position().offset, Offset(1));
}

#[test]
fn the_buffer_counts_what_waits() {
    let mut buffer = FetchBuffer::default();
    buffer.push(Log::new().batch(1, Codec::None, None).fetched(0, None));
    let bytes = buffer.size_bytes();
    assert_eq!(bytes, buffer.size_of(&TopicPartition::new("t", 0)));
    assert!(bytes > 0 && buffer.take_first(|fetched| fetched.run == 2).is_none());
    let fetched = buffer.take_first(|fetched| fetched.run == 1).unwrap();
    assert_eq!(buffer.size_bytes(), 0);
    buffer.push_front(fetched);
    assert_eq!(buffer.size_bytes(), bytes);
}
