//! Segments that Apache Kafka 4.4.0 wrote, against what an independent reader found in them.
//!
//! Captured from a running broker: the segments under `testdata/golden/topics`, their content as JSON lines under
//! `testdata/golden/expected`.

use std::path::PathBuf;

use bytes::Bytes;
use ottla_record::control::{EndTxnMarker, TransactionResult};
use ottla_record::{Batch, BatchBuilder, Batches, Codec, ProduceRules, Record, validate};
use serde_json::Value;

fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(path)
}

fn segments() -> Vec<(String, Bytes, Vec<Value>)> {
    let mut found = Vec::new();
    for topic in [
        "codec-none",
        "codec-gzip",
        "codec-snappy",
        "codec-lz4",
        "codec-zstd",
        "lat",
        "recomp",
        "idem",
        "txn",
        "cmp",
    ] {
        let directory = golden(&format!("topics/{topic}-0"));
        for entry in std::fs::read_dir(&directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".log") {
                continue;
            }
            let bytes = Bytes::from(std::fs::read(directory.join(&name)).unwrap());
            let expected = golden(&format!("expected/topics__{topic}-0__{name}.jsonl"));
            let expected = std::fs::read_to_string(expected).unwrap_or_default();
            let lines = expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            found.push((format!("{topic}/{name}"), bytes, lines));
        }
    }
    assert!(found.len() >= 10);
    found
}

/// The form in which the expected files show bytes.
fn shown(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    if bytes.len() >= 200 {
        return serde_json::json!({"length": bytes.len(), "crc32c": ottla_record::crc::crc32c(bytes)});
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("hex:{hex}").into()
        }
    }
}

fn assert_record(record: &Record, expected: &Value, context: &str) {
    assert_eq!(record.offset.0, expected["offset"], "{context}");
    if let Some(control) = expected.get("control") {
        let marker =
            EndTxnMarker::parse(record.key.as_deref().unwrap(), record.value.as_deref().unwrap()).unwrap();
        let result = if control == "COMMIT" { TransactionResult::Commit } else { TransactionResult::Abort };
        assert_eq!(marker.result, result, "{context}");
        assert_eq!(i64::from(marker.coordinator_epoch), expected["value"][1], "{context}");
        return;
    }
    assert_eq!(record.timestamp.0, expected["timestamp"], "{context}");
    assert_eq!(shown(record.key.as_deref()), expected["key"], "{context}");
    assert_eq!(shown(record.value.as_deref()), expected["value"], "{context}");
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|header| Value::Array(vec![shown(Some(&header.key)), shown(header.value.as_deref())]))
        .collect();
    if let Some(expected) = expected.get("headers") {
        assert_eq!(&Value::Array(headers), expected, "{context}");
    }
}

#[test]
fn every_batch_reads_as_expected() {
    for (name, bytes, lines) in segments() {
        let mut batches = Batches::new(bytes);
        let mut position = 0;
        for expected in &lines {
            let batch = batches.next().unwrap().unwrap();
            let header = &batch.header;
            let context = format!("{name} at {position}");
            batch.verify_crc().unwrap();
            assert_eq!(position, expected["pos"], "{context}");
            assert_eq!(batch.bytes.len(), expected["size"], "{context}");
            assert_eq!(header.base_offset.0, expected["baseOffset"], "{context}");
            assert_eq!(header.last_offset().0, expected["lastOffset"], "{context}");
            assert_eq!(header.leader_epoch.0, expected["leaderEpoch"], "{context}");
            assert_eq!(header.crc, expected["crc"], "{context}");
            assert_eq!(header.attributes.0, expected["attributes"], "{context}");
            assert_eq!(header.base_timestamp.0, expected["baseTimestamp"], "{context}");
            assert_eq!(header.max_timestamp.0, expected["maxTimestamp"], "{context}");
            assert_eq!(header.producer_id.0, expected["producerId"], "{context}");
            assert_eq!(i64::from(header.producer_epoch.0), expected["producerEpoch"], "{context}");
            assert_eq!(header.base_sequence, expected["baseSequence"], "{context}");
            assert_eq!(header.record_count, expected["count"], "{context}");
            let records: Vec<Record> = batch.records().unwrap().map(Result::unwrap).collect();
            let expected_records = expected["records"].as_array().unwrap();
            assert_eq!(records.len(), expected_records.len(), "{context}");
            for (record, expected) in records.iter().zip(expected_records) {
                assert_record(record, expected, &context);
            }
            position += batch.bytes.len();
        }
        assert!(batches.next().is_none() && batches.rest().is_empty(), "{name}");
    }
}

#[test]
fn uncompressed_batches_are_built_byte_equal() {
    let mut built = 0;
    for (name, bytes, _) in segments() {
        for batch in Batches::new(bytes) {
            let batch = batch.unwrap();
            if batch.header.codec() != Ok(Codec::None) {
                continue;
            }
            let mut builder = BatchBuilder::like(&batch.header).base_timestamp(batch.header.base_timestamp);
            let shift = match batch.header.timestamp_type() {
                // A LogAppendTime batch keeps the producer's deltas, which its records do not show.
                ottla_record::TimestampType::LogAppendTime => None,
                ottla_record::TimestampType::CreateTime => Some(()),
            };
            if shift.is_none() {
                let payload = batch.payload();
                let mut at = 0;
                while at < payload.len() {
                    let view = ottla_record::RecordView::read(&payload, &mut at).unwrap();
                    let headers: Vec<_> = view.headers().collect();
                    let timestamp = batch.header.base_timestamp + view.timestamp_delta;
                    builder.append_with_headers(timestamp, view.key, view.value, &headers);
                }
            } else {
                for record in batch.records().unwrap() {
                    builder.append_record(&record.unwrap());
                }
            }
            assert_eq!(builder.build(), batch.bytes, "{name}");
            built += 1;
        }
    }
    assert!(built > 40, "only {built}");
}

/// What Kafka's producers sent, as far as it can be told from the log: offset 0, no leader epoch.
fn as_sent(batch: &Batch) -> Bytes {
    let mut bytes = batch.bytes.to_vec();
    bytes[..8].fill(0);
    bytes[12..16].fill(0xff);
    bytes.into()
}

#[test]
fn stored_batches_pass_validation_unchanged() {
    let partition = ottla_model::TopicPartition::new("codec", 0);
    for (name, bytes, _) in segments() {
        for batch in Batches::new(bytes) {
            let batch = batch.unwrap();
            let header = &batch.header;
            let plain = !header.is_control() && !header.attributes.has_delete_horizon();
            if !plain || header.timestamp_type() == ottla_record::TimestampType::LogAppendTime {
                continue;
            }
            if header.record_count != header.last_offset_delta + 1 {
                continue;
            }
            let sent = validate::request_batch(&as_sent(&batch), 13).unwrap();
            let now = header.max_timestamp;
            let valid = validate::produce_batch(sent, &ProduceRules::default(), &partition, now).unwrap();
            let stamped = valid.stamp(header.base_offset, header.leader_epoch);
            assert_eq!(stamped.to_bytes(), batch.bytes, "{name}");
        }
    }
}

/// The broker of `recomp` compressed with zstd what came uncompressed. The same library at the same level gives
/// the same bytes; what the producer sent is rebuilt from the records.
#[test]
fn recompression_writes_what_kafka_wrote() {
    let partition = ottla_model::TopicPartition::new("recomp", 0);
    for (name, bytes, _) in segments() {
        if !name.starts_with("recomp") {
            continue;
        }
        for batch in Batches::new(bytes) {
            let batch = batch.unwrap();
            let mut builder = BatchBuilder::default().producer(
                batch.header.producer_id,
                batch.header.producer_epoch,
                batch.header.base_sequence,
            );
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let headers: Vec<_> =
                    record.headers.iter().map(|h| (&h.key[..], h.value.as_deref())).collect();
                let (key, value) = (record.key.as_deref(), record.value.as_deref());
                builder.append_with_headers(record.timestamp, key, value, &headers);
            }
            let sent = validate::request_batch(&builder.build(), 13).unwrap();
            let compression = Some(ottla_record::Compression::of(Codec::Zstd));
            let rules = ProduceRules { compression, ..ProduceRules::default() };
            let valid =
                validate::produce_batch(sent, &rules, &partition, batch.header.max_timestamp).unwrap();
            let stamped = valid.stamp(batch.header.base_offset, batch.header.leader_epoch);
            let again = Batch::parse(&stamped.to_bytes()).unwrap();
            again.verify_crc().unwrap();
            assert_eq!(again.records().unwrap().data(), batch.records().unwrap().data());
            let mut header = again.header;
            header.crc = batch.header.crc;
            header.batch_length = batch.header.batch_length;
            assert_eq!(header, batch.header);
        }
    }
}
