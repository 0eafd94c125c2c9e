//! What became of a batch, and who waits to hear of it: one allocation for all its records.

use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};

use ottla_model::{Millis, Offset};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::record::RecordMetadata;

/// Where a batch was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// [`Offset::NONE`] where the broker did not tell.
    pub base_offset: Offset,
    pub log_append_time: Millis,
}

#[derive(Debug)]
enum Outcome {
    Done(Result<Appended>),
    /// The batch was too large and went on as these: the index of the first record of each, ascending.
    Split(Vec<(u32, Arc<Delivery>)>),
}

/// The fate of one batch. It is decided once.
#[derive(Debug)]
pub struct Delivery {
    topic: Arc<str>,
    partition: i32,
    outcome: OnceLock<Outcome>,
    waiting: Mutex<Vec<Waker>>,
}

impl Delivery {
    fn decide(&self, outcome: Outcome) {
        if self.outcome.set(outcome).is_ok() {
            for waker in std::mem::take(&mut *self.waiting.lock()) {
                waker.wake();
            }
        }
    }

    /// What became of the record at `index`; the waker is kept while that is open.
    pub fn poll(&self, index: u32, waker: &Waker) -> Poll<Result<RecordMetadata>> {
        if self.outcome.get().is_none() {
            let mut waiting = self.waiting.lock();
            // Looked at again under the lock: deciding takes the wakers after it has decided.
            if self.outcome.get().is_none() {
                if !waiting.iter().any(|known| known.will_wake(waker)) {
                    waiting.push(waker.clone());
                }
                return Poll::Pending;
            }
        }
        match self.outcome.get() {
            Some(Outcome::Done(result)) => {
                Poll::Ready(result.clone().map(|appended| self.metadata(appended, index)))
            }
            Some(Outcome::Split(parts)) => {
                let part = parts.iter().rev().find(|(first, _)| *first <= index);
                part.map_or(Poll::Ready(Err(Error::Closed)), |(first, part)| part.poll(index - first, waker))
            }
            None => Poll::Pending,
        }
    }

    fn metadata(&self, appended: Appended, index: u32) -> RecordMetadata {
        let offset = match appended.base_offset {
            Offset::NONE => Offset::NONE,
            base => base + i64::from(index),
        };
        RecordMetadata {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            offset,
            log_append_time: appended.log_append_time,
        }
    }
}

/// Decides a [`Delivery`]; dropped without a word it says [`Error::Closed`], so that nobody waits for ever.
#[derive(Debug)]
pub struct Decider(Arc<Delivery>);

impl Decider {
    pub fn new(topic: Arc<str>, partition: i32) -> Self {
        Self(Arc::new(Delivery { topic, partition, outcome: OnceLock::new(), waiting: Mutex::default() }))
    }

    pub fn delivery(&self) -> &Arc<Delivery> {
        &self.0
    }

    pub fn decide(&self, result: Result<Appended>) {
        self.0.decide(Outcome::Done(result));
    }

    /// Makes the deciders of the parts, which begin at these records.
    pub fn split(&self, firsts: &[u32]) -> Vec<Self> {
        let part = |_: &u32| Self::new(Arc::clone(&self.0.topic), self.0.partition);
        let parts: Vec<Self> = firsts.iter().map(part).collect();
        let deliveries = parts.iter().map(|part| Arc::clone(&part.0));
        self.0.decide(Outcome::Split(firsts.iter().copied().zip(deliveries).collect()));
        parts
    }
}

impl Drop for Decider {
    fn drop(&mut self) {
        if self.0.outcome.get().is_none() {
            self.decide(Err(Error::Closed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(delivery: &Delivery, index: u32) -> Poll<Result<i64>> {
        delivery.poll(index, Waker::noop()).map_ok(|metadata| metadata.offset.0)
    }

    #[test]
    fn receipts_follow_the_parts_of_a_split_batch() {
        let whole = Decider::new("t".into(), 3);
        let delivery = Arc::clone(whole.delivery());
        assert_eq!(poll(&delivery, 4), Poll::Pending);
        let parts = whole.split(&[0, 3]);
        drop(whole);
        assert_eq!(poll(&delivery, 4), Poll::Pending);
        parts[1].decide(Ok(Appended { base_offset: Offset(70), log_append_time: Millis::NONE }));
        assert_eq!(poll(&delivery, 4), Poll::Ready(Ok(71)));
        drop(parts);
        assert_eq!(poll(&delivery, 2), Poll::Ready(Err(Error::Closed)));
    }
}
