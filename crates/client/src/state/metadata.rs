//! What is known of the cluster: brokers, topics, leaders. Immutable snapshots; an update makes the next one.
//!
//! Invariant: within one incarnation of a topic (one topic id) a partition's leader epoch never goes back, whichever
//! broker answered (KIP-320, KIP-516, KIP-951).

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ottla_model::{ErrorCode, LeaderEpoch, NodeId, Uuid};
use ottla_protocol::api::describe_cluster::DescribeClusterResponse;
use ottla_protocol::api::metadata::{MetadataResponse, MetadataResponsePartition, MetadataResponseTopic};

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `node.id`
    pub id: NodeId,
    /// Name or address, as the broker advertises it.
    pub host: Arc<str>,
    /// The port of the listener through which the metadata came.
    pub port: u16,
    /// `broker.rack`
    pub rack: Option<Arc<str>>,
}

/// A topic as the cluster last described it.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: Arc<str>,
    /// [`Uuid::ZERO`] from brokers that know no ids.
    pub id: Uuid,
    /// Whether it is the cluster's own, as `__consumer_offsets` is.
    pub is_internal: bool,
    /// Why the topic cannot be used; `partitions` may be empty then.
    pub error: Option<ErrorCode>,
    /// By index.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition as the cluster last described it. The default is one that is not there.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionMetadata {
    /// Who takes and serves its records; `None` while there is nobody.
    pub leader: Option<NodeId>,
    /// Grows with each change of the leader.
    pub leader_epoch: LeaderEpoch,
    /// Who keeps it, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The replicas that are in sync with the leader.
    pub isr: Vec<NodeId>,
    /// The replicas that are on no live broker or whose disk has failed.
    pub offline: Vec<NodeId>,
    /// Why the partition cannot be used, such as LEADER_NOT_AVAILABLE.
    pub error: Option<ErrorCode>,
}

impl Default for PartitionMetadata {
    fn default() -> Self {
        let (replicas, isr, offline) = Default::default();
        let error = Some(ErrorCode::UnknownTopicOrPartition);
        Self { leader: None, leader_epoch: LeaderEpoch::NONE, replicas, isr, offline, error }
    }
}

/// What an answer said of a partition's new leader (KIP-951).
#[derive(Clone, Debug)]
pub(crate) struct LeaderHint<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub leader: NodeId,
    pub epoch: LeaderEpoch,
    /// Where it listens, if the answer said so.
    pub endpoint: Option<Broker>,
}

/// A snapshot of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// `None` before the first answer.
    pub cluster_id: Option<Arc<str>>,
    /// The broker to ask for what the controller decides.
    pub controller: Option<NodeId>,
    /// The brokers that are alive; of a client that asks controllers, the controllers.
    pub brokers: BTreeMap<NodeId, Broker>,
    /// The topics that were asked for, with those that the cluster refuses to describe.
    pub topics: HashMap<Arc<str>, Arc<TopicMetadata>, foldhash::fast::RandomState>,
}

impl Metadata {
    /// A topic by its name, if it was asked for and answered.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicMetadata>> {
        self.topics.get(name)
    }

    /// A topic by its id. Looks at all topics.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicMetadata>> {
        self.topics.values().find(|topic| topic.id == id && !id.is_zero())
    }

    /// A partition, if its topic has so many.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionMetadata> {
        self.topic(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    /// A live broker by its id.
    pub fn broker(&self, id: NodeId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// The snapshot after an answer. Brokers are replaced. Of topics those in `wanted` are kept, and stay as they were
    /// where the answer does not name them; `None`: the answer is about all topics, and there are no others.
    #[must_use]
    pub(crate) fn updated(&self, answer: &MetadataResponse, wanted: Option<&HashSet<Arc<str>>>) -> Self {
        let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted.contains(name));
        let stays = |name: &str| wanted.is_some_and(|wanted| wanted.contains(name));
        let brokers = answer.brokers.iter().map(|broker| {
            let id = NodeId(broker.node_id);
            let rack = broker.rack.as_ref().map(|rack| Arc::from(rack.as_str()));
            (id, Broker { id, host: broker.host.as_str().into(), port: broker.port as u16, rack })
        });
        let mut next = Self {
            cluster_id: answer.cluster_id.as_ref().map(|id| Arc::from(id.as_str())),
            controller: (answer.controller_id >= 0).then_some(NodeId(answer.controller_id)),
            brokers: brokers.collect(),
            topics: self.topics.iter().filter(|(name, _)| stays(name)).map(clone_pair).collect(),
        };
        for topic in &answer.topics {
            let Some(name) = topic.name.as_ref().filter(|name| is_wanted(name)) else { continue };
            let name: Arc<str> = self
                .topics
                .get_key_value(name.as_str())
                .map_or_else(|| name.as_str().into(), |(name, _)| name.clone());
            let known = self.topics.get(&name);
            next.topics.insert(name.clone(), Arc::new(merge(name, known.map(|known| &**known), topic)));
        }
        next
    }

    /// A snapshot of the controllers, which stand in place of brokers.
    pub(crate) fn of_controllers(answer: &DescribeClusterResponse) -> Self {
        let brokers = answer.brokers.iter().map(|node| {
            let id = NodeId(node.broker_id);
            (id, Broker { id, host: node.host.as_str().into(), port: node.port as u16, rack: None })
        });
        Self {
            cluster_id: Some(answer.cluster_id.as_str().into()),
            controller: (answer.controller_id >= 0).then_some(NodeId(answer.controller_id)),
            brokers: brokers.collect(),
            topics: Default::default(),
        }
    }

    /// The snapshot after a broker has named the new leader of a partition (KIP-951); `None` if that is no news.
    #[must_use]
    pub(crate) fn with_leader(&self, hint: &LeaderHint<'_>) -> Option<Self> {
        let LeaderHint { topic, partition, leader, epoch, ref endpoint } = *hint;
        let known = self.partition(topic, partition)?;
        let reachable = endpoint.is_some() || self.brokers.contains_key(&leader);
        if epoch <= known.leader_epoch || !leader.is_some() || !reachable {
            return None;
        }
        let mut next = self.clone();
        let entry = Arc::make_mut(next.topics.get_mut(topic)?);
        let partition = entry.partitions.get_mut(usize::try_from(partition).ok()?)?;
        partition.leader = Some(leader);
        partition.leader_epoch = epoch;
        partition.error = None;
        if let Some(endpoint) = endpoint {
            next.brokers.insert(leader, endpoint.clone());
        }
        Some(next)
    }
}

fn clone_pair((name, topic): (&Arc<str>, &Arc<TopicMetadata>)) -> (Arc<str>, Arc<TopicMetadata>) {
    (Arc::clone(name), Arc::clone(topic))
}

fn merge(name: Arc<str>, known: Option<&TopicMetadata>, topic: &MetadataResponseTopic) -> TopicMetadata {
    let error = ErrorCode::from_code(topic.error_code).unwrap_or(ErrorCode::UnknownServerError);
    // A topic deleted and made anew counts from the beginning.
    let known = known.filter(|known| known.id == topic.topic_id);
    let mut partitions: Vec<PartitionMetadata> = Vec::new();
    for partition in &topic.partitions {
        let Ok(index) = usize::try_from(partition.partition_index) else { continue };
        // Indexes are dense; one far beyond the answer's length is no partition.
        if index >= topic.partitions.len() {
            continue;
        }
        if partitions.len() <= index {
            partitions.resize_with(index + 1, PartitionMetadata::default);
        }
        let known = known.and_then(|known| known.partitions.get(index));
        partitions[index] = merge_partition(known, partition);
    }
    TopicMetadata {
        name,
        id: topic.topic_id,
        is_internal: topic.is_internal,
        error: (error != ErrorCode::None).then_some(error),
        partitions,
    }
}

fn merge_partition(
    known: Option<&PartitionMetadata>,
    partition: &MetadataResponsePartition,
) -> PartitionMetadata {
    let epoch = LeaderEpoch(partition.leader_epoch);
    if let Some(known) = known
        && epoch.is_some()
        && epoch < known.leader_epoch
    {
        return known.clone();
    }
    let error = ErrorCode::from_code(partition.error_code).unwrap_or(ErrorCode::UnknownServerError);
    let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect();
    PartitionMetadata {
        leader: (partition.leader_id >= 0).then_some(NodeId(partition.leader_id)),
        leader_epoch: epoch,
        replicas: nodes(&partition.replica_nodes),
        isr: nodes(&partition.isr_nodes),
        offline: nodes(&partition.offline_replicas),
        error: (error != ErrorCode::None).then_some(error),
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::api::metadata::MetadataResponseBroker;

    use super::*;

    fn answer(id: u128, epoch: i32, leader: i32) -> MetadataResponse {
        let broker = |node_id| MetadataResponseBroker { node_id, host: "h".into(), port: 9092, rack: None };
        let partition =
            MetadataResponsePartition { leader_id: leader, leader_epoch: epoch, ..Default::default() };
        let topic = MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: Uuid::from_u128(id),
            partitions: vec![partition],
            ..Default::default()
        };
        MetadataResponse { brokers: vec![broker(1), broker(2)], topics: vec![topic], ..Default::default() }
    }

    fn leader(metadata: &Metadata) -> (i32, i32) {
        let partition = metadata.partition("t", 0).unwrap();
        (partition.leader.unwrap().0, partition.leader_epoch.0)
    }

    #[test]
    fn epochs_never_go_back_within_a_topic_id() {
        let metadata = Metadata::default().updated(&answer(7, 5, 1), None);
        assert_eq!(leader(&metadata), (1, 5));
        assert_eq!(leader(&metadata.updated(&answer(7, 4, 2), None)), (1, 5));
        assert_eq!(leader(&metadata.updated(&answer(7, 6, 2), None)), (2, 6));
        assert_eq!(leader(&metadata.updated(&answer(8, 0, 2), None)), (2, 0));
    }

    #[test]
    fn topics_stay_while_they_are_wanted_and_not_known_to_be_gone() {
        let metadata = Metadata::default().updated(&answer(7, 5, 1), None);
        let nothing = MetadataResponse::default();
        assert!(metadata.updated(&nothing, Some(&HashSet::from_iter(["t".into()]))).topic("t").is_some());
        assert!(metadata.updated(&answer(7, 6, 2), Some(&HashSet::new())).topics.is_empty());
        assert!(metadata.updated(&nothing, None).topics.is_empty());
    }

    #[test]
    fn a_named_leader_counts_if_it_is_newer_and_reachable() {
        let metadata = Metadata::default().updated(&answer(7, 5, 1), None);
        let hint = |partition, leader, epoch, endpoint| LeaderHint {
            topic: "t",
            partition,
            leader: NodeId(leader),
            epoch: LeaderEpoch(epoch),
            endpoint,
        };
        assert_eq!(metadata.with_leader(&hint(0, 2, 5, None)), None);
        assert_eq!(metadata.with_leader(&hint(0, 3, 6, None)), None);
        assert_eq!(metadata.with_leader(&hint(1, 2, 6, None)), None);
        let endpoint = Broker { id: NodeId(3), host: "new".into(), port: 1, rack: None };
        let next = metadata.with_leader(&hint(0, 3, 6, Some(endpoint))).unwrap();
        assert_eq!(leader(&next), (3, 6));
        assert_eq!(&*next.broker(NodeId(3)).unwrap().host, "new");
        assert_eq!(leader(&next.updated(&answer(7, 5, 1), None)), (3, 6));
    }

    #[test]
    fn an_answer_with_absurd_indexes_allocates_nothing() {
        let mut absurd = answer(7, 5, 1);
        absurd.topics[0].partitions[0].partition_index = i32::MAX;
        assert!(Metadata::default().updated(&absurd, None).topic("t").unwrap().partitions.is_empty());
    }
}
