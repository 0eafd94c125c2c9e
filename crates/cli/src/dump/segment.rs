//! Segments and metadata snapshots: a file of batches, read one at a time.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use ottla_model::Offset;
use ottla_record::legacy::LegacyEntry;
use ottla_record::{Batch, BatchHeader, LOG_OVERHEAD_BYTES, TimestampType};
use serde_json::{Value, json};

use super::Detail;
use super::content::{self, Topic};
use super::output::Output;

/// What a legacy wrapper is decompressed to at most.
const LEGACY_BYTES_MAX: usize = 64 << 20;

pub fn dump(path: &Path, topic: Topic, detail: Detail, output: &mut Output) -> Result<()> {
    let mut segment = SegmentFile::open(path)?;
    let mut next = None;
    loop {
        let position = segment.position;
        match segment.next()? {
            Entry::End => return Ok(()),
            Entry::Batch(batch) => {
                dump_batch(&batch, position, topic, detail, output)?;
                check_order(next, batch.header.base_offset, output)?;
                next = Some(batch.header.next_offset());
            }
            Entry::Legacy(entry) => {
                dump_legacy(&entry, position, detail, output)?;
                next = Some(Offset(entry.offset.0.saturating_add(1)));
            }
            Entry::Broken { reason, rest } => {
                return output
                    .fault(1, format!("the last {rest} bytes, from {position} on, are no batch: {reason}"));
            }
        }
    }
}

fn check_order(next: Option<Offset>, base_offset: Offset, output: &mut Output) -> Result<()> {
    match next {
        Some(next) if base_offset < next => output
            .fault(1, format!("base offset {base_offset} lies before {next}, where the last batch ends")),
        _ => Ok(()),
    }
}

fn dump_batch(batch: &Batch, position: u64, topic: Topic, detail: Detail, output: &mut Output) -> Result<()> {
    let header = &batch.header;
    let crc = batch.verify_crc();
    if crc.is_err() {
        output.count_fault();
    }
    let mut fields = json!({
        "pos": position,
        "size": header.size_bytes(),
        "baseOffset": header.base_offset.0,
        "lastOffset": header.last_offset().0,
        "leaderEpoch": header.leader_epoch.0,
        "crc": header.crc,
        "crcVerdict": crc.map_or_else(|error| error.to_string(), |()| "ok".to_owned()),
        "attributes": header.attributes.0,
        "is": flags(header),
        "baseTimestamp": header.base_timestamp.0,
        "maxTimestamp": header.max_timestamp.0,
        "producerId": header.producer_id.0,
        "producerEpoch": header.producer_epoch.0,
        "baseSequence": header.base_sequence,
        "count": header.record_count,
    });
    if detail == Detail::Batches {
        return output.item("batch", 1, fields);
    }
    let records = records(batch, topic, detail, output);
    output.with_records("batch", &mut fields, records)
}

/// The attributes in words.
fn flags(header: &BatchHeader) -> Value {
    let codec =
        header.codec().map_or_else(|error| error.to_string(), |codec| format!("{codec:?}").to_lowercase());
    let mut words = vec![codec];
    let mut add = |on: bool, word: &str| {
        if on {
            words.push(word.to_owned());
        }
    };
    add(header.timestamp_type() == TimestampType::LogAppendTime, "log-append-time");
    add(header.is_transactional(), "transactional");
    add(header.is_control(), "control");
    add(header.delete_horizon().is_some(), "delete-horizon");
    Value::from(words.join(","))
}

fn records(batch: &Batch, topic: Topic, detail: Detail, output: &mut Output) -> Vec<Value> {
    let iter = match batch.records() {
        Ok(iter) => iter,
        Err(error) => {
            output.count_fault();
            return vec![json!({"undecodable": error.to_string()})];
        }
    };
    iter.map(|record| {
        let fields = match record {
            Ok(record) if batch.header.is_control() => content::control_record(&record),
            Ok(record) => content::record(topic, &record, detail == Detail::Values),
            Err(error) => json!({"undecodable": error.to_string()}),
        };
        if content::is_undecodable(&fields) {
            output.count_fault();
        }
        fields
    })
    .collect()
}

fn dump_legacy(entry: &LegacyEntry, position: u64, detail: Detail, output: &mut Output) -> Result<()> {
    let crc = entry.verify_crc();
    if crc.is_err() {
        output.count_fault();
    }
    let mut fields = json!({
        "pos": position,
        "size": entry.bytes.len(),
        "magic": entry.magic,
        "lastOffset": entry.offset.0,
        "crcVerdict": crc.map_or_else(|error| error.to_string(), |()| "ok".to_owned()),
        "attributes": entry.attributes,
        "maxTimestamp": entry.timestamp.0,
    });
    if detail == Detail::Batches {
        return output.item("message set", 1, fields);
    }
    let records = match entry.records(LEGACY_BYTES_MAX) {
        Ok(records) => records
            .iter()
            .map(|record| content::record(Topic::Plain, record, detail == Detail::Values))
            .collect(),
        Err(error) => {
            output.count_fault();
            vec![json!({"undecodable": error.to_string()})]
        }
    };
    output.with_records("message set", &mut fields, records)
}

/// What stands at a position of a segment.
pub enum Entry {
    Batch(Batch),
    /// A message of format 0 or 1.
    Legacy(LegacyEntry),
    Broken {
        reason: String,
        /// Bytes up to the end of the file.
        rest: u64,
    },
    End,
}

/// A segment being read from its beginning.
pub struct SegmentFile {
    file: BufReader<File>,
    size: u64,
    /// Where [`Self::next`] reads.
    pub position: u64,
}

impl SegmentFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file: BufReader::with_capacity(1 << 20, file), size, position: 0 })
    }

    /// Reads one batch. After [`Entry::Broken`] nothing follows.
    pub fn next(&mut self) -> io::Result<Entry> {
        let rest = self.size - self.position;
        if rest == 0 {
            return Ok(Entry::End);
        }
        let broken = |reason: String| Ok(Entry::Broken { reason, rest });
        if rest < LOG_OVERHEAD_BYTES as u64 {
            return broken("cut off".to_owned());
        }
        let mut head = [0; LOG_OVERHEAD_BYTES];
        self.file.read_exact(&mut head)?;
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let size = match u64::try_from(length) {
            Ok(length) if length > 0 => length + LOG_OVERHEAD_BYTES as u64,
            _ => return broken(format!("length {length}")),
        };
        if size > rest {
            return broken(format!("cut off, {size} bytes long"));
        }
        let mut bytes = head.to_vec();
        bytes.resize(size as usize, 0);
        self.file.read_exact(&mut bytes[LOG_OVERHEAD_BYTES..])?;
        let bytes = Bytes::from(bytes);
        let entry = match bytes.get(16) {
            Some(0 | 1) => LegacyEntry::split_first(&bytes)
                .and_then(|found| found.ok_or(ottla_record::BatchError::Length(length)))
                .map(|(entry, _)| Entry::Legacy(entry)),
            _ => Batch::parse(&bytes).map(Entry::Batch),
        };
        match entry {
            Ok(entry) => {
                self.position += size;
                Ok(entry)
            }
            Err(error) => broken(error.to_string()),
        }
    }
}
