//! ListOffsets (2): versions 1 to 11. Offsets at the ends of a log, at its largest timestamp, or at a time.

use std::sync::Arc;

use ottla_commit_log::{LogView, ReadLimit};
use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset};
use ottla_protocol::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

use super::RequestContext;
use crate::broker::Broker;
use crate::broker::partition::Served;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
const READ_COMMITTED: i8 = 1;
/// A tool that looks at any replica.
const DEBUGGING: i32 = -2;
/// The first version whose clients know OFFSET_NOT_AVAILABLE.
const OFFSET_NOT_AVAILABLE_VERSION: i16 = 5;
/// From this version on the answer has a place for the epoch.
const LEADER_EPOCH_VERSION: i16 = 4;

/// An answer: timestamp, offset, and the epoch that it belongs to.
type Found = (Millis, Offset, LeaderEpoch);
const NOTHING: Found = (Millis::NONE, Offset::NONE, LeaderEpoch::NONE);

pub async fn handle(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let limit = match (request.replica_id, request.isolation_level) {
        (0.., _) => ReadLimit::LogEnd,
        (_, READ_COMMITTED) => ReadLimit::LastStableOffset,
        _ => ReadLimit::HighWatermark,
    };
    let served = if request.replica_id == DEBUGGING { Served::ByAnyReplica } else { Served::ByLeader };
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let duplicated =
                |index| topic.partitions.iter().filter(|other| other.partition_index == index).count() > 1;
            let mut partitions: Vec<ListOffsetsPartitionResponse> = Vec::new();
            for partition in &topic.partitions {
                let index = partition.partition_index;
                if partitions.iter().any(|known| known.partition_index == index) {
                    continue;
                }
                let found = if duplicated(index) {
                    Err(ErrorCode::InvalidRequest)
                } else {
                    list(broker, context.api_version, &topic.name, partition, (limit, served))
                };
                partitions.push(match found {
                    Ok((timestamp, offset, epoch)) => ListOffsetsPartitionResponse {
                        partition_index: index,
                        timestamp: timestamp.0,
                        offset: offset.0,
                        leader_epoch: if context.api_version >= LEADER_EPOCH_VERSION { epoch.0 } else { -1 },
                        ..Default::default()
                    },
                    Err(error) => ListOffsetsPartitionResponse {
                        partition_index: index,
                        error_code: error.code(),
                        ..Default::default()
                    },
                });
            }
            ListOffsetsTopicResponse { name: topic.name.clone(), partitions }
        })
        .collect();
    ListOffsetsResponse { topics, ..Default::default() }
}

fn list(
    broker: &Broker,
    version: i16,
    topic: &str,
    partition: &ListOffsetsPartition,
    (limit, served): (ReadLimit, Served),
) -> Result<Found, ErrorCode> {
    let version_min = match partition.timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        LATEST | EARLIEST | 0.. => 1,
        _ => i16::MAX,
    };
    if version < version_min {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let handle = broker.partition_by_name(topic, partition.partition_index)?;
    let leader_epoch = handle.check_epoch(LeaderEpoch(partition.current_leader_epoch), served)?;
    let view = handle.view();
    let latest = view.limit(limit);
    // A leader that has just been elected does not know yet what its predecessor had committed.
    let is_known = limit == ReadLimit::LogEnd || view.high_watermark() >= handle.epoch_start();
    let unknown = match version {
        OFFSET_NOT_AVAILABLE_VERSION.. => ErrorCode::OffsetNotAvailable,
        _ => ErrorCode::LeaderNotAvailable,
    };
    match partition.timestamp {
        LATEST if !is_known => Err(unknown),
        LATEST => Ok((Millis::NONE, latest, leader_epoch)),
        EARLIEST | EARLIEST_LOCAL => {
            let start = view.log_start_offset();
            let epoch = view.epochs().earliest().filter(|first| first.start_offset <= start);
            Ok((Millis::NONE, start, epoch.map_or(LeaderEpoch::NONE, |first| first.epoch)))
        }
        // Nothing is tiered.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOTHING),
        MAX_TIMESTAMP => with_epoch(view, view.max_timestamp()),
        timestamp => {
            let found = with_epoch(view, view.offset_for_timestamp(Millis(timestamp)))?;
            match found.1 < latest && found != NOTHING {
                true => Ok(found),
                false if !is_known => Err(unknown),
                false => Ok(NOTHING),
            }
        }
    }
}

fn with_epoch(
    view: &LogView,
    found: Result<Option<(Millis, Offset)>, ottla_commit_log::StorageError>,
) -> Result<Found, ErrorCode> {
    let found = found.map_err(|error| error.error_code())?;
    Ok(found.map_or(NOTHING, |(timestamp, offset)| {
        (timestamp, offset, view.epochs().epoch_of(offset).unwrap_or(LeaderEpoch::NONE))
    }))
}
