//! Whatever is built is read again, with every codec.

use bytes::Bytes;
use ottla_model::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId};
use ottla_record::{Batch, BatchBuilder, Codec, Compression, Header, Record, compression};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        (any::<u8>(), 0usize..3000).prop_map(|(byte, n)| Bytes::from(vec![byte; n])),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let header = (bytes(), proptest::option::of(bytes())).prop_map(|(key, value)| Header { key, value });
    let parts =
        (any::<i64>(), proptest::option::of(bytes()), proptest::option::of(bytes()), vec(header, 0..4));
    parts.prop_map(|(timestamp, key, value, headers)| Record {
        attributes: 0,
        timestamp: Millis(timestamp >> 2),
        offset: Offset::ZERO,
        key,
        value,
        headers,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records(mut records in vec(record(), 1..20), gaps in vec(1i64..1000, 20), codec in 0u8..5, base: u32) {
        let base = i64::from(base);
        let mut offset = base;
        for (record, gap) in records.iter_mut().zip(&gaps) {
            record.offset = Offset(offset);
            offset += gap;
        }
        let codec = Codec::from_id(codec).unwrap();
        let mut builder = BatchBuilder::new(Compression::of(codec))
            .base_offset(Offset(base))
            .leader_epoch(LeaderEpoch(3))
            .producer(ProducerId(7), ProducerEpoch(1), 9)
            .transactional();
        for record in &records {
            builder.append_record(record);
        }
        let batch = Batch::parse(&builder.build()).unwrap();
        batch.verify_crc().unwrap();
        prop_assert_eq!(batch.header.last_offset(), records.last().unwrap().offset);
        prop_assert_eq!(batch.header.max_timestamp, records.iter().map(|r| r.timestamp).max().unwrap().max(Millis::NONE));
        prop_assert!(batch.header.is_transactional() && !batch.header.is_control());
        let read: Vec<Record> = batch.records().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read, records);
    }

    #[test]
    fn codecs(data in vec(bytes(), 0..60), codec in 0u8..5, level in -1i32..20) {
        let data = data.concat();
        let codec = Codec::from_id(codec).unwrap();
        let mut out = vec![1, 2, 3];
        compression::compress(Compression { codec, level }, &data, &mut out);
        prop_assert_eq!(&out[..3], &[1, 2, 3]);
        let input = &out[3..];
        prop_assert_eq!(&compression::decompress(codec, input, data.len()).unwrap(), &data);
        let mut piecewise = Vec::new();
        std::io::Read::read_to_end(&mut compression::reader(codec, input), &mut piecewise).unwrap();
        prop_assert_eq!(&piecewise, &data);
        if !data.is_empty() {
            let error = compression::decompress(codec, input, data.len() - 1).unwrap_err();
            prop_assert_eq!(error, ottla_record::BatchError::TooLarge { limit: data.len() - 1 });
        }
    }

    /// Cut-off and altered streams give errors or other bytes, within the cap, in both readers alike.
    #[test]
    fn broken_streams(data in bytes(), codec in 1u8..5, at: prop::sample::Index, bit in 0u8..8, cut: bool) {
        let codec = Codec::from_id(codec).unwrap();
        let mut out = Vec::new();
        compression::compress(Compression::of(codec), &data, &mut out);
        let at = at.index(out.len());
        if cut { out.truncate(at) } else { out[at] ^= 1 << bit }
        if let Ok(out) = compression::decompress(codec, &out, 10_000) {
            prop_assert!(out.len() <= 10_000);
        }
        let mut piecewise = std::io::Read::take(compression::reader(codec, &out), 10_000);
        let _ = std::io::copy(&mut piecewise, &mut std::io::sink());
    }
}

#[test]
fn streams_have_kafkas_parameters() {
    let compressed = |codec| {
        let mut out = Vec::new();
        compression::compress(Compression::of(codec), &[7; 100_000], &mut out);
        out
    };
    assert_eq!(compressed(Codec::Gzip)[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!(compressed(Codec::Lz4)[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    assert_eq!(&compressed(Codec::Snappy)[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let zstd = compressed(Codec::Zstd);
    assert_eq!(zstd[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    // Frame header descriptor: no content size, several segments, no checksum, no dictionary.
    assert_eq!(zstd[4], 0);
}

/// Length and CRC-32 of what kafka-clients 4.4.0 (lz4-java 1.11.2) makes of the same bytes with
/// `new Lz4BlockOutputStream(out, level, false)`.
const JAVAS_LZ4: [(i32, usize, u32); 17] = [
    (1, 112842, 0x4ec515c5),
    (2, 112842, 0x4ec515c5),
    (3, 103436, 0x3c7344be),
    (4, 101897, 0xa3cc7bee),
    (5, 101576, 0x502dd906),
    (6, 101564, 0xb876b90f),
    (7, 101564, 0xb876b90f),
    (8, 101564, 0xb876b90f),
    (9, 114998, 0x49878cdf),
    (10, 100859, 0x5190a4c3),
    (11, 100859, 0x5190a4c3),
    (12, 100863, 0xdb250034),
    (13, 100863, 0xdb250034),
    (14, 100863, 0xdb250034),
    (15, 100863, 0xdb250034),
    (16, 100863, 0xdb250034),
    (17, 100863, 0xdb250034),
];

#[test]
fn lz4_frames_are_those_of_java_at_every_level() {
    let mut data = vec![0; 150_000];
    let mut state = 1u64;
    for pair in data.chunks_exact_mut(2) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pair.copy_from_slice(&[b'a' + (state >> 60) as u8, b'0' + (state >> 58) as u8 % 4]);
    }
    for (level, len, checksum) in JAVAS_LZ4 {
        let mut frame = Vec::new();
        compression::compress(Compression { codec: Codec::Lz4, level }, &data, &mut frame);
        assert_eq!((frame.len(), crc32fast::hash(&frame)), (len, checksum), "level {level}");
        assert_eq!(compression::decompress(Codec::Lz4, &frame, data.len()).unwrap(), data, "level {level}");
    }
}

#[test]
fn bare_snappy_is_read() {
    let block = snap_block(b"bare block, as some clients send it");
    let out = compression::decompress(Codec::Snappy, &block, 100).unwrap();
    assert_eq!(out, b"bare block, as some clients send it");
}

/// A snappy block of one literal.
fn snap_block(bytes: &[u8]) -> Vec<u8> {
    let mut block = vec![bytes.len() as u8, (bytes.len() as u8 - 1) << 2];
    block.extend_from_slice(bytes);
    block
}
