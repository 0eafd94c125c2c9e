//! Moving partitions to other brokers.

use ottla_metadata::{PartitionRegistration, TopicImage};
use ottla_model::{ErrorCode, NodeId};
use ottla_protocol::Str;
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use ottla_protocol::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OngoingPartitionReassignment,
    OngoingTopicReassignment,
};
use ottla_protocol::records::metadata::MetadataRecord;

use crate::outcome::code_and_message;
use crate::partition_change::{PartitionChange, ids};
use crate::topics::check_assignment;
use crate::{Outcome, Refusal, State};

pub(crate) struct ReassignmentControl<'a> {
    pub state: &'a State<'a>,
}

impl ReassignmentControl<'_> {
    pub fn alter(
        &self,
        request: &AlterPartitionReassignmentsRequest,
    ) -> Outcome<AlterPartitionReassignmentsResponse> {
        let mut records = Vec::new();
        let mut responses = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let result = self.alter_one(&topic.name, partition, request.allow_replication_factor_change);
                let (error_code, error_message) = code_and_message(&result);
                partitions.push(ReassignablePartitionResponse {
                    partition_index: partition.partition_index,
                    error_code,
                    error_message,
                });
                records.extend(result.ok().flatten());
            }
            responses.push(ReassignableTopicResponse { name: topic.name.clone(), partitions });
        }
        let response = AlterPartitionReassignmentsResponse {
            allow_replication_factor_change: request.allow_replication_factor_change,
            responses,
            ..Default::default()
        };
        Outcome::new(records, response)
    }

    fn alter_one(
        &self,
        name: &Str,
        asked: &ReassignablePartition,
        allow_replication_factor_change: bool,
    ) -> Result<Option<MetadataRecord>, Refusal> {
        let unknown = |message: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
        let topic =
            self.state.topic(name).ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
        let index = asked.partition_index;
        let partition = topic
            .partitions
            .get(&index)
            .ok_or_else(|| unknown(format!("Unable to find partition {name}:{index}.")))?;
        let change = PartitionChange::new(self.state, name, topic.id, index, partition);
        match &asked.replicas {
            None => self.cancel(name, index, partition, change),
            Some(replicas) => {
                let target: Vec<NodeId> = replicas.iter().copied().map(NodeId).collect();
                check_assignment(self.state, &target, None)?;
                if !allow_replication_factor_change {
                    check_same_size(partition, &target)?;
                }
                Ok(start(partition, target, change).build())
            }
        }
    }

    fn cancel(
        &self,
        name: &Str,
        index: i32,
        partition: &PartitionRegistration,
        change: PartitionChange<'_>,
    ) -> Result<Option<MetadataRecord>, Refusal> {
        if !is_moving(partition) {
            return Err(Refusal::bare(ErrorCode::NoReassignmentInProgress));
        }
        let without_adding = |list: &[NodeId]| -> Vec<NodeId> {
            list.iter().copied().filter(|id| !partition.adding_replicas.contains(id)).collect()
        };
        let replicas = without_adding(&partition.replicas);
        let mut isr = without_adding(&partition.isr);
        if isr.is_empty() {
            if !self.state.unclean_election_enabled(name) {
                let message = format!(
                    "Unable to revert partition assignment for {name}:{index} because it would require an unclean \
                     leader election."
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            isr.extend(replicas.first());
        }
        let mut change = change.with_topics_election();
        (change.isr, change.replicas) = (isr, replicas);
        change.removing.clear();
        change.adding.clear();
        Ok(change.build())
    }

    pub fn list(&self, request: &ListPartitionReassignmentsRequest) -> ListPartitionReassignmentsResponse {
        let mut topics = Vec::new();
        match &request.topics {
            None => {
                for topic in self.state.topics() {
                    topics.extend(moving(topic, topic.partitions.keys().copied()));
                }
            }
            Some(asked) => {
                for asked in asked {
                    if let Some(topic) = self.state.topic(&asked.name) {
                        topics.extend(moving(topic, asked.partition_indexes.iter().copied()));
                    }
                }
            }
        }
        ListPartitionReassignmentsResponse { topics, ..Default::default() }
    }
}

/// The replication factor is the one before a reassignment that is already under way.
fn check_same_size(partition: &PartitionRegistration, target: &[NodeId]) -> Result<(), Refusal> {
    let current = partition.replicas.len().saturating_sub(partition.adding_replicas.len());
    if current == target.len() {
        return Ok(());
    }
    let message = format!("The replication factor is changed from {current} to {}", target.len());
    Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message))
}

/// The new replicas lead the list; those that are to go follow until all new ones are in sync.
fn start<'a>(
    partition: &PartitionRegistration,
    target: Vec<NodeId>,
    mut change: PartitionChange<'a>,
) -> PartitionChange<'a> {
    let difference = |a: &[NodeId], b: &[NodeId]| -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = a.iter().copied().filter(|id| !b.contains(id)).collect();
        ids.sort_unstable();
        ids
    };
    let removing = difference(&partition.replicas, &target);
    let adding = difference(&target, &partition.replicas);
    let mut replicas = target;
    replicas.extend(&removing);
    change.replicas = replicas;
    if !removing.is_empty() {
        change.removing = removing;
    }
    if !adding.is_empty() {
        change.adding = adding;
    }
    change
}

fn is_moving(partition: &PartitionRegistration) -> bool {
    !partition.adding_replicas.is_empty() || !partition.removing_replicas.is_empty()
}

fn moving(topic: &TopicImage, indexes: impl Iterator<Item = i32>) -> Option<OngoingTopicReassignment> {
    let ongoing = |index: i32| {
        let partition = topic.partitions.get(&index).filter(|partition| is_moving(partition))?;
        Some(OngoingPartitionReassignment {
            partition_index: index,
            replicas: ids(&partition.replicas),
            adding_replicas: ids(&partition.adding_replicas),
            removing_replicas: ids(&partition.removing_replicas),
        })
    };
    let partitions: Vec<_> = indexes.filter_map(ongoing).collect();
    (!partitions.is_empty()).then(|| OngoingTopicReassignment { name: Str::from(&*topic.name), partitions })
}
