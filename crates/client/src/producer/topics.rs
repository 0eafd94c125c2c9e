//! Topics as the producer sees them: queues of partitions, and which one sticks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::memory::Buffer;
use crate::state::accumulator::PartitionQueue;
use crate::state::metadata::TopicMetadata;
use crate::state::partitioner::{by_queue, mix};

type TopicMap = HashMap<Arc<str>, Arc<Topic>, foldhash::fast::RandomState>;

/// The topics that were sent to. Looked up without a lock.
pub(super) struct Topics {
    map: ArcSwap<TopicMap>,
    /// The numbers of partitions in the sender.
    numbers: AtomicUsize,
    seed: u64,
}

pub(super) struct Topic {
    pub name: Arc<str>,
    pub partitions: Vec<Arc<Partition>>,
    pub sticky: Arc<Sticky>,
    pub shrinkage: Arc<Shrinkage>,
}

pub(super) struct Partition {
    /// Its number in the sender.
    pub number: usize,
    pub topic: Arc<str>,
    pub index: i32,
    pub queue: Mutex<PartitionQueue<Buffer>>,
    /// The topic's.
    pub shrinkage: Arc<Shrinkage>,
}

/// How many bytes become one when they are compressed, in parts of [`SHRINKAGE_ONE`].
pub(super) struct Shrinkage(AtomicUsize);

const SHRINKAGE_ONE: usize = 1024;

/// The partition to which records without a key go until a batch is full.
pub(super) struct Sticky {
    partition: AtomicUsize,
    turns: AtomicU64,
}

impl Topics {
    pub fn new(seed: u64) -> Self {
        Self { map: ArcSwap::default(), numbers: AtomicUsize::new(0), seed }
    }

    pub fn load(&self) -> Guard<Arc<TopicMap>> {
        self.map.load()
    }

    /// Takes in a topic, or the partitions that it has got since.
    pub fn update(&self, metadata: &TopicMetadata) {
        self.map.rcu(|map| {
            let known = map.get(&metadata.name);
            if known.is_some_and(|known| known.partitions.len() >= metadata.partitions.len()) {
                return Arc::clone(map);
            }
            let mut partitions = known.map_or_else(Vec::new, |known| known.partitions.clone());
            let shrinkage = known.map_or_else(Arc::default, |known| Arc::clone(&known.shrinkage));
            for index in partitions.len()..metadata.partitions.len() {
                partitions.push(Arc::new(Partition {
                    number: self.numbers.fetch_add(1, Ordering::Relaxed),
                    topic: Arc::clone(&metadata.name),
                    index: index as i32,
                    queue: Mutex::default(),
                    shrinkage: Arc::clone(&shrinkage),
                }));
            }
            let sticky = || Arc::new(Sticky { partition: usize::MAX.into(), turns: self.seed.into() });
            let topic = Topic {
                name: Arc::clone(&metadata.name),
                partitions,
                sticky: known.map_or_else(sticky, |known| Arc::clone(&known.sticky)),
                shrinkage,
            };
            let mut next = TopicMap::clone(map);
            next.insert(Arc::clone(&metadata.name), Arc::new(topic));
            Arc::new(next)
        });
    }
}

impl Default for Shrinkage {
    fn default() -> Self {
        Self(SHRINKAGE_ONE.into())
    }
}

impl Shrinkage {
    /// The longest batch before compression that is likely to be of `batch_bytes` afterwards: as in Kafka, one that
    /// compresses a twentieth worse than those before still is.
    pub fn plain_bytes(&self, batch_bytes: usize) -> usize {
        let shrinkage = self.0.load(Ordering::Relaxed) * 20 / 21;
        batch_bytes.saturating_mul(shrinkage.clamp(SHRINKAGE_ONE, 8 * SHRINKAGE_ONE)) / SHRINKAGE_ONE
    }

    /// Learns from a batch that was compressed; slowly, as one batch says little of the next.
    pub fn learn(&self, bytes: usize, compressed: usize) {
        let known = self.0.load(Ordering::Relaxed);
        let seen = (bytes * SHRINKAGE_ONE / compressed.max(1)).min(8 * SHRINKAGE_ONE);
        self.0.store((known * 3 + seen) / 4, Ordering::Relaxed);
    }
}

impl Sticky {
    pub fn partition(&self, count: usize) -> usize {
        match self.partition.load(Ordering::Relaxed) {
            partition if partition < count => partition,
            _ => {
                let partition = (mix(self.turns.fetch_add(1, Ordering::Relaxed)) % count as u64) as usize;
                self.partition.store(partition, Ordering::Relaxed);
                partition
            }
        }
    }

    /// Goes on to another partition: a batch is full. With `adaptive` those with fewer waiting batches are likelier.
    pub fn turn(&self, topic: &Topic, adaptive: bool) {
        let random = mix(self.turns.fetch_add(1, Ordering::Relaxed));
        let next = match adaptive {
            true => {
                let queued: Vec<usize> =
                    topic.partitions.iter().map(|partition| partition.queue.lock().batches()).collect();
                by_queue(&queued, random)
            }
            false => (random % topic.partitions.len() as u64) as usize,
        };
        self.partition.store(next, Ordering::Relaxed);
    }
}
