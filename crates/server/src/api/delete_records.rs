//! DeleteRecords (21): versions 0 to 2. Moves a partition's log start offset forward.

use std::sync::Arc;

use ottla_model::{ErrorCode, LeaderEpoch, Offset};
use ottla_protocol::api::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::RequestContext;
use crate::broker::Broker;

/// Deletes everything that is committed.
const UP_TO_HIGH_WATERMARK: i64 = -1;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let deleted = delete(broker, &topic.name, partition).await;
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: deleted.unwrap_or(Offset::NONE).0,
                error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

async fn delete(
    broker: &Broker,
    topic: &str,
    partition: &DeleteRecordsPartition,
) -> Result<Offset, ErrorCode> {
    let handle = broker.partition_by_name(topic, partition.partition_index)?;
    if handle.is_internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    handle.check_leader_epoch(LeaderEpoch::NONE)?;
    let offset = partition.offset;
    let slot = handle.slot;
    handle
        .shard
        .run(move |state| {
            let partition = state.partition(slot).ok_or(ErrorCode::NotLeaderOrFollower)?;
            let config = partition.log.config();
            if config.cleanup_compact && !config.cleanup_delete {
                return Err(ErrorCode::PolicyViolation);
            }
            let high_watermark = partition.log.high_watermark();
            let offset = match offset {
                UP_TO_HIGH_WATERMARK => high_watermark,
                offset if offset < 0 || offset > high_watermark.0 => return Err(ErrorCode::OffsetOutOfRange),
                offset => Offset(offset),
            };
            partition.log.delete_records(offset).map_err(|error| error.error_code())?;
            Ok(partition.log.log_start_offset())
        })
        .await
}
