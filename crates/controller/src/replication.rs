//! Leaders and in-sync replicas: what follows from brokers coming and going, from leaders' reports and from
//! requests to elect.

use ottla_metadata::{LeaderRecoveryState, PartitionRegistration};
use ottla_model::{ErrorCode, LeaderEpoch, NodeId, PartitionEpoch, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::alter_partition::{
    self as alter, AlterPartitionRequest, AlterPartitionResponse, BrokerState,
};
use ottla_protocol::api::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use ottla_protocol::records::metadata::MetadataRecord;

use crate::outcome::code_and_message;
use crate::partition_change::{Election, PartitionChange, ids};
use crate::{Outcome, Refusal, State};

pub(crate) struct ReplicationControl<'a> {
    pub state: &'a State<'a>,
}

/// Why a broker's partitions are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokerChange {
    /// Fenced, shutting down, or back as a new incarnation after a clean stop.
    Gone(NodeId),
    /// Unregistered, or back as a new incarnation that may have lost what was not synced.
    Lost(NodeId),
    /// About to be unfenced.
    Unfenced(NodeId),
}

impl ReplicationControl<'_> {
    /// Changes to every partition that a broker's change concerns.
    pub fn on_broker(&self, change: BrokerChange) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for topic in self.state.topics() {
            for (&index, partition) in topic.partitions.iter() {
                let concerned = match change {
                    BrokerChange::Gone(id) => partition.isr.contains(&id),
                    BrokerChange::Lost(id) => partition.isr.contains(&id) || partition.elr.contains(&id),
                    BrokerChange::Unfenced(id) => {
                        !partition.leader.is_some() && partition.replicas.contains(&id)
                    }
                };
                if !concerned {
                    continue;
                }
                let builder = PartitionChange::new(self.state, &topic.name, topic.id, index, partition);
                let builder = builder.with_topics_election();
                let builder = match change {
                    BrokerChange::Gone(id) => builder.without(id),
                    BrokerChange::Lost(id) => builder.without_lost(id),
                    BrokerChange::Unfenced(id) => builder.with(id),
                };
                records.extend(builder.build());
            }
        }
        records
    }

    pub fn leads_any(&self, id: NodeId) -> bool {
        self.state.topics().any(|topic| topic.partitions.values().any(|partition| partition.leader == id))
    }

    pub fn elect_leaders(&self, request: &ElectLeadersRequest) -> Outcome<ElectLeadersResponse> {
        let election = match request.election_type {
            0 => Election::Preferred,
            1 => Election::Unclean,
            unknown => return Outcome::answer(unknown_election(request, unknown)),
        };
        let mut records = Vec::new();
        let mut results = Vec::new();
        match &request.topic_partitions {
            None => {
                for topic in self.state.topics() {
                    let mut result = ReplicaElectionResult {
                        topic: Str::from(&*topic.name),
                        partition_result: Vec::new(),
                    };
                    for &index in topic.partitions.keys() {
                        let elected = self.elect(&topic.name, index, election);
                        let not_needed =
                            matches!(&elected, Err(refusal) if refusal.code == ErrorCode::ElectionNotNeeded);
                        if !not_needed {
                            result.partition_result.push(partition_result(index, &elected));
                        }
                        records.extend(elected);
                    }
                    results.push(result);
                }
            }
            Some(topics) => {
                for topic in topics {
                    let mut result =
                        ReplicaElectionResult { topic: topic.topic.clone(), partition_result: Vec::new() };
                    for &index in &topic.partitions {
                        let elected = self.elect(&topic.topic, index, election);
                        result.partition_result.push(partition_result(index, &elected));
                        records.extend(elected);
                    }
                    results.push(result);
                }
            }
        }
        Outcome::new(
            records,
            ElectLeadersResponse { replica_election_results: results, ..Default::default() },
        )
    }

    fn elect(&self, name: &str, index: i32, election: Election) -> Result<MetadataRecord, Refusal> {
        let unknown = |message: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
        let topic = self.state.topic(name).ok_or_else(|| unknown(format!("No such topic as {name}")))?;
        let partition = topic
            .partitions
            .get(&index)
            .ok_or_else(|| unknown(format!("No such partition as {name}-{index}")))?;
        let leader = partition.leader;
        let needed = match election {
            Election::Preferred => partition.replicas.first() != Some(&leader),
            _ => !leader.is_some(),
        };
        if !needed {
            return Err(Refusal::of(ErrorCode::ElectionNotNeeded));
        }
        let mut change = PartitionChange::new(self.state, name, topic.id, index, partition);
        change.election = election;
        change.build().ok_or_else(|| {
            Refusal::of(match election {
                Election::Preferred => ErrorCode::PreferredLeaderNotAvailable,
                _ => ErrorCode::EligibleLeadersNotAvailable,
            })
        })
    }

    /// Moves leadership back to preferred replicas, at most `limit` partitions at a time.
    pub fn balance(&self, limit: usize) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for topic in self.state.topics() {
            for (&index, partition) in topic.partitions.iter() {
                if records.len() >= limit {
                    return records;
                }
                let preferred = partition.replicas.first();
                let can = preferred.is_some_and(|&id| {
                    partition.leader != id && partition.isr.contains(&id) && self.state.is_active(id)
                });
                if can {
                    let mut change =
                        PartitionChange::new(self.state, &topic.name, topic.id, index, partition);
                    change.election = Election::Preferred;
                    records.extend(change.build());
                }
            }
        }
        records
    }

    /// Elects for leaderless partitions of topics that allow unclean elections, at most `limit` at a time.
    pub fn elect_uncleanly(&self, limit: usize) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for topic in self.state.topics() {
            for (&index, partition) in topic.partitions.iter() {
                if records.len() >= limit {
                    return records;
                }
                if !partition.leader.is_some() && self.state.unclean_election_enabled(&topic.name) {
                    let mut change =
                        PartitionChange::new(self.state, &topic.name, topic.id, index, partition);
                    change.election = Election::Unclean;
                    records.extend(change.build());
                }
            }
        }
        records
    }

    /// A leader reports who is in sync. The caller has checked the broker's epoch.
    pub fn alter_partition(&self, request: &AlterPartitionRequest) -> Outcome<AlterPartitionResponse> {
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for asked in &request.topics {
            let mut partitions = Vec::with_capacity(asked.partitions.len());
            for partition in &asked.partitions {
                let index = partition.partition_index;
                let altered =
                    self.alter_one(NodeId(request.broker_id), asked.topic_id, partition, &mut records);
                partitions.push(altered.unwrap_or_else(|code| alter::AlterPartitionResponsePartitionData {
                    partition_index: index,
                    error_code: code.code(),
                    ..Default::default()
                }));
            }
            topics.push(alter::AlterPartitionResponseTopicData { topic_id: asked.topic_id, partitions });
        }
        Outcome::new(records, AlterPartitionResponse { topics, ..Default::default() })
    }

    fn alter_one(
        &self,
        broker: NodeId,
        topic_id: Uuid,
        asked: &alter::AlterPartitionRequestPartitionData,
        records: &mut Vec<MetadataRecord>,
    ) -> Result<alter::AlterPartitionResponsePartitionData, ErrorCode> {
        let topic = self.state.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let index = asked.partition_index;
        let partition = topic.partitions.get(&index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let simple = |&broker_id: &i32| BrokerState { broker_id, broker_epoch: -1 };
        let isr: Vec<BrokerState> = match asked.new_isr_with_epochs.is_empty() {
            true => asked.new_isr.iter().map(simple).collect(),
            false => asked.new_isr_with_epochs.clone(),
        };
        self.check_alteration(broker, partition, asked, &isr)?;
        let builder = PartitionChange::new(self.state, &topic.name, topic.id, index, partition);
        let mut builder = builder.with_topics_election();
        builder.isr = isr.iter().map(|state| NodeId(state.broker_id)).collect();
        builder.recovery_state =
            LeaderRecoveryState::from_number(asked.leader_recovery_state).ok_or(ErrorCode::InvalidRequest)?;
        let mut after = PartitionRegistration::clone(partition);
        if let Some(MetadataRecord::PartitionChange(record)) = builder.build() {
            after = partition.merge(&record).map_err(|_| ErrorCode::UnknownServerError)?;
            let moved = record.leader != -2 && record.leader != broker.0;
            records.push(MetadataRecord::PartitionChange(record));
            if moved {
                return Err(ErrorCode::NewLeaderElected);
            }
        }
        Ok(alter::AlterPartitionResponsePartitionData {
            partition_index: index,
            error_code: 0,
            leader_id: after.leader.0,
            leader_epoch: after.leader_epoch.0,
            isr: ids(&after.isr),
            leader_recovery_state: after.leader_recovery_state as i8,
            partition_epoch: after.partition_epoch.0,
        })
    }

    fn check_alteration(
        &self,
        broker: NodeId,
        partition: &PartitionRegistration,
        asked: &alter::AlterPartitionRequestPartitionData,
        isr: &[BrokerState],
    ) -> Result<(), ErrorCode> {
        let (leader_epoch, epoch) = (LeaderEpoch(asked.leader_epoch), PartitionEpoch(asked.partition_epoch));
        if leader_epoch > partition.leader_epoch || epoch > partition.partition_epoch {
            return Err(ErrorCode::NotController);
        }
        if leader_epoch < partition.leader_epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if broker != partition.leader {
            return Err(ErrorCode::InvalidRequest);
        }
        if epoch < partition.partition_epoch {
            return Err(ErrorCode::InvalidUpdateVersion);
        }
        let mut members: Vec<NodeId> = isr.iter().map(|state| NodeId(state.broker_id)).collect();
        members.sort_unstable();
        let distinct = members.windows(2).all(|pair| pair[0] != pair[1]);
        let replicas = members.iter().all(|id| partition.replicas.contains(id));
        let state = LeaderRecoveryState::from_number(asked.leader_recovery_state);
        let recovering = state == Some(LeaderRecoveryState::Recovering);
        if !distinct
            || !replicas
            || !members.contains(&partition.leader)
            || state.is_none()
            || recovering && members.len() > 1
            || recovering && partition.leader_recovery_state == LeaderRecoveryState::Recovered
        {
            return Err(ErrorCode::InvalidRequest);
        }
        let eligible = |state: &BrokerState| {
            self.state.broker(NodeId(state.broker_id)).is_some_and(|broker| {
                !broker.fenced
                    && !broker.in_controlled_shutdown
                    && (state.broker_epoch == -1 || broker.epoch.0 == state.broker_epoch)
            })
        };
        if isr.iter().all(eligible) { Ok(()) } else { Err(ErrorCode::IneligibleReplica) }
    }
}

fn partition_result(index: i32, result: &Result<MetadataRecord, Refusal>) -> PartitionResult {
    let (error_code, error_message) = code_and_message(result);
    PartitionResult { partition_id: index, error_code, error_message }
}

/// Kafka answers both at the top and per partition.
fn unknown_election(request: &ElectLeadersRequest, election_type: i8) -> ElectLeadersResponse {
    let refusal = Refusal::new(ErrorCode::InvalidRequest, format!("Unknown election type {election_type}"));
    let refused = Err(refusal);
    let topics = request.topic_partitions.as_deref().unwrap_or_default().iter();
    let results = topics.map(|topic| ReplicaElectionResult {
        topic: topic.topic.clone(),
        partition_result: topic.partitions.iter().map(|&index| partition_result(index, &refused)).collect(),
    });
    ElectLeadersResponse {
        error_code: ErrorCode::InvalidRequest.code(),
        replica_election_results: results.collect(),
        ..Default::default()
    }
}
