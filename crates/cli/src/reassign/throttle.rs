//! Limits for moves: rates of brokers, and which replicas they hold for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use ottla_client::Admin;
use ottla_client::admin::{ConfigChange, ConfigResourceType, OngoingReassignment, Partition, Resource};

use super::plan::Plan;

const RATES: [&str; 2] = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
const REPLICAS: [&str; 2] =
    ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];

/// Who sends and who receives each partition.
pub type Moves = BTreeMap<Partition, Move>;

/// A partition on its way.
pub struct Move {
    from: Vec<i32>,
    to: Vec<i32>,
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
            ConfigChange::Set(replicas.collect::<Vec<_>>().join(","))
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

/// Lifts the limits of these topics, and the rates of all brokers.
pub async fn lift(admin: &Admin, topics: &BTreeSet<String>) -> Result<()> {
    let brokers: Vec<String> = admin.metadata().await?.brokers.keys().map(|id| id.0.to_string()).collect();
    let topics = topics.iter().map(|topic| (ConfigResourceType::Topic, topic.as_str(), REPLICAS));
    let brokers = brokers.iter().map(|broker| (ConfigResourceType::Broker, broker.as_str(), RATES));
    for (kind, name, configs) in topics.chain(brokers) {
        let resource = resource(kind, name);
        let own = admin.describe_configs(&resource).await?;
        let own = own.iter().filter(|config| config.is_own(kind) && configs.contains(&config.name.as_str()));
        let changes: Vec<_> = own.map(|config| (config.name.clone(), ConfigChange::Delete)).collect();
        if !changes.is_empty() {
            admin.alter_configs(&resource, &changes).await?;
        }
    }
    Ok(())
}

fn resource(kind: ConfigResourceType, name: &str) -> Resource {
    Resource { kind, name: name.to_owned() }
}
