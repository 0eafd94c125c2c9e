//! Producer states from what is on the disk: the newest usable snapshot, then the batches behind it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use ottla_model::{Millis, Offset};
use ottla_record::{BatchHeader, HEADER_BYTES};

use super::append::read_marker;
use crate::disk::{Disk, read_file};
use crate::error::{IoContext, StorageError};
use crate::index::AbortedTxn;
use crate::names::{self, offset_file};
use crate::producer_state::{ProducerStates, decode_snapshot};
use crate::scan::{BatchAt, Walk};
use crate::segment::{Located, Segment, remove_if_there};

/// Feeds one batch to the producer states; the aborted transaction it ends, if any.
pub(super) fn take_over(batch: &BatchAt<'_>, producers: &mut ProducerStates) -> Option<AbortedTxn> {
    let header = &batch.header;
    if batch.magic < 2 || !header.has_producer_id() {
        return None;
    }
    let payload = Bytes::copy_from_slice(batch.bytes.get(HEADER_BYTES..)?);
    take_over_parts(header, &payload, producers)
}

fn take_over_parts(
    header: &BatchHeader,
    payload: &Bytes,
    producers: &mut ProducerStates,
) -> Option<AbortedTxn> {
    if !header.is_control() {
        producers.append_data(header);
        return None;
    }
    let completed = producers.append_marker(header, read_marker(header, payload)?)?;
    completed.aborted.then_some(AbortedTxn {
        producer_id: completed.producer_id,
        first_offset: completed.first_offset,
        last_offset: completed.last_offset,
        last_stable_offset: completed.last_stable_offset,
    })
}

/// Feeds the batches in `[from, to)` to the producer states.
pub(super) fn replay(
    segments: &[Arc<Segment>],
    from: Offset,
    to: Offset,
    producers: &mut ProducerStates,
) -> Result<(), StorageError> {
    if from >= to {
        return Ok(());
    }
    let first = segments.partition_point(|segment| segment.base_offset <= from).max(1) - 1;
    for segment in segments.iter().skip(first).take_while(|segment| segment.base_offset < to) {
        let start = match segment.locate(from)? {
            Some(located) => located.position,
            None => continue,
        };
        let mut scan = segment.scan(start, Walk::Headers)?;
        while let Some(batch) = scan.next().during("read", || segment.log.path())? {
            if batch.header.base_offset >= to {
                break;
            }
            if batch.magic < 2 || !batch.header.has_producer_id() || batch.header.base_offset < from {
                continue;
            }
            if batch.header.is_control() && batch.bytes.len() < batch.size() {
                let located = Located {
                    position: batch.position,
                    size: batch.size(),
                    base_offset: batch.header.base_offset,
                    last_offset: batch.header.last_offset(),
                    max_timestamp: batch.header.max_timestamp,
                };
                let batch = segment.read_batch(located)?;
                take_over_parts(&batch.header, &batch.payload(), producers);
            } else if batch.header.is_control() {
                take_over(&batch, producers);
            } else {
                producers.append_data(&batch.header);
            }
        }
    }
    Ok(())
}

/// The newest usable snapshot at or below `end`; broken ones are removed. Without one: nothing, from offset 0.
pub(super) fn load_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    snapshots: &mut Vec<Offset>,
    end: Offset,
    now: Millis,
    expiration_ms: i64,
) -> Result<(ProducerStates, Offset), StorageError> {
    while let Some(at) = snapshots.iter().rposition(|offset| *offset <= end) {
        let offset = snapshots[at];
        let path = dir.join(offset_file(offset, names::SNAPSHOT));
        let bytes = read_file(disk, &path).during("read", || path.clone())?;
        match decode_snapshot(&bytes) {
            Ok(entries) => return Ok((ProducerStates::from_snapshot(&entries, now, expiration_ms), offset)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "removing a producer snapshot that cannot be used");
                remove_if_there(disk, &path)?;
                snapshots.remove(at);
            }
        }
    }
    Ok((ProducerStates::default(), Offset::ZERO))
}
