//! What was acknowledged to clients, kept apart from the cluster, and whether the cluster still knows it.

use std::collections::{BTreeMap, BTreeSet};

use ottla_metadata::MetadataImage;
use ottla_model::Uuid;

use crate::workload::Operation;
use crate::world::Answer;

#[derive(Debug, Default)]
struct Topic {
    /// Acknowledged, with the id that was answered.
    created: Option<Uuid>,
    deletion_asked: bool,
    deleted: bool,
    /// Acknowledged values, without those that another one has certainly replaced.
    values: BTreeSet<i64>,
    /// Values asked for and not acknowledged, each with what it replaces if it is. Nobody knows their outcome: each may
    /// come to be in force at any time.
    open_values: BTreeMap<i64, BTreeSet<i64>>,
}

#[derive(Debug, Default)]
pub struct Auditor {
    topics: BTreeMap<String, Topic>,
    /// Blocks of producer ids, start to end.
    ids: BTreeMap<i64, i64>,
    acknowledged: usize,
}

impl Auditor {
    pub fn asked(&mut self, operation: &Operation) {
        match operation {
            Operation::CreateTopic { name } => _ = self.topics.entry(name.clone()).or_default(),
            Operation::DeleteTopic { name } => {
                self.topics.entry(name.clone()).or_default().deletion_asked = true;
            }
            Operation::Configure { topic, value } => {
                let topic = self.topics.entry(topic.clone()).or_default();
                topic.open_values.insert(*value, topic.values.clone());
            }
            _ => {}
        }
    }

    /// Takes note of an acknowledgement; fails on one that cannot be true.
    pub fn answered(&mut self, operation: &Operation, answer: Option<&Answer>) -> Result<(), String> {
        match (operation, answer) {
            (Operation::CreateTopic { name }, Some(Answer::Created { error: 0, id })) => {
                self.acknowledged += 1;
                self.topics.entry(name.clone()).or_default().created = Some(*id);
            }
            (Operation::DeleteTopic { name }, Some(Answer::Deleted { error: 0 })) => {
                self.acknowledged += 1;
                self.topics.entry(name.clone()).or_default().deleted = true;
            }
            (Operation::Configure { topic, value }, Some(Answer::Configured { error: 0 })) => {
                self.acknowledged += 1;
                let topic = self.topics.entry(topic.clone()).or_default();
                let replaced = topic.open_values.remove(value).unwrap_or_default();
                topic.values.retain(|value| !replaced.contains(value));
                topic.values.insert(*value);
            }
            (Operation::AllocateIds { .. }, Some(Answer::Ids { error: 0, start, len })) => {
                self.acknowledged += 1;
                let overlaps = self.ids.range(..start + len).next_back().is_some_and(|(_, end)| end > start);
                if overlaps {
                    return Err(format!("producer ids from {start} on were given out twice"));
                }
                self.ids.insert(*start, start + len);
            }
            _ => {}
        }
        Ok(())
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Whether a node knows everything that was acknowledged.
    pub fn audit(&self, node: i32, image: &MetadataImage) -> Result<(), String> {
        for (name, topic) in &self.topics {
            let known = image.topics.by_name(name);
            match (known, topic.created) {
                (None, Some(_)) if !topic.deletion_asked => {
                    return Err(format!("node {node} has lost topic {name}"));
                }
                (Some(_), _) if topic.deleted => {
                    return Err(format!("on node {node} topic {name} is back after its deletion"));
                }
                (Some(known), Some(id)) if known.id != id => {
                    return Err(format!("on node {node} topic {name} has another id than was answered"));
                }
                _ => {}
            }
            if known.is_some() && !topic.values.is_empty() {
                let found = image.configs.topic(name).get("retention.ms").and_then(|text| text.parse().ok());
                let is_possible =
                    |value| topic.values.contains(value) || topic.open_values.contains_key(value);
                if !found.as_ref().is_some_and(is_possible) {
                    return Err(format!(
                        "node {node}: retention.ms of {name} is {found:?}, but {:?} were acknowledged",
                        topic.values
                    ));
                }
            }
        }
        Ok(())
    }
}
