//! `kafka-topics --describe`: a line for each topic and each partition, or those that a report is about.

use std::collections::{BTreeMap, BTreeSet};

use ottla_client::protocol::api::describe_configs::{DescribeConfigsRequest, DescribeConfigsResource};
use ottla_client::protocol::api::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsRequestCursor,
    DescribeTopicPartitionsResponsePartition, TopicRequest,
};
use ottla_client::protocol::api::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, OngoingPartitionReassignment,
};
use ottla_client::{Error, Target};

use super::super::java;
use super::super::options::Options;
use super::super::session::{Listing, Session};
use super::{Failure, existing, topic_id};

/// The number of topics among the kinds of what has configs.
const TOPIC: i8 = 2;

type Partition = DescribeTopicPartitionsResponsePartition;
/// What is under way, by topic and partition.
type Reassignments = BTreeMap<(String, i32), OngoingPartitionReassignment>;

/// A config as far as a description needs it.
struct Config {
    name: String,
    value: String,
    is_default: bool,
}

pub fn describe(session: &Session, options: &Options) -> Result<(), Failure> {
    let limit = options.number::<i32>("partition-size-limit-per-response")?.unwrap_or(2000);
    let topics = match topic_id(options)? {
        Some(id) => {
            let found: Vec<_> = session.topics()?.into_iter().filter(|(_, topic)| topic.id == id).collect();
            if found.is_empty() && !options.has("if-exists") {
                return Err(Failure(format!("TopicId '{id}' does not exist as expected")));
            }
            found
        }
        None => existing(session, options)?,
    };
    if topics.is_empty() {
        return Ok(());
    }
    let topics = java::hash_order(topics, |(name, _)| name);
    let mut partitions = partitions(session, &topics, limit)?;
    let mut configs = configs(session, &topics)?;
    let report = Report {
        options,
        live: session.brokers()?,
        reassignments: reassignments(session)?,
        about_partitions: super::REPORTS.iter().any(|report| options.has(report)),
    };
    for (name, topic) in topics {
        let configs = java::hash_order(configs.remove(&name).unwrap_or_default(), |config| &config.name);
        report.print(&name, &topic, &partitions.remove(&name).unwrap_or_default(), &configs);
    }
    Ok(())
}

fn partitions(
    session: &Session,
    topics: &[(String, Listing)],
    limit: i32,
) -> Result<BTreeMap<String, Vec<Partition>>, Failure> {
    let mut names: Vec<_> = topics.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let mut found = BTreeMap::<String, Vec<Partition>>::new();
    let mut cursor: Option<DescribeTopicPartitionsRequestCursor> = None;
    loop {
        // What lies before the cursor has been answered.
        let asked =
            names.iter().filter(|name| cursor.as_ref().is_none_or(|at| **name >= at.topic_name.as_str()));
        let topics = asked.map(|name| TopicRequest { name: (*name).into() }).collect();
        let request =
            DescribeTopicPartitionsRequest { topics, response_partition_limit: limit, cursor: cursor.take() };
        let answer = session.ask(Target::Any, request)?;
        for topic in answer.topics {
            Error::check(topic.error_code, None::<&str>)?;
            let name = topic.name.map(|name| name.as_str().to_owned()).unwrap_or_default();
            found.entry(name).or_default().extend(topic.partitions);
        }
        let Some(next) = answer.next_cursor else { break };
        cursor = Some(DescribeTopicPartitionsRequestCursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
        });
    }
    for partitions in found.values_mut() {
        partitions.sort_by_key(|partition| partition.partition_index);
    }
    Ok(found)
}

fn configs(
    session: &Session,
    topics: &[(String, Listing)],
) -> Result<BTreeMap<String, Vec<Config>>, Failure> {
    let resource = |(name, _): &(String, Listing)| DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: name.as_str().into(),
        configuration_keys: None,
    };
    let resources = topics.iter().map(resource).collect();
    let request = DescribeConfigsRequest { resources, include_synonyms: false, include_documentation: false };
    let mut configs = BTreeMap::new();
    for result in session.ask(Target::Any, request)?.results {
        Error::check(result.error_code, result.error_message.as_deref())?;
        let own = result.configs.into_iter().map(|config| Config {
            name: config.name.as_str().to_owned(),
            value: config.value.map_or("null".to_owned(), |value| value.as_str().to_owned()),
            is_default: config.config_source == 5,
        });
        configs.insert(result.resource_name.as_str().to_owned(), own.collect());
    }
    Ok(configs)
}

fn reassignments(session: &Session) -> Result<Reassignments, Failure> {
    let request = ListPartitionReassignmentsRequest { timeout_ms: 60_000, topics: None };
    let answer = session.ask(Target::Controller, request)?;
    Error::check(answer.error_code, answer.error_message.as_deref())?;
    let of_topic = answer.topics.into_iter().flat_map(|topic| {
        let name = topic.name.as_str().to_owned();
        topic.partitions.into_iter().map(move |moved| ((name.clone(), moved.partition_index), moved))
    });
    Ok(of_topic.collect())
}

/// What is to be printed.
struct Report<'a> {
    options: &'a Options,
    live: BTreeSet<i32>,
    reassignments: Reassignments,
    about_partitions: bool,
}

impl Report<'_> {
    fn print(&self, name: &str, topic: &Listing, partitions: &[Partition], configs: &[Config]) {
        let overrides = self.options.has("topics-with-overrides");
        let own: Vec<_> = configs.iter().filter(|config| !config.is_default).collect();
        if !self.about_partitions && (!overrides || !own.is_empty()) {
            let own: Vec<_> = own.iter().map(|config| format!("{}={}", config.name, config.value)).collect();
            let id = if topic.id.is_zero() { String::new() } else { format!("\tTopicId: {}", topic.id) };
            let factor = partitions.first().map_or(0, |first| self.replication_factor(name, first));
            let count = partitions.len();
            println!(
                "Topic: {name}{id}\tPartitionCount: {count}\tReplicationFactor: {factor}\tConfigs: {}",
                own.join(",")
            );
        }
        if overrides {
            return;
        }
        let min_isr = configs.iter().find(|config| config.name == "min.insync.replicas");
        let min_isr = min_isr.and_then(|config| config.value.parse().ok()).unwrap_or(1);
        for partition in partitions {
            if !self.about_partitions || self.is_asked_for(name, partition, min_isr) {
                println!("{}", self.line(name, partition));
            }
        }
    }

    fn is_asked_for(&self, name: &str, partition: &Partition, min_isr: usize) -> bool {
        let in_sync = partition.isr_nodes.len();
        let leader = self.leader(partition);
        let asked = |report| self.options.has(report);
        asked("under-replicated-partitions") && self.replication_factor(name, partition) > in_sync
            || asked("unavailable-partitions") && leader.is_none()
            || asked("under-min-isr-partitions") && (leader.is_none() || in_sync < min_isr)
            || asked("at-min-isr-partitions") && in_sync == min_isr
    }

    fn leader(&self, partition: &Partition) -> Option<i32> {
        self.live.get(&partition.leader_id).copied()
    }

    /// Replicas that are being added do not count.
    fn replication_factor(&self, name: &str, partition: &Partition) -> usize {
        match self.reassignments.get(&(name.to_owned(), partition.partition_index)) {
            Some(moved) => moved.replicas.len() - moved.adding_replicas.len(),
            None => partition.replica_nodes.len(),
        }
    }

    fn line(&self, name: &str, partition: &Partition) -> String {
        let index = partition.partition_index;
        let leader = self.leader(partition).map_or("none".to_owned(), |id| id.to_string());
        let (replicas, isr) = (joined(&partition.replica_nodes), joined(&partition.isr_nodes));
        let moved = self.reassignments.get(&(name.to_owned(), index)).map(|moved| {
            let (adding, removing) = (joined(&moved.adding_replicas), joined(&moved.removing_replicas));
            format!("\tAdding Replicas: {adding}\tRemoving Replicas: {removing}")
        });
        let elr = |ids: &Option<Vec<i32>>| ids.as_deref().map_or("N/A".to_owned(), joined);
        format!(
            "\tTopic: {name}\tPartition: {index}\tLeader: {leader}\tReplicas: {replicas}\tIsr: {isr}{}\tElr: \
             {}\tLastKnownElr: {}",
            moved.unwrap_or_default(),
            elr(&partition.eligible_leader_replicas),
            elr(&partition.last_known_elr),
        )
    }
}

fn joined(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
