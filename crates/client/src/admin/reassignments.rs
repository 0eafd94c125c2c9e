//! Where replicas are, and which of them leads: reassignments, elections, the directories of a broker.

use std::collections::BTreeMap;

use ottla_model::NodeId;
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignableTopic,
};
use ottla_protocol::api::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use ottla_protocol::api::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse, TopicPartitions};
use ottla_protocol::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, ListPartitionReassignmentsTopics,
};

use super::{Admin, Partition, PartitionResults, by_topic, checked};
use crate::client::Target;
use crate::error::{Error, Result};

/// A partition that is being moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingReassignment {
    /// All that have it at present, the new ones too.
    pub replicas: Vec<NodeId>,
    /// Those of them that are being added.
    pub adding: Vec<NodeId>,
    /// Those of them that go when the new ones are in sync.
    pub removing: Vec<NodeId>,
}

/// Who may lead after an election, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica, if it is in sync.
    Preferred = 0,
    /// Any live replica of a partition without a leader. Records may be lost.
    Unclean = 1,
}

/// Whether a move may leave a partition with more or fewer replicas than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationFactorChange {
    /// The plan says how many there are.
    Allowed,
    /// INVALID_REPLICATION_FACTOR where it would. Brokers before 4.1 do not know of it and allow it.
    Refused,
}

impl Admin {
    /// Moves partitions to other replicas; `None` takes back a move under way (NO_REASSIGNMENT_IN_PROGRESS if there is
    /// none). Moves are begun when this returns, see [`Self::list_partition_reassignments`].
    pub async fn alter_partition_reassignments(
        &self,
        changes: &BTreeMap<Partition, Option<Vec<NodeId>>>,
        replication_factor: ReplicationFactorChange,
    ) -> Result<PartitionResults> {
        let topics = by_topic(changes.keys()).into_iter().map(|(name, partitions)| ReassignableTopic {
            name: name.into(),
            partitions: partitions
                .into_iter()
                .map(|partition_index| ReassignablePartition {
                    partition_index,
                    replicas: changes[&(name.to_owned(), partition_index)]
                        .as_ref()
                        .map(|replicas| replicas.iter().map(|node| node.0).collect()),
                })
                .collect(),
        });
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: self.timeout_ms(),
            allow_replication_factor_change: replication_factor == ReplicationFactorChange::Allowed,
            topics: topics.collect(),
        };
        let check = |answer: &AlterPartitionReassignmentsResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())
        };
        let answer = self.ask(Target::Controller, request, check).await?;
        let mut results = PartitionResults::new();
        for topic in answer.responses {
            for partition in topic.partitions {
                let result = Error::check(partition.error_code, partition.error_message.as_deref());
                results.insert((topic.name.as_str().to_owned(), partition.partition_index), result);
            }
        }
        Ok(results)
    }

    /// The moves under way: of these partitions, or all.
    pub async fn list_partition_reassignments(
        &self,
        partitions: Option<&[Partition]>,
    ) -> Result<BTreeMap<Partition, OngoingReassignment>> {
        let topics = partitions.map(|partitions| {
            by_topic(partitions)
                .into_iter()
                .map(|(name, partition_indexes)| ListPartitionReassignmentsTopics {
                    name: name.into(),
                    partition_indexes,
                })
                .collect()
        });
        let request = ListPartitionReassignmentsRequest { timeout_ms: self.timeout_ms(), topics };
        let check = |answer: &ListPartitionReassignmentsResponse| {
            Error::check(answer.error_code, answer.error_message.as_deref())
        };
        let answer = self.ask(Target::Controller, request, check).await?;
        let nodes = |ids: Vec<i32>| ids.into_iter().map(NodeId).collect();
        let mut ongoing = BTreeMap::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                let reassignment = OngoingReassignment {
                    replicas: nodes(partition.replicas),
                    adding: nodes(partition.adding_replicas),
                    removing: nodes(partition.removing_replicas),
                };
                ongoing.insert((topic.name.as_str().to_owned(), partition.partition_index), reassignment);
            }
        }
        Ok(ongoing)
    }

    /// Elects leaders of these partitions, or of all that need it. ELECTION_NOT_NEEDED is the result of a partition
    /// that is led as it should be.
    pub async fn elect_leaders(
        &self,
        kind: ElectionType,
        partitions: Option<&[Partition]>,
    ) -> Result<PartitionResults> {
        let topic_partitions = partitions.map(|partitions| {
            by_topic(partitions)
                .into_iter()
                .map(|(topic, partitions)| TopicPartitions { topic: topic.into(), partitions })
                .collect()
        });
        let request = ElectLeadersRequest {
            election_type: kind as i8,
            topic_partitions,
            timeout_ms: self.timeout_ms(),
        };
        let check = |answer: &ElectLeadersResponse| checked(answer.error_code);
        let answer = self.ask(Target::Controller, request, check).await?;
        let mut results = PartitionResults::new();
        for topic in answer.replica_election_results {
            for partition in topic.partition_result {
                let result = Error::check(partition.error_code, partition.error_message.as_deref());
                results.insert((topic.topic.as_str().to_owned(), partition.partition_id), result);
            }
        }
        Ok(results)
    }

    /// Moves a broker's replicas to directories, by their paths; replicas that it does not have yet are made there.
    pub async fn alter_replica_log_dirs(
        &self,
        broker: NodeId,
        paths: &BTreeMap<Partition, String>,
    ) -> Result<PartitionResults> {
        let mut by_path = BTreeMap::<&str, Vec<&Partition>>::new();
        for (partition, path) in paths {
            by_path.entry(path).or_default().push(partition);
        }
        let dirs = by_path.into_iter().map(|(path, partitions)| AlterReplicaLogDir {
            path: path.into(),
            topics: by_topic(partitions)
                .into_iter()
                .map(|(name, partitions)| AlterReplicaLogDirTopic { name: name.into(), partitions })
                .collect(),
        });
        let request = AlterReplicaLogDirsRequest { dirs: dirs.collect() };
        let answer = self.ask(Target::Node(broker), request, |_| Ok(())).await?;
        let mut results = PartitionResults::new();
        for topic in answer.results {
            for partition in topic.partitions {
                let place = (topic.topic_name.as_str().to_owned(), partition.partition_index);
                results.insert(place, checked(partition.error_code));
            }
        }
        Ok(results)
    }
}
