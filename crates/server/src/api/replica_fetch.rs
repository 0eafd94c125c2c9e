//! Fetch (1) of a follower: it reads to the log's end, and what it asks for tells what it has.
//!
//! A fetch notes first what the follower has, then reads what changed since its last one, and waits where nothing did.
//! Partitions that nobody writes to cost nothing.

use std::sync::Arc;
use std::time::Duration;

use ottla_commit_log::{FirstBatch, ReadLimit};
use ottla_model::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, Offset};
use ottla_protocol::Records;
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchResponse, PartitionData};
use ottla_replication::FollowerFetch;
use tokio::time::Instant;

use super::fetch::{Files, TOPIC_ID_VERSION, diverging_epoch, failed_partition};
use super::{Answer, Rejected, RequestContext};
use crate::broker::Broker;
use crate::broker::partition::PartitionHandle;
use crate::broker::replica_sessions::{ReplicaFetch, SessionPartition};
use crate::broker::replication_quota::Side;
use crate::broker::shard::{Shard, Work};
use crate::clock;

/// A round costs the same whatever it brings: of a busy leader a follower takes so much at once, or what a moment
/// brings. One that is given little at a time is not busy, and gets it at once.
const COLLECTED_BYTES: u64 = 64 * 1024;
const BUSY_BYTES: u64 = 32 * 1024;
const COLLECT_TIME: Duration = Duration::from_millis(1);

pub async fn answer(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: FetchRequest,
) -> Result<Answer, Rejected> {
    let replica = NodeId(request.replica_id.max(request.replica_state.replica_id));
    let reader = Reader {
        broker,
        replica: Replica::of(broker, replica, BrokerEpoch(request.replica_state.replica_epoch)),
        by_topic_id: context.api_version >= TOPIC_ID_VERSION,
        max_bytes: (request.max_bytes.max(0) as u64).min(broker.fetch_bytes_max()),
        min_bytes: request.min_bytes.max(0) as u64,
    };
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let sessions = &broker.replica_sessions;
    let fetch = match sessions.begin(replica, request, reader.by_topic_id, clock::steady()) {
        Ok(fetch) => fetch,
        Err(error) => {
            let response = FetchResponse { error_code: error.code(), ..Default::default() };
            return Answer::new(context, &response);
        }
    };
    reader.note_progress(&fetch);
    let mut places = fetch.named.clone();
    let ready = Arc::clone(&fetch.session.ready);
    let mut collected = false;
    let found = loop {
        ready.take(&mut places);
        let found = reader.read(&fetch, &mut places);
        let is_little = found.bytes > 0 && found.bytes < COLLECTED_BYTES && !found.urgent;
        if is_little && !collected && fetch.session.lock().last_bytes >= BUSY_BYTES {
            collected = true;
            tokio::time::sleep(COLLECT_TIME).await;
            continue;
        }
        if found.answers(reader.min_bytes) || Instant::now() >= deadline {
            break found;
        }
        if ready.begin_wait() {
            let changed = tokio::time::timeout_at(deadline, ready.changed.notified());
            match &context.hurry {
                Some(hurry) => tokio::select! {
                    biased;
                    _ = changed => {}
                    // The follower has more to ask for.
                    () = hurry.notified() => break found,
                },
                None => drop(changed.await),
            }
        }
    };
    fetch.session.lock().last_bytes = found.bytes;
    let (session_id, responses) = fetch.finish(found.partitions);
    let response = FetchResponse { session_id, responses, ..Default::default() };
    Answer::with_files(context, &response, found.files.0)
}

/// Who fetches.
#[derive(Clone, Copy)]
struct Replica {
    id: NodeId,
    epoch: BrokerEpoch,
    eligible: bool,
    /// A newer incarnation of the broker is registered.
    outdated: bool,
}

impl Replica {
    fn of(broker: &Broker, id: NodeId, epoch: BrokerEpoch) -> Self {
        let image = broker.image();
        let known = image.cluster.broker(id);
        let is_current = |known: BrokerEpoch| !epoch.is_some() || known == epoch;
        Self {
            id,
            epoch,
            eligible: known.is_some_and(|known| {
                !known.fenced && !known.in_controlled_shutdown && is_current(known.epoch)
            }),
            outdated: epoch.is_some() && known.is_some_and(|known| !known.fenced && known.epoch > epoch),
        }
    }
}

struct Reader<'a> {
    broker: &'a Broker,
    replica: Replica,
    by_topic_id: bool,
    max_bytes: u64,
    min_bytes: u64,
}

/// What one pass found.
#[derive(Default)]
struct Found {
    partitions: Vec<(u32, PartitionData)>,
    files: Files,
    bytes: u64,
    /// Something that the follower must be told at once.
    urgent: bool,
}

impl Found {
    fn answers(&self, min_bytes: u64) -> bool {
        self.urgent || self.bytes >= min_bytes
    }
}

impl Reader<'_> {
    /// Tells the partitions that the request names what the follower has of them.
    fn note_progress(&self, fetch: &ReplicaFetch) {
        let mut shards: Vec<Arc<Shard>> = Vec::new();
        let mut state = fetch.session.lock();
        for &place in &fetch.named {
            let Some(partition) = state.partition(place) else { continue };
            let Ok(handle) = self.lookup(partition) else { continue };
            if !matches!(self.check(&handle, &partition.request), Ok(None)) {
                continue;
            }
            self.push_progress(&handle, &partition.request, &mut shards);
        }
        drop(state);
        shards.iter().for_each(Shard::enter);
    }

    fn push_progress(
        &self,
        handle: &Arc<PartitionHandle>,
        request: &FetchPartition,
        shards: &mut Vec<Arc<Shard>>,
    ) {
        let fetch = FollowerFetch {
            replica: self.replica.id,
            broker_epoch: self.replica.epoch,
            offset: Offset(request.fetch_offset),
            log_start: Offset(request.log_start_offset),
            eligible: self.replica.eligible,
        };
        handle.shard.push(Work::Fetched { slot: handle.slot, fetch });
        if !shards.iter().any(|shard| Arc::ptr_eq(shard, &handle.shard)) {
            shards.push(Arc::clone(&handle.shard));
        }
    }

    fn lookup(&self, partition: &SessionPartition) -> Result<Arc<PartitionHandle>, ErrorCode> {
        if self.by_topic_id {
            self.broker.partition_by_id(partition.topic.id, partition.request.partition)
        } else {
            self.broker.partition_by_name(&partition.topic.name, partition.request.partition)
        }
    }

    /// Whether the follower may read where it wants to; else where the logs part.
    fn check(
        &self,
        handle: &PartitionHandle,
        request: &FetchPartition,
    ) -> Result<Option<ottla_protocol::api::fetch::EpochEndOffset>, ErrorCode> {
        handle.check_leader_epoch(LeaderEpoch(request.current_leader_epoch))?;
        if self.replica.outdated {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if !handle.replicas.load().all.contains(&self.replica.id) {
            // The follower may know of its assignment before this broker does.
            return Err(match request.current_leader_epoch {
                0.. => ErrorCode::UnknownLeaderEpoch,
                _ => ErrorCode::NotLeaderOrFollower,
            });
        }
        let view = handle.view();
        let diverging = diverging_epoch(view, request)?;
        let offset = Offset(request.fetch_offset);
        if diverging.is_none() && (offset < view.log_start_offset() || offset > view.log_end_offset()) {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(diverging)
    }

    fn read(&self, fetch: &ReplicaFetch, places: &mut Vec<u32>) -> Found {
        let mut found = Found::default();
        let mut shards = Vec::new();
        let mut state = fetch.session.lock();
        state.order(places);
        let mut served = None;
        for &place in &*places {
            let Some(partition) = state.partition(place) else { continue };
            let before = found.bytes;
            let data = self.lookup(partition).and_then(|handle| {
                partition.watch(&handle, &fetch.session.ready, place);
                self.read_partition(&handle, partition, &mut found, &mut shards)
            });
            let data = data.unwrap_or_else(|error| {
                found.urgent = true;
                failed_partition(partition.request.partition, error)
            });
            found.partitions.push((place, data));
            if found.bytes > before {
                served = Some(place);
            }
        }
        if let Some(served) = served {
            state.served(served);
        }
        drop(state);
        shards.iter().for_each(Shard::enter);
        found
    }

    fn read_partition(
        &self,
        handle: &Arc<PartitionHandle>,
        partition: &SessionPartition,
        found: &mut Found,
        shards: &mut Vec<Arc<Shard>>,
    ) -> Result<PartitionData, ErrorCode> {
        let request = &partition.request;
        let diverging = self.check(handle, request)?;
        let view = handle.view();
        let mut data = PartitionData {
            partition_index: request.partition,
            high_watermark: view.high_watermark().0,
            last_stable_offset: view.last_stable_offset().0,
            log_start_offset: view.log_start_offset().0,
            records: Some(Records::default()),
            ..Default::default()
        };
        if let Some(diverging) = diverging {
            data.diverging_epoch = diverging;
            found.urgent = true;
            return Ok(data);
        }
        let is_throttled = handle.is_throttled(Side::Leader);
        if !handle.replicas.load().in_sync.contains(&self.replica.id) {
            // What it may still have to be let in for is looked at with every fetch.
            self.push_progress(handle, request, shards);
            partition.keep();
            let quotas = &self.broker.replication_quotas;
            if is_throttled && quotas.is_exceeded(self.broker, Side::Leader, clock::steady()) {
                return Ok(data);
            }
        }
        let room = self.max_bytes.saturating_sub(found.bytes).min(request.partition_max_bytes.max(0) as u64);
        let first_batch = if found.bytes == 0 { FirstBatch::Whole } else { FirstBatch::WithinLimit };
        let offset = Offset(request.fetch_offset);
        let end = view.limit(ReadLimit::LogEnd);
        let plan = view.read(offset, end, room as usize, first_batch).map_err(|error| error.error_code())?;
        if plan.size_bytes == 0 && offset < end {
            // No room in this answer.
            partition.keep();
        }
        found.bytes += plan.found_bytes as u64;
        if is_throttled {
            let quotas = &self.broker.replication_quotas;
            quotas.record(Side::Leader, plan.size_bytes as u64, clock::steady());
        }
        data.records = Some(found.files.records(plan));
        Ok(data)
    }
}
