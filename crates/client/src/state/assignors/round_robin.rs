//! Round-robin: partition after partition in the order of their names, member after member that subscribes to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::TopicPartition;

use super::{Member, in_order};

pub(super) fn assign(topics: &BTreeMap<Arc<str>, i32>, members: &[Member]) -> Vec<Vec<TopicPartition>> {
    let mut assigned = vec![Vec::new(); members.len()];
    let order = in_order(members);
    let mut at = 0;
    for (topic, &partitions) in topics {
        let subscribes = |at: usize| members[order[at % order.len()]].subscription.topics.contains(topic);
        for partition in 0..partitions {
            let Some(next) = (at..at + order.len()).find(|&at| subscribes(at)) else { break };
            assigned[order[next % order.len()]].push(TopicPartition { topic: topic.clone(), partition });
            at = next + 1;
        }
    }
    assigned
}
