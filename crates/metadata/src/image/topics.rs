//! Topics and their partitions.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use ottla_model::{LeaderEpoch, NodeId, PartitionEpoch, Uuid};
use ottla_protocol::records::metadata::{
    MetadataRecord, PartitionChangeRecord, PartitionRecord, TopicRecord,
};

use super::WriteOptions;
use crate::ReplayError;

/// Every topic, by id and by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicsImage {
    by_id: OrdMap<Uuid, Arc<TopicImage>>,
    by_name: OrdMap<Arc<str>, Uuid>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    pub id: Uuid,
    pub name: Arc<str>,
    pub partitions: OrdMap<i32, Arc<PartitionRegistration>>,
}

/// The state of a partition. The lists of replicas are in the order of the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRegistration {
    /// All replicas; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Where each of `replicas` lies, in the same order.
    pub directories: Vec<Uuid>,
    pub isr: Vec<NodeId>,
    /// Replicas that a reassignment takes away.
    pub removing_replicas: Vec<NodeId>,
    /// Replicas that a reassignment brings.
    pub adding_replicas: Vec<NodeId>,
    pub elr: Vec<NodeId>,
    pub last_known_elr: Vec<NodeId>,
    /// [`NodeId::NONE`] when nobody leads.
    pub leader: NodeId,
    pub leader_recovery_state: LeaderRecoveryState,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
}

/// Whether the leader still has to recover from an unclean election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum LeaderRecoveryState {
    Recovered = 0,
    Recovering = 1,
}

impl LeaderRecoveryState {
    pub fn from_number(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Recovered),
            1 => Some(Self::Recovering),
            _ => None,
        }
    }
}

/// A replica whose directory nobody has told: it comes from before directories were recorded.
const MIGRATING: Uuid = Uuid::ZERO;

impl PartitionRegistration {
    pub fn has_leader(&self) -> bool {
        self.leader.is_some()
    }

    pub fn is_reassigning(&self) -> bool {
        !self.removing_replicas.is_empty() || !self.adding_replicas.is_empty()
    }

    /// Where the replica of this broker lies.
    pub fn directory(&self, broker: NodeId) -> Option<Uuid> {
        let at = self.replicas.iter().position(|replica| *replica == broker)?;
        Some(self.directories.get(at).copied().unwrap_or(MIGRATING))
    }

    /// Replays a whole registration.
    pub fn from_record(record: &PartitionRecord) -> Result<Self, ReplayError> {
        Ok(Self {
            replicas: nodes(&record.replicas),
            directories: directories(&record.directories, record.replicas.len(), "PartitionRecord")?,
            isr: nodes(&record.isr),
            removing_replicas: nodes(&record.removing_replicas),
            adding_replicas: nodes(&record.adding_replicas),
            elr: record.eligible_leader_replicas.as_deref().map(nodes).unwrap_or_default(),
            last_known_elr: record.last_known_elr.as_deref().map(nodes).unwrap_or_default(),
            leader: NodeId(record.leader),
            leader_recovery_state: recovery_state(record.leader_recovery_state, "PartitionRecord")?,
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: PartitionEpoch(record.partition_epoch),
        })
    }

    /// Replays a change: what is absent stays, the partition epoch grows by one, and the leader epoch by one if
    /// a leader is named, be it the same.
    pub fn merge(&self, record: &PartitionChangeRecord) -> Result<Self, ReplayError> {
        let kept =
            |new: &Option<Vec<i32>>, old: &[NodeId]| new.as_deref().map_or_else(|| old.to_vec(), nodes);
        let replicas = kept(&record.replicas, &self.replicas);
        let directories = match &record.directories {
            Some(new) => directories(new, replicas.len(), "PartitionChangeRecord")?,
            // Replicas that stay keep theirs.
            None => replicas.iter().map(|replica| self.directory(*replica).unwrap_or(MIGRATING)).collect(),
        };
        let names_leader = record.leader != -2;
        Ok(Self {
            directories,
            isr: kept(&record.isr, &self.isr),
            removing_replicas: kept(&record.removing_replicas, &self.removing_replicas),
            adding_replicas: kept(&record.adding_replicas, &self.adding_replicas),
            elr: kept(&record.eligible_leader_replicas, &self.elr),
            last_known_elr: kept(&record.last_known_elr, &self.last_known_elr),
            leader: if names_leader { NodeId(record.leader) } else { self.leader },
            leader_recovery_state: match record.leader_recovery_state {
                -1 => self.leader_recovery_state,
                number => recovery_state(number, "PartitionChangeRecord")?,
            },
            leader_epoch: LeaderEpoch(self.leader_epoch.0.wrapping_add(names_leader.into())),
            partition_epoch: PartitionEpoch(self.partition_epoch.0.wrapping_add(1)),
            replicas,
        })
    }

    /// The registration as one record, with what the level of `options` can hold.
    pub fn record(&self, topic_id: Uuid, partition: i32, options: &WriteOptions) -> PartitionRecord {
        let version = options.metadata_version;
        let elr = |list: &[NodeId]| {
            Some(ids(list)).filter(|list| !list.is_empty() && version.supports_eligible_leader_replicas())
        };
        PartitionRecord {
            partition_id: partition,
            topic_id,
            replicas: ids(&self.replicas),
            isr: ids(&self.isr),
            removing_replicas: ids(&self.removing_replicas),
            adding_replicas: ids(&self.adding_replicas),
            leader: self.leader.0,
            leader_recovery_state: self.leader_recovery_state as i8,
            leader_epoch: self.leader_epoch.0,
            partition_epoch: self.partition_epoch.0,
            directories: if version.supports_directories() { self.directories.clone() } else { Vec::new() },
            eligible_leader_replicas: elr(&self.elr),
            last_known_elr: elr(&self.last_known_elr),
        }
    }
}

impl TopicsImage {
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_id.get(self.by_name.get(name)?)
    }

    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.by_name.get(name).copied()
    }

    pub fn partition(&self, topic: Uuid, partition: i32) -> Option<&Arc<PartitionRegistration>> {
        self.by_id(topic)?.partitions.get(&partition)
    }

    /// All topics by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_id.values()
    }

    /// All topics by name, beginning at `from` (the empty name for all).
    pub fn iter_by_name<'a>(&'a self, from: &str) -> impl Iterator<Item = &'a Arc<TopicImage>> {
        self.by_name
            .range::<_, str>((Bound::Included(from), Bound::Unbounded))
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    /// Returns the name as the image keeps it. It is found by it after [`Self::add_name`] or [`Self::add_names`].
    pub(crate) fn add_topic(&mut self, record: &TopicRecord) -> Result<Arc<str>, ReplayError> {
        let name: Arc<str> = Arc::from(&*record.name);
        let topic = TopicImage { id: record.topic_id, name: name.clone(), partitions: OrdMap::new() };
        // One search: a clash, which ends a controller, is taken back.
        if let Some(known) = self.by_id.insert(record.topic_id, Arc::new(topic)) {
            self.by_id.insert(record.topic_id, known);
            return Err(ReplayError::TopicExists(name.to_string()));
        }
        Ok(name)
    }

    /// After a clash the topic of that id is gone again.
    pub(crate) fn add_name(&mut self, name: &Arc<str>, id: Uuid) -> Result<(), ReplayError> {
        if let Some(known) = self.by_name.insert(name.clone(), id) {
            self.by_name.insert(name.clone(), known);
            self.by_id.remove(&id);
            return Err(ReplayError::TopicExists(name.to_string()));
        }
        Ok(())
    }

    /// The names of all topics at once: in their order, which costs a third of adding each as it comes.
    pub(crate) fn add_names(&mut self) -> Result<(), ReplayError> {
        let mut names: Vec<_> = self.by_id.values().map(|topic| (topic.name.clone(), topic.id)).collect();
        names.sort_unstable();
        self.by_name = OrdMap::new();
        names.into_iter().try_for_each(|(name, id)| match self.by_name.insert(name.clone(), id) {
            Some(_) => Err(ReplayError::TopicExists(name.to_string())),
            None => Ok(()),
        })
    }

    pub(crate) fn remove_topic(&mut self, id: Uuid) -> Result<Arc<TopicImage>, ReplayError> {
        let topic = self.by_id.remove(&id).ok_or(ReplayError::UnknownTopic(id))?;
        self.by_name.remove(&topic.name);
        Ok(topic)
    }

    pub(crate) fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), ReplayError> {
        let partition = PartitionRegistration::from_record(record)?;
        let topic = self.topic_mut(record.topic_id)?;
        topic.partitions.insert(record.partition_id, Arc::new(partition));
        Ok(())
    }

    pub(crate) fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), ReplayError> {
        let topic = self.topic_mut(record.topic_id)?;
        let unknown = ReplayError::UnknownPartition(record.topic_id, record.partition_id);
        let partition = topic.partitions.get_mut(&record.partition_id).ok_or(unknown)?;
        *partition = Arc::new(partition.merge(record)?);
        Ok(())
    }

    /// Forgets the eligible leader replicas of a topic, and tells which partitions had some.
    pub(crate) fn clear_elr(&mut self, topic: Uuid) -> Vec<i32> {
        let has_elr = |p: &PartitionRegistration| !p.elr.is_empty() || !p.last_known_elr.is_empty();
        let partitions = self.by_id(topic).into_iter().flat_map(|topic| topic.partitions.iter());
        let found: Vec<i32> = partitions.filter(|(_, p)| has_elr(p)).map(|(index, _)| *index).collect();
        if let (false, Ok(topic)) = (found.is_empty(), self.topic_mut(topic)) {
            for index in &found {
                if let Some(partition) = topic.partitions.get_mut(index) {
                    let partition = Arc::make_mut(partition);
                    partition.elr.clear();
                    partition.last_known_elr.clear();
                }
            }
        }
        found
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut TopicImage, ReplayError> {
        self.by_id.get_mut(&id).map(Arc::make_mut).ok_or(ReplayError::UnknownTopic(id))
    }

    pub(super) fn write(&self, options: &WriteOptions, records: &mut Vec<MetadataRecord>) {
        for topic in self.by_id.values() {
            records.push(TopicRecord { name: topic.name.as_ref().into(), topic_id: topic.id }.into());
            for (index, partition) in &topic.partitions {
                records.push(partition.record(topic.id, *index, options).into());
            }
        }
    }
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn ids(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.0).collect()
}

fn directories(given: &[Uuid], replicas: usize, record: &'static str) -> Result<Vec<Uuid>, ReplayError> {
    match given.len() {
        0 => Ok(vec![MIGRATING; replicas]),
        len if len == replicas => Ok(given.to_vec()),
        len => Err(ReplayError::BadValue { record, field: "directories", value: len as i64 }),
    }
}

fn recovery_state(number: i8, record: &'static str) -> Result<LeaderRecoveryState, ReplayError> {
    let bad = ReplayError::BadValue { record, field: "leaderRecoveryState", value: number.into() };
    LeaderRecoveryState::from_number(number).ok_or(bad)
}
