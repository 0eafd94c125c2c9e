//! Any bytes as any message. Nothing panics, nothing is allocated beyond the fuzzer's limit, and what decodes encodes
//! to bytes that decode to the same message. From `crates/protocol`:
//!
//! ```text
//! RUSTC_BOOTSTRAP=1 cargo fuzz run messages -- -rss_limit_mb=512 -max_total_time=60
//! ```
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla_protocol::records::group::{GroupRecordKey, GroupRecordValue};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_protocol::records::share::{ShareRecordKey, ShareRecordValue};
use ottla_protocol::records::transaction::{TransactionRecordKey, TransactionRecordValue};
use ottla_protocol::schema::MessageSchema;
use ottla_protocol::{Decoder, Encoder, RequestHeader};

static SCHEMAS: LazyLock<Vec<&MessageSchema>> = LazyLock::new(|| ottla_protocol::schemas().collect());

fuzz_target!(|data: (u16, u8, Vec<u8>)| {
    let (choice, version, bytes) = data;
    let bytes = Bytes::from(bytes);
    let mut d = Decoder::new(bytes.clone());
    if let Ok((key, header)) = RequestHeader::decode_frame(&mut d) {
        round_trip(key.request_schema(), header.request_api_version, d.rest());
    }
    if let Ok((version, record)) = MetadataRecord::decode(bytes.clone()) {
        assert!(record.encode(version).is_ok());
    }
    let record_type = i16::from(version);
    let _ = GroupRecordKey::decode(bytes.clone());
    let _ = GroupRecordValue::decode(record_type, bytes.clone());
    let _ = TransactionRecordKey::decode(bytes.clone());
    let _ = TransactionRecordValue::decode(record_type, bytes.clone());
    let _ = ShareRecordKey::decode(bytes.clone());
    let _ = ShareRecordValue::decode(record_type, bytes.clone());

    let schema = SCHEMAS[usize::from(choice) % SCHEMAS.len()];
    let versions = schema.versions;
    if !versions.is_empty() {
        let version = versions.min + i16::from(version) % (versions.max - versions.min + 1);
        round_trip(schema, version, bytes);
    }
});

fn round_trip(schema: &MessageSchema, version: i16, bytes: Bytes) {
    let Ok(message) = schema.decode(&mut Decoder::new(bytes), version) else { return };
    let mut e = Encoder::new();
    message.encode(&mut e, version).unwrap();
    let again = schema.decode(&mut Decoder::new(e.finish_bytes().unwrap()), version).unwrap();
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
}
