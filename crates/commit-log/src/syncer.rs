//! Group commit: which logs of a directory wait for a sync.
//!
//! Owns only the order of things: one sync runs at a time per directory, and everything that was asked for meanwhile is
//! served by the next one. Threads and files are the caller's.

/// The bookkeeping of one log directory. `K` names a log.
#[derive(Debug)]
pub struct Syncer<K> {
    waiting: Vec<K>,
    running: bool,
}

impl<K> Default for Syncer<K> {
    fn default() -> Self {
        Self { waiting: Vec::new(), running: false }
    }
}

impl<K: Ord> Syncer<K> {
    /// A log has batches that somebody waits for. Returns the logs to sync now, if no sync is running: the caller takes
    /// a [`SyncJob`](crate::SyncJob) of each, runs them, and calls [`Self::finished`].
    #[must_use]
    pub fn request(&mut self, log: K) -> Option<Vec<K>> {
        self.waiting.push(log);
        self.start()
    }

    /// The running sync is done. Returns the logs for the next one, if any wait.
    #[must_use]
    pub fn finished(&mut self) -> Option<Vec<K>> {
        self.running = false;
        self.start()
    }

    fn start(&mut self) -> Option<Vec<K>> {
        if self.running || self.waiting.is_empty() {
            return None;
        }
        self.running = true;
        let mut logs = std::mem::take(&mut self.waiting);
        logs.sort_unstable();
        logs.dedup();
        Some(logs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sync_serves_all_that_came_during_the_last() {
        let mut syncer = Syncer::default();
        assert_eq!(syncer.request(1), Some(vec![1]));
        assert_eq!(syncer.request(2), None);
        assert_eq!(syncer.request(1), None);
        assert_eq!(syncer.request(2), None);
        assert_eq!(syncer.finished(), Some(vec![1, 2]));
        assert_eq!(syncer.finished(), None);
        assert_eq!(syncer.request(3), Some(vec![3]));
    }
}
