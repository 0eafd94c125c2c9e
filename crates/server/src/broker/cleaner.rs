//! The log cleaner: compacts one log after the other, the dirtiest first, on `log.cleaner.threads` threads.
//!
//! What to do is asked of a log inside its shard, the work is done here, the outcome is taken over inside the shard
//! again. A log whose bytes cannot be read is left alone until the node restarts. The settings are looked at before
//! every log.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use ottla_commit_log::{CleanJob, CleanerLimits, LogDir, StorageError};
use ottla_model::Uuid;
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::Broker;
use super::partition::PartitionHandle;
use crate::clock;
use crate::loops;

/// Between two looks at all logs, however short `log.cleaner.backoff.ms` is.
const BACKOFF_MS_MIN: i64 = 10;
/// A cleaner that is this far ahead of `log.cleaner.io.max.bytes.per.second` waits.
const AHEAD_MAX: Duration = Duration::from_millis(50);
/// How often one that waits looks whether the node stops.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// One of the threads.
#[derive(Clone)]
pub struct Cleaner {
    broker: Arc<Broker>,
    shared: Arc<Mutex<Shared>>,
}

/// What the threads have to agree on.
#[derive(Default)]
struct Shared {
    busy: HashSet<LogKey>,
    uncleanable: HashSet<LogKey>,
    throttle: Throttle,
}

/// Topic id and partition: a topic created anew under the same name has another chance.
type LogKey = (Uuid, i32);

/// The settings, as they are now.
struct Settings {
    threads: usize,
    backoff: Duration,
    limits: CleanerLimits,
    bytes_per_second: f64,
}

/// A log that is worth cleaning.
struct Candidate {
    handle: Arc<PartitionHandle>,
    dir: LogDir,
    dirty_ratio: f64,
}

impl Cleaner {
    pub fn new(broker: &Arc<Broker>) -> Self {
        Self { broker: Arc::clone(broker), shared: Arc::default() }
    }

    /// Cleans until `stop` is signalled or dropped, and keeps the other threads, which end with it. Blocks its thread.
    pub async fn run(self, mut stop: UnboundedReceiver<()>) {
        let mut others: Vec<UnboundedSender<()>> = Vec::new();
        loop {
            let settings = self.settings();
            others.truncate(settings.threads.saturating_sub(1));
            while others.len() + 1 < settings.threads {
                let (stop_other, mut stopped) = mpsc::unbounded_channel();
                let other = self.clone();
                let name = format!("ottla-cleaner-{}", others.len() + 1);
                let spawned = loops::spawn(&name, async move { while other.turn(&mut stopped).await {} });
                if let Err(error) = spawned {
                    error!(%error, "cannot start another thread of the log cleaner");
                    break;
                }
                others.push(stop_other);
            }
            if !self.turn(&mut stop).await {
                return;
            }
        }
    }

    /// Waits, then cleans what is dirty. Whether to go on.
    async fn turn(&self, stop: &mut UnboundedReceiver<()>) -> bool {
        if loops::receive(stop, self.settings().backoff).await != Err(RecvTimeoutError::Timeout) {
            return false;
        }
        while self.clean_dirtiest(stop) {
            if is_stopped(stop) {
                return false;
            }
        }
        true
    }

    fn settings(&self) -> Settings {
        let layers = self.broker.layers();
        let long = |name| layers.broker(name).and_then(|value| value.as_i64()).unwrap_or(0);
        let double = |name| layers.broker(name).and_then(|value| value.as_f64()).unwrap_or(f64::MAX);
        let threads = long("log.cleaner.threads").max(0) as usize;
        let map_bytes = long("log.cleaner.dedupe.buffer.size").max(0) as usize / threads.max(1);
        Settings {
            threads,
            backoff: Duration::from_millis(long("log.cleaner.backoff.ms").max(BACKOFF_MS_MIN) as u64),
            limits: CleanerLimits {
                map_bytes,
                load_factor: double("log.cleaner.io.buffer.load.factor"),
                ..CleanerLimits::default()
            },
            bytes_per_second: double("log.cleaner.io.max.bytes.per.second"),
        }
    }

    /// Whether there was something to clean.
    fn clean_dirtiest(&self, stop: &UnboundedReceiver<()>) -> bool {
        let settings = self.settings();
        if settings.threads == 0 {
            return false;
        }
        let Some(candidate) = self.claim_dirtiest() else { return false };
        let mut pace = |bytes| {
            let ahead = self.shared.lock().throttle.used(bytes, settings.bytes_per_second);
            if ahead > AHEAD_MAX {
                // When the node stops the rest is done at full speed.
                let until = Instant::now() + ahead;
                while Instant::now() < until && !is_stopped(stop) {
                    std::thread::park_timeout(ahead.min(STOP_CHECK_INTERVAL));
                }
            }
        };
        let cleaned = clean(&candidate, settings.limits, &mut pace);
        let key = key(&candidate.handle);
        let mut shared = self.shared.lock();
        shared.busy.remove(&key);
        if let Err(error) = cleaned {
            warn!(partition = %candidate.handle.name, %error, "cannot clean");
            shared.uncleanable.insert(key);
        }
        true
    }

    /// The dirtiest log that no other thread has in hand.
    fn claim_dirtiest(&self) -> Option<Candidate> {
        let table = self.broker.table();
        let is_free = |shared: &Shared, handle: &PartitionHandle| {
            !shared.busy.contains(&key(handle)) && !shared.uncleanable.contains(&key(handle))
        };
        let compacted = table.partitions().filter(|handle| handle.rules.load().compacted);
        let candidates = compacted.filter(|handle| is_free(&self.shared.lock(), handle));
        let mut candidates: Vec<Candidate> = candidates.filter_map(|handle| self.candidate(handle)).collect();
        candidates.sort_by(|a, b| b.dirty_ratio.total_cmp(&a.dirty_ratio));
        let mut shared = self.shared.lock();
        let claimed = candidates.into_iter().find(|candidate| is_free(&shared, &candidate.handle))?;
        shared.busy.insert(key(&claimed.handle));
        Some(claimed)
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

fn is_stopped(stop: &UnboundedReceiver<()>) -> bool {
    stop.is_closed() || !stop.is_empty()
}

fn key(handle: &PartitionHandle) -> LogKey {
    (handle.topic_id, handle.name.partition)
}

fn clean(
    candidate: &Candidate,
    limits: CleanerLimits,
    pace: &mut dyn FnMut(u64),
) -> Result<(), StorageError> {
    let Some(job) = job(candidate, limits)? else { return Ok(()) };
    let outcome = job.run(pace)?;
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

fn job(candidate: &Candidate, limits: CleanerLimits) -> Result<Option<CleanJob>, StorageError> {
    let checkpoint = candidate.dir.cleaner_offset(&candidate.handle.name);
    let slot = candidate.handle.slot;
    let job = candidate.handle.shard.run_blocking(move |state| {
        let log = &state.partition(slot)?.log;
        let now = clock::now();
        let cleanable = log.cleanable(checkpoint, now).transpose()?;
        Some(cleanable.map(|cleanable| log.clean_job(cleanable, limits, now)))
    });
    job.transpose()
}

/// Bytes of all threads since some time, held against a rate.
struct Throttle {
    since: Instant,
    bytes: f64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { since: Instant::now(), bytes: 0.0 }
    }
}

impl Throttle {
    /// Notes more bytes; how far the whole is ahead of the rate now. Time in which nothing was done is not made up for.
    fn used(&mut self, bytes: u64, per_second: f64) -> Duration {
        let elapsed = self.since.elapsed().as_secs_f64();
        if elapsed > 1.0 && self.bytes / per_second < elapsed - 1.0 {
            *self = Self::default();
        }
        self.bytes += bytes as f64;
        let ahead = self.bytes / per_second - self.since.elapsed().as_secs_f64();
        Duration::try_from_secs_f64(ahead).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_against_the_rate() {
        let mut throttle = Throttle::default();
        let ahead = throttle.used(500, 1000.0) + throttle.used(1500, 1000.0);
        assert!(ahead > Duration::from_millis(1900) && ahead < Duration::from_millis(2501), "{ahead:?}");
        assert_eq!(throttle.used(1 << 30, f64::MAX), Duration::ZERO);
    }
}
