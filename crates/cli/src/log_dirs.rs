//! `ottla log-dirs`: the directories of brokers, and what lies in them.

use anyhow::Result;
use ottla_model::{ErrorCode, NodeId};
use serde_json::Value;

use crate::connect::{self, Actions};
use crate::exit::usage;
use crate::select::Pattern;
use crate::table::Table;

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Describe the directories of brokers, or the replicas in them
    Describe {
        /// Ids of brokers; all without any
        brokers: Vec<i32>,
        /// The replicas, each with its size, instead of the directories
        #[arg(short, long)]
        replicas: bool,
        /// Only replicas of these topics: names, or patterns with * and ?; may be repeated
        #[arg(short, long = "topic", value_name = "TOPIC")]
        topics: Vec<Pattern>,
    },
}

pub fn run(args: Args) -> Result<()> {
    connect::run(async move {
        let admin = args.connection.admin().await?;
        let Action::Describe { brokers, replicas, topics } = args.action;
        let known: Vec<NodeId> = admin.metadata().await?.brokers.keys().copied().collect();
        if let Some(unknown) = brokers.iter().find(|broker| !known.contains(&NodeId(**broker))) {
            return usage(format!("there is no live broker {unknown}"));
        }
        let mut directories = Table::new(&[
            "broker",
            "directory",
            "error",
            "replicas",
            "replica_bytes",
            "total_bytes",
            "usable_bytes",
            "cordoned",
        ]);
        let mut parts =
            Table::new(&["broker", "directory", "topic", "partition", "size_bytes", "offset_lag", "future"]);
        for broker in known.into_iter().filter(|broker| brokers.is_empty() || brokers.contains(&broker.0)) {
            for mut directory in admin.describe_log_dirs(broker).await? {
                directory.topics.sort_by(|a, b| a.name.cmp(&b.name));
                let (mut count, mut bytes) = (0, 0);
                let wanted = directory.topics.iter_mut().filter(|topic| {
                    topics.is_empty() || topics.iter().any(|pattern| pattern.matches(topic.name.as_str()))
                });
                for topic in wanted {
                    topic.partitions.sort_by_key(|partition| partition.partition_index);
                    for partition in &topic.partitions {
                        count += 1;
                        bytes += partition.partition_size;
                        parts.row([
                            broker.0.into(),
                            directory.log_dir.as_str().into(),
                            topic.name.as_str().into(),
                            partition.partition_index.into(),
                            partition.partition_size.into(),
                            partition.offset_lag.into(),
                            partition.is_future_key.into(),
                        ]);
                    }
                }
                let error = match directory.error_code {
                    0 => Value::Null,
                    code => ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError).name().into(),
                };
                // Brokers that do not know say -1.
                let known = |bytes: i64| Some(bytes).filter(|bytes| *bytes >= 0).into();
                directories.row([
                    broker.0.into(),
                    directory.log_dir.as_str().into(),
                    error,
                    count.into(),
                    bytes.into(),
                    known(directory.total_bytes),
                    known(directory.usable_bytes),
                    directory.is_cordoned.into(),
                ]);
            }
        }
        directories.total(&["replicas", "replica_bytes"]);
        parts.total(&["size_bytes", "offset_lag"]);
        if replicas { parts } else { directories }.print(args.connection.output)
    })
}
