//! What a partition has under way: batches with their sequence numbers, in order, until each is acknowledged or given
//! up. This is where retries neither double nor reorder.
//!
//! Rules, which are Apache Kafka's where they show (KIP-98, KIP-360):
//! - Batches get consecutive sequence numbers when they are sent first, and keep them when they are sent again.
//! - While a batch waits to be sent again, only the oldest one under way may be sent, and no new one.
//! - A refusal as out of order means nothing for a batch that is not the oldest: it waits for its turn. For the oldest
//!   it means that the broker does not have what came before, so that nothing behind it was appended either: the
//!   partition goes on in the next epoch from sequence 0.
//! - After a batch that the broker refused for good, later ones move up into its place.

use std::collections::VecDeque;

use ottla_model::{ErrorCode, ProducerEpoch, ProducerId};
use ottla_record::last_sequence;

/// Batches of one partition that may be under way at once; a broker knows the last five to tell repetitions.
pub const WINDOW_MAX: usize = 5;

/// A batch that has been sent at least once.
#[derive(Debug)]
pub struct Slot<B> {
    pub id: u64,
    pub batch: B,
    pub records: u32,
    /// -1 without idempotence.
    pub base_sequence: i32,
    pub attempts: u32,
    /// How many batches of the partition were sent before it.
    ordinal: u64,
    status: Status,
    /// Its numbers were changed since it was sent: what the broker says of the old ones is void.
    renumbered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Sent,
    /// To be sent again, not before this time.
    Waiting {
        at_ms: u64,
    },
}

/// What to do after a batch was refused.
#[derive(Debug, PartialEq)]
pub enum Verdict<B> {
    /// It will be sent again.
    Retry,
    /// It was appended by an earlier attempt.
    Duplicate(B),
    /// It is to be cut into smaller ones, handed back by [`Window::replace`].
    Split,
    /// It is lost.
    Failed(B),
    /// An answer to a batch that was given up meanwhile.
    Unknown,
}

/// The batches of a partition under way.
#[derive(Debug)]
pub struct Window<B> {
    slots: VecDeque<Slot<B>>,
    producer: Option<(ProducerId, ProducerEpoch)>,
    next_sequence: i32,
    next_ordinal: u64,
    next_id: u64,
}

impl<B> Default for Window<B> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), producer: None, next_sequence: 0, next_ordinal: 0, next_id: 0 }
    }
}

impl<B> Window<B> {
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The producer under which batches are sent, `None` without idempotence.
    pub fn producer(&self) -> Option<(ProducerId, ProducerEpoch)> {
        self.producer
    }

    /// The producer id for batches from now on, where none is known yet.
    pub fn set_producer(&mut self, producer: (ProducerId, ProducerEpoch)) {
        self.producer.get_or_insert(producer);
    }

    fn is_retrying(&self) -> bool {
        self.slots.iter().any(|slot| slot.status != Status::Sent)
    }

    /// Whether a new batch may be sent. Counted from the oldest one under way, also over those that were acknowledged
    /// since: a broker that has appended five behind it does not tell its repetition any more.
    pub fn takes_new(&self, in_flight_max: usize) -> bool {
        let since_oldest = self.slots.front().map_or(0, |oldest| self.next_ordinal - oldest.ordinal);
        since_oldest < in_flight_max.min(WINDOW_MAX) as u64 && !self.is_retrying()
    }

    /// When the oldest batch is to be sent again.
    pub fn retry_at(&self) -> Option<u64> {
        match self.slots.front()?.status {
            Status::Waiting { at_ms } => Some(at_ms),
            Status::Sent => None,
        }
    }

    /// Takes a new batch in: the slot to be sent.
    pub fn send_new(&mut self, batch: B, records: u32) -> &mut Slot<B> {
        let base_sequence = if self.producer.is_some() { self.next_sequence } else { -1 };
        self.next_sequence = sequence_after(self.next_sequence, records);
        let id = self.take_id();
        let (status, ordinal) = (Status::Sent, self.next_ordinal);
        self.next_ordinal += 1;
        self.slots.push_back(Slot {
            id,
            batch,
            records,
            base_sequence,
            attempts: 1,
            ordinal,
            status,
            renumbered: false,
        });
        let last = self.slots.len() - 1;
        &mut self.slots[last]
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The oldest batch, to be sent again, if its time has come.
    pub fn send_again(&mut self, now_ms: u64) -> Option<&mut Slot<B>> {
        let slot = self.slots.front_mut()?;
        match slot.status {
            Status::Waiting { at_ms } if at_ms <= now_ms => {
                slot.status = Status::Sent;
                slot.attempts += 1;
                slot.renumbered = false;
                Some(slot)
            }
            _ => None,
        }
    }

    /// The batch that [`Self::send_again`] would give.
    pub fn oldest(&self) -> Option<&Slot<B>> {
        self.slots.front()
    }

    /// A batch under way.
    pub fn batch(&self, id: u64) -> Option<&B> {
        self.slots.iter().find(|slot| slot.id == id).map(|slot| &slot.batch)
    }

    /// A batch was appended.
    pub fn acknowledged(&mut self, id: u64) -> Option<B> {
        let index = self.index_of(id)?;
        self.slots.remove(index).map(|slot| slot.batch)
    }

    /// A batch was refused, or nobody knows what became of it (`None`).
    pub fn refused(
        &mut self,
        id: u64,
        code: Option<ErrorCode>,
        retry_at_ms: u64,
        retries: u32,
    ) -> Verdict<B> {
        use ErrorCode::*;
        let Some(index) = self.index_of(id) else { return Verdict::Unknown };
        let slot = &mut self.slots[index];
        let again = Status::Waiting { at_ms: retry_at_ms };
        match code {
            Some(DuplicateSequenceNumber) if !slot.renumbered => {
                return self.acknowledged(id).map_or(Verdict::Unknown, Verdict::Duplicate);
            }
            Some(MessageTooLarge) if slot.records > 1 => return Verdict::Split,
            Some(
                OutOfOrderSequenceNumber | UnknownProducerId | InvalidProducerEpoch | DuplicateSequenceNumber,
            ) if slot.base_sequence >= 0 => {
                let (renumbered, is_oldest) = (slot.renumbered, index == 0);
                slot.status = again;
                if is_oldest && !renumbered && !self.next_epoch() {
                    return self.remove(index);
                }
                return Verdict::Retry;
            }
            Some(code) if !code.is_retriable() => {}
            _ if slot.attempts <= retries => {
                slot.status = again;
                return Verdict::Retry;
            }
            // Nobody knows whether it was appended: its place stays taken.
            _ => return self.remove(index),
        }
        let records = slot.records;
        let verdict = self.remove(index);
        if self.producer.is_some() {
            self.move_up(index, records);
        }
        verdict
    }

    fn remove(&mut self, index: usize) -> Verdict<B> {
        self.slots.remove(index).map_or(Verdict::Unknown, |slot| Verdict::Failed(slot.batch))
    }

    /// Puts the parts of a batch in its place, to be sent one after the other.
    pub fn replace(&mut self, id: u64, parts: Vec<(B, u32)>, now_ms: u64) -> Option<B> {
        let index = self.index_of(id)?;
        let whole = self.slots.remove(index)?;
        let mut base_sequence = whole.base_sequence;
        for (i, (batch, records)) in parts.into_iter().enumerate() {
            let (id, status) = (self.take_id(), Status::Waiting { at_ms: now_ms });
            let ordinal = whole.ordinal;
            let slot = Slot {
                id,
                batch,
                records,
                base_sequence,
                attempts: whole.attempts,
                ordinal,
                status,
                renumbered: false,
            };
            self.slots.insert(index + i, slot);
            if base_sequence >= 0 {
                base_sequence = sequence_after(base_sequence, records);
            }
        }
        Some(whole.batch)
    }

    /// Takes out the batches that are too old.
    pub fn expire(&mut self, is_expired: impl Fn(&B) -> bool) -> Vec<B> {
        let mut expired = Vec::new();
        while let Some(index) = self.slots.iter().position(|slot| is_expired(&slot.batch)) {
            expired.extend(self.slots.remove(index).map(|slot| slot.batch));
        }
        expired
    }

    /// Goes on in the next epoch, all that is under way renumbered from 0; `false` if there is none.
    fn next_epoch(&mut self) -> bool {
        let Some((id, epoch)) = self.producer.filter(|(_, epoch)| epoch.0 < i16::MAX) else { return false };
        self.producer = Some((id, ProducerEpoch(epoch.0 + 1)));
        self.renumber(0, 0);
        true
    }

    fn move_up(&mut self, from: usize, records: u32) {
        let base = match self.slots.get(from) {
            Some(slot) => slot.base_sequence,
            None => self.next_sequence,
        };
        self.renumber(from, base.wrapping_sub(records as i32) & i32::MAX);
    }

    fn renumber(&mut self, from: usize, mut sequence: i32) {
        for slot in self.slots.iter_mut().skip(from) {
            slot.base_sequence = sequence;
            slot.renumbered = slot.status == Status::Sent;
            sequence = sequence_after(sequence, slot.records);
        }
        self.next_sequence = sequence;
    }

    fn index_of(&self, id: u64) -> Option<usize> {
        self.slots.iter().position(|slot| slot.id == id)
    }
}

fn sequence_after(base: i32, records: u32) -> i32 {
    last_sequence(base, records as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window() -> Window<u32> {
        let mut window = Window::default();
        window.set_producer((ProducerId(7), ProducerEpoch(0)));
        window
    }

    fn again(window: &mut Window<u32>) -> Option<(u32, i32)> {
        window.send_again(10).map(|slot| (slot.batch, slot.base_sequence))
    }

    #[test]
    fn retries_go_one_after_the_other_with_their_old_numbers() {
        let mut window = window();
        let ids: Vec<u64> = (0..3).map(|batch| window.send_new(batch, 2).id).collect();
        for id in &ids {
            assert_eq!(window.refused(*id, None, 10, 100), Verdict::Retry);
        }
        assert!(!window.takes_new(5));
        assert_eq!(window.retry_at(), Some(10));
        assert_eq!(again(&mut window), Some((0, 0)));
        assert_eq!(again(&mut window), None);
        assert_eq!(
            window.refused(ids[0], Some(ErrorCode::DuplicateSequenceNumber), 10, 100),
            Verdict::Duplicate(0)
        );
        assert_eq!(again(&mut window), Some((1, 2)));
        assert_eq!(window.acknowledged(ids[1]), Some(1));
        assert_eq!(again(&mut window), Some((2, 4)));
        assert!(window.takes_new(5));
        assert_eq!(window.send_new(3, 1).base_sequence, 6);
    }

    #[test]
    fn out_of_order_waits_for_its_turn_and_then_begins_a_new_epoch() {
        let mut window = window();
        let ids: Vec<u64> = (0..2).map(|batch| window.send_new(batch, 2).id).collect();
        let code = Some(ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(window.refused(ids[1], code, 0, 0), Verdict::Retry);
        assert_eq!(window.producer().unwrap().1, ProducerEpoch(0));
        assert_eq!(window.refused(ids[0], code, 0, 0), Verdict::Retry);
        assert_eq!(window.producer().unwrap().1, ProducerEpoch(1));
        assert_eq!(again(&mut window), Some((0, 0)));
        window.acknowledged(ids[0]);
        assert_eq!(again(&mut window), Some((1, 2)));
    }

    #[test]
    fn answers_to_numbers_that_were_changed_are_void() {
        let mut window = window();
        let ids: Vec<u64> = (0..2).map(|batch| window.send_new(batch, 2).id).collect();
        assert_eq!(window.refused(ids[0], Some(ErrorCode::InvalidRecord), 0, 9), Verdict::Failed(0));
        // The second, now oldest, moved up to 0: the broker's complaint is of its number 2.
        assert_eq!(window.refused(ids[1], Some(ErrorCode::OutOfOrderSequenceNumber), 0, 9), Verdict::Retry);
        assert_eq!(window.producer().unwrap().1, ProducerEpoch(0));
        assert_eq!(again(&mut window), Some((1, 0)));
        window.acknowledged(ids[1]);
        assert_eq!(window.send_new(2, 1).base_sequence, 2);
    }

    #[test]
    fn parts_share_the_numbers_of_the_whole() {
        let mut window = window();
        let ids: Vec<u64> = (0..2).map(|batch| window.send_new(batch, 4).id).collect();
        assert_eq!(window.refused(ids[0], Some(ErrorCode::MessageTooLarge), 0, 9), Verdict::Split);
        assert_eq!(window.replace(ids[0], vec![(10, 3), (11, 1)], 0), Some(0));
        assert_eq!(again(&mut window), Some((10, 0)));
        let id = window.oldest().unwrap().id;
        window.acknowledged(id);
        assert_eq!(again(&mut window), Some((11, 3)));
        assert_eq!(window.expire(|batch| *batch == 11), [11]);
        assert_eq!(window.oldest().unwrap().base_sequence, 4);
    }

    /// A broker as its clients see it: appends what comes next, knows the last five batches.
    #[derive(Default)]
    struct Log {
        epoch: i16,
        next: i32,
        last: VecDeque<i32>,
        batches: Vec<u32>,
    }

    impl Log {
        fn append(&mut self, batch: u32, sequence: i32, records: u32, epoch: i16) -> Option<ErrorCode> {
            if epoch > self.epoch && sequence == 0 {
                *self = Self { epoch, batches: std::mem::take(&mut self.batches), ..Default::default() };
            }
            if epoch < self.epoch {
                return Some(ErrorCode::InvalidProducerEpoch);
            }
            if self.last.contains(&sequence) {
                return Some(ErrorCode::DuplicateSequenceNumber);
            }
            if sequence != self.next {
                return Some(ErrorCode::OutOfOrderSequenceNumber);
            }
            self.next += records as i32;
            self.last.push_back(sequence);
            if self.last.len() > 5 {
                self.last.pop_front();
            }
            self.batches.push(batch);
            None
        }
    }

    proptest! {
        /// Whatever is lost on the way there or back: every batch is appended once, in order.
        #[test]
        fn nothing_is_doubled_lost_or_reordered(fates in proptest::collection::vec(0..4u8, 1..200)) {
            let (mut window, mut log) = (window(), Log::default());
            let (mut next, mut wire) = (0, VecDeque::new());
            let mut fates = fates.into_iter();
            loop {
                let fate = fates.next();
                while fate.is_some() && window.takes_new(5) {
                    let slot = window.send_new(next, 1 + next % 3);
                    wire.push_back((slot.id, slot.batch, slot.base_sequence, slot.records));
                    next += 1;
                }
                if let Some(slot) = window.send_again(0) {
                    wire.push_back((slot.id, slot.batch, slot.base_sequence, slot.records));
                }
                let epoch = window.producer().unwrap().1.0;
                let Some((id, batch, sequence, records)) = wire.pop_front() else { break };
                let answer = match fate {
                    // The request is lost, or the answer, or both arrive.
                    Some(0) => Err(()),
                    Some(1) => { log.append(batch, sequence, records, epoch); Err(()) }
                    _ => Ok(log.append(batch, sequence, records, epoch)),
                };
                match answer {
                    Ok(None) => prop_assert_eq!(window.acknowledged(id), Some(batch)),
                    Ok(Some(code)) => {
                        let verdict = window.refused(id, Some(code), 0, u32::MAX);
                        prop_assert!(matches!(verdict, Verdict::Retry | Verdict::Duplicate(_)), "{code:?}");
                    }
                    Err(()) => prop_assert_eq!(window.refused(id, None, 0, u32::MAX), Verdict::Retry),
                }
                // What never was out of order for the oldest keeps its epoch.
                prop_assert_eq!(window.producer().unwrap().1, ProducerEpoch(0));
            }
            prop_assert!(window.is_empty());
            prop_assert_eq!(log.batches, (0..next).collect::<Vec<u32>>());
        }
    }
}
