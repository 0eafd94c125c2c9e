//! Requests that wait until the high watermark has passed what they appended.

use std::collections::VecDeque;

use ottla_model::{Millis, Offset};

/// Tickets in the order of the offsets that they wait for. Kept by the partition's owner.
#[derive(Debug)]
pub struct Purgatory<T> {
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    last_offset: Offset,
    deadline: Millis,
    ticket: T,
}

impl<T> Default for Purgatory<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new() }
    }
}

impl<T> Purgatory<T> {
    /// Holds `ticket` until `last_offset` is below the high watermark, or `deadline` is past.
    pub fn push(&mut self, last_offset: Offset, deadline: Millis, ticket: T) {
        // Appends come in order; only a producer's repetition of an older batch belongs further ahead.
        let behind = self.waiting.iter().rev().take_while(|known| known.last_offset > last_offset).count();
        self.waiting.insert(self.waiting.len() - behind, Waiting { last_offset, deadline, ticket });
    }

    /// Takes the next ticket that `high_watermark` satisfies.
    pub fn pop_reached(&mut self, high_watermark: Offset) -> Option<T> {
        self.waiting.pop_front_if(|first| first.last_offset < high_watermark).map(|first| first.ticket)
    }

    /// Takes every ticket whose time is over.
    pub fn take_expired(&mut self, now: Millis) -> Vec<T> {
        let mut expired = Vec::new();
        let mut left = VecDeque::with_capacity(self.waiting.len());
        for waiting in self.waiting.drain(..) {
            match waiting.deadline <= now {
                true => expired.push(waiting.ticket),
                false => left.push_back(waiting),
            }
        }
        self.waiting = left;
        expired
    }

    /// Takes all tickets: nobody leads here any more.
    pub fn take_all(&mut self) -> impl Iterator<Item = T> + '_ {
        self.waiting.drain(..).map(|waiting| waiting.ticket)
    }

    /// When the first ticket expires; `None` if nobody waits.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}
