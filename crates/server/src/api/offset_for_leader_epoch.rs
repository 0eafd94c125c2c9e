//! OffsetForLeaderEpoch (23): versions 2 to 4. Where a leader's epoch ended, so that a client that read on finds
//! out where it parted from the log.

use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch, Offset};
use ottla_protocol::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::RequestContext;
use crate::broker::Broker;
use crate::broker::partition::Served;

/// A tool that looks at any replica.
const DEBUGGING: i32 = -2;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let served = if request.replica_id == DEBUGGING { Served::ByAnyReplica } else { Served::ByLeader };
    let topics = request
        .topics
        .into_iter()
        .map(|topic| OffsetForLeaderTopicResult {
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let found = end_offset(broker, &topic.topic, partition, served);
                    let (epoch, end) = found.unwrap_or((LeaderEpoch::NONE, Offset::NONE));
                    EpochEndOffset {
                        error_code: found.err().unwrap_or(ErrorCode::None).code(),
                        partition: partition.partition,
                        leader_epoch: epoch.0,
                        end_offset: end.0,
                    }
                })
                .collect(),
            topic: topic.topic,
        })
        .collect();
    OffsetForLeaderEpochResponse { topics, ..Default::default() }
}

fn end_offset(
    broker: &Broker,
    topic: &str,
    partition: &OffsetForLeaderPartition,
    served: Served,
) -> Result<(LeaderEpoch, Offset), ErrorCode> {
    let handle = broker.partition_by_name(topic, partition.partition)?;
    handle.check_epoch(LeaderEpoch(partition.current_leader_epoch), served)?;
    let found = handle.view().end_offset_for_epoch(LeaderEpoch(partition.leader_epoch));
    Ok(found.unwrap_or((LeaderEpoch::NONE, Offset::NONE)))
}
