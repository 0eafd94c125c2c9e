//! Fetchers: what this broker replicates from others, one connection for each leader broker and fetcher number.
//!
//! Owns who fetches what. Driven by the metadata image through [`ReplicaFetchers::follow`] and
//! [`ReplicaFetchers::forget`]; the work itself is in `fetcher`.

mod fetcher;
mod session;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ottla_model::{LeaderEpoch, NodeId, Offset, Uuid};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Broker;
use super::partition::PartitionHandle;
use crate::rpc::RpcNetwork;

type PartitionKey = (Uuid, i32);
type FetcherKey = (NodeId, u32);

/// All fetchers of a broker.
pub struct ReplicaFetchers {
    network: Arc<RpcNetwork>,
    /// Metadata is published by threads that are not the runtime's.
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fetchers: HashMap<FetcherKey, Arc<Inbox>>,
    assigned: HashMap<PartitionKey, (FetcherKey, LeaderEpoch)>,
}

/// What a fetcher is told.
#[derive(Default)]
struct Inbox {
    commands: Mutex<Vec<Command>>,
    told: Notify,
    stopped: AtomicBool,
}

enum Command {
    Follow(Arc<PartitionHandle>, LeaderEpoch),
    Forget(PartitionKey),
    /// Everything below the offset is on the disk.
    Synced(PartitionKey, Offset),
}

impl Inbox {
    fn tell(&self, command: Command) {
        self.commands.lock().push(command);
        self.told.notify_one();
    }
}

impl ReplicaFetchers {
    /// Must be called inside a runtime.
    pub fn new(network: Arc<RpcNetwork>) -> Self {
        Self { network, runtime: Handle::current(), state: Mutex::default() }
    }

    /// Replicates a partition from `leader` from now on, in `epoch`; the partition follows already.
    pub fn follow(
        &self,
        broker: &Arc<Broker>,
        partition: &Arc<PartitionHandle>,
        leader: NodeId,
        epoch: LeaderEpoch,
    ) {
        let key = (partition.topic_id, partition.name.partition);
        let fetcher = (leader, fetcher_number(broker, partition));
        let mut state = self.state.lock();
        match state.assigned.insert(key, (fetcher, epoch)) {
            Some(known) if known == (fetcher, epoch) => return,
            Some((former, _)) if former != fetcher => state.tell(former, Command::Forget(key)),
            _ => {}
        }
        let inbox = state.fetchers.entry(fetcher).or_insert_with(|| {
            let inbox = Arc::<Inbox>::default();
            self.runtime.spawn(fetcher::run(
                fetcher,
                Arc::downgrade(broker),
                Arc::clone(&self.network),
                Arc::clone(&inbox),
            ));
            inbox
        });
        inbox.tell(Command::Follow(Arc::clone(partition), epoch));
    }

    /// Replicates a partition no more.
    pub fn forget(&self, partition: &PartitionHandle) {
        let key = (partition.topic_id, partition.name.partition);
        let mut state = self.state.lock();
        if let Some((fetcher, _)) = state.assigned.remove(&key) {
            state.tell(fetcher, Command::Forget(key));
        }
    }

    /// Ends all fetchers: the broker stops.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        state.assigned.clear();
        for (_, inbox) in state.fetchers.drain() {
            inbox.stopped.store(true, Ordering::Release);
            inbox.told.notify_one();
        }
    }
}

impl State {
    fn tell(&self, fetcher: FetcherKey, command: Command) {
        if let Some(inbox) = self.fetchers.get(&fetcher) {
            inbox.tell(command);
        }
    }
}

/// Which of the `num.replica.fetchers` of its leader a partition goes to.
fn fetcher_number(broker: &Broker, partition: &PartitionHandle) -> u32 {
    let count = broker.layers().broker("num.replica.fetchers").and_then(|value| value.as_i64());
    let count = count.unwrap_or(1).max(1) as u32;
    if count == 1 {
        return 0;
    }
    let name = &partition.name;
    let hash = name.topic.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    hash.wrapping_mul(31).wrapping_add(name.partition as u32) % count
}

/// A broker that is still there.
fn upgrade(broker: &Weak<Broker>, inbox: &Inbox) -> Option<Arc<Broker>> {
    if inbox.stopped.load(Ordering::Acquire) { None } else { broker.upgrade() }
}
