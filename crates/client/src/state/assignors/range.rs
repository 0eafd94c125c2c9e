//! Range: consecutive partitions of each topic, the first members get one more if it does not come out even.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_model::TopicPartition;

use super::{Member, in_order};

pub(super) fn assign(topics: &BTreeMap<Arc<str>, i32>, members: &[Member]) -> Vec<Vec<TopicPartition>> {
    let mut assigned = vec![Vec::new(); members.len()];
    let order = in_order(members);
    for (topic, &partitions) in topics {
        let subscribed: Vec<usize> =
            order.iter().copied().filter(|&m| members[m].subscription.topics.contains(topic)).collect();
        let Ok(count) = i32::try_from(subscribed.len()) else { continue };
        let mut next = 0;
        for (position, &member) in (0..).zip(&subscribed) {
            let share = partitions / count + i32::from(position < partitions % count);
            assigned[member]
                .extend((next..next + share).map(|p| TopicPartition { topic: topic.clone(), partition: p }));
            next += share;
        }
    }
    assigned
}
