//! The log cleaner: compacts one log after the other, the dirtiest first.
//!
//! One thread. What to do is asked of a log inside its shard, the work is done here, the outcome is taken over inside
//! the shard again. A log whose bytes cannot be read is left alone until the node restarts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use ottla_commit_log::{CleanJob, CleanerLimits, LogDir, StorageError};
use ottla_model::Uuid;
use tracing::{debug, warn};

use super::Broker;
use super::partition::PartitionHandle;
use crate::clock;

/// `log.cleaner.backoff.ms`
const BACKOFF: Duration = Duration::from_secs(15);

/// Cleans until the broker stops.
pub struct Cleaner {
    broker: Arc<Broker>,
    /// Topic id and partition: a topic created anew under the same name has another chance.
    uncleanable: HashSet<(Uuid, i32)>,
}

/// A log that is worth cleaning.
struct Candidate {
    handle: Arc<PartitionHandle>,
    dir: LogDir,
    dirty_ratio: f64,
}

impl Cleaner {
    pub fn new(broker: &Arc<Broker>) -> Self {
        Self { broker: Arc::clone(broker), uncleanable: HashSet::new() }
    }

    /// Takes turns until `stop` is signalled or dropped. Blocks its thread.
    pub fn run(mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(BACKOFF) == Err(RecvTimeoutError::Timeout) {
            while self.clean_dirtiest() {
                if stop.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                    return;
                }
            }
        }
    }

    /// Whether there was something to clean.
    fn clean_dirtiest(&mut self) -> bool {
        let table = self.broker.table();
        let compacted = table.partitions().filter(|handle| handle.rules.load().compacted);
        let candidates = compacted.filter(|handle| !self.uncleanable.contains(&key(handle)));
        let dirtiest = candidates
            .filter_map(|handle| self.candidate(handle))
            .max_by(|a, b| a.dirty_ratio.total_cmp(&b.dirty_ratio));
        let Some(candidate) = dirtiest else { return false };
        if let Err(error) = clean(&candidate) {
            warn!(partition = %candidate.handle.name, %error, "cannot clean");
            self.uncleanable.insert(key(&candidate.handle));
        }
        true
    }

    fn candidate(&self, handle: &Arc<PartitionHandle>) -> Option<Candidate> {
        let dir = self.broker.dir(handle.dir_id)?.dir.clone();
        let checkpoint = dir.cleaner_offset(&handle.name);
        let slot = handle.slot;
        let dirty_ratio = handle.shard.run_blocking(move |state| {
            let log = &state.partition(slot)?.log;
            let cleanable = log.cleanable(checkpoint, clock::now()).ok()??;
            cleanable.is_due(log.config()).then_some(cleanable.dirty_ratio)
        })?;
        Some(Candidate { handle: Arc::clone(handle), dir, dirty_ratio })
    }
}

fn key(handle: &PartitionHandle) -> (Uuid, i32) {
    (handle.topic_id, handle.name.partition)
}

fn clean(candidate: &Candidate) -> Result<(), StorageError> {
    let Some(job) = job(candidate)? else { return Ok(()) };
    let outcome = job.run()?;
    let (slot, dir) = (candidate.handle.slot, candidate.dir.clone());
    let taken_over = candidate.handle.shard.run_blocking(move |state| {
        let partition = state.partition(slot)?;
        let cleaned = partition.log.complete_clean(outcome, clock::now());
        // Inside the shard, so that it never comes behind the directory's last checkpoint.
        Some(cleaned.and_then(|cleaned| {
            let Some((clean_to, stats)) = cleaned else { return Ok(None) };
            dir.set_cleaner_offset(&partition.handle.name, clean_to)?;
            Ok(Some((clean_to, stats)))
        }))
    });
    if let Some((clean_to, stats)) = taken_over.transpose()?.flatten() {
        debug!(partition = %candidate.handle.name, %clean_to, ?stats, "cleaned");
    }
    Ok(())
}

fn job(candidate: &Candidate) -> Result<Option<CleanJob>, StorageError> {
    let checkpoint = candidate.dir.cleaner_offset(&candidate.handle.name);
    let slot = candidate.handle.slot;
    let job = candidate.handle.shard.run_blocking(move |state| {
        let log = &state.partition(slot)?.log;
        let now = clock::now();
        let cleanable = log.cleanable(checkpoint, now).transpose()?;
        Some(cleanable.map(|cleanable| log.clean_job(cleanable, CleanerLimits::default(), now)))
    });
    job.transpose()
}
