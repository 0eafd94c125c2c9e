//! `ottla reassign`: partitions moved to other brokers: planned, begun, watched, taken back.
//!
//! Plans are files in the form that Apache's kafka-reassign-partitions reads and writes.

pub mod plan;
pub mod throttle;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use ottla_client::Admin;
use ottla_client::admin::{PartitionResults, ReplicationFactorChange};
use ottla_client::metadata::Metadata;
use ottla_model::NodeId;
use serde_json::Value;

use self::plan::{Plan, Rebalance};
use crate::confirm::Consent;
use crate::connect::Actions;
use crate::exit::{Usage, usage};
use crate::outcomes::Outcomes;
use crate::progress::Progress;
use crate::select::{self, Partitions};
use crate::table::{Format, Table, print_json};

/// How often it is looked how far moves have come.
const LOOK: Duration = Duration::from_millis(500);

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Print a plan that spreads partitions over brokers and moves as little as that takes
    Generate {
        /// Topics, or some partitions of them: orders, orders:0,3-5
        #[arg(required = true, value_name = "TOPIC[:PARTITIONS]")]
        topics: Vec<Partitions>,
        /// The brokers that are to have them, such as 1,2,3; all live ones without it
        #[arg(long, value_name = "IDS", value_parser = |ids: &str| select::numbers(ids).map(Brokers))]
        brokers: Option<Brokers>,
        /// How many replicas each is to have; as many as it has without it
        #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
        replication: Option<u16>,
    },
    /// Begin the moves of a plan
    Execute {
        /// The plan; - is stdin
        plan: PathBuf,
        /// Keep in this file where the partitions were, as a plan back
        #[arg(long, value_name = "FILE")]
        rollback: Option<PathBuf>,
        /// Bytes a second that each broker may spend on the moves; --wait takes the limit away in the end
        #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
        throttle: Option<u64>,
        /// Return when all is moved
        #[arg(short, long)]
        wait: bool,
    },
    /// List the moves under way
    List,
    /// Wait until no move is under way, and lift the limits
    Wait,
    /// Take back moves under way
    Cancel {
        /// Topics, or some partitions of them: orders, orders:0,3-5; all moves without any
        #[arg(value_name = "TOPIC[:PARTITIONS]")]
        topics: Vec<Partitions>,
        #[command(flatten)]
        consent: Consent,
    },
    /// Limit the moves under way, or lift the limit
    Throttle {
        /// Bytes a second of each broker, or none
        #[arg(value_parser = rate)]
        rate: Rate,
    },
}

/// Ids of brokers.
#[derive(Clone)]
pub struct Brokers(Vec<i32>);

/// Bytes a second, or no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(Option<u64>);

fn rate(text: &str) -> Result<Rate, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(Rate(None)),
        (_, Ok(rate)) if rate > 0 => Ok(Rate(Some(rate))),
        _ => Err("expected bytes a second, or none".into()),
    }
}

pub fn run(args: Args) -> Result<()> {
    args.run(async |admin, action, format| match action {
        Action::Generate { topics, brokers, replication } => {
            let metadata = admin.metadata().await?;
            let plan = generate(&metadata, &topics, brokers, replication)?;
            print_json(&plan.to_json())
        }
        Action::Execute { plan, rollback, throttle, wait } => {
            let plan = Plan::parse(&read(&plan)?).with_context(|| plan.display().to_string())?;
            let before = Plan::of(&*admin.metadata().await?, plan.partitions())?;
            if let Some(file) = rollback {
                let text = serde_json::to_string_pretty(&before.to_json())? + "\n";
                fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            }
            if let Some(rate) = throttle {
                throttle::set(&admin, &throttle::moves(&before, &plan), rate).await?;
            }
            let began = begin(&admin, &plan, format).await;
            if wait && began.is_ok() {
                watch(&admin).await?;
                if throttle.is_some() {
                    throttle::lift(&admin, &throttle::topics(&plan)).await?;
                }
            }
            began
        }
        Action::List => list(&admin, format).await,
        Action::Wait => {
            watch(&admin).await?;
            throttle::lift_all(&admin).await
        }
        Action::Cancel { topics, consent } => cancel(&admin, &topics, &consent, format).await,
        Action::Throttle { rate: Rate(Some(rate)) } => {
            let moving = admin.list_partition_reassignments(None).await?;
            throttle::set(&admin, &throttle::under_way(&moving), rate).await
        }
        Action::Throttle { rate: Rate(None) } => throttle::lift_all(&admin).await,
    })
}

fn read(file: &PathBuf) -> Result<String> {
    if file.as_os_str() != "-" {
        return fs::read_to_string(file)
            .map_err(|error| Usage(format!("read {}: {error}", file.display())).into());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("read the plan")?;
    Ok(text)
}

fn generate(
    metadata: &Metadata,
    topics: &[Partitions],
    brokers: Option<Brokers>,
    replication: Option<u16>,
) -> Result<Plan> {
    let known: Vec<i32> = metadata.brokers.keys().map(|id| id.0).collect();
    let Brokers(brokers) = brokers.unwrap_or_else(|| Brokers(known.clone()));
    if let Some(unknown) = brokers.iter().find(|broker| !known.contains(broker)) {
        return usage(format!("there is no live broker {unknown}"));
    }
    let racks =
        metadata.brokers.values().map(|broker| (broker.id.0, broker.rack.as_deref().map(str::to_owned)));
    let current = Plan::of(metadata, select::partitions(metadata, topics)?)?;
    let rebalance = Rebalance { brokers, racks: racks.collect(), replication: replication.map(usize::from) };
    rebalance.plan(&current)
}

async fn begin(admin: &Admin, plan: &Plan, format: Format) -> Result<()> {
    let moves = plan
        .moves()
        .map(|(place, replicas)| (place.clone(), Some(replicas.iter().map(|id| NodeId(*id)).collect())));
    tell(
        admin.alter_partition_reassignments(&moves.collect(), ReplicationFactorChange::Allowed).await?,
        "moving",
        format,
    )
}

fn tell(results: PartitionResults, done: &str, format: Format) -> Result<()> {
    let mut outcomes = Outcomes::new();
    for ((topic, partition), result) in results {
        outcomes.add(&format!("{topic}-{partition}"), done, result);
    }
    outcomes.print(format)
}

/// Returns when no partition is on its way.
async fn watch(admin: &Admin) -> Result<()> {
    let mut total = 0;
    let mut progress = None;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let left = admin.list_partition_reassignments(None).await?.len() as u64;
        if left == 0 {
            return Ok(());
        }
        total = left.max(total);
        progress.get_or_insert_with(|| Progress::new("partitions", Some(total))).at(total - left);
    }
}

async fn list(admin: &Admin, format: Format) -> Result<()> {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Value>();
    let mut table = Table::new(&["topic", "partition", "replicas", "adding", "removing"]);
    for ((topic, partition), moving) in admin.list_partition_reassignments(None).await? {
        table.row([
            topic.into(),
            partition.into(),
            ids(&moving.replicas),
            ids(&moving.adding),
            ids(&moving.removing),
        ]);
    }
    table.print(format)
}

async fn cancel(admin: &Admin, topics: &[Partitions], consent: &Consent, format: Format) -> Result<()> {
    let mut partitions: Vec<_> = admin.list_partition_reassignments(None).await?.into_keys().collect();
    if !topics.is_empty() {
        partitions = select::partitions(&*admin.metadata().await?, topics)?;
    }
    if partitions.is_empty() {
        return tell(BTreeMap::new(), "", format);
    }
    consent.ask(&format!("take back the moves of {} partitions", partitions.len()))?;
    let changes = partitions.into_iter().map(|place| (place, None)).collect();
    tell(
        admin.alter_partition_reassignments(&changes, ReplicationFactorChange::Allowed).await?,
        "cancelled",
        format,
    )
}
