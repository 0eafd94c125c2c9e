//! DescribeTopicPartitions (75): version 0. Topics and their partitions by pages, with eligible leader replicas.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_metadata::{MetadataImage, PartitionRegistration};
use ottla_model::{ErrorCode, NodeId, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponseCursor,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::{RequestContext, authorized_operations, leaders};
use crate::broker::{Broker, internal_topics};

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = broker.image();
    let (from, first) = match &request.cursor {
        Some(cursor) => (&*cursor.topic_name, cursor.partition_index),
        None => ("", 0),
    };
    let all = request.topics.is_empty();
    let names: BTreeSet<Str> = match all {
        true => image.topics.iter_by_name(from).map(|topic| Str::from(topic.name.as_ref())).collect(),
        false => request.topics.iter().map(|topic| topic.name.clone()).collect(),
    };
    let cursor_is_listed = request.cursor.is_none() || all || names.iter().any(|name| **name == *from);
    if !cursor_is_listed || first < 0 {
        let refused = |name| refused_topic(name, ErrorCode::InvalidRequest);
        return DescribeTopicPartitionsResponse {
            topics: names.into_iter().map(refused).collect(),
            ..Default::default()
        };
    }
    let limit =
        request.response_partition_limit.min(broker.config.topic_defaults.request_partition_size_limit);
    let mut left = limit.max(1) as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| **name >= *from) {
        if left == 0 {
            response.next_cursor =
                Some(DescribeTopicPartitionsResponseCursor { topic_name: name, partition_index: 0 });
            break;
        }
        let Some(topic) = image.topics.by_name(&name) else {
            let error = match ottla_controller::invalid_topic_name(&name) {
                Some(_) => ErrorCode::InvalidTopicException,
                None => ErrorCode::UnknownTopicOrPartition,
            };
            response.topics.push(refused_topic(name, error));
            continue;
        };
        let first = if *name == *from { first } else { 0 };
        let mut partitions = Vec::new();
        for (index, partition) in topic.partitions.range(first..) {
            if left == 0 {
                let partition_index = *index;
                response.next_cursor =
                    Some(DescribeTopicPartitionsResponseCursor { topic_name: name.clone(), partition_index });
                break;
            }
            partitions.push(describe(&image, &context.listener, *index, partition));
            left -= 1;
        }
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::None.code(),
            name: Some(name),
            topic_id: topic.id,
            is_internal: internal_topics::is_internal(&topic.name),
            partitions,
            topic_authorized_operations: authorized_operations::TOPIC,
        });
        if response.next_cursor.is_some() {
            break;
        }
    }
    response
}

fn refused_topic(name: Str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        is_internal: internal_topics::is_internal(&name),
        name: Some(name),
        topic_id: Uuid::ZERO,
        ..Default::default()
    }
}

fn describe(
    image: &MetadataImage,
    listener: &str,
    index: i32,
    partition: &PartitionRegistration,
) -> DescribeTopicPartitionsResponsePartition {
    let (error, leader) = match leaders::leader(image, partition, listener) {
        Ok(leader) => (ErrorCode::None, leader),
        Err(error) => (error, NodeId::NONE),
    };
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<i32>>();
    DescribeTopicPartitionsResponsePartition {
        error_code: error.code(),
        partition_index: index,
        leader_id: leader.0,
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: ids(&partition.replicas),
        isr_nodes: ids(&partition.isr),
        eligible_leader_replicas: Some(ids(&partition.elr)),
        last_known_elr: Some(ids(&partition.last_known_elr)),
        offline_replicas: leaders::offline_replicas(image, partition, listener),
    }
}
