//! A shard: one writer at a time for many partitions, entered by whoever brings work.
//!
//! Work is pushed onto the shard's queue; whoever finds the shard free enters it and drains the queue, what
//! others push meanwhile included. Nobody is woken for a request, order is the queue's, and under load many
//! appends become one write.
//!
//! Invariants: a partition's log is only written inside its shard. Work of one queue runs in the order in
//! which it was pushed. After every drain what was staged has been written and its waiters were told.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ottla_model::{ErrorCode, Millis};
use ottla_replication::FollowerFetch;
use ottla_transport::Stalls;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::partition::{Partition, PartitionHandle, StagedAppend};
use crate::clock;

/// Work that one caller does for others before a helper takes over, so that its own answers are not held up.
const DRAIN_ITEMS_MAX: usize = 1024;

/// Where in its shard a partition lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u32);

/// What a shard is asked to do.
pub enum Work {
    /// Append a validated batch and complete its part of a produce request.
    Append { slot: Slot, append: StagedAppend },
    /// Note what a follower has.
    Fetched { slot: Slot, fetch: FollowerFetch },
    /// Anything else that needs a partition's owner.
    Task(Box<dyn FnOnce(&mut ShardState) + Send>),
}

/// The queue of a shard and, behind a lock that is only ever tried, its partitions.
pub struct Shard {
    queue: Mutex<VecDeque<Work>>,
    state: Mutex<ShardState>,
    /// Of the disks that partitions are on.
    stalls: Stalls,
    /// Where a helper runs.
    runtime: Handle,
}

/// The partitions of a shard, in slots.
#[derive(Default)]
pub struct ShardState {
    partitions: Vec<Option<Box<Partition>>>,
    /// Partitions with staged appends that are not written yet.
    staged: Vec<Slot>,
    batch: VecDeque<Work>,
}

impl Shard {
    /// A shard without partitions. Must be called inside a runtime.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            state: Mutex::default(),
            stalls: Stalls::default(),
            runtime: Handle::current(),
        })
    }

    /// Puts work into the queue without doing it; [`Shard::enter`] must follow.
    pub fn push(&self, work: Work) {
        self.queue.lock().push_back(work);
    }

    /// Does what is in the queue, unless somebody else is doing so already.
    pub fn enter(self: &Arc<Self>) {
        // Whoever holds the state looks at the queue again after letting go, so a failed attempt is no loss.
        while let Some(mut state) = self.state.try_lock() {
            let mut done = 0;
            while self.drain(&mut state) {
                done += self.stalls.call(|| state.run());
                if done > DRAIN_ITEMS_MAX {
                    drop(state);
                    let shard = Arc::clone(self);
                    self.runtime.spawn(async move { shard.enter() });
                    return;
                }
            }
            drop(state);
            if self.queue.lock().is_empty() {
                return;
            }
        }
    }

    /// Runs `task` inside the shard, in turn, and returns what it returned.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&mut ShardState) -> T + Send + 'static,
    ) -> T {
        let (done, result) = oneshot::channel();
        self.submit(move |state| {
            // A caller that went away does not need the result.
            let _ = done.send(task(state));
        });
        result.await.expect("a shard runs every task that was pushed")
    }

    /// As [`Shard::run`], for threads outside the runtime.
    pub fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&mut ShardState) -> T + Send + 'static,
    ) -> T {
        let (done, result) = mpsc::sync_channel(1);
        self.submit(move |state| {
            let _ = done.send(task(state));
        });
        result.recv().expect("a shard runs every task that was pushed")
    }

    /// Runs `task` inside the shard, in turn, and does not wait for it.
    pub fn submit(self: &Arc<Self>, task: impl FnOnce(&mut ShardState) + Send + 'static) {
        self.push(Work::Task(Box::new(task)));
        self.enter();
    }

    /// Has a partition look for expired acknowledgements at `deadline`.
    pub fn expire_later(self: &Arc<Self>, partition: &Arc<PartitionHandle>, deadline: Millis) {
        let delay = Duration::from_millis((deadline - clock::steady()).max(0) as u64);
        let (shard, slot) = (Arc::clone(self), partition.slot);
        self.runtime.spawn(async move {
            tokio::time::sleep(delay).await;
            shard.submit(move |state| {
                if let Some(partition) = state.partition(slot) {
                    partition.expire(clock::steady().max(deadline));
                }
            });
        });
    }

    /// Moves the queue into the state's batch; whether there is anything to do.
    fn drain(&self, state: &mut MutexGuard<'_, ShardState>) -> bool {
        std::mem::swap(&mut *self.queue.lock(), &mut state.batch);
        !state.batch.is_empty()
    }
}

impl ShardState {
    fn run(&mut self) -> usize {
        let (now, steady) = (clock::now(), clock::steady());
        let mut batch = std::mem::take(&mut self.batch);
        let count = batch.len();
        for work in batch.drain(..) {
            match work {
                Work::Append { slot, append } => self.stage(slot, append, now),
                Work::Fetched { slot, fetch } => {
                    if let Some(partition) = self.partition(slot) {
                        partition.fetched(fetch, steady);
                    }
                }
                Work::Task(task) => {
                    // A task sees everything that was pushed before it as written.
                    self.write_staged(steady);
                    task(self);
                }
            }
        }
        self.write_staged(steady);
        self.batch = batch;
        count
    }

    fn stage(&mut self, slot: Slot, append: StagedAppend, now: Millis) {
        match self.partition(slot) {
            Some(partition) => {
                if partition.stage(append, now) {
                    self.staged.push(slot);
                }
            }
            None => append.refuse(ErrorCode::NotLeaderOrFollower),
        }
    }

    fn write_staged(&mut self, now: Millis) {
        while let Some(slot) = self.staged.pop() {
            if let Some(partition) = self.partition(slot) {
                partition.write_staged(now);
            }
        }
    }

    /// The partition in `slot`, unless it was removed.
    pub fn partition(&mut self, slot: Slot) -> Option<&mut Partition> {
        self.partitions.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// All partitions of this shard.
    pub fn partitions(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.partitions.iter_mut().flatten().map(|partition| &mut **partition)
    }

    /// Takes a partition in; its slot is never given to another, so that late work finds nobody.
    pub fn add(&mut self, partition: impl FnOnce(Slot) -> Partition) -> Slot {
        let slot = Slot(self.partitions.len() as u32);
        self.partitions.push(Some(Box::new(partition(slot))));
        slot
    }

    /// Lets all partitions go as they are.
    pub fn forget(&mut self) {
        self.staged.clear();
        self.partitions.clear();
    }

    /// Takes a partition out.
    pub fn take(&mut self, slot: Slot) -> Option<Partition> {
        self.partitions.get_mut(slot.0 as usize)?.take().map(|partition| *partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_many_push_runs_once_and_each_ones_work_in_order() {
        const CALLERS: usize = 8;
        const TASKS: usize = 5_000;
        let shard = Shard::new();
        let seen: Arc<Mutex<Vec<Vec<usize>>>> = Arc::new(Mutex::new(vec![Vec::new(); CALLERS]));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (shard, seen) = (Arc::clone(&shard), Arc::clone(&seen));
                tokio::spawn(async move {
                    for task in 0..TASKS {
                        let seen = Arc::clone(&seen);
                        // Two tasks inside at once would find the lock taken.
                        shard.submit(move |_| {
                            seen.try_lock().expect("one at a time inside a shard")[caller].push(task);
                        });
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        // Work that a helper took over ends before this, as it was pushed earlier.
        shard.run(|_| ()).await;
        for tasks in seen.lock().iter() {
            assert_eq!(*tasks, (0..TASKS).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn work_for_a_partition_that_is_gone_finds_nobody() {
        let shard = Shard::new();
        assert!(shard.run(|state| state.partition(Slot(3)).is_none() && state.take(Slot(3)).is_none()).await);
    }
}
