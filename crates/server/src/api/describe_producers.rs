//! DescribeProducers (61): version 0. The producers that a partition remembers.

use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch};
use ottla_protocol::api::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};

use super::RequestContext;
use crate::broker::Broker;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            let described = describe(broker, &topic.name, index).await;
            partitions.push(PartitionResponse {
                partition_index: index,
                error_code: described.as_ref().err().copied().unwrap_or(ErrorCode::None).code(),
                active_producers: described.unwrap_or_default(),
                ..Default::default()
            });
        }
        topics.push(TopicResponse { name: topic.name, partitions });
    }
    DescribeProducersResponse { topics, ..Default::default() }
}

async fn describe(broker: &Broker, topic: &str, index: i32) -> Result<Vec<ProducerState>, ErrorCode> {
    let handle = broker.partition_by_name(topic, index)?;
    handle.check_leader_epoch(LeaderEpoch::NONE)?;
    let slot = handle.slot;
    handle
        .shard
        .run(move |state| {
            let partition = state.partition(slot).ok_or(ErrorCode::NotLeaderOrFollower)?;
            Ok(partition
                .log
                .active_producers()
                .map(|producer| ProducerState {
                    producer_id: producer.producer_id.0,
                    producer_epoch: i32::from(producer.epoch.0),
                    last_sequence: producer.last_sequence(),
                    last_timestamp: producer.last_timestamp.0,
                    coordinator_epoch: producer.coordinator_epoch,
                    current_txn_start_offset: producer.current_txn_first_offset.map_or(-1, |offset| offset.0),
                })
                .collect())
        })
        .await
}
