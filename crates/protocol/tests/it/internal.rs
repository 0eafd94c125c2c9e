//! Records of internal topics and of the metadata log as Apache Kafka 4.4.0 has written them: they decode to the
//! fields they are known to hold, and encode back to the same bytes.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_protocol::records::group::{GroupRecordKey, GroupRecordValue};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_protocol::records::share::{ShareRecordKey, ShareRecordValue};
use ottla_protocol::records::transaction::{TransactionRecordKey, TransactionRecordValue};
use ottla_protocol::schema::MessageSchema;
use ottla_protocol::{Decoder, Encoder, Tree};
use serde_json::Value;

use crate::golden::assert_fields;

#[test]
fn metadata_records_decode_to_their_fields_and_encode_to_the_same_bytes() {
    let mut count = 0;
    for file in files("metadata") {
        for (record, expected, at) in records(&file) {
            if record.control {
                control_record(&record, &expected, &at);
                continue;
            }
            count += 1;
            let value = record.value.unwrap();
            let (version, decoded) = MetadataRecord::decode(value.clone()).expect(&at);
            assert_eq!(expected["record"], decoded.name(), "{at}");
            assert_eq!(expected["version"], version, "{at}");
            let schema = schema_of(decoded.name());
            assert_fields(schema.body, &decoded.tree(version), &expected["fields"], &at);
            assert_eq!(decoded.encode(version).expect(&at), value, "{at}");
        }
    }
    assert!(count > 600, "{count}");
}

/// Record type, tree and encoding of the key, and version, tree and encoding of the value.
macro_rules! through_codec {
    ($keys:ident, $values:ident, $record:ident, $at:ident) => {{
        let key = $keys::decode($record.key.clone().unwrap()).expect(&$at);
        let value = $record.value.clone().map(|value| {
            let (version, value) = $values::decode(key.record_type(), value).expect(&$at);
            (version, value.tree(version), value.encode(version).expect(&$at))
        });
        (key.record_type(), key.tree(), key.encode().expect(&$at), value)
    }};
}

#[test]
fn records_of_coordinators_decode_to_their_fields_and_encode_to_the_same_bytes() {
    let mut count = 0;
    for file in files("internal") {
        let topic = file.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        for (record, expected, at) in records(&file) {
            if record.control {
                continue;
            }
            count += 1;
            let (record_type, key_tree, key_again, value) = match topic.as_str() {
                "__consumer_offsets-0" => through_codec!(GroupRecordKey, GroupRecordValue, record, at),
                "__transaction_state-0" => {
                    through_codec!(TransactionRecordKey, TransactionRecordValue, record, at)
                }
                _ => through_codec!(ShareRecordKey, ShareRecordValue, record, at),
            };
            assert_eq!(expected["type"], record_type, "{at}");
            assert_eq!(Some(key_again), record.key, "{at}");
            let name = expected["record"].as_str().unwrap();
            assert_fields(schema_of(&format!("{name}Key")).body, &key_tree, &expected["key"], &at);
            let value = value.map(|(version, tree, again)| {
                assert_eq!(expected["version"], version, "{at}");
                assert_fields(schema_of(&format!("{name}Value")).body, &tree, &expected["fields"], &at);
                again
            });
            assert_eq!(value, record.value, "{at}");
        }
    }
    assert!(count > 100, "{count}");
}

fn control_record(record: &Record, expected: &Value, at: &str) {
    let schema = schema_of(expected["control"].as_str().unwrap());
    let value = record.value.clone().unwrap();
    // The message begins with its own version.
    let version = Decoder::new(value.clone()).i16().unwrap();
    let mut d = Decoder::new(value.clone());
    let message = schema.decode(&mut d, version).expect(at);
    d.finish().expect(at);
    let Tree::Struct(_) = message.tree(version) else { panic!("{at}") };
    assert_fields(schema.body, &message.tree(version), &expected["value"], at);
    let mut e = Encoder::new();
    message.encode(&mut e, version).expect(at);
    assert_eq!(e.finish_bytes().expect(at), value, "{at}");
}

fn schema_of(name: &str) -> &'static MessageSchema {
    ottla_protocol::schemas().find(|schema| schema.name() == name).expect(name)
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden")
}

/// The logs and snapshots below a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![golden().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "log" || extension == "checkpoint")
            {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found.sort();
    found
}

struct Record {
    control: bool,
    key: Option<Bytes>,
    value: Option<Bytes>,
}

/// The records of a file, each with what is known of it and where it is.
fn records(file: &Path) -> Vec<(Record, Value, String)> {
    let name = file.strip_prefix(golden()).unwrap().to_str().unwrap().replace('/', "__");
    let Ok(expected) = fs::read_to_string(golden().join(format!("expected/{name}.jsonl"))) else {
        return Vec::new();
    };
    let bytes = Bytes::from(fs::read(file).unwrap());
    let mut all = Vec::new();
    for line in expected.lines() {
        let batch: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| batch[name].as_u64().unwrap() as usize;
        // Batches of internal topics are not compressed: the records begin behind 61 bytes of header.
        let mut rest = bytes.slice(number("pos") + 61..number("pos") + number("size"));
        for expected in batch["records"].as_array().unwrap() {
            let len = varint(&mut rest).unwrap();
            let mut record = rest.split_to(len);
            let _attributes = record.split_to(1);
            varint(&mut record);
            varint(&mut record);
            let key = varint(&mut record).map(|len| record.split_to(len));
            let value = varint(&mut record).map(|len| record.split_to(len));
            let control = number("attributes") & 0x20 != 0;
            let at = format!("{name} offset {}", expected["offset"]);
            all.push((Record { control, key, value }, expected.clone(), at));
        }
    }
    all
}

/// A zigzag varint; `None` when it is negative.
fn varint(bytes: &mut Bytes) -> Option<usize> {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes.split_to(1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    if value & 1 == 0 { usize::try_from(value >> 1).ok() } else { None }
}
