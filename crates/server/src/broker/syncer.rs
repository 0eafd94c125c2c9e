//! Group commit: one sync at a time per log directory, serving every acknowledgement that waits when it begins.
//!
//! Owns a thread per directory, started by the first partition that asks. Invariant: a request made before a round
//! begins is served by that round; one made during a round by the next.

use std::sync::{Arc, Weak};

use ottla_commit_log::SyncKind;
use parking_lot::{Condvar, Mutex};

use super::partition::PartitionHandle;

/// The partitions of one log directory that wait for a sync.
pub struct Syncer {
    state: Mutex<State>,
    requested: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Arc<PartitionHandle>>,
    is_running: bool,
}

impl Syncer {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), requested: Condvar::new() })
    }

    /// Asks for what `partition` has written to be synced; its shard is told when it is.
    pub fn request(self: &Arc<Self>, partition: &Arc<PartitionHandle>) {
        let mut state = self.state.lock();
        if !state.waiting.iter().any(|known| Arc::ptr_eq(known, partition)) {
            state.waiting.push(Arc::clone(partition));
        }
        if state.is_running {
            self.requested.notify_one();
            return;
        }
        state.is_running = true;
        drop(state);
        let syncer = Arc::downgrade(self);
        std::thread::Builder::new()
            .name("ottla-sync".to_owned())
            .spawn(move || run(&syncer))
            .expect("start the sync thread");
    }
}

fn run(syncer: &Weak<Syncer>) {
    while let Some(syncer) = syncer.upgrade() {
        let round = {
            let mut state = syncer.state.lock();
            while state.waiting.is_empty() {
                syncer.requested.wait(&mut state);
            }
            std::mem::take(&mut state.waiting)
        };
        for partition in round {
            sync(&partition);
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
                partition.synced(Ok(()));
            }
        });
        return;
    };
    let outcome = job.run();
    partition.shard.submit(move |state| {
        if let Some(partition) = state.partition(slot) {
            let result = partition.log.complete_sync(outcome);
            partition.synced(result);
        }
    });
}
