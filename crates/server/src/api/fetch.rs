//! Fetch (1): versions 4 to 18; version 7 brought sessions, 13 topic ids.
//!
//! Committed data is read from the partitions' published views, without entering a shard, and leaves as file
//! ranges. A request that finds too little waits at its partitions and reads again when one of them grew.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_commit_log::{DiskFile, FirstBatch, LogView, ReadError, ReadLimit, ReadPart, ReadPlan};
use ottla_model::{ErrorCode, LeaderEpoch, NodeId, Offset};
use ottla_protocol::api::fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, PartitionData,
};
use ottla_protocol::{Decoder, Message, Records, Str};
use ottla_transport::{FileRange, FileSource};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Answer, Rejected, RequestContext, leaders};
use crate::broker::Broker;
use crate::broker::fetch_session::{FetchPlan, FetchTarget};
use crate::broker::partition::{PartitionHandle, Served};
use crate::clock;
use crate::node::Node;

/// From this version on topics are named by id.
pub(super) const TOPIC_ID_VERSION: i16 = 13;
/// From this version on consumers may be sent to followers.
const FOLLOWER_FETCH_VERSION: i16 = 11;
const READ_UNCOMMITTED: i8 = 0;
const READ_COMMITTED: i8 = 1;

pub async fn answer(
    node: &Arc<Node>,
    context: &RequestContext,
    mut body: Decoder,
) -> Result<Answer, Rejected> {
    let mut request = FetchRequest::decode(&mut body, context.api_version)?;
    drop(body);
    let broker = node.broker();
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        return super::replica_fetch::answer(broker, context, request).await;
    }
    let failed = |error: ErrorCode| {
        Answer::new(context, &FetchResponse { error_code: error.code(), ..Default::default() })
    };
    let isolation = match request.isolation_level {
        READ_UNCOMMITTED => ReadLimit::HighWatermark,
        READ_COMMITTED => ReadLimit::LastStableOffset,
        _ => return failed(ErrorCode::UnknownServerError),
    };
    let rack = std::mem::take(&mut request.rack_id);
    let limits = Limits {
        max_bytes: (request.max_bytes.max(0) as u64).min(broker.fetch_bytes_max()),
        min_bytes: request.min_bytes.max(0) as u64,
        isolation,
        by_topic_id: context.api_version >= TOPIC_ID_VERSION,
        served: match context.api_version {
            FOLLOWER_FETCH_VERSION.. => Served::ByAnyReplica,
            _ => Served::ByLeader,
        },
        rack: Some(rack).filter(|rack| broker.reads_in_rack() && !rack.is_empty()),
    };
    let max_wait = Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let plan = match broker.fetch_sessions.plan(request, context.api_version, clock::now()) {
        Ok(plan) => plan,
        Err(error) => return failed(error),
    };
    let mut found = Found::read(broker, &plan, &limits);
    if !found.answers(&limits) && !max_wait.is_zero() && !plan.targets.is_empty() {
        let deadline = Instant::now() + max_wait;
        let grown = Arc::new(Notify::new());
        loop {
            // Registered before reading again, so that what grows in between is not missed.
            for target in &plan.targets {
                if let Ok(handle) = lookup(broker, target, &limits) {
                    handle.waiters.register(&grown);
                }
            }
            found = Found::read(broker, &plan, &limits);
            if found.answers(&limits) || tokio::time::timeout_at(deadline, grown.notified()).await.is_err() {
                break;
            }
        }
        found = if found.answers(&limits) { found } else { Found::read(broker, &plan, &limits) };
    }
    let Found { partitions, files: Files(files), .. } = found;
    let (session_id, responses) = broker.fetch_sessions.finish(plan, partitions);
    let mut response = FetchResponse { session_id, responses, ..Default::default() };
    leaders::tell_consumer(&broker.image(), context, &mut response);
    Answer::with_files(context, &response, files)
}

struct Limits {
    max_bytes: u64,
    min_bytes: u64,
    isolation: ReadLimit,
    by_topic_id: bool,
    served: Served,
    /// Where the consumer is, if it may be sent to a replica near by.
    rack: Option<Str>,
}

/// What one pass over the partitions found.
struct Found {
    partitions: Vec<PartitionData>,
    files: Files,
    bytes: u64,
    /// Something that the client must be told at once.
    urgent: bool,
}

impl Found {
    fn read(broker: &Broker, plan: &FetchPlan, limits: &Limits) -> Self {
        let mut found = Found {
            partitions: Vec::with_capacity(plan.targets.len()),
            files: Files::default(),
            bytes: 0,
            urgent: false,
        };
        for target in &plan.targets {
            let data = lookup(broker, target, limits)
                .and_then(|handle| found.read_partition(broker, &handle, target, limits))
                .unwrap_or_else(|error| {
                    found.urgent = true;
                    failed_partition(target.request.partition, error)
                });
            found.partitions.push(data);
        }
        found
    }

    fn answers(&self, limits: &Limits) -> bool {
        self.urgent || self.bytes >= limits.min_bytes
    }

    fn read_partition(
        &mut self,
        broker: &Broker,
        handle: &PartitionHandle,
        target: &FetchTarget,
        limits: &Limits,
    ) -> Result<PartitionData, ErrorCode> {
        let request = &target.request;
        handle.check_epoch(LeaderEpoch(request.current_leader_epoch), limits.served)?;
        let view = handle.view();
        let mut data = PartitionData {
            partition_index: request.partition,
            high_watermark: view.high_watermark().0,
            last_stable_offset: view.last_stable_offset().0,
            log_start_offset: view.log_start_offset().0,
            aborted_transactions: (limits.isolation == ReadLimit::LastStableOffset).then(Vec::new),
            records: Some(Records::default()),
            ..Default::default()
        };
        let offset = Offset(request.fetch_offset);
        if let Some(diverging) = diverging_epoch(view, request)? {
            data.diverging_epoch = diverging;
            self.urgent = true;
            return Ok(data);
        }
        if let Some(rack) = &limits.rack
            && let Some(near) = replica_in_rack(broker, handle, rack, offset)
        {
            data.preferred_read_replica = near.0;
            self.urgent = true;
            return Ok(data);
        }
        let room = limits.max_bytes.saturating_sub(self.bytes).min(request.partition_max_bytes.max(0) as u64);
        // The first batch found is returned even if it is larger than every limit, or a reader would be stuck.
        let first_batch = if self.bytes == 0 { FirstBatch::Whole } else { FirstBatch::WithinLimit };
        let plan = view
            .read(offset, view.limit(limits.isolation), room as usize, first_batch)
            .map_err(|error| refusal(&error, || broker.session.is_alive(tokio::time::Instant::now())))?;
        if limits.isolation == ReadLimit::LastStableOffset {
            let aborted = view
                .aborted_transactions(offset, plan.upper_bound)
                .map_err(|error| error.error_code())?
                .into_iter()
                .map(|aborted| AbortedTransaction {
                    producer_id: aborted.producer_id.0,
                    first_offset: aborted.first_offset.0,
                })
                .collect();
            data.aborted_transactions = Some(aborted);
        }
        self.bytes += plan.found_bytes as u64;
        data.records = Some(self.files.records(plan));
        Ok(data)
    }
}

/// What a consumer is told of a read that was refused.
///
/// Behind the log's end may lie what a successor wrote that this broker, cut off, has not heard of: a consumer that is
/// told that there is no such offset begins anew, and commits that. While others may lead it is to look for them.
fn refusal(error: &ReadError, is_alive: impl FnOnce() -> bool) -> ErrorCode {
    match error {
        ReadError::OffsetOutOfRange { offset, log_end, .. } if offset > log_end && !is_alive() => {
            ErrorCode::NotLeaderOrFollower
        }
        error => error.error_code(),
    }
}

/// The in-sync follower in `rack` that has most, if it has `offset` and the leader is elsewhere (KIP-392).
fn replica_in_rack(broker: &Broker, handle: &PartitionHandle, rack: &str, offset: Offset) -> Option<NodeId> {
    if !handle.standing().leads {
        return None;
    }
    let image = broker.image();
    let is_near = |id: NodeId| {
        image.cluster.broker(id).is_some_and(|known| !known.fenced && known.rack.as_deref() == Some(rack))
    };
    if is_near(broker.node_id) {
        return None;
    }
    let in_sync = handle.replicas.load();
    let readable = handle.readable.lock();
    let can = readable.iter().filter(|follower| {
        in_sync.in_sync.contains(&follower.replica)
            && (follower.log_start..=follower.log_end).contains(&offset)
            && is_near(follower.replica)
    });
    can.max_by_key(|follower| follower.log_end).map(|follower| follower.replica)
}

/// Where the log parts from that of a reader who knows the epoch of what he read last.
///
/// Errors: OFFSET_OUT_OF_RANGE if the log cannot tell.
pub(super) fn diverging_epoch(
    view: &LogView,
    request: &FetchPartition,
) -> Result<Option<EpochEndOffset>, ErrorCode> {
    if request.last_fetched_epoch < 0 {
        return Ok(None);
    }
    let offset = Offset(request.fetch_offset);
    let (epoch, end) = view
        .end_offset_for_epoch(LeaderEpoch(request.last_fetched_epoch))
        .filter(|_| offset >= view.log_start_offset())
        .ok_or(ErrorCode::OffsetOutOfRange)?;
    let diverges = epoch.0 < request.last_fetched_epoch || end < offset;
    Ok(diverges.then_some(EpochEndOffset { epoch: epoch.0, end_offset: end.0 }))
}

/// The file ranges of an answer.
#[derive(Default)]
pub(super) struct Files(pub Vec<FileRange>);

impl Files {
    /// What was planned as a field of the answer; a file range is sent from the file.
    pub fn records(&mut self, plan: ReadPlan) -> Records {
        let mut memory: Vec<Bytes> = Vec::with_capacity(plan.parts.len());
        for part in plan.parts {
            match part {
                ReadPart::Memory(bytes) => memory.push(bytes),
                ReadPart::File { file, position, len } => {
                    debug_assert!(memory.is_empty(), "a read is answered from memory or from a file");
                    let id = self.0.len() as u32;
                    self.0.push(FileRange { file: Box::new(LogFile(file)), position, len: len as u64 });
                    return Records::External { len: len as u32, id };
                }
            }
        }
        Records::Chunks(memory)
    }
}

/// A log's file as the transport sends it.
#[derive(Debug)]
struct LogFile(Arc<dyn DiskFile>);

impl FileSource for LogFile {
    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_fd()
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buf, position)
    }
}

fn lookup(broker: &Broker, target: &FetchTarget, limits: &Limits) -> Result<Arc<PartitionHandle>, ErrorCode> {
    if limits.by_topic_id {
        broker.partition_by_id(target.topic.id, target.request.partition)
    } else {
        broker.partition_by_name(&target.topic.name, target.request.partition)
    }
}

pub(super) fn failed_partition(index: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index: index,
        error_code: error.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        records: Some(Records::default()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_may_be_deposed_does_not_say_that_an_offset_does_not_exist() {
        let read = |offset| ReadError::OffsetOutOfRange {
            offset: Offset(offset),
            log_start: Offset(10),
            log_end: Offset(20),
        };
        assert_eq!(refusal(&read(21), || true), ErrorCode::OffsetOutOfRange);
        assert_eq!(refusal(&read(21), || false), ErrorCode::NotLeaderOrFollower);
        // What was deleted is deleted everywhere.
        assert_eq!(refusal(&read(9), || false), ErrorCode::OffsetOutOfRange);
    }
}
