//! `ottla dump --verify`: index entries against the log beside them.
//!
//! What must hold: an offset entry names the last offset of the batch at its position; a time entry names the largest
//! timestamp up to a batch, and the last offset of the batch that has it; a transaction entry ends at an abort marker
//! of its producer. Entries ascend.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use ottla_commit_log::index::{AbortedTxn, IndexEntry, OffsetEntry, TimeEntry};
use ottla_record::BatchHeader;
use ottla_record::control::ControlType;
use serde_json::Value;

use super::output::Output;
use super::segment::{Entry, SegmentFile};
use super::side_files::{self, IndexFile};

/// Checks one entry, given the one before.
type Check<'a, E> = dyn FnMut(Option<&E>, &E) -> Result<(), String> + 'a;

pub fn offset_index(path: &Path, output: &mut Output) -> Result<()> {
    let mut last_offsets = HashMap::new();
    walk(path, |position, header, _| {
        last_offsets.insert(position, header.last_offset());
    })?;
    let mut check = |before: Option<&OffsetEntry>, entry: &OffsetEntry| {
        if before.is_some_and(|before| before.offset >= entry.offset || before.position >= entry.position) {
            return Err("does not ascend".to_owned());
        }
        match last_offsets.get(&u64::from(entry.position)) {
            None => Err(format!("no batch begins at {}", entry.position)),
            Some(last) if *last != entry.offset => Err(format!("the batch there ends at offset {last}")),
            Some(_) => Ok(()),
        }
    };
    entries(path, output, side_files::offset_entry, &mut check)
}

pub fn time_index(path: &Path, output: &mut Output) -> Result<()> {
    // Last offset of the batch → its timestamp, and the largest of all batches up to it.
    let mut timestamps = HashMap::new();
    let mut largest = None;
    walk(path, |_, header, _| {
        largest = largest.max(Some(header.max_timestamp));
        timestamps.insert(header.last_offset(), (header.max_timestamp, largest));
    })?;
    let mut check = |before: Option<&TimeEntry>, entry: &TimeEntry| {
        if before.is_some_and(|before| before.offset > entry.offset || before.timestamp > entry.timestamp) {
            return Err("does not ascend".to_owned());
        }
        match timestamps.get(&entry.offset) {
            None => Err(format!("no batch ends at offset {}", entry.offset)),
            Some((own, _)) if *own != entry.timestamp => {
                Err(format!("the batch there has timestamp {}", own.0))
            }
            Some((_, largest)) if *largest != Some(entry.timestamp) => {
                Err("an earlier batch is younger".to_owned())
            }
            Some(_) => Ok(()),
        }
    };
    entries(path, output, side_files::time_entry, &mut check)
}

pub fn txn_index(path: &Path, output: &mut Output) -> Result<()> {
    let mut aborts = HashMap::new();
    walk(path, |_, header, control| {
        if control == Some(ControlType::Abort) {
            aborts.insert(header.last_offset(), header.producer_id);
        }
    })?;
    let mut check = |before: Option<&AbortedTxn>, entry: &AbortedTxn| {
        if before.is_some_and(|before| before.last_offset >= entry.last_offset)
            || entry.first_offset > entry.last_offset
        {
            return Err("does not ascend".to_owned());
        }
        match aborts.get(&entry.last_offset) {
            None => Err(format!("no abort marker at offset {}", entry.last_offset)),
            Some(id) if *id != entry.producer_id => Err(format!("the marker there is of producer {id}")),
            Some(_) => Ok(()),
        }
    };
    entries(path, output, side_files::aborted_txn, &mut check)
}

fn entries<E: IndexEntry>(
    path: &Path,
    output: &mut Output,
    fields: fn(&E) -> Value,
    check: &mut Check<'_, E>,
) -> Result<()> {
    let index = IndexFile::<E>::read(path)?;
    let mut before = None;
    for entry in &index.entries {
        let verdict = check(before, entry);
        let mut fields = fields(entry);
        if verdict.is_err() {
            output.count_fault();
        }
        fields["verdict"] = verdict.err().unwrap_or_else(|| "ok".to_owned()).into();
        output.item("entry", 1, fields)?;
        before = Some(entry);
    }
    index.note_rest(output)
}

/// Visits position, header and control type of each batch in the log beside an index, up to the first broken one.
fn walk(index: &Path, mut visit: impl FnMut(u64, &BatchHeader, Option<ControlType>)) -> Result<()> {
    let name = index.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let base = name.split('.').next().unwrap_or_default();
    // A suffix such as `.deleted` is shared by the files of a segment.
    let suffix = name.splitn(3, '.').nth(2).map(|suffix| format!(".{suffix}")).unwrap_or_default();
    let log = index.with_file_name(format!("{base}.log{suffix}"));
    let mut segment = SegmentFile::open(&log).with_context(|| format!("open {}", log.display()))?;
    loop {
        let position = segment.position;
        match segment.next()? {
            Entry::Batch(batch) => {
                let mut control = None;
                if batch.header.is_control() {
                    let first = batch.records().ok().and_then(|mut records| records.next());
                    control =
                        first.and_then(Result::ok).and_then(|record| ControlType::from_key(&record.key?));
                }
                visit(position, &batch.header, control);
            }
            // Legacy messages are headers without producer: offset and timestamp are all that indexes know of them.
            Entry::Legacy(entry) => {
                let header = BatchHeader {
                    base_offset: entry.offset,
                    max_timestamp: entry.timestamp,
                    ..BatchHeader::default()
                };
                visit(position, &header, None);
            }
            Entry::Broken { .. } | Entry::End => return Ok(()),
        }
    }
}
