//! A record from a line of JSON as `ottla consume --output json` prints it. Topic and offset are passed over.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ottla_model::Millis;
use serde_json::{Map, Value};

use super::input::OwnedRecord;
use crate::exit::{Usage, usage};

const FIELDS: &[&str] = &[
    "topic",
    "partition",
    "offset",
    "timestamp",
    "timestamp_type",
    "headers",
    "key",
    "key_base64",
    "value",
    "value_base64",
];

pub fn read(line: &[u8]) -> Result<OwnedRecord> {
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|error| Usage(format!("no JSON object: {error}")))?;
    if let Some(unknown) = object.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return usage(format!("there is no field {unknown}; there are {}", FIELDS.join(", ")));
    }
    let number = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64().filter(|number| *number >= 0) {
            Some(number) => Ok(Some(number)),
            None => usage(format!("{name}: {value} is no number of at least 0")),
        },
    };
    let partition = match number("partition")? {
        Some(partition) => Some(i32::try_from(partition).context("partition")?),
        None => None,
    };
    let mut own_headers = Vec::new();
    let headers = object.get("headers").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
    let Value::Array(headers) = headers else { return usage("headers: expected an array") };
    for header in headers {
        let Value::Object(header) = header else {
            return usage("headers: expected objects with key and value");
        };
        let key = bytes(&header, "key")?.unwrap_or_default();
        let key = String::from_utf8(key).map_err(|_| Usage("the key of a header is no text".into()))?;
        own_headers.push((key, bytes(&header, "value")?));
    }
    Ok(OwnedRecord {
        partition,
        timestamp: number("timestamp")?.map(Millis),
        key: bytes(&object, "key")?,
        value: bytes(&object, "value")?,
        own_headers,
    })
}

/// Text, base64, or none.
fn bytes(object: &Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>> {
    let encoded = format!("{name}_base64");
    match (object.get(name), object.get(&encoded)) {
        (None | Some(Value::Null), None | Some(Value::Null)) => Ok(None),
        (Some(Value::String(text)), None) => Ok(Some(text.clone().into_bytes())),
        (None, Some(Value::String(text))) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => usage(format!("{encoded}: {error}")),
        },
        _ => usage(format!("expected {name} or {encoded}, as text or null")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_consume_prints() {
        let line = br#"{"topic":"a","partition":1,"offset":7,"timestamp":5,"timestamp_type":"create",
            "headers":[{"key":"h","value":null},{"key":"i","value_base64":"/w=="}],"key":"k","value_base64":"AP8="}"#;
        let expected = OwnedRecord {
            partition: Some(1),
            timestamp: Some(Millis(5)),
            key: Some(b"k".into()),
            value: Some(vec![0, 255]),
            own_headers: vec![("h".into(), None), ("i".into(), Some(vec![255]))],
        };
        assert_eq!(read(line).unwrap(), expected);
        assert_eq!(read(b"{}").unwrap(), OwnedRecord::default());
    }

    #[test]
    fn mistakes_are_named() {
        let error = |line: &str| {
            let error = read(line.as_bytes()).unwrap_err();
            assert_eq!(crate::exit::code(&error), 2);
            error.to_string()
        };
        assert!(error("[1]").starts_with("no JSON object"));
        assert!(error(r#"{"vaule":"x"}"#).starts_with("there is no field vaule; there are topic, "));
        assert!(error(r#"{"partition":-1}"#).starts_with("partition: -1"));
        assert!(error(r#"{"value":7}"#).starts_with("expected value or value_base64"));
        assert!(error(r#"{"value_base64":"?"}"#).starts_with("value_base64: "));
        assert!(error(r#"{"headers":{}}"#).starts_with("headers: expected"));
    }
}
