//! DeleteRecords (21): versions 0 to 2. Moves a partition's log start offset forward, on all its replicas.

use std::sync::Arc;
use std::time::Duration;

use ottla_model::{ErrorCode, LeaderEpoch, Offset};
use ottla_protocol::api::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::RequestContext;
use crate::broker::Broker;
use crate::broker::partition::PartitionHandle;

/// Deletes everything that is committed.
const UP_TO_HIGH_WATERMARK: i64 = -1;

pub async fn handle(
    broker: &Arc<Broker>,
    _: &RequestContext,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let deadline = Instant::now() + Duration::from_millis(request.timeout_ms.max(0) as u64);
    // All are deleted before any is waited for.
    let mut deleted = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            deleted.push(delete(broker, &topic.name, partition).await);
        }
    }
    let mut deleted = deleted.into_iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (partition, deleted) in topic.partitions.iter().zip(&mut deleted) {
            let low_watermark = match deleted {
                Ok((handle, offset)) => wait_for_replicas(broker, &handle, offset, deadline).await,
                Err(error) => Err(error),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: low_watermark.unwrap_or(Offset::NONE).0,
                error_code: low_watermark.err().unwrap_or(ErrorCode::None).code(),
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

/// Waits until no live replica has anything below `offset`. Errors: REQUEST_TIMED_OUT, NOT_LEADER_OR_FOLLOWER.
async fn wait_for_replicas(
    broker: &Arc<Broker>,
    handle: &Arc<PartitionHandle>,
    offset: Offset,
    deadline: Instant,
) -> Result<Offset, ErrorCode> {
    let moved = Arc::new(Notify::new());
    loop {
        handle.waiters.register(&moved);
        let image = broker.image().clone();
        let slot = handle.slot;
        let low_watermark = handle.shard.run(move |state| {
            let partition = state.partition(slot).ok_or(ErrorCode::NotLeaderOrFollower)?;
            partition.low_watermark(|id| image.cluster.is_alive(id))
        });
        let low_watermark = low_watermark.await?;
        if low_watermark >= offset {
            return Ok(low_watermark);
        }
        if timeout_at(deadline, moved.notified()).await.is_err() {
            return Err(ErrorCode::RequestTimedOut);
        }
    }
}

/// Deletes here; what the other replicas are to have deleted too.
async fn delete(
    broker: &Broker,
    topic: &str,
    partition: &DeleteRecordsPartition,
) -> Result<(Arc<PartitionHandle>, Offset), ErrorCode> {
    let handle = broker.partition_by_name(topic, partition.partition_index)?;
    if handle.is_internal {
        return Err(ErrorCode::InvalidTopicException);
    }
    handle.check_leader_epoch(LeaderEpoch::NONE)?;
    let (offset, slot) = (partition.offset, handle.slot);
    let deleted = handle.shard.run(move |state| {
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
        partition.delete_records(offset)?;
        Ok(offset)
    });
    Ok((Arc::clone(&handle), deleted.await?))
}
