//! Validation of produced batches: what Apache Kafka 4.4 accepts, refuses and changes.

use bytes::Bytes;
use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicPartition};
use ottla_record::{
    Batch, BatchBuilder, Codec, Compression, InvalidBatch, ProduceRules, TimestampType, ValidBatch, crc,
    validate,
};

const NOW: Millis = Millis(1_700_000_000_000);

fn batch(compression: Compression, build: impl FnOnce(&mut BatchBuilder)) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    build(&mut builder);
    builder.build()
}

fn simple(codec: Codec) -> Bytes {
    batch(Compression::of(codec), |builder| {
        for n in 0..10 {
            builder.append(NOW + n, Some(b"key"), Some(b"a value that repeats a value that repeats"));
        }
    })
}

fn produce(bytes: &Bytes, rules: &ProduceRules) -> Result<ValidBatch, InvalidBatch> {
    let batch = validate::request_batch(bytes, 13)?;
    validate::produce_batch(batch, rules, &TopicPartition::new("bc", 0), NOW)
}

fn altered(bytes: &Bytes, alter: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut bytes = bytes.to_vec();
    alter(&mut bytes);
    bytes.into()
}

/// As [`altered`], with a checksum that fits.
fn resealed(bytes: &Bytes, alter: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    altered(bytes, |bytes| {
        alter(bytes);
        let crc = crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    })
}

fn stored(valid: ValidBatch) -> Batch {
    let stamped = valid.stamp(Offset(100), LeaderEpoch(4));
    assert_eq!(stamped.header.to_array(), stamped.head);
    let batch = Batch::parse(&stamped.to_bytes()).unwrap();
    batch.verify_crc().unwrap();
    assert_eq!((batch.header.base_offset, batch.header.leader_epoch), (Offset(100), LeaderEpoch(4)));
    batch
}

#[test]
fn valid_batches_keep_their_bytes() {
    for codec in Codec::ALL {
        let sent = simple(codec);
        let stored = stored(produce(&sent, &ProduceRules::default()).unwrap());
        assert_eq!(stored.bytes[16..], sent[16..]);
        assert_eq!(stored.header.next_offset(), Offset(110));
    }
}

#[test]
fn shape_of_the_request() {
    let good = simple(Codec::None);
    let code = |bytes: Vec<u8>| validate::request_batch(&bytes.into(), 13).map_err(|invalid| invalid.error);
    assert_eq!(code(vec![]), Err(ErrorCode::InvalidRecord));
    assert_eq!(code(good[..good.len() - 1].to_vec()), Err(ErrorCode::InvalidRecord));
    assert_eq!(code([&good[..], &good[..]].concat()), Err(ErrorCode::InvalidRecord));
    assert!(code([&good[..], &good[..16]].concat()).is_ok());
    assert!(code([&good[..], &good[..80]].concat()).is_ok());
    for (at, value, error) in [
        (16, 0, ErrorCode::InvalidRecord),
        (16, 1, ErrorCode::InvalidRecord),
        (16, 3, ErrorCode::CorruptMessage),
        (16, 0xff, ErrorCode::CorruptMessage),
        (8, 0x80, ErrorCode::CorruptMessage),
    ] {
        assert_eq!(code(altered(&good, |bytes| bytes[at] = value).into()), Err(error), "{at} {value}");
    }
    // An unknown codec is the log's business, not the request's.
    assert!(code(altered(&good, |bytes| bytes[22] = 7).into()).is_ok());
    let tiny = altered(&good, |bytes| bytes[8..12].copy_from_slice(&13i32.to_be_bytes()));
    assert_eq!(code(tiny.into()), Err(ErrorCode::CorruptMessage));
    let zstd = simple(Codec::Zstd);
    let old = validate::request_batch(&zstd, 6).unwrap_err();
    assert_eq!(old.error, ErrorCode::UnsupportedCompressionType);
    assert!(validate::request_batch(&zstd, 7).is_ok());
}

/// What Kafka looks at before all else, and which fails the whole request.
#[test]
fn the_first_batch_of_a_request() {
    let good = simple(Codec::None);
    let first = |bytes: &[u8]| {
        validate::is_transactional(bytes)
            .map_err(|invalid| (invalid.error, invalid.message.unwrap_or_default()))
    };
    let corrupt = |message: &str| Err((ErrorCode::CorruptMessage, message.to_owned()));
    assert_eq!(first(&good), Ok(false));
    assert_eq!(first(&altered(&good, |bytes| bytes[22] |= 0x10)), Ok(true));
    assert_eq!(
        first(&altered(&good, |bytes| bytes[22] |= 0x10)[..70]),
        Ok(false),
        "an incomplete batch is none"
    );
    assert_eq!(first(&[]), Ok(false));
    let with = |length: i32| altered(&good, |bytes| bytes[8..12].copy_from_slice(&length.to_be_bytes()));
    assert_eq!(first(&with(-1)), corrupt("Record size -1 is less than the minimum record overhead (14)"));
    assert_eq!(first(&with(i32::MAX)), Err((ErrorCode::UnknownServerError, String::new())));
    let magic = |magic| altered(&good, |bytes| bytes[16] = magic);
    assert_eq!(first(&magic(3)), corrupt("Invalid magic found in record: 3"));
    assert_eq!(first(&magic(0xff)), corrupt("Invalid magic found in record: -1"));
}

/// Any flipped bit is caught by the checksum, by the shape, or lies where the leader writes.
#[test]
fn every_header_field_is_protected() {
    for codec in [Codec::None, Codec::Lz4] {
        let good = simple(codec);
        let rules = ProduceRules::default();
        for at in 0..good.len() {
            for bit in 0..8 {
                let outcome = produce(&altered(&good, |bytes| bytes[at] ^= 1 << bit), &rules);
                let error = outcome.as_ref().map(|_| ()).map_err(|invalid| invalid.error);
                match at {
                    0..8 => assert_eq!(error, Err(ErrorCode::InvalidRecord)),
                    8..12 => assert!(error.is_err(), "{at} {bit}"),
                    12..16 => assert_eq!(stored(outcome.unwrap()).bytes[16..], good[16..]),
                    16 => assert!(error.is_err()),
                    22 if bit < 3 => assert!(error.is_err()),
                    _ => assert_eq!(error, Err(ErrorCode::CorruptMessage), "{at} {bit}"),
                }
            }
        }
    }
}

#[test]
fn header_fields_with_a_fitting_checksum() {
    let good = simple(Codec::None);
    let rules = ProduceRules::default();
    let code = |alter: &dyn Fn(&mut Vec<u8>)| {
        produce(&resealed(&good, alter), &rules).map(|_| ()).map_err(|invalid| invalid.error)
    };
    let invalid = Err(ErrorCode::InvalidRecord);
    assert_eq!(code(&|b| b[22] |= 0x20), invalid, "control");
    assert_eq!(code(&|b| b[26] = 10), invalid, "last offset delta");
    assert_eq!(code(&|b| b[23] = 0x80), invalid, "negative last offset delta");
    assert_eq!(code(&|b| b[60] = 9), invalid, "record count");
    assert_eq!(code(&|b| b[57..61].fill(0)), invalid, "no record");
    assert_eq!(
        code(&|b| {
            b[60] = 9;
            b[26] = 8
        }),
        invalid,
        "a record remains"
    );
    assert_eq!(
        code(&|b| {
            b[60] = 11;
            b[26] = 10
        }),
        invalid,
        "a record is missing"
    );
    assert_eq!(code(&|b| b[43..51].fill(0)), invalid, "producer id without sequence");
    assert_eq!(
        code(&|b| {
            b[43..51].fill(0);
            b[53..57].fill(0)
        }),
        Ok(()),
        "producer epoch -1"
    );
    assert_eq!(code(&|b| b[62] = 1), Ok(()), "record attributes");
    assert_eq!(code(&|b| b[21] = 0x7f), Ok(()), "unused attributes");
    assert_eq!(code(&|b| b[64] = 8), Ok(()), "offset delta of an uncompressed batch");
    assert_eq!(code(&|b| b[61] = 1), invalid, "record length");
    assert_eq!(code(&|b| b[65] = 0x7e), invalid, "key length");
}

#[test]
fn the_batch_must_not_be_too_large() {
    let good = simple(Codec::None);
    let rules = ProduceRules { max_message_bytes: good.len() - 1, ..ProduceRules::default() };
    assert_eq!(produce(&good, &rules).unwrap_err().error, ErrorCode::MessageTooLarge);
    let rules = ProduceRules { max_message_bytes: good.len(), ..rules };
    assert!(produce(&good, &rules).is_ok());
}

#[test]
fn compacted_topics_need_keys() {
    let rules = ProduceRules { compacted: true, ..ProduceRules::default() };
    for codec in Codec::ALL {
        let bytes = batch(Compression::of(codec), |builder| {
            builder.append(NOW, Some(b"k"), None);
            builder.append(NOW, None, Some(b"v"));
            builder.append(NOW, None, Some(b"v"));
        });
        let invalid = produce(&bytes, &rules).unwrap_err();
        assert_eq!(invalid.error, ErrorCode::InvalidRecord);
        let text = "Compacted topic cannot accept message without key in topic partition bc-0";
        let blamed: Vec<_> = invalid.record_errors.iter().map(|e| (e.index, e.message.as_deref())).collect();
        assert_eq!(blamed, [(1, Some(text)), (2, Some(text))]);
        assert_eq!(
            invalid.message.unwrap(),
            format!(
                "One or more records have been rejected due to 2 record errors in total, and only showing the first \
                 three errors at most: [RecordError(batchIndex=1, message='{text}'), RecordError(batchIndex=2, \
                 message='{text}')]"
            )
        );
        assert!(produce(&simple(codec), &rules).is_ok());
    }
}

#[test]
fn timestamps_must_be_in_range() {
    let rules = ProduceRules { before_max_ms: 1000, after_max_ms: 10, ..ProduceRules::default() };
    for codec in Codec::ALL {
        let bytes = batch(Compression::of(codec), |builder| {
            for delta in [0, 10, 11, -1000, -1001] {
                builder.append(NOW + delta, Some(b"k"), None);
            }
            builder.append(Millis::NONE, None, None);
        });
        let invalid = produce(&bytes, &rules).unwrap_err();
        assert_eq!(invalid.error, ErrorCode::InvalidTimestamp);
        assert_eq!(
            invalid.message.as_deref(),
            Some("One or more records have been rejected due to invalid timestamp")
        );
        assert_eq!(invalid.record_errors.iter().map(|e| e.index).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(
            invalid.record_errors[0].message.as_deref(),
            Some(
                "Timestamp 1700000000011 of message with offset 2 is out of range. The timestamp should be within \
                 [1699999999000, 1700000000010]"
            )
        );
        // Timestamps are not looked at where the broker sets them.
        let rules = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..rules };
        let stored = stored(produce(&bytes, &rules).unwrap());
        assert_eq!(stored.header.max_timestamp, NOW);
        assert_eq!(stored.header.timestamp_type(), TimestampType::LogAppendTime);
        assert!(stored.records().unwrap().all(|record| record.unwrap().timestamp == NOW));
    }
}

#[test]
fn a_wrong_maximum_timestamp_is_corrected() {
    for codec in Codec::ALL {
        let good = simple(codec);
        let lying = resealed(&good, |bytes| bytes[35..43].fill(0x11));
        let stored = stored(produce(&lying, &ProduceRules::default()).unwrap());
        assert_eq!(stored.bytes[16..], good[16..]);
    }
}

#[test]
fn a_client_that_claims_append_time() {
    let bytes = resealed(&simple(Codec::None), |bytes| bytes[22] |= 8);
    let accepted = stored(produce(&bytes, &ProduceRules::default()).unwrap());
    assert_eq!(accepted.header.timestamp_type(), TimestampType::CreateTime);
    let rules = ProduceRules { timestamp_type: TimestampType::LogAppendTime, ..ProduceRules::default() };
    let refused = produce(&bytes, &rules).unwrap_err();
    assert_eq!((refused.error, refused.record_errors.len()), (ErrorCode::InvalidTimestamp, 10));
}

#[test]
fn what_is_inside_compressed_batches() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let compression = Compression::of(codec);
        // Offset deltas are looked at here.
        let gap = batch(compression, |builder| {
            builder.append(NOW, None, Some(b"a"));
            builder.append_record(&ottla_record::Record {
                offset: Offset(2),
                timestamp: NOW,
                ..ottla_record::Record::default()
            });
        });
        let gap = resealed(&gap, |bytes| bytes[26] = 1);
        let invalid = produce(&gap, &ProduceRules::default()).unwrap_err();
        assert_eq!(invalid.error, ErrorCode::UnknownServerError, "{codec}");
        // Where the batch is recompressed they are built anew.
        let other = if codec == Codec::Lz4 { Codec::Zstd } else { Codec::Lz4 };
        let rules = ProduceRules { compression: Some(Compression::of(other)), ..ProduceRules::default() };
        let rebuilt = stored(produce(&gap, &rules).unwrap());
        let offsets: Vec<i64> = rebuilt.records().unwrap().map(|record| record.unwrap().offset.0).collect();
        assert_eq!(offsets, [100, 101]);
        assert_eq!(rebuilt.header.codec(), Ok(other));

        let rules = ProduceRules { max_decompressed_record_bytes: 40, ..ProduceRules::default() };
        assert_eq!(produce(&simple(codec), &rules).unwrap_err().error, ErrorCode::InvalidRecord);
        let garbage = resealed(&simple(codec), |bytes| bytes[61..].fill(0x33));
        let invalid = produce(&garbage, &ProduceRules::default()).unwrap_err();
        assert_eq!(invalid.error, ErrorCode::UnknownServerError, "{codec}");
    }
    let rules = ProduceRules { max_decompressed_record_bytes: 40, ..ProduceRules::default() };
    assert!(produce(&simple(Codec::None), &rules).is_ok(), "uncompressed records are not measured");
}

#[test]
fn recompression_keeps_everything_but_the_codec() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            let mut builder = BatchBuilder::new(Compression::of(from))
                .producer(ProducerId(5), ProducerEpoch(2), 77)
                .transactional();
            for n in 0..50i64 {
                let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", None), (b"", Some(b"x"))];
                builder.append_with_headers(NOW + n % 7, Some(&n.to_be_bytes()), Some(&[3; 100]), headers);
            }
            let sent = Batch::parse(&builder.build()).unwrap();
            let rules = ProduceRules { compression: Some(Compression::of(to)), ..ProduceRules::default() };
            let stored = stored(produce(&sent.bytes, &rules).unwrap());
            let header = stored.header;
            assert_eq!(header.codec(), Ok(to));
            assert_eq!((header.producer_id, header.base_sequence), (ProducerId(5), 77));
            assert!(header.is_transactional());
            assert_eq!((header.base_timestamp, header.max_timestamp), (NOW, NOW + 6));
            assert_eq!(stored.records().unwrap().data(), sent.records().unwrap().data());
        }
    }
}
