//! Limits for moves: rates of brokers, and which replicas they hold for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use ottla_client::Admin;
use ottla_client::admin::{ConfigChange, ConfigResourceType, OngoingReassignment, Partition, Resource};

use super::plan::Plan;

const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const RATE_BETWEEN_DIRECTORIES: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Who sends and who receives each partition.
pub type Moves = BTreeMap<Partition, Move>;

/// A partition on its way.
pub struct Move {
    pub from: Vec<i32>,
    pub to: Vec<i32>,
}

/// The moves from one plan to another.
pub fn moves(before: &Plan, after: &Plan) -> Moves {
    let one = |(place, to): (&Partition, &Vec<i32>)| {
        let from = before.replicas(place).to_vec();
        let adding: Vec<i32> = to.iter().filter(|id| !from.contains(id)).copied().collect();
        (!adding.is_empty()).then(|| (place.clone(), Move { from, to: adding }))
    };
    after.moves().filter_map(one).collect()
}

/// The moves under way.
pub fn under_way(moving: &BTreeMap<Partition, OngoingReassignment>) -> Moves {
    let one = |(place, moving): (&Partition, &OngoingReassignment)| {
        let adding: Vec<i32> = moving.adding.iter().map(|id| id.0).collect();
        let from = moving.replicas.iter().map(|id| id.0).filter(|id| !adding.contains(id));
        (place.clone(), Move { from: from.collect(), to: adding.clone() })
    };
    moving.iter().map(one).collect()
}

/// The topics of a plan.
pub fn topics(plan: &Plan) -> BTreeSet<String> {
    plan.moves().map(|((topic, _), _)| topic.clone()).collect()
}

/// Limits these moves. Done before they begin, no move runs ahead of its limit.
pub async fn set(admin: &Admin, moves: &Moves, rate: u64) -> Result<()> {
    let topics: BTreeSet<&str> = moves.keys().map(|(topic, _)| topic.as_str()).collect();
    for topic in topics {
        let of_topic = || moves.iter().filter(|((name, _), _)| name == topic);
        let list = |ids: fn(&Move) -> &Vec<i32>| {
            let replicas = of_topic().flat_map(|((_, partition), moved)| {
                ids(moved).iter().map(move |id| format!("{partition}:{id}"))
            });
            ConfigChange::Set(replicas.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(","))
        };
        let changes = [list(|moved| &moved.from), list(|moved| &moved.to)];
        let changes: Vec<_> = REPLICAS.map(str::to_owned).into_iter().zip(changes).collect();
        admin.alter_configs(&resource(ConfigResourceType::Topic, topic), &changes).await?;
    }
    let brokers: BTreeSet<i32> =
        moves.values().flat_map(|moved| moved.from.iter().chain(&moved.to)).copied().collect();
    for broker in brokers {
        let changes = RATES.map(|name| (name.to_owned(), ConfigChange::Set(rate.to_string())));
        admin.alter_configs(&resource(ConfigResourceType::Broker, &broker.to_string()), &changes).await?;
    }
    Ok(())
}

/// Limits moves between directories of these brokers.
pub async fn set_between_directories(admin: &Admin, brokers: &BTreeSet<i32>, rate: u64) -> Result<()> {
    for broker in brokers {
        let change = (RATE_BETWEEN_DIRECTORIES.to_owned(), ConfigChange::Set(rate.to_string()));
        admin.alter_configs(&resource(ConfigResourceType::Broker, &broker.to_string()), &[change]).await?;
    }
    Ok(())
}

/// Lifts the limits of all topics, and the rates of all brokers.
pub async fn lift_all(admin: &Admin) -> Result<()> {
    let topics = admin.metadata().await?.topics.keys().map(|name| name.to_string()).collect();
    lift(admin, &topics).await
}

/// Lifts the limits of these topics, and the rates of all brokers.
pub async fn lift(admin: &Admin, topics: &BTreeSet<String>) -> Result<()> {
    let brokers = admin.metadata().await?.brokers.keys().map(|id| id.0).collect();
    lift_topics(admin, topics).await?;
    lift_brokers(admin, &brokers).await
}

/// Lifts the rates of these brokers.
pub async fn lift_brokers(admin: &Admin, brokers: &BTreeSet<i32>) -> Result<()> {
    for broker in brokers {
        let configs = [RATES[0], RATES[1], RATE_BETWEEN_DIRECTORIES];
        clear(admin, resource(ConfigResourceType::Broker, &broker.to_string()), &configs).await?;
    }
    Ok(())
}

/// Forgets which replicas of these topics were limited.
pub async fn lift_topics(admin: &Admin, topics: &BTreeSet<String>) -> Result<()> {
    for topic in topics {
        clear(admin, resource(ConfigResourceType::Topic, topic), &REPLICAS).await?;
    }
    Ok(())
}

async fn clear(admin: &Admin, resource: Resource, configs: &[&str]) -> Result<()> {
    let changes: Vec<_> = configs.iter().map(|name| ((*name).to_owned(), ConfigChange::Delete)).collect();
    Ok(admin.alter_configs(&resource, &changes).await?)
}

fn resource(kind: ConfigResourceType, name: &str) -> Resource {
    Resource { kind, name: name.to_owned() }
}
