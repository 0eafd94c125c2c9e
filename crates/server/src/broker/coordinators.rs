//! The group coordinators of this broker: one for each partition of `__consumer_offsets` that it leads.
//!
//! Each is entered by whoever brings work, under a lock that is held for a step and never across a wait. Its appends go
//! into the queue of the shard that owns the partition while the lock is held, so the log has them in the order of the
//! steps; the shard tells their outcome when they are committed, which is the next step. Lock order: a shard before a
//! coordinator, never the other way round.
//!
//! Owns loading, timers and the requests that wait. Must not know what a group is.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use ottla_commit_log::{FirstBatch, LogView, ReadError};
use ottla_coordinator::{
    Actions, Append, ClientContext, CoordinatorConfig, Event, GroupCoordinator, GroupCounts, Replayed,
    Request, Response, Ticket, TransactionResult, partition_for,
};
use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId};
use ottla_protocol::Str;
use ottla_record::control::{self, EndTxnMarker};
use ottla_record::validate::ValidBatch;
use ottla_record::{Batch, BatchBuilder, BatchError, Batches, Codec, Compression};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tracing::{debug, error, warn};

use super::partition::{Acks, Completion, PartitionHandle, StagedAppend};
use super::shard::Work;
use crate::api::produce::AppendOutcome;
use crate::clock;
use crate::config::ServerConfig;
use crate::loops;
use crate::random;

/// Partitions that are read at the same time; each occupies a thread.
const LOADS_MAX: usize = 2;
/// Timers look at the clock at least this often: wall time may be set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How the coordinators of this broker work.
#[derive(Clone, Copy, Debug)]
pub struct HostConfig {
    pub coordinator: CoordinatorConfig,
    /// `offsets.topic.compression.codec`
    pub compression: Compression,
    /// `offsets.load.buffer.size`
    pub load_buffer_bytes: usize,
    /// `offsets.topic.num.partitions`, until the topic exists.
    pub partitions: i32,
}

impl HostConfig {
    pub fn of(config: &ServerConfig) -> Self {
        let (groups, offsets) = (&config.groups, &config.offsets);
        let codec = u8::try_from(offsets.topic_compression_codec).ok().and_then(Codec::from_id);
        Self {
            coordinator: CoordinatorConfig {
                min_session_timeout_ms: groups.min_session_timeout_ms,
                max_session_timeout_ms: groups.max_session_timeout_ms,
                initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
                max_size: usize::try_from(groups.size_max).unwrap_or(0),
                offsets_retention_ms: i64::from(offsets.retention_minutes) * 60_000,
                offsets_retention_check_interval_ms: offsets.retention_check_interval_ms,
                offset_metadata_max: usize::try_from(offsets.metadata_bytes_max).unwrap_or(0),
                write_timeout_ms: i64::from(offsets.commit_timeout_ms),
            },
            compression: Compression::of(codec.unwrap_or(Codec::None)),
            load_buffer_bytes: usize::try_from(offsets.load_buffer_bytes).unwrap_or(0).max(1),
            partitions: offsets.topic_num_partitions,
        }
    }
}

/// See the module's head.
pub struct GroupCoordinators {
    config: HostConfig,
    hosts: RwLock<BTreeMap<i32, Arc<Host>>>,
    loads: Arc<Semaphore>,
    stopped: AtomicBool,
    /// Metadata is published by threads that are not the runtime's.
    runtime: Handle,
}

/// The coordinator of one partition while this broker leads it in one epoch.
struct Host {
    partition: Arc<PartitionHandle>,
    epoch: LeaderEpoch,
    config: HostConfig,
    runtime: Handle,
    state: Mutex<State>,
    /// A deadline has come nearer, or, while loading, more is committed.
    hurry: Arc<Notify>,
}

enum State {
    Loading,
    Active(Box<Active>),
    /// The partition could not be read: there is no coordinator until another leader takes over.
    Failed,
    Closed,
}

struct Active {
    coordinator: GroupCoordinator,
    waiting: HashMap<Ticket, oneshot::Sender<Response>>,
    next_ticket: u64,
    /// Time of the last step: steps do not go back.
    now: Millis,
    /// What the timer task waits for.
    armed: Millis,
}

impl GroupCoordinators {
    /// To be called inside the runtime.
    pub fn new(config: HostConfig) -> Self {
        let loads = Arc::new(Semaphore::new(LOADS_MAX));
        Self {
            config,
            hosts: RwLock::default(),
            loads,
            stopped: AtomicBool::new(false),
            runtime: Handle::current(),
        }
    }

    /// Asks the coordinator of `group_id` and waits for its answer. `partitions` is the size of the offsets topic, if
    /// it exists.
    ///
    /// Errors: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS.
    pub async fn ask(
        &self,
        partitions: Option<i32>,
        group_id: &str,
        context: ClientContext,
        request: Request,
    ) -> Result<Response, ErrorCode> {
        if let Some(error) = self.config.coordinator.refusal(&request) {
            return Err(error);
        }
        let partition = partition_for(group_id, partitions.unwrap_or(self.config.partitions));
        let host = self.hosts.read().get(&partition).cloned().ok_or(ErrorCode::NotCoordinator)?;
        host.ask(context, request).await
    }

    /// Asks every coordinator here, for requests that are not about certain groups.
    ///
    /// Errors: COORDINATOR_LOAD_IN_PROGRESS if one of them is not ready.
    pub async fn ask_all(
        &self,
        context: &ClientContext,
        request: impl Fn() -> Request,
    ) -> Result<Vec<Response>, ErrorCode> {
        let hosts: Vec<Arc<Host>> = self.hosts.read().values().cloned().collect();
        let mut responses = Vec::with_capacity(hosts.len());
        for host in hosts {
            match host.ask(context.clone(), request()).await {
                Ok(response) => responses.push(response),
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(responses)
    }

    /// A partition of the offsets topic may have changed hands: this broker leads it in `epoch` if there is a `led`
    /// one. Its coordinator is loaded by a thread of its own and answers COORDINATOR_LOAD_IN_PROGRESS until then;
    /// one of an earlier epoch is closed.
    pub fn follow(&self, index: i32, led: Option<&Arc<PartitionHandle>>, epoch: LeaderEpoch) {
        let Some(partition) = led.filter(|_| !self.stopped.load(Ordering::Acquire)) else {
            return self.resign(index);
        };
        if self.hosts.read().get(&index).is_some_and(|host| host.epoch == epoch) {
            return;
        }
        let host = Arc::new(Host {
            partition: Arc::clone(partition),
            epoch,
            config: self.config,
            runtime: self.runtime.clone(),
            state: Mutex::new(State::Loading),
            hurry: Arc::default(),
        });
        if let Some(former) = self.hosts.write().insert(index, Arc::clone(&host)) {
            former.close();
        }
        let is_empty = partition.view().log_start_offset() == partition.view().log_end_offset();
        // Nobody led it before, so nobody's records can be on their way.
        if is_empty && epoch == LeaderEpoch(0) {
            return host.activate(host.new_coordinator());
        }
        self.runtime.spawn(load(host, Arc::clone(&self.loads)));
    }

    /// The broker does not lead the partition any more: everyone who waits is told.
    pub fn resign(&self, partition: i32) {
        if let Some(host) = self.hosts.write().remove(&partition) {
            host.close();
        }
    }

    /// The node stops: everyone who waits, perhaps for minutes, is told to look for another coordinator.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for host in std::mem::take(&mut *self.hosts.write()).into_values() {
            host.close();
        }
    }

    /// Topics were deleted: what was committed for them goes too.
    pub fn topics_deleted(&self, topics: &[Str]) {
        let hosts: Vec<Arc<Host>> = self.hosts.read().values().cloned().collect();
        for host in hosts {
            host.step(Event::TopicsDeleted { topics: topics.to_vec() });
        }
    }
}

async fn load(host: Arc<Host>, loads: Arc<Semaphore>) {
    // Never closed, so always granted.
    let permit = loads.acquire_owned().await;
    // What a follower's fetch or a coordinator of an earlier epoch left in the shard's queue is written after this.
    host.partition.shard.run(|_| ()).await;
    let loading = Arc::clone(&host);
    let loaded = loops::run_long(move || loading.load()).await;
    drop(permit);
    match loaded {
        Ok(Ok((coordinator, end))) => {
            host.wait_until_committed(end).await;
            host.activate(coordinator);
        }
        Ok(Err(reason)) => host.fail(&reason),
        Err(panicked) => host.fail(&panicked),
    }
}

impl Host {
    async fn ask(self: &Arc<Self>, context: ClientContext, request: Request) -> Result<Response, ErrorCode> {
        let (answer, receiver) = oneshot::channel();
        let appended = {
            let mut state = self.state.lock();
            let active = match &mut *state {
                State::Active(active) => active,
                State::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
                State::Failed | State::Closed => return Err(ErrorCode::NotCoordinator),
            };
            let ticket = Ticket(active.next_ticket);
            active.next_ticket += 1;
            active.waiting.insert(ticket, answer);
            self.step_active(active, Event::Request { ticket, context, request })
        };
        if appended {
            self.settle();
        }
        receiver.await.map_err(|_| ErrorCode::NotCoordinator)
    }

    /// Makes a step, if there is a coordinator.
    fn step(self: &Arc<Self>, event: Event) {
        let appended = match &mut *self.state.lock() {
            State::Active(active) => self.step_active(active, event),
            _ => false,
        };
        if appended {
            self.settle();
        }
    }

    /// Lets the shard write what was appended, and only then looks at deadlines: what is committed at once, as most
    /// is, needs nobody to be woken for its timeout.
    fn settle(&self) {
        self.partition.shard.enter();
        if let State::Active(active) = &mut *self.state.lock() {
            self.hurry_timers(active);
        }
    }

    fn hurry_timers(&self, active: &mut Active) {
        if let Some(due) = active.coordinator.next_deadline()
            && due < active.armed
        {
            active.armed = due;
            self.hurry.notify_one();
        }
    }

    /// Makes a step and performs its actions; if true, [`Self::settle`] must follow without the lock.
    fn step_active(self: &Arc<Self>, active: &mut Active, event: Event) -> bool {
        active.now = active.now.max(clock::now());
        let actions = active.coordinator.step(active.now, event);
        self.perform(active, actions)
    }

    fn perform(self: &Arc<Self>, active: &mut Active, actions: Actions) -> bool {
        for (ticket, response) in actions.replies {
            if let Some(answer) = active.waiting.remove(&ticket) {
                // A client that went away does not need the answer.
                let _ = answer.send(response);
            }
        }
        let mut appends = !actions.appends.is_empty();
        for append in actions.appends {
            let id = append.id;
            if let Err(error) = self.push(append, active.now) {
                appends |= self.step_active(active, Event::AppendFailed { append: id, error });
            }
        }
        if !appends {
            self.hurry_timers(active);
        }
        appends
    }

    /// Puts an append into the shard's queue. What becomes of it is told to the coordinator by the shard.
    ///
    /// Errors: RECORD_LIST_TOO_LARGE beyond the topic's `max.message.bytes`.
    fn push(self: &Arc<Self>, append: Append, now: Millis) -> Result<(), ErrorCode> {
        let id = append.id;
        let (producer_id, producer_epoch) =
            append.producer.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE));
        // Coordinators' batches carry sequence 0, with or without a producer.
        let mut builder = BatchBuilder::new(self.config.compression).producer(producer_id, producer_epoch, 0);
        if append.producer.is_some() {
            builder = builder.transactional();
        }
        for record in &append.records {
            builder.append(now, Some(&record.key), record.value.as_deref());
        }
        let bytes: Bytes = builder.build();
        if bytes.len() > self.partition.rules.load().max_message_bytes {
            return Err(ErrorCode::RecordListTooLarge);
        }
        let host = Arc::clone(self);
        let told = Box::new(move |outcome: AppendOutcome| {
            host.step(match outcome.error {
                ErrorCode::None => Event::Committed { append: id, base_offset: outcome.base_offset },
                error => Event::AppendFailed { append: id, error },
            });
        });
        let completion = Completion::Coordinator { epoch: self.epoch, told };
        let batch = Batch::parse(&bytes).expect("invariant: a batch that was built can be read");
        // The coordinator has timers of its own; whether the records are in the log only replication can say.
        let append = StagedAppend {
            batch: ValidBatch::trusted(batch),
            acks: Acks::All,
            deadline: Millis::MAX,
            completion,
        };
        self.partition.shard.push(Work::Append { slot: self.partition.slot, append });
        Ok(())
    }

    fn new_coordinator(&self) -> GroupCoordinator {
        GroupCoordinator::new(self.config.coordinator, random::u64())
    }

    /// Reads the partition up to the end, which it returns too; blocks. Stops early when closed.
    fn load(&self) -> Result<(GroupCoordinator, Offset), LoadError> {
        let mut coordinator = self.new_coordinator();
        let view = self.partition.view();
        let end = view.log_end_offset();
        let mut offset = view.log_start_offset();
        while offset < end && self.is_loading() {
            let next = replay_chunk(view, offset, end, self.config.load_buffer_bytes, &mut coordinator)?;
            if next <= offset {
                break;
            }
            offset = next;
        }
        Ok((coordinator, end))
    }

    fn is_loading(&self) -> bool {
        matches!(*self.state.lock(), State::Loading)
    }

    /// What was loaded but is not committed might be taken back, and nobody may have been told of it by then.
    async fn wait_until_committed(&self, end: Offset) {
        loop {
            self.partition.waiters.register(&self.hurry);
            if self.partition.view().high_watermark() >= end || !self.is_loading() {
                return;
            }
            self.hurry.notified().await;
        }
    }

    fn fail(&self, reason: &dyn std::fmt::Display) {
        let mut state = self.state.lock();
        if matches!(*state, State::Loading) {
            error!(partition = %self.partition.name, "cannot load a group coordinator: {reason}");
            *state = State::Failed;
        }
    }

    /// Starts to answer, unless the partition has moved on in the meantime.
    fn activate(self: &Arc<Self>, mut coordinator: GroupCoordinator) {
        let mut state = self.state.lock();
        if !matches!(*state, State::Loading) {
            return;
        }
        let now = clock::now();
        let counts = coordinator.counts();
        if counts != GroupCounts::default() {
            // A line for each of 50 partitions would fill the screen of a start.
            debug!(partition = %self.partition.name, epoch = self.epoch.0, ?counts, "loaded groups");
        }
        let actions = coordinator.loaded(now);
        let mut active =
            Active { coordinator, waiting: HashMap::new(), next_ticket: 0, now, armed: Millis::MAX };
        let appended = self.perform(&mut active, actions);
        *state = State::Active(Box::new(active));
        drop(state);
        self.runtime.spawn(run_timers(Arc::downgrade(self)));
        if appended {
            self.settle();
        }
    }

    fn close(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if let State::Active(active) = &mut *state {
            self.step_active(active, Event::Unload);
        }
        *state = State::Closed;
        self.hurry.notify_one();
    }
}

/// Lets the coordinator know when its next deadline has come, until it is closed.
async fn run_timers(host: Weak<Host>) {
    while let Some(host) = host.upgrade() {
        let due = match &mut *host.state.lock() {
            State::Active(active) => {
                active.armed = active.coordinator.next_deadline().unwrap_or(Millis::MAX);
                active.armed
            }
            _ => return,
        };
        let left = Duration::from_millis((due - clock::now()).max(0) as u64);
        tokio::select! {
            biased;
            () = host.hurry.notified() => {}
            () = sleep_or_never(due, left) => host.step(Event::Tick),
        }
    }
}

async fn sleep_or_never(due: Millis, left: Duration) {
    if due == Millis::MAX {
        return pending().await;
    }
    tokio::time::sleep(left.min(SLEEP_MAX)).await;
}

#[derive(Debug, Error)]
enum LoadError {
    #[error("read the log: {0}")]
    Read(#[from] ReadError),
    #[error("read the log: {0}")]
    Io(#[from] std::io::Error),
    #[error("read a batch: {0}")]
    Batch(#[from] BatchError),
    #[error("read a record at offset {offset}: {source}")]
    Record { offset: Offset, source: ottla_coordinator::DecodeRecordError },
}

/// Replays what one read gives from `offset` on; the offset to go on from.
fn replay_chunk(
    view: &LogView,
    mut offset: Offset,
    end: Offset,
    bytes_max: usize,
    coordinator: &mut GroupCoordinator,
) -> Result<Offset, LoadError> {
    let plan = view.read(offset, end, bytes_max, FirstBatch::Whole)?;
    for batch in Batches::new(plan.to_bytes()?) {
        let batch = batch?;
        let header = &batch.header;
        if header.last_offset() < offset {
            continue;
        }
        for record in batch.records()? {
            let record = record?;
            let Some(key) = record.key else { continue };
            if header.is_control() {
                let marker = record.value.and_then(|value| EndTxnMarker::parse(&key, &value));
                if let Some(marker) = marker {
                    let result = match marker.result {
                        control::TransactionResult::Commit => TransactionResult::Commit,
                        control::TransactionResult::Abort => TransactionResult::Abort,
                    };
                    coordinator.replay_end_transaction(header.producer_id, result);
                }
                continue;
            }
            let producer = header.is_transactional().then_some(header.producer_id);
            match coordinator.replay(record.offset, producer, &key, record.value.as_ref()) {
                Ok(Replayed::Applied) => {}
                Ok(Replayed::UnknownType(record_type)) => {
                    warn!(partition = %view.partition(), offset = %record.offset, "passing over a record of unknown type {record_type}");
                }
                Err(source) => return Err(LoadError::Record { offset: record.offset, source }),
            }
        }
        offset = header.next_offset();
    }
    Ok(offset)
}

#[cfg(test)]
mod tests;
