//! Topics: creating and deleting them, and adding partitions.

use std::collections::{BTreeMap, BTreeSet};

use ottla_model::{ErrorCode, NodeId, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use ottla_protocol::api::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use ottla_protocol::api::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use ottla_protocol::records::metadata::{
    ClearElrRecord, MetadataRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};

use crate::configs::{ConfigChange, ConfigControl};
use crate::outcome::{code_and_message, each_once};
use crate::partition_change::ids;
use crate::{Outcome, Random, Refusal, State, placement, topic_names};

/// The most partitions one request may create: they are one atomic batch.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

pub(crate) struct TopicControl<'a> {
    pub state: &'a State<'a>,
}

impl TopicControl<'_> {
    /// All topics that can be created are, atomically; the others are answered with why not.
    pub fn create(
        &self,
        request: &CreateTopicsRequest,
        random: &mut Random,
    ) -> Outcome<CreateTopicsResponse> {
        if self.partitions_wanted(request) > PARTITIONS_PER_REQUEST_MAX {
            let refusal = Refusal::new(
                ErrorCode::PolicyViolation,
                "Excessively large number of partitions per request.",
            );
            let topics = request.topics.iter().map(|topic| refused(&topic.name, &refusal)).collect();
            return Outcome::answer(CreateTopicsResponse { topics, ..Default::default() });
        }
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for (topic, is_once) in each_once(&request.topics, |topic| &topic.name, "Duplicate topic name.") {
            let result = is_once.and_then(|()| self.create_one(topic, &mut records, random));
            topics.push(result.unwrap_or_else(|refusal| refused(&topic.name, &refusal)));
        }
        if request.validate_only {
            records.clear();
        }
        Outcome::new(records, CreateTopicsResponse { topics, ..Default::default() })
    }

    fn partitions_wanted(&self, request: &CreateTopicsRequest) -> usize {
        let wanted = |topic: &CreatableTopic| match topic.num_partitions {
            _ if !topic.assignments.is_empty() => topic.assignments.len(),
            -1 => self.state.config.default_partitions.max(0) as usize,
            count => count.max(0) as usize,
        };
        request.topics.iter().map(wanted).sum()
    }

    fn create_one(
        &self,
        topic: &CreatableTopic,
        records: &mut Vec<MetadataRecord>,
        random: &mut Random,
    ) -> Result<CreatableTopicResult, Refusal> {
        self.check_new_name(&topic.name)?;
        let overrides = self.check_configs(topic)?;
        let changes = overrides.iter().map(|(name, value)| ConfigChange::set(name.clone(), value.clone()));
        let changes: Vec<ConfigChange> = changes.collect();
        let configs = ConfigControl { state: self.state };
        let config_records = configs.topic_records(&topic.name, &changes)?;
        let partitions =
            if topic.assignments.is_empty() { self.placed(topic, random)? } else { self.assigned(topic)? };

        let topic_id = random.uuid();
        records.push(MetadataRecord::Topic(TopicRecord { name: topic.name.clone(), topic_id }));
        records.extend(config_records);
        if overrides.contains_key(MIN_INSYNC_REPLICAS) && self.state.elr_enabled() {
            records.push(MetadataRecord::ClearElr(ClearElrRecord { topic_name: topic.name.clone() }));
        }
        let replication_factor = partitions.first().map_or(0, |partition| partition.replicas.len());
        for (index, partition) in (0..).zip(&partitions) {
            records.push(self.partition_record(topic_id, index, partition));
        }
        let configs = configs.effective_topic_configs(&overrides).into_iter();
        let configs = configs.map(|config| CreatableTopicConfigs {
            name: Str::from(config.name.as_str()),
            value: config.value.as_deref().map(Str::from),
            read_only: config.read_only,
            config_source: config.source as i8,
            is_sensitive: config.sensitive,
        });
        Ok(CreatableTopicResult {
            name: topic.name.clone(),
            topic_id,
            num_partitions: partitions.len() as i32,
            replication_factor: replication_factor as i16,
            configs: Some(configs.collect()),
            ..Default::default()
        })
    }

    fn check_new_name(&self, name: &Str) -> Result<(), Refusal> {
        if **name == *CLUSTER_METADATA_TOPIC {
            let message = format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited.");
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        if let Some(reason) = topic_names::invalid_reason(name) {
            return Err(Refusal::new(ErrorCode::InvalidTopicException, reason));
        }
        if self.state.topic(name).is_some() {
            return Err(Refusal::new(
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{name}' already exists."),
            ));
        }
        if topic_names::may_collide(name)
            && let Some(other) = self.state.topics().find(|topic| topic_names::collide(&topic.name, name))
        {
            let message = format!("Topic '{name}' collides with existing topic: {}", other.name);
            return Err(Refusal::new(ErrorCode::InvalidTopicException, message));
        }
        Ok(())
    }

    /// The overrides as a map; of a key given twice the last counts.
    fn check_configs(&self, topic: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
        let mut overrides = BTreeMap::new();
        let mut nulls: Vec<&str> = Vec::new();
        for config in &topic.configs {
            match &config.value {
                Some(value) => drop(overrides.insert(config.name.to_string(), value.to_string())),
                None => nulls.push(&config.name),
            }
        }
        if !nulls.is_empty() {
            let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        }
        Ok(overrides)
    }

    fn placed(&self, topic: &CreatableTopic, random: &mut Random) -> Result<Vec<NewPartition>, Refusal> {
        let (wanted, replication_factor) = (topic.num_partitions, topic.replication_factor);
        if replication_factor < -1 || replication_factor == 0 {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value.",
            ));
        }
        if wanted < -1 || wanted == 0 {
            return Err(Refusal::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions was set to an invalid non-positive value.",
            ));
        }
        let config = self.state.config;
        let partitions = if wanted == -1 { config.default_partitions } else { wanted };
        let replication_factor =
            if replication_factor == -1 { config.default_replication_factor } else { replication_factor };
        self.place(partitions.max(0) as usize, replication_factor, random)
    }

    fn place(
        &self,
        partitions: usize,
        replication_factor: i16,
        random: &mut Random,
    ) -> Result<Vec<NewPartition>, Refusal> {
        let refuse = |why: &str| {
            let message = format!("Unable to replicate the partition {replication_factor} time(s): {why}");
            Refusal::new(ErrorCode::InvalidReplicationFactor, message)
        };
        let placed = placement::place(self.state.usable_brokers(), partitions, replication_factor, random)
            .map_err(|error| refuse(&error.to_string()))?;
        let partition = |replicas| {
            self.new_partition(replicas)
                .ok_or_else(|| refuse("All brokers are currently fenced or in controlled shutdown."))
        };
        placed.into_iter().map(partition).collect()
    }

    fn assigned(&self, topic: &CreatableTopic) -> Result<Vec<NewPartition>, Refusal> {
        let not_default = |what: &str| {
            let message =
                format!("A manual partition assignment was specified, but {what} was not set to -1.");
            Refusal::new(ErrorCode::InvalidRequest, message)
        };
        if topic.replication_factor != -1 {
            return Err(not_default("replication factor"));
        }
        if topic.num_partitions != -1 {
            return Err(not_default("numPartitions"));
        }
        let mut partitions = BTreeMap::new();
        let mut replication_factor = None;
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if partitions.contains_key(&index) {
                let message = format!("Found multiple manual partition assignments for partition {index}");
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            let partition = self.assigned_partition(index, &assignment.broker_ids, replication_factor)?;
            replication_factor = Some(assignment.broker_ids.len());
            partitions.insert(index, partition);
        }
        if !partitions.keys().copied().eq(0..partitions.len() as i32) {
            return Err(Refusal::new(
                ErrorCode::InvalidReplicaAssignment,
                "partitions should be a consecutive 0-based integer sequence",
            ));
        }
        Ok(partitions.into_values().collect())
    }

    fn assigned_partition(
        &self,
        index: i32,
        brokers: &[i32],
        replication_factor: Option<usize>,
    ) -> Result<NewPartition, Refusal> {
        let replicas: Vec<NodeId> = brokers.iter().copied().map(NodeId).collect();
        check_assignment(self.state, &replicas, replication_factor)?;
        self.new_partition(replicas).ok_or_else(|| {
            let message = format!(
                "All brokers specified in the manual partition assignment for partition {index} are fenced or in \
                 controlled shutdown."
            );
            Refusal::new(ErrorCode::InvalidReplicaAssignment, message)
        })
    }

    fn new_partition(&self, replicas: Vec<NodeId>) -> Option<NewPartition> {
        let isr: Vec<NodeId> = replicas.iter().copied().filter(|&id| self.state.is_active(id)).collect();
        let leader = *isr.first()?;
        Some(NewPartition { replicas, isr, leader })
    }

    fn partition_record(&self, topic_id: Uuid, index: i32, partition: &NewPartition) -> MetadataRecord {
        let directory = |&id: &NodeId| self.state.default_directory(id);
        let directories = match self.state.has_directories() {
            true => partition.replicas.iter().map(directory).collect(),
            false => Vec::new(),
        };
        MetadataRecord::Partition(PartitionRecord {
            partition_id: index,
            topic_id,
            replicas: ids(&partition.replicas),
            isr: ids(&partition.isr),
            leader: partition.leader.0,
            leader_epoch: 0,
            partition_epoch: 0,
            directories,
            ..Default::default()
        })
    }

    pub fn delete(&self, request: &DeleteTopicsRequest) -> Outcome<DeleteTopicsResponse> {
        let mut deletion = Deletion::default();
        if !self.state.config.delete_topic_enable {
            let disabled = Err(Refusal::new(ErrorCode::TopicDeletionDisabled, "Topic deletion is disabled."));
            for name in &request.topic_names {
                deletion.answer(Some(name.clone()), Uuid::ZERO, &disabled);
            }
            for topic in &request.topics {
                deletion.answer(topic.name.clone(), topic.topic_id, &disabled);
            }
            return deletion.outcome();
        }
        let invalid = |why: &str| Err(Refusal::new(ErrorCode::InvalidRequest, why));
        let mut names: Vec<Str> = request.topic_names.clone();
        let mut by_id: Vec<Uuid> = Vec::new();
        for topic in &request.topics {
            match &topic.name {
                None if topic.topic_id.is_zero() => {
                    deletion.answer(None, Uuid::ZERO, &invalid("Neither topic name nor id were specified."));
                }
                None => by_id.push(topic.topic_id),
                Some(name) if topic.topic_id.is_zero() => names.push(name.clone()),
                Some(name) => {
                    let both = invalid("You may not specify both topic name and topic id.");
                    deletion.answer(Some(name.clone()), topic.topic_id, &both);
                }
            }
        }
        let twice = duplicates(names.iter());
        for name in &twice {
            deletion.answer(Some(name.clone()), Uuid::ZERO, &invalid("Duplicate topic name."));
        }
        let ids_twice = duplicates(by_id.iter());
        for id in &ids_twice {
            deletion.answer(None, *id, &invalid("Duplicate topic id."));
        }
        let mut to_delete: BTreeMap<Uuid, Str> = BTreeMap::new();
        for id in by_id.into_iter().filter(|id| !ids_twice.contains(id)) {
            match self.state.topic_by_id(id) {
                Some(topic) => drop(to_delete.insert(id, Str::from(&*topic.name))),
                None => deletion.answer(None, id, &Err(Refusal::of(ErrorCode::UnknownTopicId))),
            }
        }
        for name in names.into_iter().filter(|name| !twice.contains(name)) {
            match self.state.topic(&name) {
                Some(topic) if to_delete.contains_key(&topic.id) || ids_twice.contains(&topic.id) => {
                    to_delete.remove(&topic.id);
                    let again = invalid("The provided topic name maps to an ID that was already supplied.");
                    deletion.answer(Some(name), topic.id, &again);
                }
                Some(topic) => drop(to_delete.insert(topic.id, name)),
                None => {
                    let unknown = Err(Refusal::of(ErrorCode::UnknownTopicOrPartition));
                    deletion.answer(Some(name), Uuid::ZERO, &unknown);
                }
            }
        }
        for (topic_id, name) in to_delete {
            deletion.records.push(MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id }));
            deletion.answer(Some(name), topic_id, &Ok(()));
        }
        deletion.outcome()
    }

    pub fn create_partitions(
        &self,
        request: &CreatePartitionsRequest,
        random: &mut Random,
    ) -> Outcome<CreatePartitionsResponse> {
        let mut records = Vec::new();
        let mut results = Vec::with_capacity(request.topics.len());
        for (topic, is_once) in each_once(&request.topics, |topic| &topic.name, "Duplicate topic name.") {
            let result = is_once.and_then(|()| self.create_partitions_of(topic, random));
            let (error_code, error_message) = code_and_message(&result);
            results.push(CreatePartitionsTopicResult { name: topic.name.clone(), error_code, error_message });
            records.extend(result.unwrap_or_default());
        }
        if request.validate_only {
            records.clear();
        }
        Outcome::new(records, CreatePartitionsResponse { results, ..Default::default() })
    }

    fn create_partitions_of(
        &self,
        request: &CreatePartitionsTopic,
        random: &mut Random,
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        let invalid = |message: String| Refusal::new(ErrorCode::InvalidPartitions, message);
        let topic =
            self.state.topic(&request.name).ok_or_else(|| Refusal::of(ErrorCode::UnknownTopicOrPartition))?;
        let (existing, wanted) = (topic.partitions.len(), request.count);
        if i64::from(wanted) == existing as i64 {
            return Err(invalid(format!("Topic already has {existing} partition(s).")));
        }
        if i64::from(wanted) < existing as i64 {
            return Err(invalid(format!(
                "The topic {} currently has {existing} partition(s); {wanted} would not be an increase.",
                request.name
            )));
        }
        let additional = wanted as usize - existing;
        if additional > PARTITIONS_PER_REQUEST_MAX {
            let message = "Excessively large number of additional partitions per request.";
            return Err(Refusal::new(ErrorCode::PolicyViolation, message));
        }
        let replication_factor =
            topic.partitions.values().next().map_or(1, |partition| partition.replicas.len());
        let partitions = match &request.assignments {
            None => self.place(additional, replication_factor as i16, random)?,
            Some(assignments) if assignments.len() != additional => {
                let message = format!(
                    "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                );
                return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
            }
            Some(assignments) => (existing as i32..)
                .zip(assignments)
                .map(|(index, assignment)| {
                    self.assigned_partition(index, &assignment.broker_ids, Some(replication_factor))
                })
                .collect::<Result<_, _>>()?,
        };
        let record = |(index, partition)| self.partition_record(topic.id, index, partition);
        Ok((existing as i32..).zip(&partitions).map(record).collect())
    }
}

struct NewPartition {
    replicas: Vec<NodeId>,
    isr: Vec<NodeId>,
    leader: NodeId,
}

/// Whether replicas that a client chose can be: registered, distinct, and as many as elsewhere in the topic.
pub(crate) fn check_assignment(
    state: &State<'_>,
    replicas: &[NodeId],
    replication_factor: Option<usize>,
) -> Result<(), Refusal> {
    let refuse = |why: String| {
        Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("The manual partition assignment includes {why}"),
        ))
    };
    if replicas.is_empty() {
        return refuse("an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut previous = None;
    for id in sorted {
        match state.broker(id) {
            None => return refuse(format!("broker {id}, but no such broker is registered.")),
            Some(broker) if State::is_cordoned(broker) => {
                return refuse(format!("broker {id}, but all its log directories are cordoned."));
            }
            Some(_) => {}
        }
        if previous.replace(id) == Some(id) {
            return refuse(format!("the broker {id} more than once."));
        }
    }
    match replication_factor {
        Some(expected) if expected != replicas.len() => refuse(format!(
            "a partition with {} replica(s), but this is not consistent with previous partitions, which have \
             {expected} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

fn refused(name: &Str, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.clone(),
        error_code: refusal.code.code(),
        error_message: refusal.message.as_deref().map(Str::from),
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

fn duplicates<'a, T: Ord + Clone + 'a>(items: impl Iterator<Item = &'a T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|&item| !seen.insert(item)).cloned().collect()
}

/// Results and records of a DeleteTopics.
#[derive(Default)]
struct Deletion {
    records: Vec<MetadataRecord>,
    responses: Vec<DeletableTopicResult>,
}

impl Deletion {
    fn answer(&mut self, name: Option<Str>, topic_id: Uuid, result: &Result<(), Refusal>) {
        let (error_code, error_message) = code_and_message(result);
        self.responses.push(DeletableTopicResult { name, topic_id, error_code, error_message });
    }

    fn outcome(self) -> Outcome<DeleteTopicsResponse> {
        Outcome::new(self.records, DeleteTopicsResponse { responses: self.responses, ..Default::default() })
    }
}
