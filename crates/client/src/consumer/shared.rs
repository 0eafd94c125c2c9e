//! What a consumer's handle and its tasks share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ottla_model::{ErrorCode, Millis, NodeId, TopicPartition};
use ottla_protocol::Str;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::config::ConsumerConfig;
use super::group::Command;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::state::fetched::FetchBuffer;
use crate::state::positions::{Leader, Position, Positions};

/// Shared by reference counting; locks are held for a few steps only, never across a wait.
pub(super) struct Shared {
    pub client: Client,
    pub config: ConsumerConfig,
    pub core: Mutex<Core>,
    /// There are records, notices or errors for the application.
    pub ready: Notify,
    /// Positions changed: requests may be due.
    pub resolve: Notify,
    /// Partitions may be fetched, or no longer.
    pub fetch: Notify,
    /// Partitions are to be fetched that a request under way may not ask for, or not there.
    pub moved: Notify,
    /// To the task of the group; absent without a group.
    pub group: Option<mpsc::UnboundedSender<Command>>,
    pub closed: AtomicBool,
    /// Assigned by the group, not by hand.
    pub subscribed: AtomicBool,
    pub poll: PollClock,
    started: Instant,
}

/// What tasks and handle change.
pub(super) struct Core {
    pub positions: Positions,
    pub buffer: FetchBuffer,
    pub notices: VecDeque<Notice>,
    /// Nodes with a running fetcher.
    pub fetchers: BTreeSet<NodeId>,
    pub identity: Identity,
    /// What was committed by itself last.
    pub auto_committed: BTreeMap<TopicPartition, Position>,
}

/// What an application's next poll hears.
pub(super) enum Notice {
    Revoke(Vec<TopicPartition>),
    Lose(Vec<TopicPartition>),
    /// What was added, and the whole.
    Assign(Vec<TopicPartition>, BTreeSet<TopicPartition>),
    Failed(Error),
}

/// What commits carry.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub generation: i32,
    pub member_id: Str,
}

/// When the application last polled, and whether it is in a poll now.
#[derive(Default)]
pub(super) struct PollClock {
    polling: AtomicBool,
    last: AtomicI64,
    /// The membership waits for a poll and has to be told of it.
    pub wanted: AtomicBool,
}

impl PollClock {
    /// `None` before the first poll.
    pub fn last_poll(&self, now: Millis) -> Option<Millis> {
        let last = self.last.load(Ordering::Acquire);
        if self.polling.load(Ordering::Acquire) { Some(now) } else { (last > 0).then_some(Millis(last)) }
    }
}

/// Marks a poll; its end, even by a panic or because the future was dropped, is the last sign of life.
pub(super) struct Polling<'a>(&'a Shared);

impl<'a> Polling<'a> {
    pub fn begin(shared: &'a Shared) -> Self {
        shared.poll.polling.store(true, Ordering::Release);
        if shared.poll.wanted.swap(false, Ordering::AcqRel)
            && let Some(group) = &shared.group
        {
            let _ = group.send(Command::Polled);
        }
        Self(shared)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.poll.last.store(self.0.now().0, Ordering::Release);
        self.0.poll.polling.store(false, Ordering::Release);
    }
}

impl Shared {
    pub fn new(
        client: Client,
        config: ConsumerConfig,
        group: Option<mpsc::UnboundedSender<Command>>,
    ) -> Arc<Self> {
        let core = Core {
            positions: Positions::new(config.reset),
            buffer: FetchBuffer::default(),
            notices: VecDeque::new(),
            fetchers: BTreeSet::new(),
            identity: Identity { generation: -1, member_id: Str::EMPTY },
            auto_committed: BTreeMap::new(),
        };
        Arc::new(Self {
            client,
            config,
            core: Mutex::new(core),
            ready: Notify::new(),
            resolve: Notify::new(),
            fetch: Notify::new(),
            moved: Notify::new(),
            group,
            closed: AtomicBool::new(false),
            subscribed: AtomicBool::new(false),
            poll: PollClock { wanted: AtomicBool::new(true), ..Default::default() },
            started: Instant::now(),
        })
    }

    /// Milliseconds of this consumer's life, from 1 on.
    pub fn now(&self) -> Millis {
        Millis(self.started.elapsed().as_millis() as i64 + 1)
    }

    pub fn wall_clock() -> Millis {
        Millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.client.is_closed()
    }

    /// Who is subscribed commits as a member or not at all: without a generation the group would take the offsets for
    /// those of an application that needs no membership, and they may be behind.
    pub fn check_member(&self) -> Result<()> {
        if self.subscribed.load(Ordering::Acquire) && self.core.lock().identity.generation < 0 {
            return Err(Error::broker(
                ErrorCode::UnknownMemberId,
                Some("not a member of the group at present"),
            ));
        }
        Ok(())
    }

    /// What keeps a partition from having a position, as far as metadata tells.
    pub fn obstacle(&self, partition: &TopicPartition) -> Option<Error> {
        let failure = self.client.metadata_failure();
        let metadata = self.client.metadata();
        let code = match metadata.topic(&partition.topic) {
            None => Some(ErrorCode::UnknownTopicOrPartition),
            Some(topic) => topic.error.or(match topic.partitions.get(partition.partition as usize) {
                None => Some(ErrorCode::UnknownTopicOrPartition),
                Some(known) if known.leader.is_none() => Some(ErrorCode::LeaderNotAvailable),
                Some(_) => None,
            }),
        };
        failure.or_else(|| code.map(|code| Error::broker(code, Some(partition.to_string()))))
    }

    pub fn notify(&self, notice: Notice) {
        self.core.lock().notices.push_back(notice);
        self.ready.notify_one();
    }

    pub fn fail(&self, error: Error) {
        self.notify(Notice::Failed(error));
    }

    /// Partitions or positions changed by the application's or the group's doing.
    pub fn positions_changed(&self) {
        self.see_leaders();
        self.resolve.notify_one();
        self.fetch.notify_waiters();
        self.moved.notify_waiters();
    }

    /// Tells the positions who leads.
    pub fn see_leaders(&self) {
        let metadata = self.client.metadata();
        let mut core = self.core.lock();
        let partitions: Vec<TopicPartition> = core.positions.partitions().cloned().collect();
        for partition in partitions {
            let known = metadata.partition(&partition.topic, partition.partition);
            let leader =
                known.and_then(|known| Some(Leader { node: known.leader?, epoch: known.leader_epoch }));
            core.positions.see_leader(&partition, leader);
        }
    }

    /// Makes the whole assignment known to everybody.
    pub fn set_assignment(&self, partitions: &BTreeSet<TopicPartition>) {
        {
            let mut core = self.core.lock();
            let Core { positions, buffer, .. } = &mut *core;
            positions.assign(partitions);
            buffer.retain(|fetched| positions.is_current(&fetched.partition, fetched.run));
        }
        let topics: BTreeSet<Arc<str>> = partitions.iter().map(|partition| partition.topic.clone()).collect();
        self.client.want_topics(topics);
        self.positions_changed();
    }

    /// Positions as they would be committed.
    pub fn consumed(&self) -> BTreeMap<TopicPartition, Position> {
        let core = self.core.lock();
        core.positions.consumed().map(|(partition, position)| (partition.clone(), position)).collect()
    }

    /// Drops what was buffered for runs that are over.
    pub fn drop_stale(&self) {
        let mut core = self.core.lock();
        let Core { positions, buffer, .. } = &mut *core;
        buffer.retain(|fetched| positions.is_current(&fetched.partition, fetched.run));
    }

    /// The coordinator or the group said something about this member beside its own requests.
    pub fn coordinator_said(&self, code: ErrorCode) {
        if let Some(group) = &self.group {
            let _ = group.send(Command::CoordinatorSaid(code));
        }
    }
}
