//! The files beside the segments: indexes, producer snapshots, checkpoints, and what says whose directory it is.
//!
//! Their formats are read by `ottla-commit-log`; this file only names the fields.

use std::path::Path;

use anyhow::{Context, Result, bail};
use ottla_commit_log::checkpoint::{MetaProperties, parse_epochs, parse_offsets, parse_partition_metadata};
use ottla_commit_log::index::{AbortedTxn, IndexEntry, OffsetEntry, TimeEntry};
use ottla_commit_log::producer_state::decode_snapshot;
use ottla_model::Offset;
use serde_json::{Value, json};

use super::Kind;
use super::output::Output;

/// Index files larger than this are not indexes: Kafka's own limit is 2 GiB, its default 10 MiB.
const INDEX_BYTES_MAX: u64 = 2 << 30;
/// The limit of the other files, which hold a line or an entry per partition or producer.
const SIDE_FILE_BYTES_MAX: u64 = 1 << 30;

pub fn dump(path: &Path, kind: Kind, output: &mut Output) -> Result<()> {
    match kind {
        Kind::OffsetIndex => index(path, output, offset_entry),
        Kind::TimeIndex => index(path, output, time_entry),
        Kind::TxnIndex => index(path, output, aborted_txn),
        Kind::ProducerSnapshot => producer_snapshot(path, output),
        _ => text(path, kind, output),
    }
}

pub fn offset_entry(entry: &OffsetEntry) -> Value {
    json!({"offset": entry.offset.0, "pos": entry.position})
}

pub fn time_entry(entry: &TimeEntry) -> Value {
    json!({"timestamp": entry.timestamp.0, "offset": entry.offset.0})
}

pub fn aborted_txn(entry: &AbortedTxn) -> Value {
    json!({
        "producerId": entry.producer_id.0,
        "firstOffset": entry.first_offset.0,
        "lastOffset": entry.last_offset.0,
        "lastStableOffset": entry.last_stable_offset.0,
    })
}

fn index<E: IndexEntry>(path: &Path, output: &mut Output, fields: fn(&E) -> Value) -> Result<()> {
    let index = IndexFile::<E>::read(path)?;
    for entry in &index.entries {
        output.item("entry", 1, fields(entry))?;
    }
    index.note_rest(output)
}

/// An index file taken apart.
pub struct IndexFile<E> {
    pub entries: Vec<E>,
    /// Bytes reserved behind the entries while the segment is written.
    zeros: usize,
    /// Bytes behind the last whole entry.
    odd: usize,
}

impl<E: IndexEntry> IndexFile<E> {
    pub fn read(path: &Path) -> Result<Self> {
        let base_offset = base_offset(path)?;
        let bytes = read(path, INDEX_BYTES_MAX)?;
        let odd = bytes.len() % E::BYTES;
        let chunks = bytes.chunks_exact(E::BYTES);
        // Only a first entry may be all zeros: the batch of one record at the base of a segment.
        let reserved =
            chunks.clone().skip(1).rev().take_while(|entry| entry.iter().all(|byte| *byte == 0)).count();
        let mut entries = chunks.len() - reserved;
        if reserved > 0 && entries == 1 && bytes.iter().all(|byte| *byte == 0) {
            entries = 0;
        }
        let read = |entry| E::read_from(base_offset, entry);
        Ok(Self {
            entries: bytes.chunks_exact(E::BYTES).take(entries).map(read).collect(),
            zeros: bytes.len() - odd - entries * E::BYTES,
            odd,
        })
    }

    pub fn note_rest(&self, output: &mut Output) -> Result<()> {
        if self.zeros > 0 {
            output.item("reserved", 1, json!({"bytes": self.zeros}))?;
        }
        if self.odd > 0 {
            output.fault(1, format!("{} bytes behind the last whole entry", self.odd))?;
        }
        Ok(())
    }
}

/// The offset in front of the first dot of a file's name.
pub fn base_offset(path: &Path) -> Result<Offset> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let digits = name.split('.').next().unwrap_or_default();
    digits.parse().map(Offset).with_context(|| format!("{name} does not begin with an offset"))
}

fn producer_snapshot(path: &Path, output: &mut Output) -> Result<()> {
    match decode_snapshot(&read(path, SIDE_FILE_BYTES_MAX)?) {
        Ok(entries) => entries.iter().try_for_each(|entry| {
            let fields = json!({
                "producerId": entry.producer_id,
                "producerEpoch": entry.epoch,
                "lastSequence": entry.last_sequence,
                "lastOffset": entry.last_offset,
                "offsetDelta": entry.offset_delta,
                "lastTimestamp": entry.timestamp,
                "coordinatorEpoch": entry.coordinator_epoch,
                "currentTxnFirstOffset": entry.current_txn_first_offset,
            });
            output.item("producer", 1, fields)
        }),
        Err(error) => output.fault(1, error),
    }
}

fn text(path: &Path, kind: Kind, output: &mut Output) -> Result<()> {
    let Ok(text) = String::from_utf8(read(path, SIDE_FILE_BYTES_MAX)?) else {
        return output.fault(1, "not UTF-8");
    };
    match parse_text(&text, kind) {
        Ok(items) => items.into_iter().try_for_each(|(name, fields)| output.item(name, 1, fields)),
        Err(error) => output.fault(1, format!("{error:#}")),
    }
}

fn parse_text(text: &str, kind: Kind) -> Result<Vec<(&'static str, Value)>> {
    Ok(match kind {
        Kind::OffsetCheckpoint => parse_offsets(text)?
            .iter()
            .map(|(tp, offset)| {
                ("offset", json!({"topic": *tp.topic, "partition": tp.partition, "offset": offset.0}))
            })
            .collect(),
        Kind::EpochCheckpoint => parse_epochs(text)?
            .iter()
            .map(|entry| ("epoch", json!({"epoch": entry.epoch.0, "startOffset": entry.start_offset.0})))
            .collect(),
        Kind::PartitionMetadata => {
            vec![("topic", json!({"id": parse_partition_metadata(text)?.to_string()}))]
        }
        Kind::MetaProperties => {
            let meta = MetaProperties::parse(text)?;
            vec![(
                "directory",
                json!({
                    "cluster.id": meta.cluster_id,
                    "node.id": meta.node_id.0,
                    "directory.id": meta.directory_id.map(|id| id.to_string()),
                }),
            )]
        }
        Kind::QuorumState | Kind::CleanShutdown => match serde_json::from_str(text)? {
            fields @ Value::Object(_) => vec![("state", fields)],
            _ => bail!("not a JSON object"),
        },
        kind => bail!("{} is no text", kind.name()),
    })
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path)?.len();
    if size > bytes_max {
        bail!("{size} bytes are more than such a file can have ({bytes_max})");
    }
    Ok(std::fs::read(path)?)
}
