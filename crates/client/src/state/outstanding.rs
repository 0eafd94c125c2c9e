//! Batches that are not decided, by the flush that would wait for them.

use std::collections::BTreeMap;

/// Counts batches between flushes.
#[derive(Debug, Default)]
pub struct Outstanding {
    epoch: u64,
    counts: BTreeMap<u64, usize>,
    stopped: bool,
}

impl Outstanding {
    /// A batch begins: the number to give back in [`Self::end`].
    pub fn begin(&mut self) -> u64 {
        *self.counts.entry(self.epoch).or_default() += 1;
        self.epoch
    }

    /// A part of a batch of this number begins.
    pub fn begin_part(&mut self, epoch: u64) {
        *self.counts.entry(epoch).or_default() += 1;
    }

    /// A batch of this number was decided; whether a flush may have waited for it.
    pub fn end(&mut self, epoch: u64) -> bool {
        match self.counts.get_mut(&epoch) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.counts.remove(&epoch);
            }
        }
        epoch < self.epoch
    }

    /// Asks for all that began until now: the number to ask [`Self::is_drained`] for.
    pub fn flush(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch - 1
    }

    /// Batches below this number are wanted by a flush.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn is_drained(&self, flushed: u64) -> bool {
        self.stopped || self.counts.first_key_value().is_none_or(|(epoch, _)| *epoch > flushed)
    }

    /// Nothing will be decided any more: nobody has to wait.
    pub fn stop(&mut self) {
        self.stopped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_waits_for_what_began_before_it() {
        let mut outstanding = Outstanding::default();
        let (first, second) = (outstanding.begin(), outstanding.begin());
        let flushed = outstanding.flush();
        let later = outstanding.begin();
        assert!(outstanding.end(first) && !outstanding.is_drained(flushed));
        assert!(!outstanding.end(later));
        assert!(outstanding.end(second) && outstanding.is_drained(flushed));
    }
}
