//! The coordinator of one partition of `__consumer_offsets`: dispatch, appends under way, timers.

mod admin;
mod commit;
mod expiry;
mod fetch;
#[cfg(test)]
mod random_walk;

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use ottla_model::{ErrorCode, Millis, Offset};
use ottla_protocol::Str;
use ottla_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupResponse};
use ottla_protocol::api::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};
use ottla_protocol::api::sync_group::SyncGroupRequest;

use crate::classic::{ClassicGroup, GroupState, Join, Step, sync_failure};
use crate::config::CoordinatorConfig;
use crate::event::{Actions, AppendId, ClientContext, Event, Record, Request, Response, Ticket};
use crate::offsets::{Offsets, Transactions};
use crate::other::{GroupType, OtherGroup};
use crate::outbox::{Effect, Outbox, Pending, Removal, append_error};
use crate::records;
use crate::timers::{Timer, TimerKey, Timers};

/// What is known under one group id.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// `None`: offsets of a group that does not exist (any more).
    pub body: Option<Body>,
    pub offsets: Offsets,
    /// Offset commits that are appended but not committed.
    pub in_flight: u32,
}

#[derive(Debug)]
pub(crate) enum Body {
    Classic(Box<ClassicGroup>),
    Other(OtherGroup),
}

impl Group {
    pub fn classic(&self) -> Option<&ClassicGroup> {
        match &self.body {
            Some(Body::Classic(group)) => Some(group),
            _ => None,
        }
    }

    pub fn classic_mut(&mut self) -> Option<&mut ClassicGroup> {
        match &mut self.body {
            Some(Body::Classic(group)) => Some(group),
            _ => None,
        }
    }
}

/// How many groups there are in each state, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupCounts {
    pub empty: usize,
    pub preparing_rebalance: usize,
    pub completing_rebalance: usize,
    pub stable: usize,
    pub dead: usize,
    /// Groups of other types than classic.
    pub other: usize,
    pub offsets: usize,
}

/// See the crate's head. Made empty, filled by [`replay`](Self::replay), started by [`loaded`](Self::loaded).
#[derive(Debug)]
pub struct GroupCoordinator {
    pub(crate) config: CoordinatorConfig,
    pub(crate) groups: HashMap<Str, Group, FixedState>,
    pub(crate) transactions: Transactions,
    pub(crate) timers: Timers,
    pub(crate) expiry_timer: Timer,
    pub(crate) outbox: Outbox,
}

impl GroupCoordinator {
    /// `hash_seed` is a secret random number: clients choose the group ids.
    pub fn new(config: CoordinatorConfig, hash_seed: u64) -> Self {
        Self {
            config,
            groups: HashMap::with_hasher(FixedState::with_seed(hash_seed)),
            transactions: Transactions::default(),
            timers: Timers::default(),
            expiry_timer: Timer::default(),
            outbox: Outbox::new(),
        }
    }

    /// Follows changed settings from the next step on.
    pub fn set_config(&mut self, config: CoordinatorConfig) {
        self.config = config;
    }

    /// When [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Millis> {
        [self.timers.next(), self.outbox.next_deadline()].into_iter().flatten().min()
    }

    pub fn counts(&self) -> GroupCounts {
        let mut counts = GroupCounts::default();
        for group in self.groups.values() {
            counts.offsets += group.offsets.len();
            let count = match &group.body {
                None => continue,
                Some(Body::Other(_)) => &mut counts.other,
                Some(Body::Classic(group)) => match group.state {
                    GroupState::Empty => &mut counts.empty,
                    GroupState::PreparingRebalance => &mut counts.preparing_rebalance,
                    GroupState::CompletingRebalance => &mut counts.completing_rebalance,
                    GroupState::Stable => &mut counts.stable,
                    GroupState::Dead => &mut counts.dead,
                },
            };
            *count += 1;
        }
        counts
    }

    /// Takes in what happened at `now`, which never goes back, and says what to do.
    pub fn step(&mut self, now: Millis, event: Event) -> Actions {
        match event {
            Event::Request { ticket, context, request } => self.request(now, ticket, &context, request),
            Event::Committed { append, base_offset } => self.committed(now, append, base_offset),
            Event::AppendFailed { append, error } => self.append_failed(now, append, error),
            Event::Tick => {}
            Event::TopicsDeleted { topics } => self.topics_deleted(now, &topics),
            Event::Unload => self.unload(now),
        }
        self.fire(now);
        std::mem::take(&mut self.outbox.actions)
    }

    fn request(&mut self, now: Millis, ticket: Ticket, context: &ClientContext, request: Request) {
        match request {
            Request::JoinGroup { request, member_uuid } => {
                self.join(now, ticket, context, &request, member_uuid)
            }
            Request::SyncGroup(request) => self.sync(now, ticket, &request),
            Request::Heartbeat(request) => {
                let error_code = self.heartbeat(now, &request).err().unwrap_or_default().code();
                let response = HeartbeatResponse { error_code, ..Default::default() };
                self.outbox.reply(ticket, Response::Heartbeat(response));
            }
            Request::LeaveGroup(request) => self.leave(now, ticket, &request),
            Request::DescribeGroups(groups) => {
                let described = groups.iter().map(|group| self.describe(group, context.version)).collect();
                self.outbox.reply(ticket, Response::DescribeGroups(described));
            }
            Request::ListGroups(request) => {
                let listed = self.list(&request);
                self.outbox.reply(ticket, Response::ListGroups(listed));
            }
            Request::DeleteGroups(groups) => self.delete(now, ticket, groups),
            Request::OffsetCommit(request) => self.commit_offsets(now, ticket, context.version, request),
            Request::OffsetFetch { group, require_stable } => {
                self.fetch_offsets(ticket, group, require_stable)
            }
            Request::OffsetDelete(request) => self.delete_offsets(now, ticket, request),
        }
    }

    /// Runs `act` on a classic group, if there is one of this id.
    pub(crate) fn with_classic<T>(
        &mut self,
        now: Millis,
        group_id: &str,
        act: impl FnOnce(&mut ClassicGroup, &mut Step<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(group_id)?.classic_mut()?;
        let mut step = Step { now, config: &self.config, timers: &mut self.timers, outbox: &mut self.outbox };
        Some(act(group, &mut step))
    }

    /// Appends records of the coordinator's own making.
    pub(crate) fn append(
        &mut self,
        now: Millis,
        records: Vec<Record>,
        effect: Effect,
        reply: Option<(Ticket, Response)>,
    ) {
        self.outbox.append(now + self.config.write_timeout_ms, records, effect, reply);
    }

    fn join(
        &mut self,
        now: Millis,
        ticket: Ticket,
        context: &ClientContext,
        request: &JoinGroupRequest,
        member_uuid: [u8; 16],
    ) {
        let session_timeouts = self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms;
        let refusal = if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !session_timeouts.contains(&request.session_timeout_ms) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else {
            None
        };
        if let Some(error) = refusal {
            return self.refuse_join(ticket, context, Str::from(&*request.member_id), error);
        }
        let mut records = Vec::new();
        let group = self.groups.get(&*request.group_id);
        let is_new = match group.and_then(|group| group.body.as_ref()) {
            Some(Body::Classic(_)) => false,
            Some(Body::Other(other)) if other.kind == GroupType::Consumer && other.is_empty() => {
                records = other.tombstones();
                true
            }
            Some(Body::Other(_)) => {
                return self.refuse_join(
                    ticket,
                    context,
                    Str::default(),
                    ErrorCode::InconsistentGroupProtocol,
                );
            }
            None => true,
        };
        if is_new {
            if !request.member_id.is_empty() {
                let member_id = Str::from(&*request.member_id);
                return self.refuse_join(ticket, context, member_id, ErrorCode::UnknownMemberId);
            }
            self.create_classic(now, &request.group_id);
        }
        let join = Join::new(ticket, context, request, member_uuid);
        self.with_classic(now, &request.group_id, |group, step| {
            if is_new {
                // The log knows of the group before it has members: generation 0.
                records.push(records::new_group(group));
                let effect = Effect::GroupCreated { group: group.id.clone(), ticket };
                step.append(records, effect, None);
            }
            group.join(step, join);
        });
    }

    fn refuse_join(&mut self, ticket: Ticket, context: &ClientContext, member_id: Str, error: ErrorCode) {
        let response = JoinGroupResponse { member_id, error_code: error.code(), ..Default::default() };
        self.outbox.reply(ticket, crate::classic::join_response(response, context.version));
    }

    pub(crate) fn create_classic(&mut self, now: Millis, group_id: &str) {
        let id = Str::from(group_id);
        let group = self.groups.entry(id.clone()).or_default();
        group.body = Some(Body::Classic(Box::new(ClassicGroup::new(id, now))));
    }

    fn sync(&mut self, now: Millis, ticket: Ticket, request: &SyncGroupRequest) {
        if request.group_id.is_empty() {
            return self.outbox.reply(ticket, sync_failure(ErrorCode::InvalidGroupId));
        }
        let found =
            self.with_classic(now, &request.group_id, |group, step| group.sync(step, ticket, request));
        if found.is_none() {
            self.outbox.reply(ticket, sync_failure(ErrorCode::UnknownMemberId));
        }
    }

    fn heartbeat(&mut self, now: Millis, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let outcome = self.with_classic(now, &request.group_id, |group, step| group.heartbeat(step, request));
        outcome.unwrap_or(Err(ErrorCode::UnknownMemberId))
    }

    fn leave(&mut self, now: Millis, ticket: Ticket, request: &LeaveGroupRequest) {
        if request.group_id.is_empty() {
            let error_code = ErrorCode::InvalidGroupId.code();
            let response = LeaveGroupResponse { error_code, ..Default::default() };
            return self.outbox.reply(ticket, Response::LeaveGroup(response));
        }
        let appends_before = self.outbox.pending.len();
        let left =
            self.with_classic(now, &request.group_id, |group, step| group.leave(step, &request.members));
        let response = left.unwrap_or_else(|| {
            let unknown = request.members.iter().map(|member| MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: ErrorCode::UnknownMemberId.code(),
            });
            LeaveGroupResponse { members: unknown.collect(), ..Default::default() }
        });
        let reply = (ticket, Response::LeaveGroup(response));
        match self.outbox.pending.get_mut(appends_before) {
            // The last member left: the answer waits for the record that says so.
            Some(pending) => pending.reply = Some(reply),
            None => self.outbox.reply(reply.0, reply.1),
        }
    }

    fn committed(&mut self, now: Millis, append: AppendId, base_offset: Offset) {
        let Some(Pending { effect, reply, fetches, .. }) = self.outbox.decided(append) else { return };
        match effect {
            Effect::None | Effect::GroupCreated { .. } => {}
            Effect::Commit { group, offsets } => self.offsets_committed(now, group, offsets, base_offset),
            Effect::Remove(removals) => self.removed(now, removals),
            Effect::Assignment { group, generation, assignments } => {
                self.with_classic(now, &group, |group, step| {
                    group.assignment_stored(step, generation, assignments)
                });
            }
            Effect::StaticReplaced(replaced) => {
                self.with_classic(now, &replaced.group.clone(), |group, step| {
                    group.static_replaced(step, &replaced)
                });
            }
        }
        if let Some((ticket, response)) = reply {
            self.outbox.reply(ticket, response);
        }
        self.answer_fetches(fetches);
    }

    fn append_failed(&mut self, now: Millis, append: AppendId, error: ErrorCode) {
        let Some(Pending { effect, reply, fetches, .. }) = self.outbox.decided(append) else { return };
        let error = append_error(error);
        match effect {
            Effect::Commit { group, .. } => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.in_flight = group.in_flight.saturating_sub(1);
                }
            }
            Effect::Remove(removals) => {
                for removal in removals {
                    if let Removal::Group(group) = removal {
                        self.with_classic(now, &group, |group, step| {
                            group.transition(step.now, GroupState::Empty)
                        });
                    }
                }
            }
            effect => self.give_up(now, effect, error),
        }
        if let Some((ticket, response)) = reply {
            self.outbox.reply(ticket, response.into_failure(error));
        }
        self.answer_fetches(fetches);
    }

    /// Undoes what waited for the append, or tells those who waited.
    fn give_up(&mut self, now: Millis, effect: Effect, error: ErrorCode) {
        match effect {
            Effect::None | Effect::Commit { .. } | Effect::Remove(_) => {}
            Effect::GroupCreated { group, ticket } => {
                self.with_classic(now, &group, |group, step| group.creation_failed(step, ticket, error));
            }
            Effect::Assignment { group, generation, .. } => {
                self.with_classic(now, &group, |group, step| {
                    group.assignment_failed(step, generation, error)
                });
            }
            Effect::StaticReplaced(replaced) => {
                self.with_classic(now, &replaced.group.clone(), |group, step| {
                    group.static_replacement_failed(step, *replaced, error);
                });
            }
        }
    }

    /// Lets everything happen whose time has come.
    fn fire(&mut self, now: Millis) {
        while let Some(key) = self.timers.pop(now) {
            self.timer_popped(now, key);
        }
        while let Some(pending) = self.outbox.next_overdue(now) {
            // Not committed in time. Offsets and deletions may still be, so they stay; answers do not wait.
            let error = append_error(ErrorCode::RequestTimedOut);
            let reply = pending.reply.take();
            let effect = match &mut pending.effect {
                Effect::Commit { .. } | Effect::Remove(_) => Effect::None,
                other => std::mem::replace(other, Effect::None),
            };
            if let Some((ticket, response)) = reply {
                self.outbox.reply(ticket, response.into_failure(error));
            }
            self.give_up(now, effect, error);
        }
    }

    fn timer_popped(&mut self, now: Millis, key: TimerKey) {
        match key.clone() {
            TimerKey::Expiry => {
                if self.timers.fired(&mut self.expiry_timer, now, key) {
                    self.expire_offsets(now);
                }
            }
            TimerKey::Join { group } => {
                self.with_classic(now, &group, |group, step| {
                    if step.timers.fired(&mut group.join_timer, now, key) {
                        group.join_expired(step);
                    }
                });
            }
            TimerKey::Sync { group } => {
                self.with_classic(now, &group, |group, step| {
                    if step.timers.fired(&mut group.sync_timer, now, key) {
                        group.sync_expired(step);
                    }
                });
            }
            TimerKey::Session { group, member } => {
                self.with_classic(now, &group, |group, step| {
                    let session = match group.members.get_mut(&member) {
                        Some(member) => Some(&mut member.session),
                        None => group.pending_members.get_mut(&member),
                    };
                    if session.is_some_and(|session| step.timers.fired(session, now, key)) {
                        group.session_expired(step, &member);
                    }
                });
            }
        }
    }

    /// Everyone who waits is sent to the new coordinator.
    fn unload(&mut self, now: Millis) {
        let error = ErrorCode::NotCoordinator;
        for pending in std::mem::take(&mut self.outbox.pending) {
            if let Some((ticket, response)) = pending.reply {
                self.outbox.reply(ticket, response.into_failure(error));
            }
            for (ticket, request) in pending.fetches {
                self.outbox.reply(ticket, fetch::fetch_failure(&request, error));
            }
        }
        let mut step = Step { now, config: &self.config, timers: &mut self.timers, outbox: &mut self.outbox };
        for group in self.groups.values_mut().filter_map(Group::classic_mut) {
            group.fail_all(&mut step, error);
        }
        self.groups.clear();
        self.timers = Timers::default();
        self.expiry_timer = Timer::default();
    }
}
