//! The consumer: partitions by hand or as a member of a group, records in batches that share the received frames.
//!
//! The handle belongs to one task of the application; what it waits for happens on the client's thread: fetching goes
//! on while the application works, and so do heartbeats. Everything the application has to know or decide, rebalances
//! included, happens inside [`Consumer::poll`].

mod config;
mod fetcher;
mod group;
mod listener;
mod offsets;
mod shared;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ottla_model::{ErrorCode, LeaderEpoch, Millis, Offset, TopicPartition};
use parking_lot::Mutex;
use regex::Regex;
use tokio::sync::{mpsc, oneshot};

use self::config::ConsumerConfig;
use self::group::Command;
pub use self::listener::{Rebalance, RebalanceListener};
pub use self::offsets::{Committed, OffsetAndTimestamp};
use self::shared::{Notice, Polling, Shared};
pub use self::stream::RecordStream;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::error::{Error, Result};
use crate::state::fetched::Fetched;
pub use crate::state::fetched::{ConsumerRecord, RecordBatch, RecordRef, RecordRefs};
use crate::state::membership::Membership;
use crate::state::metadata::Metadata;
pub use crate::state::positions::Position;
use crate::state::positions::PositionError;
pub use crate::state::reset_policy::{OffsetSpec, ResetPolicy};

/// How long closing waits for the last commit.
const CLOSE_COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads records of partitions.
///
/// ```no_run
/// use std::time::Duration;
///
/// use ottla_client::{ClientConfig, Consumer};
///
/// async fn read() -> ottla_client::Result<()> {
///     let config = ClientConfig::from_pairs([("bootstrap.servers", "localhost:9092"), ("group.id", "reports")])?;
///     let mut consumer = Consumer::new(&config)?;
///     consumer.subscribe(["orders"])?;
///     loop {
///         for record in &consumer.poll(Duration::from_secs(1)).await? {
///             println!("{} {:?}", record.offset(), record.value());
///         }
///     }
/// }
/// ```
///
/// Records that a poll gave count as consumed when the next poll begins: an automatic commit happens then, or in
/// [`Self::close`]. A consumer that is dropped, by a panic of the application say, leaves its group and commits
/// nothing: what was not finished is read again by whoever takes over.
pub struct Consumer {
    shared: Arc<Shared>,
    subscription: Subscription,
    /// Behind a lock that is never taken, so that futures of a consumer go from thread to thread whatever it is.
    listener: Mutex<Box<dyn RebalanceListener>>,
    /// The answer that records are taken from.
    current: Option<Fetched>,
    failure: Option<Error>,
    /// The metadata that topics were looked up in for errors, and those that the application has heard of.
    checked: Arc<Metadata>,
    refused: BTreeSet<Arc<str>>,
    next_auto_commit: Instant,
}

enum Subscription {
    None,
    Assigned,
    Topics(Vec<Arc<str>>),
    Matching {
        matches: Box<dyn Fn(&str) -> bool + Send + Sync>,
        known: BTreeSet<Arc<str>>,
        seen: Arc<Metadata>,
    },
}

/// What one poll gave: whole batches or parts of them, in order for each partition.
#[derive(Clone, Debug, Default)]
pub struct Records {
    batches: Vec<RecordBatch>,
}

impl Records {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::len).sum()
    }

    /// Whether the poll ended without a record.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The batches, each of one partition; the cheapest way to many records.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// All records. They borrow from the batches; [`RecordRef::to_shared`] makes one that does not.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.batches.iter().flat_map(RecordBatch::iter)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = RecordRef<'a>;
    type IntoIter = std::iter::FlatMap<
        std::slice::Iter<'a, RecordBatch>,
        RecordRefs<'a>,
        fn(&'a RecordBatch) -> RecordRefs<'a>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.batches.iter().flat_map(RecordBatch::iter)
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("client", &self.shared.client).finish_non_exhaustive()
    }
}

impl Consumer {
    /// Checks the settings; nothing is sent before the consumer has something to read.
    pub fn new(config: &ClientConfig) -> Result<Self> {
        Self::with_client(Client::new(config)?, config)
    }

    /// As [`Self::new`], on the connections of a client that others use too.
    pub fn with_client(client: Client, config: &ClientConfig) -> Result<Self> {
        client.check_brokers()?;
        let config = ConsumerConfig::new(config)?;
        client.set_auto_create(config.auto_create);
        let (group, commands) = mpsc::unbounded_channel();
        let membership = config.group.clone().map(Membership::new);
        let shared = Shared::new(client, config, membership.is_some().then_some(group));
        shared.client.spawn(offsets::run(Arc::clone(&shared)));
        if let Some(membership) = membership {
            shared.client.spawn(group::run(Arc::clone(&shared), membership, commands));
        }
        Ok(Self {
            shared,
            subscription: Subscription::None,
            listener: Mutex::new(Box::new(())),
            current: None,
            failure: None,
            checked: Arc::default(),
            refused: BTreeSet::new(),
            next_auto_commit: Instant::now(),
        })
    }

    /// Who hears of rebalances.
    pub fn set_listener(&mut self, listener: impl RebalanceListener + 'static) {
        self.listener = Mutex::new(Box::new(listener));
    }

    /// Reads exactly these partitions, without membership. Those that it had already keep their positions.
    ///
    /// Errors: [`Error::Invalid`] while the consumer is subscribed.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = TopicPartition>) -> Result<()> {
        if !matches!(self.subscription, Subscription::None | Subscription::Assigned) {
            return Err(Error::invalid("a subscribed consumer is assigned by its group; unsubscribe first"));
        }
        self.subscription = Subscription::Assigned;
        self.set_assignment(partitions.into_iter().collect());
        Ok(())
    }

    /// Reads its group's share of these topics; they replace those of an earlier call.
    ///
    /// Errors: [`Error::Invalid`] without `group.id`, or while partitions are assigned by hand.
    pub fn subscribe<T: AsRef<str>>(&mut self, topics: impl IntoIterator<Item = T>) -> Result<()> {
        self.check_subscribable()?;
        let topics: Vec<Arc<str>> = topics.into_iter().map(|topic| Arc::from(topic.as_ref())).collect();
        if let Some(wrong) = topics.iter().find(|topic| topic.is_empty() || topic.len() > i16::MAX as usize) {
            return Err(Error::invalid(format!("{wrong:?} cannot be the name of a topic")));
        }
        if topics.is_empty() {
            return self.unsubscribe();
        }
        self.shared.client.want_all_topics(false);
        self.shared.client.want_topics(topics.iter().cloned());
        self.subscription = Subscription::Topics(topics.clone());
        self.shared.subscribed.store(true, Ordering::Release);
        self.tell(Command::Subscribe(topics));
        Ok(())
    }

    /// Reads its group's share of all topics whose whole name the regular expression matches, as Kafka's clients do
    /// with a `Pattern`: `orders-.*` is not for `old-orders-1`. Otherwise as [`Self::subscribe_matching`].
    ///
    /// Errors: as [`Self::subscribe`]; [`Error::Invalid`] for what is no [regular expression](https://docs.rs/regex),
    /// which has neither look-around nor references to what was matched before.
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<()> {
        let whole = Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|error| {
            // The last line is the reason; those before show the place.
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Error::invalid(format!("{pattern:?} is no pattern of topics: {reason}"))
        })?;
        self.subscribe_matching(move |topic| whole.is_match(topic))
    }

    /// Reads its group's share of all topics whose name `matches` accepts, now and whenever topics come or go. Internal
    /// topics only with `exclude.internal.topics=false`.
    ///
    /// Errors: as [`Self::subscribe`].
    pub fn subscribe_matching(
        &mut self,
        matches: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<()> {
        self.check_subscribable()?;
        self.shared.client.want_all_topics(true);
        self.shared.subscribed.store(true, Ordering::Release);
        let (known, seen) = (BTreeSet::new(), Arc::default());
        self.subscription = Subscription::Matching { matches: Box::new(matches), known, seen };
        Ok(())
    }

    fn check_subscribable(&self) -> Result<()> {
        match self.subscription {
            _ if self.shared.group.is_none() => Err(Error::invalid("subscribing needs a group.id")),
            Subscription::Assigned => {
                Err(Error::invalid("partitions are assigned by hand; unsubscribe first"))
            }
            _ => Ok(()),
        }
    }

    /// Reads nothing any more, and leaves the group. Partitions are given up at the next poll, or at closing.
    pub fn unsubscribe(&mut self) -> Result<()> {
        self.shared.client.want_all_topics(false);
        self.shared.subscribed.store(false, Ordering::Release);
        match std::mem::replace(&mut self.subscription, Subscription::None) {
            Subscription::Assigned => self.set_assignment(BTreeSet::new()),
            Subscription::None => {}
            Subscription::Topics(_) | Subscription::Matching { .. } => {
                self.tell(Command::Subscribe(Vec::new()))
            }
        }
        Ok(())
    }

    /// The partitions that are read now.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.shared.core.lock().positions.partitions().cloned().collect()
    }

    /// The next records, at most `max.poll.records`; none when `timeout` passes without. Sees to rebalances and
    /// automatic commits. The future may be dropped: no record is lost by that.
    ///
    /// Errors: what the group or a leader refuses, topics that can never be read (INVALID_TOPIC_EXCEPTION,
    /// TOPIC_AUTHORIZATION_FAILED), a position that is out of range where `auto.offset.reset` is `none`, bytes that are
    /// no records. The consumer stays as it is and may be polled again. Brokers that cannot be reached and topics that
    /// do not exist yet are waited for; [`Self::position`] tells of them.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Records> {
        let shared = Arc::clone(&self.shared);
        let polling = Polling::begin(&shared);
        let deadline = Instant::now() + timeout;
        loop {
            if shared.is_closed() {
                return Err(Error::Closed);
            }
            let ready = shared.ready.notified();
            self.look_for_topics();
            self.auto_commit();
            self.check_topics()?;
            self.hear().await?;
            let records = self.take()?;
            if !records.is_empty() {
                return Ok(records);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || shared.client.timeout(left, ready).await.is_none() {
                drop(polling);
                return Ok(Records::default());
            }
        }
    }

    /// As [`Self::poll`], waiting as long as it takes.
    pub async fn next(&mut self) -> Result<Records> {
        loop {
            let records = self.poll(Duration::from_secs(3600)).await?;
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    /// All records one by one, for `while let Some(record) = stream.next().await`.
    pub fn into_stream(self) -> RecordStream {
        RecordStream::new(self)
    }

    /// Which topics a pattern means changes with the metadata.
    fn look_for_topics(&mut self) {
        let Subscription::Matching { matches, known, seen } = &mut self.subscription else { return };
        let metadata = self.shared.client.metadata();
        if Arc::ptr_eq(seen, &metadata) {
            return;
        }
        let internal = !self.shared.config.exclude_internal;
        let matching = metadata
            .topics
            .values()
            .filter(|topic| topic.error.is_none() && (internal || !topic.is_internal));
        let topics: BTreeSet<Arc<str>> =
            matching.map(|topic| topic.name.clone()).filter(|topic| matches(topic)).collect();
        *seen = metadata;
        if topics != *known {
            known.clone_from(&topics);
            self.tell(Command::Subscribe(topics.into_iter().collect()));
        }
    }

    /// Errors: what the cluster says of a topic that is read, where waiting cannot change it; once, until it says
    /// something else.
    fn check_topics(&mut self) -> Result<()> {
        let metadata = self.shared.client.metadata();
        if Arc::ptr_eq(&self.checked, &metadata) {
            return Ok(());
        }
        let topics: BTreeSet<Arc<str>> = match &self.subscription {
            Subscription::Topics(topics) => topics.iter().cloned().collect(),
            Subscription::Assigned => self.assignment().into_iter().map(|of| of.topic).collect(),
            Subscription::None | Subscription::Matching { .. } => BTreeSet::new(),
        };
        let refused: BTreeMap<Arc<str>, ErrorCode> = topics
            .into_iter()
            .filter_map(|topic| {
                let code = metadata.topic(&topic)?.error.filter(|code| !code.is_retriable())?;
                Some((topic, code))
            })
            .collect();
        self.refused.retain(|topic| refused.contains_key(topic));
        for (topic, code) in refused {
            if self.refused.insert(topic.clone()) {
                return Err(Error::broker(code, Some(topic)));
            }
        }
        self.checked = metadata;
        Ok(())
    }

    /// Hears what happened since the last poll, in order.
    async fn hear(&mut self) -> Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        loop {
            let notice = {
                let mut core = self.shared.core.lock();
                if let Some((partition, error)) = core.positions.first_error() {
                    return Err(position_error(partition, error));
                }
                core.notices.pop_front()
            };
            match notice {
                None => return Ok(()),
                Some(Notice::Failed(error)) => return Err(error),
                Some(Notice::Assign(added, all)) => {
                    self.set_assignment(all);
                    let shared = Arc::clone(&self.shared);
                    let mut rebalance = Rebalance { shared: &shared, commits: BTreeMap::new() };
                    self.listener.get_mut().assigned(&mut rebalance, &added);
                    self.commit_for_listener(rebalance.commits).await;
                    self.shared.positions_changed();
                }
                Some(Notice::Revoke(gone)) => self.give_up(gone, true).await,
                Some(Notice::Lose(gone)) => self.give_up(gone, false).await,
            }
        }
    }

    async fn give_up(&mut self, gone: Vec<TopicPartition>, revoked: bool) {
        let shared = Arc::clone(&self.shared);
        // Whatever happens here, be it that the future is dropped, the partitions are given up and the group hears it.
        let _released = Released { shared: &shared, gone: &gone };
        // The membership may have ended since the group asked for the partitions.
        let member = shared.core.lock().identity.generation >= 0;
        let revoked = revoked && (member || matches!(self.subscription, Subscription::None));
        if revoked && member && shared.config.auto_commit_interval.is_some() {
            let consumed = self.to_commit(|partition| gone.contains(partition));
            if let Err(error) = self.commit_within(consumed, CLOSE_COMMIT_TIMEOUT).await {
                tracing::warn!(%error, "cannot commit before partitions go to others");
            }
        }
        self.tell_listener(&gone, revoked).await;
    }

    async fn tell_listener(&mut self, gone: &[TopicPartition], revoked: bool) {
        let shared = Arc::clone(&self.shared);
        let mut rebalance = Rebalance { shared: &shared, commits: BTreeMap::new() };
        match revoked {
            true => self.listener.get_mut().revoked(&mut rebalance, gone),
            false => self.listener.get_mut().lost(&mut rebalance, gone),
        }
        let commits = rebalance.commits;
        self.commit_for_listener(commits).await;
    }

    async fn commit_for_listener(&self, commits: BTreeMap<TopicPartition, Committed>) {
        if let Err(error) = self.commit_within(commits, CLOSE_COMMIT_TIMEOUT).await {
            tracing::warn!(%error, "cannot commit for the listener of rebalances");
        }
    }

    fn set_assignment(&mut self, partitions: BTreeSet<TopicPartition>) {
        self.shared.set_assignment(&partitions);
        if let Some(current) = &self.current
            && !self.shared.core.lock().positions.is_current(&current.partition, current.run)
        {
            self.current = None;
        }
    }

    /// Takes what is buffered, at most `max.poll.records`.
    fn take(&mut self) -> Result<Records> {
        let mut records = Records::default();
        let mut left = self.shared.config.max_poll_records;
        while left > 0 {
            let Some(mut current) = self.next_answer() else { break };
            match current.take(left) {
                Ok(Some(batch)) => {
                    left -= batch.len();
                    self.consumed(&current.partition, current.run, batch.next_position());
                    records.batches.push(batch);
                    self.current = Some(current);
                }
                Ok(None) => self.consumed(&current.partition, current.run, current.position()),
                Err(error) => {
                    // From here it is fetched again: it may have been the way, and if not, it is told again.
                    let at = Position { offset: current.position().offset, epoch: LeaderEpoch::NONE };
                    self.shared.core.lock().positions.seek(&current.partition, at);
                    self.shared.positions_changed();
                    let failure = Error::Malformed {
                        node: current.partition.to_string().into(),
                        reason: format!("offset {}: {error}", at.offset).into(),
                    };
                    if records.is_empty() {
                        return Err(failure);
                    }
                    self.failure = Some(failure);
                    break;
                }
            }
        }
        Ok(records)
    }

    fn consumed(&self, partition: &TopicPartition, run: u64, to: Position) {
        let mut core = self.shared.core.lock();
        if core.positions.is_current(partition, run) {
            core.positions.consumed_to(partition, to);
        }
    }

    /// The answer to take from next, of a run that still counts and a partition that is not paused.
    fn next_answer(&mut self) -> Option<Fetched> {
        let mut core = self.shared.core.lock();
        let shared::Core { positions, buffer, .. } = &mut *core;
        if let Some(current) = self.current.take()
            && positions.is_current(&current.partition, current.run)
        {
            if !positions.is_paused(&current.partition) {
                return Some(current);
            }
            buffer.push_front(current);
        }
        buffer.retain(|fetched| positions.is_current(&fetched.partition, fetched.run));
        let next = buffer.take_first(|fetched| !positions.is_paused(&fetched.partition));
        drop(core);
        if next.is_some() {
            // There is room again.
            self.shared.fetch.notify_waiters();
        }
        next
    }

    /// The offset of the next record, waiting for it as long as `default.api.timeout.ms`.
    ///
    /// Errors: [`Error::Invalid`] for a partition that is not assigned, and as [`Self::poll`].
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<Offset> {
        let deadline = Instant::now() + self.shared.client.api_timeout();
        loop {
            let ready = self.shared.ready.notified();
            {
                let core = self.shared.core.lock();
                if !core.positions.contains(partition) {
                    return Err(Error::invalid(format!("{partition} is not assigned")));
                }
                if let Some(position) = core.positions.position(partition) {
                    return Ok(position.offset);
                }
                if let Some((failed, error)) = core.positions.first_error()
                    && failed == partition
                {
                    return Err(position_error(partition, error));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.shared.client.timeout(left, ready).await.is_none() {
                let after = self.shared.client.api_timeout();
                let last = self.shared.obstacle(partition).map(|obstacle| obstacle.to_string().into());
                let what = format!("finding the position of {partition}").into();
                return Err(Error::TimedOut { what, after, last });
            }
        }
    }

    /// Goes on at this offset.
    ///
    /// Errors: [`Error::Invalid`] for a partition that is not assigned, here and in all that take partitions.
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        let to = Position { offset, epoch: LeaderEpoch::NONE };
        let assigned = self.shared.core.lock().positions.seek(partition, to);
        self.after_seek(partition, assigned)
    }

    /// Goes on at the beginning, the end or a time; the leader is asked when the partition is fetched next.
    pub fn seek_to(&mut self, partition: &TopicPartition, spec: OffsetSpec) -> Result<()> {
        let assigned = self.shared.core.lock().positions.seek_to(partition, spec);
        self.after_seek(partition, assigned)
    }

    fn after_seek(&mut self, partition: &TopicPartition, assigned: bool) -> Result<()> {
        self.shared.drop_stale();
        self.shared.positions_changed();
        self.check_assigned(partition, assigned)
    }

    fn check_assigned(&self, partition: &TopicPartition, assigned: bool) -> Result<()> {
        if assigned { Ok(()) } else { Err(Error::invalid(format!("{partition} is not assigned"))) }
    }

    /// Gives no records of this partition until it is resumed; what is buffered waits.
    pub fn pause(&mut self, partition: &TopicPartition) -> Result<()> {
        let assigned = self.shared.core.lock().positions.pause(partition, true);
        self.check_assigned(partition, assigned)
    }

    /// Gives records of the partition again, from where it was paused.
    pub fn resume(&mut self, partition: &TopicPartition) -> Result<()> {
        let assigned = self.shared.core.lock().positions.pause(partition, false);
        self.shared.positions_changed();
        self.shared.ready.notify_one();
        self.check_assigned(partition, assigned)
    }

    /// Records that are there and not consumed, as far as the last answer of the leader told.
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared.core.lock().positions.lag(partition, self.shared.config.read_committed)
    }

    /// The first offsets.
    pub async fn beginning_offsets(&self, of: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Offset>> {
        self.ends(of, OffsetSpec::Earliest).await
    }

    /// The offsets behind the last records that the consumer may see.
    pub async fn end_offsets(&self, of: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Offset>> {
        self.ends(of, OffsetSpec::Latest).await
    }

    async fn ends(
        &self,
        of: &[TopicPartition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        let asked: Vec<_> = of.iter().map(|partition| (partition.clone(), spec)).collect();
        let found = self.shared.list_offsets(&asked).await?;
        Ok(found.into_iter().map(|(partition, found)| (partition, found.offset)).collect())
    }

    /// The first records that are not older than these times; partitions without one are absent.
    pub async fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Millis)],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndTimestamp>> {
        let asked: Vec<_> =
            times.iter().map(|(partition, time)| (partition.clone(), OffsetSpec::At(*time))).collect();
        self.shared.list_offsets(&asked).await
    }

    /// What the group has committed; partitions without are absent.
    pub async fn committed(&self, of: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, Committed>> {
        let client = &self.shared.client;
        client
            .retry(client.api_timeout(), "fetching committed offsets", async |_| {
                self.shared.committed_once(of).await
            })
            .await
    }

    /// Commits all that the polls so far gave, and waits until the group has it.
    ///
    /// Errors: UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION and REBALANCE_IN_PROGRESS mean that the group has gone on
    /// without this member: poll again and commit what was read after that.
    pub async fn commit(&mut self) -> Result<()> {
        let consumed = self.to_commit(|_| true);
        self.commit_within(consumed, self.shared.client.api_timeout()).await
    }

    /// Commits these offsets, each that of the next record to be read.
    pub async fn commit_offsets(&mut self, offsets: BTreeMap<TopicPartition, Committed>) -> Result<()> {
        self.commit_within(offsets, self.shared.client.api_timeout()).await
    }

    /// Commits all that the polls so far gave, and does not wait: one attempt, whose outcome the future tells,
    /// awaited or not.
    pub fn commit_async(&mut self) -> impl Future<Output = Result<()>> + use<> {
        let (done, outcome) = oneshot::channel();
        let (shared, consumed) = (Arc::clone(&self.shared), self.to_commit(|_| true));
        self.shared.client.spawn(async move {
            let outcome = match shared.check_member() {
                Ok(()) => shared.commit_once(&consumed).await,
                refused => refused,
            };
            // Nobody may be interested.
            let _ = done.send(outcome);
        });
        async move { outcome.await.unwrap_or(Err(Error::Closed)) }
    }

    fn to_commit(&self, wanted: impl Fn(&TopicPartition) -> bool) -> BTreeMap<TopicPartition, Committed> {
        let committed = |position: Position| Committed {
            offset: position.offset,
            leader_epoch: position.epoch,
            metadata: String::new(),
        };
        let consumed = self.shared.consumed().into_iter().filter(|(partition, _)| wanted(partition));
        consumed.map(|(partition, position)| (partition, committed(position))).collect()
    }

    async fn commit_within(
        &self,
        offsets: BTreeMap<TopicPartition, Committed>,
        timeout: Duration,
    ) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        let attempt = async |_| self.shared.commit_once(&offsets).await;
        self.shared.client.retry(timeout, "committing offsets", attempt).await
    }

    /// Commits what earlier polls gave, when it is time and there is something new.
    fn auto_commit(&mut self) {
        let Some(interval) = self.shared.config.auto_commit_interval else { return };
        if Instant::now() < self.next_auto_commit {
            return;
        }
        self.next_auto_commit = Instant::now() + interval;
        let consumed = self.shared.consumed();
        if consumed == self.shared.core.lock().auto_committed {
            return;
        }
        if self.shared.check_member().is_err() {
            return;
        }
        let (shared, offsets) = (Arc::clone(&self.shared), self.to_commit(|_| true));
        self.shared.client.spawn(async move {
            match shared.commit_once(&offsets).await {
                Ok(()) => shared.core.lock().auto_committed = consumed,
                Err(error) => {
                    tracing::debug!(%error, "cannot commit by itself; tried again at the next interval")
                }
            }
        });
    }

    /// Commits if that happens by itself, tells the listener which partitions are given up, leaves the group and ends.
    pub async fn close(mut self) -> Result<()> {
        let committed = match self.shared.config.auto_commit_interval {
            Some(_) if self.shared.check_member().is_ok() => {
                let consumed = self.to_commit(|_| true);
                self.commit_within(consumed, CLOSE_COMMIT_TIMEOUT).await
            }
            _ => Ok(()),
        };
        let gone: Vec<TopicPartition> = match self.subscription {
            Subscription::Assigned => Vec::new(),
            _ => self.assignment().into_iter().collect(),
        };
        if !gone.is_empty() {
            let member = self.shared.core.lock().identity.generation >= 0;
            self.tell_listener(&gone, member).await;
        }
        if let Some(left) = self.leave() {
            let _ = left.await;
        }
        committed
    }

    /// Ends the tasks; the answer comes when the group was left.
    fn leave(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.shared.resolve.notify_one();
        self.shared.fetch.notify_waiters();
        let (closed, left) = oneshot::channel();
        self.shared.group.as_ref()?.send(Command::Close(closed)).ok()?;
        Some(left)
    }

    fn tell(&self, command: Command) {
        if let Some(group) = &self.shared.group {
            // The task ends after the handle.
            let _ = group.send(command);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // The group hears of it from the task, which goes on until it has.
        drop(self.leave());
    }
}

/// Gives partitions up, and tells the group, when it goes out of scope.
struct Released<'a> {
    shared: &'a Shared,
    gone: &'a [TopicPartition],
}

impl Drop for Released<'_> {
    fn drop(&mut self) {
        let left = {
            let core = self.shared.core.lock();
            core.positions.partitions().filter(|partition| !self.gone.contains(partition)).cloned().collect()
        };
        self.shared.set_assignment(&left);
        if let Some(group) = &self.shared.group {
            // The task ends after the handle.
            let _ = group.send(Command::Released);
        }
    }
}

fn position_error(partition: &TopicPartition, error: PositionError) -> Error {
    let code = match error {
        PositionError::NoOffset => return Error::invalid(format!("{partition}: {error}")),
        PositionError::OutOfRange(_) => ErrorCode::OffsetOutOfRange,
        PositionError::Truncated { .. } => ErrorCode::FencedLeaderEpoch,
    };
    Error::broker(code, Some(format!("{partition}: {error}")))
}
