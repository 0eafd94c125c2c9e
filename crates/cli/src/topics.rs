//! `ottla topics`: what topics there are and how they are; created, grown, set, deleted.

use std::io::{self, Write};

use anyhow::Result;
use ottla_client::Admin;
use ottla_client::admin::{ConfigChange, ConfigResourceType, NewTopic, Resource};
use ottla_client::metadata::{PartitionMetadata, TopicMetadata};
use ottla_model::{ErrorCode, NodeId};
use serde_json::{Map, Value, json};

use crate::confirm::Consent;
use crate::connect::Actions;
use crate::exit::usage;
use crate::outcomes::Outcomes;
use crate::select::{self, Pattern, pair};
use crate::table::{Format, Table, print_json};

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// List topics
    List {
        /// Names, or patterns with * and ?; all topics without any
        topics: Vec<Pattern>,
        /// Leave out topics that the cluster uses itself
        #[arg(long)]
        exclude_internal: bool,
    },
    /// Describe topics with their partitions and the configs set for them
    Describe {
        /// Names, or patterns with * and ?; all topics without any
        topics: Vec<Pattern>,
        #[command(flatten)]
        filter: Filter,
    },
    /// Create topics
    Create {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// How many partitions [default: the broker's num.partitions]
        #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// How many replicas of each [default: the broker's default.replication.factor]
        #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
        replication: Option<i16>,
        /// A config of the topic; may be repeated
        #[arg(long = "config", value_name = "NAME=VALUE", value_parser = pair)]
        configs: Vec<(String, String)>,
        /// The replicas of each partition, such as 1:2,2:3 for two partitions
        #[arg(long, value_name = "BROKERS", conflicts_with_all = ["partitions", "replication"], value_parser = assignment)]
        assignment: Option<Assignment>,
        /// Leave topics alone that are there already
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Delete topics with all that is in them
    Delete {
        /// Names, or patterns with * and ?
        #[arg(required = true)]
        topics: Vec<Pattern>,
        /// It is no failure if there is no such topic
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        consent: Consent,
    },
    /// Add partitions to a topic
    Grow {
        topic: String,
        /// How many partitions it is to have
        #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
    },
    /// Set configs of a topic, and leave the others
    Set {
        topic: String,
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
        configs: Vec<(String, String)>,
    },
    /// Give up configs that were set for a topic
    Unset {
        topic: String,
        #[arg(required = true, value_name = "NAME")]
        configs: Vec<String>,
    },
}

#[derive(clap::Args)]
pub struct Filter {
    /// Only partitions of which a replica is not in sync
    #[arg(long)]
    under_replicated: bool,
    /// Only partitions that nobody leads
    #[arg(long)]
    unavailable: bool,
    /// Only partitions with fewer replicas in sync than min.insync.replicas
    #[arg(long)]
    under_min_isr: bool,
    /// Only partitions with exactly min.insync.replicas replicas in sync
    #[arg(long)]
    at_min_isr: bool,
    /// Only partitions that another replica than the preferred one leads
    #[arg(long)]
    not_preferred: bool,
}

impl Filter {
    fn any(&self) -> bool {
        self.under_replicated
            || self.unavailable
            || self.under_min_isr
            || self.at_min_isr
            || self.not_preferred
    }

    fn accepts(&self, partition: &PartitionMetadata, min_isr: usize) -> bool {
        (!self.under_replicated || is_under_replicated(partition))
            && (!self.unavailable || partition.leader.is_none())
            && (!self.under_min_isr || partition.isr.len() < min_isr)
            && (!self.at_min_isr || partition.isr.len() == min_isr)
            && (!self.not_preferred || partition.leader != partition.replicas.first().copied())
    }
}

fn is_under_replicated(partition: &PartitionMetadata) -> bool {
    partition.isr.len() < partition.replicas.len()
}

/// The replicas of each partition.
type Assignment = Vec<Vec<i32>>;

fn assignment(text: &str) -> Result<Assignment, String> {
    let broker = |text: &str| text.trim().parse::<u16>().map(i32::from);
    let partition = |text: &str| text.split(':').map(broker).collect::<Result<Vec<_>, _>>();
    text.split(',')
        .map(partition)
        .collect::<Result<_, _>>()
        .map_err(|_| "expected broker ids, those of one partition joined by colons: 1:2,2:3".into())
}

pub fn run(args: Args) -> Result<()> {
    args.run(async |admin, action, format| match action {
        Action::List { topics, exclude_internal } => list(&admin, &topics, exclude_internal, format).await,
        Action::Describe { topics, filter } => describe(&admin, &topics, &filter, format).await,
        Action::Create { topics, partitions, replication, configs, assignment, if_not_exists } => {
            let topic = NewTopic {
                name: String::new(),
                partitions,
                replication_factor: replication,
                assignments: assignment.unwrap_or_default(),
                configs,
            };
            create(&admin, &topics, topic, if_not_exists, format).await
        }
        Action::Delete { topics, if_exists, consent } => {
            delete(&admin, &topics, if_exists, &consent, format).await
        }
        Action::Grow { topic, partitions } => {
            let mut outcomes = Outcomes::new();
            let grown = admin.create_partitions(&topic, partitions).await;
            outcomes.add(&topic, "grown", grown);
            outcomes.print(format)
        }
        Action::Set { topic, configs } => {
            let changes = configs.into_iter().map(|(name, value)| (name, ConfigChange::Set(value)));
            alter(&admin, topic, changes.collect(), format).await
        }
        Action::Unset { topic, configs } => {
            let changes = configs.into_iter().map(|name| (name, ConfigChange::Delete));
            alter(&admin, topic, changes.collect(), format).await
        }
    })
}

async fn list(admin: &Admin, patterns: &[Pattern], exclude_internal: bool, format: Format) -> Result<()> {
    let metadata = admin.metadata().await?;
    let mut table = Table::new(&[
        "topic",
        "partitions",
        "replication_factor",
        "under_replicated",
        "unavailable",
        "internal",
    ]);
    for name in select::topics(&metadata, patterns)? {
        let Some(topic) = metadata.topic(&name).filter(|topic| !(exclude_internal && topic.is_internal))
        else {
            continue;
        };
        let count = |what: fn(&&PartitionMetadata) -> bool| topic.partitions.iter().filter(what).count();
        table.row([
            name.into(),
            topic.partitions.len().into(),
            replication_factor(topic).into(),
            count(|partition| is_under_replicated(partition)).into(),
            count(|partition| partition.leader.is_none()).into(),
            topic.is_internal.into(),
        ]);
    }
    table.total(&["partitions", "under_replicated", "unavailable"]);
    table.print(format)
}

fn replication_factor(topic: &TopicMetadata) -> usize {
    topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
}

const PARTITION: &[&str] = &["partition", "leader", "leader_epoch", "replicas", "isr", "offline"];

async fn describe(admin: &Admin, patterns: &[Pattern], filter: &Filter, format: Format) -> Result<()> {
    let metadata = admin.metadata().await?;
    let mut described = Vec::new();
    for name in select::topics(&metadata, patterns)? {
        let Some(topic) = metadata.topic(&name) else { continue };
        let configs =
            admin.describe_configs(&Resource { kind: ConfigResourceType::Topic, name: name.clone() }).await?;
        let min_isr = configs
            .iter()
            .find(|config| config.name == "min.insync.replicas")
            .and_then(|config| config.value.as_ref()?.parse().ok())
            .unwrap_or(1);
        let mut partitions = Table::new(PARTITION);
        for (index, partition) in topic.partitions.iter().enumerate() {
            if filter.accepts(partition, min_isr) {
                partitions.row([
                    index.into(),
                    partition.leader.map(|leader| leader.0).into(),
                    partition.leader_epoch.0.into(),
                    ids(&partition.replicas),
                    ids(&partition.isr),
                    ids(&partition.offline),
                ]);
            }
        }
        if partitions.is_empty() && filter.any() {
            continue;
        }
        let own = configs.iter().filter(|config| config.is_own(ConfigResourceType::Topic));
        let own: Map<String, Value> =
            own.map(|config| (config.name.clone(), config.value.clone().into())).collect();
        described.push((topic, own, partitions));
    }
    match format {
        Format::Json => {
            let objects = described.iter().map(|(topic, configs, partitions)| {
                json!({
                    "topic": *topic.name,
                    "topic_id": topic.id.to_string(),
                    "internal": topic.is_internal,
                    "replication_factor": replication_factor(topic),
                    "configs": configs,
                    "partitions": partitions.to_json(),
                })
            });
            print_json(&objects.collect())
        }
        Format::Table => {
            let mut out = io::stdout().lock();
            for (topic, configs, partitions) in described {
                let configs: Vec<_> = configs
                    .iter()
                    .map(|(name, value)| format!("  {name}={}", value.as_str().unwrap_or_default()))
                    .collect();
                let (count, replicas) = (topic.partitions.len(), replication_factor(topic));
                writeln!(
                    out,
                    "{}  id={}  partitions={count}  replication={replicas}{}",
                    topic.name,
                    topic.id,
                    configs.concat()
                )?;
                partitions.write(&mut out, "  ")?;
            }
            Ok(())
        }
    }
}

fn ids(nodes: &[NodeId]) -> Value {
    nodes.iter().map(|node| node.0).collect()
}

async fn create(
    admin: &Admin,
    names: &[String],
    like: NewTopic,
    if_not_exists: bool,
    format: Format,
) -> Result<()> {
    let mut outcomes = Outcomes::new();
    for name in names {
        match admin.create_topic(&NewTopic { name: name.clone(), ..like.clone() }).await {
            Err(error) if if_not_exists && error.code() == Some(ErrorCode::TopicAlreadyExists) => {
                outcomes.add(name, "exists", Ok::<_, anyhow::Error>(()));
            }
            created => outcomes.add(name, "created", created),
        }
    }
    outcomes.print(format)
}

async fn delete(
    admin: &Admin,
    patterns: &[Pattern],
    if_exists: bool,
    consent: &Consent,
    format: Format,
) -> Result<()> {
    let metadata = admin.metadata().await?;
    let there = |pattern: &&Pattern| metadata.topics.keys().any(|name| pattern.matches(name));
    let patterns: Vec<Pattern> =
        patterns.iter().filter(|pattern| !if_exists || there(pattern)).cloned().collect();
    // Without patterns all topics would be meant.
    let names = if patterns.is_empty() { Vec::new() } else { select::topics(&metadata, &patterns)? };
    let mut outcomes = Outcomes::new();
    if !names.is_empty() {
        consent.ask(&format!("delete {} with all records", names.join(", ")))?;
    } else if !if_exists {
        return usage("no topic matches; nothing was done");
    }
    for name in names {
        let deleted = admin.delete_topic(&name).await;
        outcomes.add(&name, "deleted", deleted);
    }
    outcomes.print(format)
}

async fn alter(
    admin: &Admin,
    topic: String,
    changes: Vec<(String, ConfigChange)>,
    format: Format,
) -> Result<()> {
    select::must_exist(admin, &topic).await?;
    let mut outcomes = Outcomes::new();
    let resource = Resource { kind: ConfigResourceType::Topic, name: topic };
    let altered = admin.alter_configs(&resource, &changes).await;
    outcomes.add(&resource.name, "altered", altered);
    outcomes.print(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments() {
        assert_eq!(assignment("1:2,2:3").unwrap(), [[1, 2], [2, 3]]);
        assert_eq!(assignment("7").unwrap(), [[7]]);
        for wrong in ["", "1:", "a", "1;2", "-1"] {
            assert!(assignment(wrong).is_err(), "{wrong}");
        }
    }
}
