//! The table that finds a partition by its topic's id or name: replaced as a whole when metadata changes, read
//! without a lock.

use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use hashbrown::HashMap;
use ottla_model::{ErrorCode, Uuid};

use super::partition::PartitionHandle;

/// Every topic of the cluster, with the partitions that live on this broker.
#[derive(Clone, Default)]
pub struct PartitionTable {
    /// In the same order in every run, as all work on all partitions is. Nobody chooses ids to make them collide.
    by_id: HashMap<Uuid, Arc<TopicPartitions>, FixedState>,
    by_name: HashMap<Arc<str>, Arc<TopicPartitions>, RandomState>,
}

/// A topic and, at each partition's index, its handle if it lives here.
#[derive(Clone)]
pub struct TopicPartitions {
    pub name: Arc<str>,
    pub id: Uuid,
    pub partitions: Vec<Option<Arc<PartitionHandle>>>,
}

impl PartitionTable {
    /// Errors: UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER.
    pub fn by_id(&self, id: Uuid, partition: i32) -> Result<Arc<PartitionHandle>, ErrorCode> {
        self.by_id.get(&id).ok_or(ErrorCode::UnknownTopicId)?.partition(partition)
    }

    /// Errors: UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER_OR_FOLLOWER.
    pub fn by_name(&self, name: &str, partition: i32) -> Result<Arc<PartitionHandle>, ErrorCode> {
        self.by_name.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?.partition(partition)
    }

    pub fn topic(&self, name: &str) -> Option<&Arc<TopicPartitions>> {
        self.by_name.get(name)
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicPartitions>> {
        self.by_id.get(&id)
    }

    /// Puts a topic in, or in the place of its former self.
    pub fn insert(&mut self, topic: TopicPartitions) {
        let topic = Arc::new(topic);
        self.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    pub fn remove(&mut self, id: Uuid) -> Option<Arc<TopicPartitions>> {
        let topic = self.by_id.remove(&id)?;
        // A topic of the same name may have been created since.
        if self.by_name.get(&topic.name).is_some_and(|known| known.id == id) {
            self.by_name.remove(&topic.name);
        }
        Some(topic)
    }

    /// All partitions that live here.
    pub fn partitions(&self) -> impl Iterator<Item = &Arc<PartitionHandle>> {
        self.by_id.values().flat_map(|topic| topic.partitions.iter().flatten())
    }
}

impl TopicPartitions {
    fn partition(&self, index: i32) -> Result<Arc<PartitionHandle>, ErrorCode> {
        match usize::try_from(index).ok().and_then(|index| self.partitions.get(index)) {
            Some(Some(handle)) => Ok(Arc::clone(handle)),
            Some(None) => Err(ErrorCode::NotLeaderOrFollower),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }
}
