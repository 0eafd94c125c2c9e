//! Input that means harm: bombs, lies about lengths, noise.

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis, TopicPartition};
use ottla_record::{
    Batch, BatchBuilder, BatchError, Batches, Codec, Compression, ProduceRules, compression, crc, validate,
    varint,
};

fn seal(mut bytes: Vec<u8>) -> Bytes {
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// A batch of `count` records whose decompressed records are `data`.
fn around(codec: Codec, count: i32, data: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    for _ in 0..count {
        builder.append(Millis(0), None, None);
    }
    let mut bytes = builder.build()[..61].to_vec();
    compression::compress(Compression::of(codec), data, &mut bytes);
    seal(bytes)
}

fn produce(bytes: &Bytes, rules: &ProduceRules) -> Result<(), ErrorCode> {
    let batch = validate::request_batch(bytes, 13).map_err(|invalid| invalid.error)?;
    let partition = TopicPartition::new("t", 0);
    let valid = validate::produce_batch(batch, rules, &partition, Millis(0));
    valid.map(|_| ()).map_err(|invalid| invalid.error)
}

/// One record of so many bytes of value, as it would lie in a batch.
fn big_record(value_bytes: usize) -> Vec<u8> {
    let mut body = vec![0, 0, 0];
    varint::write_i32(&mut body, -1);
    varint::write_i32(&mut body, value_bytes as i32);
    body.resize(body.len() + value_bytes, 0);
    body.push(0);
    let mut out = Vec::new();
    varint::write_i32(&mut out, body.len() as i32);
    out.extend_from_slice(&body);
    out
}

/// 40 MiB of zeros in a few kilobytes are valid, as in Kafka, and are never held as a whole; beyond the limits
/// they are refused.
#[test]
fn bombs_are_walked_in_pieces() {
    let record = big_record(40 << 20);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = around(codec, 1, &record);
        let rules = ProduceRules { max_message_bytes: 8 << 20, ..ProduceRules::default() };
        assert_eq!(produce(&bomb, &rules), Ok(()), "{codec}");
        let small = ProduceRules { max_decompressed_batch_bytes: 30 << 20, ..rules };
        assert_eq!(produce(&bomb, &small), Err(ErrorCode::InvalidRecord), "{codec}");
        let small = ProduceRules { max_decompressed_record_bytes: 1 << 20, ..rules };
        assert_eq!(produce(&bomb, &small), Err(ErrorCode::InvalidRecord), "{codec}");
        let batch = Batch::parse(&bomb).unwrap();
        let refused = batch.records_within(1 << 20).unwrap_err();
        assert_eq!(refused, BatchError::TooLarge { limit: 1 << 20 }, "{codec}");
        // The walk in pieces finds what the walk in place finds.
        assert_eq!(produce(&around(codec, 2, &record), &rules), Err(ErrorCode::InvalidRecord), "{codec}");
        let trailing = [&record[..], &[0]].concat();
        assert_eq!(produce(&around(codec, 1, &trailing), &rules), Err(ErrorCode::InvalidRecord), "{codec}");
    }
}

#[test]
fn records_that_lie_about_lengths() {
    let rules = ProduceRules::default();
    let cases: &[&[u8]] = &[
        &[],
        // Overlong varint as record length.
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        // Record of 2^31-1 bytes.
        &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0],
        // Negative record length.
        &[0x01],
        // Key of 2^31-1 bytes.
        &[0x18, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0, 0],
        // Value beyond the record.
        &[0x0c, 0, 0, 0, 1, 0x10, 0],
        // 2^31-1 headers.
        &[0x14, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        // Negative number of headers.
        &[0x0c, 0, 0, 0, 1, 1, 1],
        // A header without key.
        &[0x10, 0, 0, 0, 1, 1, 2, 1, 1],
        // A byte more than the fields take.
        &[0x0e, 0, 0, 0, 1, 1, 0, 0],
        // Empty record.
        &[0x00],
        // Overlong timestamp.
        &[0x1e, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 1, 0],
    ];
    for data in cases {
        for codec in [Codec::None, Codec::Lz4] {
            let bytes = around(codec, 1, data);
            // Kafka stumbles over a length without end where it reads it from a buffer.
            let endless = codec == Codec::None && data.starts_with(&[0xff; 5]);
            let error = if endless { ErrorCode::UnknownServerError } else { ErrorCode::InvalidRecord };
            assert_eq!(produce(&bytes, &rules), Err(error), "{data:02x?} {codec}");
            let batch = Batch::parse(&bytes).unwrap();
            assert!(matches!(batch.records().unwrap().next(), Some(Err(BatchError::Record { .. }))));
        }
    }
    // The same in what is walked in pieces: behind a record that is too large to be there as a whole.
    let big = big_record(17 << 20);
    for data in cases {
        let bytes = around(Codec::Zstd, 2, &[&big[..], data].concat());
        assert_eq!(produce(&bytes, &rules), Err(ErrorCode::InvalidRecord), "{data:02x?}");
    }
}

/// A header that promises two thousand million records does not make a reader reserve room for them.
#[test]
fn record_counts_are_not_believed() {
    let mut bytes = around(Codec::None, 1, &[0x0c, 0, 0, 0, 1, 1, 0]).to_vec();
    bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    let records = Batch::parse(&seal(bytes)).unwrap().records().unwrap();
    assert!(records.size_hint().1.unwrap() < 10);
    assert_eq!(records.filter(Result::is_ok).count(), 1);
}

/// Noise in every place and of every kind, from a fixed seed: nothing may panic.
#[test]
fn noise_does_not_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let rules = [
        ProduceRules::default(),
        ProduceRules {
            compacted: true,
            compression: Some(Compression::of(Codec::Gzip)),
            ..ProduceRules::default()
        },
    ];
    let mut accepted = 0;
    for round in 0..4000 {
        let codec = Codec::ALL[round % 5];
        let mut builder = BatchBuilder::new(Compression::of(codec));
        for n in 0..random() % 5 + 1 {
            let value = vec![random() as u8; (random() % 300) as usize];
            builder.append_with_headers(Millis(n as i64), Some(b"k"), Some(&value), &[(b"h", Some(b"v"))]);
        }
        let mut bytes = builder.build().to_vec();
        for _ in 0..random() % 4 {
            let at = (random() % bytes.len() as u64) as usize;
            // The offset and the length decide too early.
            if at >= 16 {
                bytes[at] = random() as u8;
            }
        }
        if random() % 8 == 0 {
            bytes.truncate((random() % bytes.len() as u64) as usize);
        }
        let bytes = if bytes.len() > 61 { seal(bytes) } else { bytes.into() };
        for rules in &rules {
            accepted += usize::from(produce(&bytes, rules).is_ok());
        }
        for batch in Batches::new(bytes).flatten() {
            let _ = batch.header.last_sequence();
            let _ = batch.header.next_offset();
            if let Ok(records) = batch.records_within(1 << 20) {
                for record in records {
                    let _ = record;
                }
            }
        }
    }
    assert!(accepted > 1000, "the noise leaves {accepted} batches valid");
}
