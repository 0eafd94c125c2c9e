//! Which transactions a cleaning has met: data of aborted ones goes at once, markers when no data is left.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ottla_model::{Offset, ProducerId};
use ottla_record::{BatchHeader, HEADER_BYTES};

use crate::error::{IoContext, StorageError};
use crate::index::{AbortedTxn, SparseIndex};
use crate::log::read_marker;
use crate::scan::BatchAt;
use crate::segment::Segment;

/// Transactions seen so far in offset order.
#[derive(Debug, Default)]
pub(super) struct CleanedTransactions {
    /// Aborted ones not reached yet, by first offset.
    aborted: VecDeque<AbortedTxn>,
    ongoing_aborted: HashMap<ProducerId, Ongoing, foldhash::quality::RandomState>,
    /// Producers with data of a transaction that is not known to be aborted.
    ongoing_committed: HashSet<ProducerId, foldhash::quality::RandomState>,
}

#[derive(Debug)]
struct Ongoing {
    txn: AbortedTxn,
    saw_data: bool,
}

impl CleanedTransactions {
    /// Adds aborted transactions of the next segment.
    pub(super) fn add(&mut self, mut aborted: Vec<AbortedTxn>) {
        aborted.extend(self.aborted.drain(..));
        aborted.sort_unstable_by_key(|txn| (txn.first_offset, txn.last_offset));
        aborted.dedup();
        self.aborted = aborted.into();
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while self.aborted.front().is_some_and(|txn| txn.first_offset <= offset) {
            if let Some(txn) = self.aborted.pop_front() {
                self.ongoing_aborted.entry(txn.producer_id).or_insert(Ongoing { txn, saw_data: false });
            }
        }
    }

    /// Whether a data batch belongs to an aborted transaction.
    pub(super) fn on_data_batch(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.ongoing_aborted.get_mut(&header.producer_id) {
            Some(ongoing) => {
                ongoing.saw_data = true;
                true
            }
            None => {
                self.ongoing_committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Whether a control batch is of no use any more. An abort that is still needed goes into the new index.
    pub(super) fn on_control_batch(
        &mut self,
        batch: &BatchAt<'_>,
        new_index: Option<&SparseIndex<AbortedTxn>>,
    ) -> bool {
        let header = &batch.header;
        self.begin_up_to(header.last_offset());
        if header.record_count == 0 {
            return true;
        }
        let payload = bytes::Bytes::copy_from_slice(batch.bytes.get(HEADER_BYTES..).unwrap_or_default());
        match read_marker(header, &payload) {
            None => false,
            Some(marker) if marker.aborted => match self.ongoing_aborted.remove(&header.producer_id) {
                Some(ongoing) if ongoing.saw_data => {
                    if let Some(index) = new_index {
                        // Pending entries are written when the segment is done; an error shows then.
                        let _ = index.push(ongoing.txn);
                    }
                    false
                }
                _ => true,
            },
            Some(_) => !self.ongoing_committed.remove(&header.producer_id),
        }
    }
}

/// Aborted transactions that overlap `[from, to)`.
pub(super) fn collect_aborted(
    segments: &[Arc<Segment>],
    from: Offset,
    to: Offset,
) -> Result<Vec<AbortedTxn>, StorageError> {
    let mut found = BTreeMap::new();
    let first = segments.partition_point(|segment| segment.base_offset <= from).max(1) - 1;
    for segment in segments.iter().skip(first) {
        let mut done = false;
        let visited = segment.txn_index.visit(0, |txn| {
            if txn.first_offset < to && txn.last_offset >= from {
                found.insert((txn.first_offset, txn.producer_id), txn);
            }
            done = txn.last_stable_offset >= to;
            if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        visited.during("read", || segment.txn_index.file().path())?;
        if done {
            break;
        }
    }
    Ok(found.into_values().collect())
}
