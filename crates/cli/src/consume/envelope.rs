//! A record as a line of JSON, which `ottla produce --json` takes back as it was.
//!
//! Keys and values that are no text stand in base64 under `key_base64` and `value_base64`.

use std::io::Write;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ottla_client::RecordRef;
use ottla_record::TimestampType;
use serde_json::{Map, Value};

pub fn write(record: &RecordRef<'_>, out: &mut impl Write) -> Result<()> {
    let headers = record.headers().map(|(key, value)| {
        let mut header = Map::new();
        put(&mut header, "key", Some(key));
        put(&mut header, "value", value);
        Value::Object(header)
    });
    let timestamp_type = match record.timestamp_type() {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "append",
    };
    let mut object = Map::new();
    object.insert("topic".into(), record.topic().into());
    object.insert("partition".into(), record.partition().into());
    object.insert("offset".into(), record.offset().0.into());
    object.insert("timestamp".into(), record.timestamp().0.into());
    object.insert("timestamp_type".into(), timestamp_type.into());
    object.insert("headers".into(), headers.collect());
    put(&mut object, "key", record.key());
    put(&mut object, "value", record.value());
    serde_json::to_writer(&mut *out, &object)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn put(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.into(), Value::Null),
        Some(Ok(text)) => object.insert(name.into(), text.into()),
        Some(Err(_)) => {
            object.insert(format!("{name}_base64"), STANDARD.encode(bytes.unwrap_or_default()).into())
        }
    };
}
