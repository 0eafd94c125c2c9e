//! Idempotent and transactional producers of one log: sequences, duplicates, open transactions, the last stable offset.
//!
//! Owns what a `.snapshot` file holds plus what is only in memory (older batches for duplicates, transactions not yet
//! replicated, verification). Must not know files or segments. Fed with batch headers and end-of-transaction markers
//! in log order; the same batches give the same state on every replica.

mod snapshot;

use std::collections::BTreeMap;

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use ottla_model::{Millis, Offset, ProducerEpoch, ProducerId};
use ottla_record::BatchHeader;

use crate::error::AppendError;

pub use snapshot::{SnapshotEntry, SnapshotError, decode_snapshot, encode_snapshot};

/// How many batches of a producer are remembered to recognize duplicates.
const BATCHES_REMEMBERED: usize = 5;
const NO_SEQUENCE: i32 = -1;

/// Where a batch comes from; decides what is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AppendOrigin {
    /// A client's produce request: all checks. `verification` is what the caller got from
    /// [`Log::start_verification`](crate::Log::start_verification), if it had to verify.
    Client { verification: Option<VerificationGuard> },
    /// A group coordinator's write: like a client's, without sequence checks.
    Coordinator { verification: Option<VerificationGuard> },
    /// End-of-transaction markers: producer and coordinator epochs are checked. TV2: the marker's epoch was bumped.
    Marker { bumped_epoch: bool },
    /// A replica's own copy, the quorum's log: nothing is checked.
    #[default]
    Replication,
}

/// Proof that the caller asked the transaction coordinator; each is unique within a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerificationGuard(u64);

/// One remembered batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BatchMetadata {
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
}

impl BatchMetadata {
    pub fn first_offset(&self) -> Offset {
        Offset(self.last_offset - i64::from(self.offset_delta))
    }

    pub fn first_sequence(&self) -> i32 {
        let first = self.last_sequence.wrapping_sub(self.offset_delta);
        if first < 0 { first.wrapping_add(i32::MAX).wrapping_add(1) } else { first }
    }
}

/// What is known of one producer id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProducerState {
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    pub last_timestamp: Millis,
    /// First offset of the open transaction.
    pub current_txn_first_offset: Option<Offset>,
    batches: [BatchMetadata; BATCHES_REMEMBERED],
    batch_count: u8,
}

impl ProducerState {
    fn new(producer_id: ProducerId) -> Self {
        Self {
            producer_id,
            epoch: ProducerEpoch::NONE,
            coordinator_epoch: -1,
            last_timestamp: Millis::NONE,
            current_txn_first_offset: None,
            batches: [BatchMetadata::default(); BATCHES_REMEMBERED],
            batch_count: 0,
        }
    }

    /// Remembered batches, oldest first.
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches[..usize::from(self.batch_count)]
    }

    pub fn last_batch(&self) -> Option<BatchMetadata> {
        self.batches().last().copied()
    }

    /// -1 without one.
    pub fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batch_count = 0;
        }
    }

    fn push(&mut self, batch: BatchMetadata) {
        if usize::from(self.batch_count) == BATCHES_REMEMBERED {
            self.batches.rotate_left(1);
            self.batch_count -= 1;
        }
        self.batches[usize::from(self.batch_count)] = batch;
        self.batch_count += 1;
        self.last_timestamp = Millis(batch.timestamp);
    }

    fn duplicate_of(&self, header: &BatchHeader) -> Option<BatchMetadata> {
        if header.producer_epoch != self.epoch {
            return None;
        }
        let last_sequence = header.last_sequence();
        let found = self.batches().iter().find(|batch| {
            batch.last_sequence == last_sequence && batch.first_sequence() == header.base_sequence
        });
        found.copied()
    }
}

/// The end of a transaction, as its marker says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnMarker {
    pub aborted: bool,
    pub coordinator_epoch: i32,
}

/// A transaction that a marker has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompletedTxn {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// Offset of the marker.
    pub last_offset: Offset,
    pub aborted: bool,
    /// Where the last stable offset comes to lie once the marker is replicated.
    pub last_stable_offset: Offset,
}

/// All producers of one log.
#[derive(Clone, Debug, Default)]
pub struct ProducerStates {
    producers: HashMap<ProducerId, ProducerState, RandomState>,
    /// Open transactions: first offset to producer.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// Ended, but the marker is not below the high watermark yet: first offset to marker offset.
    unreplicated: BTreeMap<Offset, Offset>,
    verifications: HashMap<ProducerId, Verification, RandomState>,
    guards_given: u64,
}

#[derive(Clone, Copy, Debug)]
struct Verification {
    guard: VerificationGuard,
    epoch: ProducerEpoch,
    lowest_sequence: i32,
    supports_epoch_bump: bool,
    since: Millis,
}

impl ProducerStates {
    /// From a snapshot; producers idle for longer than `expiration_ms` are left out.
    pub fn from_snapshot(entries: &[SnapshotEntry], now: Millis, expiration_ms: i64) -> Self {
        let mut states = Self::default();
        for entry in entries {
            let mut state = ProducerState::new(ProducerId(entry.producer_id));
            state.epoch = ProducerEpoch(entry.epoch);
            if entry.last_offset >= 0 {
                state.push(BatchMetadata {
                    last_sequence: entry.last_sequence,
                    last_offset: entry.last_offset,
                    offset_delta: entry.offset_delta,
                    timestamp: entry.timestamp,
                });
            }
            state.coordinator_epoch = entry.coordinator_epoch;
            state.last_timestamp = Millis(entry.timestamp);
            state.current_txn_first_offset =
                (entry.current_txn_first_offset >= 0).then_some(Offset(entry.current_txn_first_offset));
            if is_expired(&state, now, expiration_ms) {
                continue;
            }
            if let Some(first) = state.current_txn_first_offset {
                states.ongoing.insert(first, state.producer_id);
            }
            states.producers.insert(state.producer_id, state);
        }
        states
    }

    /// What a snapshot holds, by producer id (Kafka: in no particular order).
    pub fn to_snapshot(&self) -> Vec<SnapshotEntry> {
        let mut entries: Vec<_> = self.producers.values().map(SnapshotEntry::from).collect();
        entries.sort_unstable_by_key(|entry| entry.producer_id);
        entries
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn get(&self, producer_id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(&producer_id)
    }

    /// All producers, in no particular order (DescribeProducers).
    pub fn iter(&self) -> impl Iterator<Item = &ProducerState> {
        self.producers.values()
    }

    /// The batch that was appended before, if `header` repeats it.
    pub fn duplicate_of(&self, header: &BatchHeader) -> Option<BatchMetadata> {
        self.producers.get(&header.producer_id)?.duplicate_of(header)
    }

    /// Whether a data batch of a producer may be appended.
    ///
    /// `must_verify`: the first batch of a transaction needs a current [`VerificationGuard`].
    pub fn check_data(
        &self,
        header: &BatchHeader,
        origin: AppendOrigin,
        must_verify: bool,
    ) -> Result<(), AppendError> {
        let (verification, is_client) = match origin {
            AppendOrigin::Client { verification } => (verification, true),
            AppendOrigin::Coordinator { verification } => (verification, false),
            AppendOrigin::Marker { .. } | AppendOrigin::Replication => return Ok(()),
        };
        let producer_id = header.producer_id;
        let state = self.producers.get(&producer_id);
        let ongoing = state.is_some_and(|state| {
            state.current_txn_first_offset.is_some() && state.epoch == header.producer_epoch
        });
        let entry = self.verifications.get(&producer_id);
        let verified = verification.is_some() && entry.map(|entry| entry.guard) == verification;
        if header.is_transactional() && !ongoing && !verified && (must_verify || verification.is_some()) {
            return Err(AppendError::NotVerified { producer_id });
        }
        let (epoch, last_sequence) =
            state.map_or((ProducerEpoch::NONE, NO_SEQUENCE), |state| (state.epoch, state.last_sequence()));
        if header.producer_epoch < epoch {
            return Err(AppendError::InvalidProducerEpoch {
                producer_id,
                epoch: header.producer_epoch,
                current: epoch,
            });
        }
        if is_client {
            let first = header.base_sequence;
            let out_of_order =
                Err(AppendError::OutOfOrderSequence { producer_id, sequence: first, last: last_sequence });
            if let Some(entry) = entry {
                let bumped_and_new = entry.supports_epoch_bump && !epoch.is_some();
                if first > entry.lowest_sequence
                    || (bumped_and_new && header.is_transactional() && first != 0)
                {
                    return out_of_order;
                }
            }
            if header.producer_epoch != epoch {
                if first != 0 && epoch.is_some() {
                    return out_of_order;
                }
            } else if epoch.is_some() && !follows(last_sequence, first) {
                return out_of_order;
            }
        }
        if !header.is_transactional() && state.is_some_and(|state| state.current_txn_first_offset.is_some()) {
            return Err(AppendError::NotTransactional { producer_id });
        }
        Ok(())
    }

    /// Whether an end-of-transaction marker may be appended.
    pub fn check_marker(
        &self,
        header: &BatchHeader,
        marker: TxnMarker,
        origin: AppendOrigin,
    ) -> Result<(), AppendError> {
        let AppendOrigin::Marker { bumped_epoch } = origin else { return Ok(()) };
        let producer_id = header.producer_id;
        let Some(state) = self.producers.get(&producer_id) else { return Ok(()) };
        let epoch = header.producer_epoch;
        let open = state.current_txn_first_offset.is_some();
        let fenced = if bumped_epoch {
            epoch < state.epoch || epoch == state.epoch && open
        } else {
            epoch < state.epoch
        };
        if fenced {
            return Err(AppendError::InvalidProducerEpoch { producer_id, epoch, current: state.epoch });
        }
        if marker.coordinator_epoch < state.coordinator_epoch {
            return Err(AppendError::CoordinatorFenced {
                producer_id,
                epoch: marker.coordinator_epoch,
                current: state.coordinator_epoch,
            });
        }
        Ok(())
    }

    /// Takes over an appended data batch (its final offsets).
    pub fn append_data(&mut self, header: &BatchHeader) {
        let state = self.state_mut(header.producer_id);
        state.set_epoch(header.producer_epoch);
        let last_offset = header.last_offset();
        state.push(BatchMetadata {
            last_sequence: header.last_sequence(),
            last_offset: last_offset.0,
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp.0,
        });
        if header.is_transactional() {
            if state.current_txn_first_offset.is_none() {
                state.current_txn_first_offset = Some(header.base_offset);
                self.ongoing.insert(header.base_offset, header.producer_id);
            }
            self.verifications.remove(&header.producer_id);
        }
    }

    /// Takes over an appended marker; says which transaction it ended, if there was one with data.
    pub fn append_marker(&mut self, header: &BatchHeader, marker: TxnMarker) -> Option<CompletedTxn> {
        self.verifications.remove(&header.producer_id);
        let state = self.state_mut(header.producer_id);
        state.set_epoch(header.producer_epoch);
        state.coordinator_epoch = marker.coordinator_epoch;
        state.last_timestamp = header.max_timestamp;
        let first_offset = state.current_txn_first_offset.take()?;
        let last_offset = header.last_offset();
        self.ongoing.remove(&first_offset);
        self.unreplicated.insert(first_offset, last_offset);
        let next_open = self.ongoing.keys().next().copied();
        Some(CompletedTxn {
            producer_id: header.producer_id,
            first_offset,
            last_offset,
            aborted: marker.aborted,
            last_stable_offset: next_open.unwrap_or(last_offset + 1),
        })
    }

    fn state_mut(&mut self, producer_id: ProducerId) -> &mut ProducerState {
        self.producers.entry(producer_id).or_insert_with(|| ProducerState::new(producer_id))
    }

    /// The first offset that read-committed consumers may not see yet, given that nothing at or behind
    /// `high_watermark` is replicated.
    pub fn first_unstable_offset(&mut self, high_watermark: Offset) -> Option<Offset> {
        while let Some(entry) = self.unreplicated.first_entry() {
            if *entry.get() < high_watermark {
                entry.remove();
            } else {
                break;
            }
        }
        // Only the first one counts; later ones that are replicated go when they are first.
        match (self.unreplicated.keys().next(), self.ongoing.keys().next()) {
            (Some(a), Some(b)) => Some(*a.min(b)),
            (a, b) => a.or(b).copied(),
        }
    }

    /// First offset of the oldest open transaction.
    pub fn first_ongoing_offset(&self) -> Option<Offset> {
        self.ongoing.keys().next().copied()
    }

    /// Whether this producer has a transaction open in this epoch.
    pub fn has_ongoing_transaction(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.producers
            .get(&producer_id)
            .is_some_and(|state| state.epoch == epoch && state.current_txn_first_offset.is_some())
    }

    /// Starts (or joins) the verification of a producer's first transactional batch; `None` if a transaction is open
    /// already.
    pub fn start_verification(
        &mut self,
        producer_id: ProducerId,
        epoch: ProducerEpoch,
        sequence: i32,
        supports_epoch_bump: bool,
        now: Millis,
    ) -> Option<VerificationGuard> {
        if self.has_ongoing_transaction(producer_id, epoch) {
            return None;
        }
        match self.verifications.get_mut(&producer_id) {
            Some(entry) if entry.epoch >= epoch => {
                if entry.epoch == epoch {
                    entry.lowest_sequence = entry.lowest_sequence.min(sequence);
                }
                Some(entry.guard)
            }
            _ => {
                self.guards_given += 1;
                let guard = VerificationGuard(self.guards_given);
                let entry =
                    Verification { guard, epoch, lowest_sequence: sequence, supports_epoch_bump, since: now };
                self.verifications.insert(producer_id, entry);
                Some(guard)
            }
        }
    }

    /// Forgets producers idle for longer than `expiration_ms` without an open transaction, and verifications that
    /// nobody came back for.
    pub fn remove_expired(&mut self, now: Millis, expiration_ms: i64) {
        self.producers.retain(|_, state| !is_expired(state, now, expiration_ms));
        self.verifications.retain(|_, entry| now - entry.since < expiration_ms);
    }
}

fn is_expired(state: &ProducerState, now: Millis, expiration_ms: i64) -> bool {
    state.current_txn_first_offset.is_none() && now - state.last_timestamp >= expiration_ms
}

/// Whether `next` comes right behind `last`; after `i32::MAX` comes 0.
fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: AppendOrigin = AppendOrigin::Client { verification: None };

    fn data(pid: i64, epoch: i16, sequence: i32, offset: i64, count: i32) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(offset),
            last_offset_delta: count - 1,
            producer_id: ProducerId(pid),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: sequence,
            record_count: count,
            max_timestamp: Millis(1000),
            ..BatchHeader::default()
        }
    }

    fn in_txn(mut header: BatchHeader) -> BatchHeader {
        header.attributes = header.attributes.with_transactional(true);
        header
    }

    fn marker(pid: i64, epoch: i16, offset: i64) -> BatchHeader {
        let mut header = in_txn(data(pid, epoch, -1, offset, 1));
        header.attributes = header.attributes.with_control(true);
        header
    }

    const ABORT: TxnMarker = TxnMarker { aborted: true, coordinator_epoch: 0 };

    #[test]
    fn duplicates_are_recognized_among_the_last_five() {
        let mut states = ProducerStates::default();
        for n in 0..6 {
            let header = data(1, 0, n * 2, i64::from(n) * 2, 2);
            states.check_data(&header, CLIENT, false).unwrap();
            assert_eq!(states.duplicate_of(&header), None);
            states.append_data(&header);
        }
        assert_eq!(states.duplicate_of(&data(1, 0, 2, 0, 2)).unwrap().first_offset(), Offset(2));
        assert_eq!(states.duplicate_of(&data(1, 0, 0, 0, 2)), None, "the sixth oldest is forgotten");
        assert_eq!(states.duplicate_of(&data(1, 0, 2, 0, 1)), None);
        states.check_data(&data(1, 0, 0, 0, 2), CLIENT, false).unwrap_err();
    }

    #[test]
    fn sequences_are_in_order_per_epoch() {
        let mut states = ProducerStates::default();
        let refused = |states: &ProducerStates, header| {
            states.check_data(&header, CLIENT, false).unwrap_err().error_code().code()
        };
        states.check_data(&data(1, 3, 17, 0, 1), CLIENT, false).unwrap();
        states.append_data(&data(1, 3, i32::MAX, 0, 1));
        assert_eq!(refused(&states, data(1, 3, 1, 1, 1)), 45);
        states.check_data(&data(1, 3, 0, 1, 1), CLIENT, false).unwrap();
        assert_eq!(refused(&states, data(1, 2, 0, 1, 1)), 47);
        assert_eq!(refused(&states, data(1, 4, 5, 1, 1)), 45);
        states.check_data(&data(1, 4, 0, 1, 1), CLIENT, false).unwrap();
    }

    #[test]
    fn transactions_hold_the_last_stable_offset() {
        let mut states = ProducerStates::default();
        states.append_data(&in_txn(data(1, 0, 0, 10, 2)));
        states.append_data(&in_txn(data(2, 0, 0, 12, 2)));
        let refused = states.check_data(&data(1, 0, 2, 14, 1), CLIENT, false).unwrap_err();
        assert_eq!(refused.error_code().code(), 48);
        assert_eq!(states.first_unstable_offset(Offset(14)), Some(Offset(10)));
        let done = states.append_marker(&marker(1, 1, 14), ABORT).unwrap();
        assert_eq!(
            (done.first_offset, done.last_offset, done.last_stable_offset),
            (Offset(10), Offset(14), Offset(12))
        );
        assert_eq!(
            states.first_unstable_offset(Offset(14)),
            Some(Offset(10)),
            "the marker is not replicated"
        );
        assert_eq!(states.first_unstable_offset(Offset(15)), Some(Offset(12)));
        let done = states.append_marker(&marker(2, 1, 15), ABORT).unwrap();
        assert_eq!(done.last_stable_offset, Offset(16));
        assert_eq!(states.first_unstable_offset(Offset(16)), None);
        assert_eq!(states.append_marker(&marker(2, 1, 16), ABORT), None, "an empty transaction");
        let state = states.get(ProducerId(2)).unwrap();
        assert_eq!((state.last_sequence(), state.epoch), (-1, ProducerEpoch(1)));
        states.check_data(&in_txn(data(2, 1, 0, 17, 1)), CLIENT, false).unwrap();
    }

    #[test]
    fn markers_are_fenced() {
        let mut states = ProducerStates::default();
        states.append_data(&in_txn(data(1, 5, 0, 0, 1)));
        let check = |states: &ProducerStates, epoch, bumped_epoch, coordinator_epoch| {
            let marker_value = TxnMarker { aborted: false, coordinator_epoch };
            let refused = states.check_marker(
                &marker(1, epoch, 1),
                marker_value,
                AppendOrigin::Marker { bumped_epoch },
            );
            refused.err().map_or(0, |error| error.error_code().code())
        };
        assert_eq!(check(&states, 4, false, 0), 47);
        assert_eq!(check(&states, 5, false, 0), 0);
        assert_eq!(check(&states, 5, true, 0), 47);
        assert_eq!(check(&states, 6, true, 0), 0);
        states.append_marker(&marker(1, 6, 1), TxnMarker { aborted: false, coordinator_epoch: 3 });
        assert_eq!(check(&states, 6, true, 3), 0, "a retry");
        assert_eq!(check(&states, 6, true, 2), 52);
    }

    #[test]
    fn verification_guards_are_unique_and_spent() {
        let mut states = ProducerStates::default();
        let pid = ProducerId(9);
        let guard = states.start_verification(pid, ProducerEpoch(0), 4, true, Millis(0)).unwrap();
        assert_eq!(states.start_verification(pid, ProducerEpoch(0), 2, true, Millis(0)), Some(guard));
        let newer = states.start_verification(pid, ProducerEpoch(1), 0, true, Millis(0)).unwrap();
        let header = in_txn(data(9, 1, 0, 0, 1));
        let check = |states: &ProducerStates, guard| {
            states.check_data(&header, AppendOrigin::Client { verification: Some(guard) }, true)
        };
        assert_eq!(check(&states, guard).unwrap_err().error_code().code(), 48);
        check(&states, newer).unwrap();
        states.append_data(&header);
        assert_eq!(states.start_verification(pid, ProducerEpoch(1), 1, true, Millis(0)), None);
        states.check_data(&in_txn(data(9, 1, 1, 1, 1)), CLIENT, false).unwrap();
    }

    #[test]
    fn idle_producers_expire_unless_in_a_transaction() {
        let mut states = ProducerStates::default();
        states.append_data(&data(1, 0, 0, 0, 1));
        states.append_data(&in_txn(data(2, 0, 0, 1, 1)));
        states.remove_expired(Millis(1000 + 99), 100);
        assert_eq!(states.len(), 2);
        states.remove_expired(Millis(1000 + 100), 100);
        assert!(states.get(ProducerId(1)).is_none() && states.get(ProducerId(2)).is_some());
    }
}
