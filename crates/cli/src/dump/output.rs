//! Where everything that is found goes: lines for people, or one JSON object per line.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use ottla_protocol::Tree;
use ottla_record::crc::crc32c;
use serde_json::{Map, Value, json};

use crate::utc::Timestamp;

/// Bytes from which on a key or value is shown by length and checksum only.
const SHORT_BYTES: usize = 200;

/// Fields whose values are words of this program's or names of Kafka's.
const OWN_WORDS: &[&str] = &["is", "crcVerdict", "verdict", "record", "control", "reason"];

/// Writes to stdout and counts what was wrong.
pub struct Output {
    out: BufWriter<io::Stdout>,
    json: bool,
    bold: bool,
    file: String,
    faults: usize,
}

impl Output {
    pub fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let bold = !json && stdout.is_terminal();
        Self { out: BufWriter::new(stdout), json, bold, file: String::new(), faults: 0 }
    }

    pub fn begin_file(&mut self, path: &Path, kind: &str, size: u64) -> Result<()> {
        self.file = path.display().to_string();
        if self.json {
            return self.item("file", 0, json!({"type": kind, "size": size}));
        }
        let (on, off) = if self.bold { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        writeln!(self.out, "{on}{}{off}  {kind}, {size} bytes", self.file)?;
        Ok(())
    }

    /// One thing of the current file. `depth`: how far a line for people is indented.
    pub fn item(&mut self, kind: &str, depth: usize, fields: Value) -> Result<()> {
        if self.json {
            let mut line = Map::from_iter([
                ("file".to_owned(), Value::from(self.file.as_str())),
                ("kind".to_owned(), Value::from(kind)),
            ]);
            match fields {
                Value::Object(fields) => line.extend(fields),
                value => drop(line.insert("value".to_owned(), value)),
            }
            serde_json::to_writer(&mut self.out, &line)?;
            writeln!(self.out)?;
            return Ok(());
        }
        write!(self.out, "{:depth$}{kind}", "", depth = depth * 2)?;
        match &fields {
            Value::Object(fields) => {
                for (name, value) in fields {
                    write!(self.out, " {name}={}", readable(name, value))?;
                }
            }
            value => write!(self.out, " {}", readable("", value))?,
        }
        writeln!(self.out)?;
        Ok(())
    }

    /// A batch with its records: within the object as JSON, below it for people.
    pub fn with_records(&mut self, kind: &str, fields: &mut Value, records: Vec<Value>) -> Result<()> {
        if self.json {
            fields["records"] = records.into();
            return self.item(kind, 1, fields.take());
        }
        self.item(kind, 1, fields.take())?;
        records.into_iter().try_for_each(|record| self.item("record", 2, record))
    }

    /// Something that is wrong with the current file.
    pub fn fault(&mut self, depth: usize, what: impl std::fmt::Display) -> Result<()> {
        self.faults += 1;
        self.item("FAULT", depth, json!({"reason": what.to_string()}))
    }

    /// Counts a fault that an item has already told.
    pub fn count_fault(&mut self) {
        self.faults += 1;
    }

    pub fn faults(&self) -> usize {
        self.faults
    }

    pub fn finish(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io_kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        io_kind.or(cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
            == Some(io::ErrorKind::BrokenPipe)
    })
}

/// A value on a line: bare words where nothing can be mistaken, times with the date.
fn readable(name: &str, value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(ms) if ms > 0 && is_time(name) => Timestamp(ms).to_string(),
            _ => number.to_string(),
        },
        // What this program says itself needs no quotes.
        Value::String(word) if OWN_WORDS.contains(&name) => word.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| readable("", item)).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{name}={}", readable(name, value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

fn is_time(name: &str) -> bool {
    name.trim_end_matches("Ms").to_ascii_lowercase().ends_with("timestamp")
}

/// Bytes as text if they are printable, else as `hex:…`; long ones by length and CRC-32C unless `whole`.
pub fn bytes_value(bytes: &[u8], whole: bool) -> Value {
    if bytes.len() >= SHORT_BYTES && !whole {
        return json!({"length": bytes.len(), "crc32c": crc32c(bytes)});
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => bytes.iter().fold("hex:".to_owned(), |hex, byte| hex + &format!("{byte:02x}")).into(),
    }
}

pub fn optional_bytes_value(bytes: Option<&Bytes>, whole: bool) -> Value {
    bytes.map_or(Value::Null, |bytes| bytes_value(bytes, whole))
}

/// A message's fields under Kafka's names.
pub fn tree_value(tree: Tree) -> Value {
    match tree {
        Tree::Null => Value::Null,
        Tree::Bool(value) => value.into(),
        Tree::Int(value) => value.into(),
        Tree::Float(value) => value.into(),
        Tree::Uuid(value) => value.to_string().into(),
        Tree::String(value) => (*value).into(),
        Tree::Bytes(value) => bytes_value(&value, true),
        Tree::Array(items) => items.into_iter().map(tree_value).collect(),
        Tree::Struct(fields) => Value::Object(
            fields.into_iter().map(|(name, field)| (name.to_owned(), tree_value(field))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_hex_or_a_summary() {
        assert_eq!(bytes_value("žluť".as_bytes(), false), "žluť");
        assert_eq!(bytes_value(b"a\nb", false), "hex:610a62");
        assert_eq!(bytes_value(&[0xff], false), "hex:ff");
        assert_eq!(bytes_value(&[b'x'; 200], false)["length"], 200);
        assert_eq!(bytes_value(&[b'x'; 200], true), "x".repeat(200));
    }

    #[test]
    fn times_have_a_date() {
        assert_eq!(readable("maxTimestamp", &json!(0)), "0");
        assert_eq!(readable("maxTimestamp", &json!(1)), "1970-01-01T00:00:00.001Z");
        assert_eq!(readable("WriteTimestampMs", &json!(1)), "1970-01-01T00:00:00.001Z");
        assert_eq!(readable("offset", &json!([{"a": "b c", "n": null}])), r#"[{a="b c", n=null}]"#);
    }
}
