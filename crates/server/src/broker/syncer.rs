//! Group commit: a sync of a partition's log serves every acknowledgement that waits when it begins.
//!
//! Owns a few threads per directory, started when there is work for them. Partitions are synced at the same time: the
//! file system puts syncs that meet into one commit of its journal (eight files one after the other took 20 ms, all at
//! once 1 ms). Invariants: a request made before a sync of its partition begins is served by that sync, one made during
//! it by the next; a partition is never synced by two threads at once.

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_commit_log::SyncKind;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;

use super::partition::PartitionHandle;
use crate::clock;
use crate::loops;

/// Threads per directory.
const WORKERS_MAX: usize = 16;

/// The partitions of one log directory that wait for a sync.
pub struct Syncer {
    state: Mutex<State>,
    requested: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<PartitionHandle>>,
    running: Vec<Arc<PartitionHandle>>,
    workers: usize,
    idle: usize,
}

impl State {
    /// Takes the first waiting partition that nobody syncs at the moment.
    fn take(&mut self) -> Option<Arc<PartitionHandle>> {
        let is_free = |partition: &Arc<PartitionHandle>| !contains(self.running.iter(), partition);
        let at = self.waiting.iter().position(is_free)?;
        let partition = self.waiting.remove(at)?;
        self.running.push(Arc::clone(&partition));
        Some(partition)
    }
}

fn contains<'a>(
    mut partitions: impl Iterator<Item = &'a Arc<PartitionHandle>>,
    partition: &Arc<PartitionHandle>,
) -> bool {
    partitions.any(|known| Arc::ptr_eq(known, partition))
}

impl Syncer {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), requested: Condvar::new() })
    }

    /// Asks for what `partition` has written to be synced; its shard is told when it is.
    pub fn request(self: &Arc<Self>, partition: &Arc<PartitionHandle>) {
        let mut state = self.state.lock();
        if contains(state.waiting.iter(), partition) {
            return;
        }
        state.waiting.push_back(Arc::clone(partition));
        if let Some(runtime) = Handle::try_current().ok().filter(loops::is_one_thread) {
            let syncer = Arc::clone(self);
            runtime.spawn(async move {
                loops::await_sync_time().await;
                syncer.work_off();
            });
            return;
        }
        if state.idle >= state.waiting.len() || state.workers == WORKERS_MAX {
            self.requested.notify_one();
            return;
        }
        state.workers += 1;
        drop(state);
        let syncer = Arc::clone(self);
        std::thread::Builder::new()
            .name("ottla-sync".to_owned())
            .spawn(move || syncer.work())
            .expect("start a sync thread");
    }

    /// Syncs whatever waits.
    fn work_off(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        waiting.iter().for_each(sync);
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            let Some(partition) = state.take() else {
                state.idle += 1;
                self.requested.wait(&mut state);
                state.idle -= 1;
                continue;
            };
            drop(state);
            sync(&partition);
            state = self.state.lock();
            state.running.retain(|running| !Arc::ptr_eq(running, &partition));
        }
    }
}

fn sync(partition: &Arc<PartitionHandle>) {
    let slot = partition.slot;
    let (send, job) = std::sync::mpsc::sync_channel(1);
    partition.shard.submit(move |state| {
        let job = state.partition(slot).and_then(|partition| partition.log.sync_job(SyncKind::Commit));
        // The thread waits for the answer.
        let _ = send.send(job);
    });
    let Ok(Some(job)) = job.recv() else {
        // Nothing to sync (any more): whoever waits finds out.
        partition.shard.submit(move |state| {
            if let Some(partition) = state.partition(slot) {
                partition.synced(Ok(()), clock::steady());
            }
        });
        return;
    };
    let outcome = job.run();
    partition.shard.submit(move |state| {
        if let Some(partition) = state.partition(slot) {
            let result = partition.log.complete_sync(outcome);
            partition.synced(result, clock::steady());
        }
    });
}
