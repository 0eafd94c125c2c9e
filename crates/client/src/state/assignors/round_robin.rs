//! Round-robin: partition after partition in the order of their names, member after member that subscribes to it.

use ottla_model::TopicPartition;

use super::{Member, Topics, in_order};

pub(super) fn assign(topics: &Topics, members: &[Member]) -> Vec<Vec<TopicPartition>> {
    let mut assigned = vec![Vec::new(); members.len()];
    let order = in_order(members);
    let mut at = 0;
    for (topic, racks) in topics {
        let subscribes = |at: usize| members[order[at % order.len()]].subscription.topics.contains(topic);
        for (partition, _) in (0..).zip(racks) {
            let Some(next) = (at..at + order.len()).find(|&at| subscribes(at)) else { break };
            assigned[order[next % order.len()]].push(TopicPartition { topic: topic.clone(), partition });
            at = next + 1;
        }
    }
    assigned
}
