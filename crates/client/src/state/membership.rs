//! Membership in a group of the classic protocol, as a step machine: join, sync, heartbeat, rejoin, leave.
//!
//! Owns member id, generation and the assignment. Must not know sockets, threads or clocks: the shell sends what
//! [`Action`]s ask for and brings the answers back as [`Event`]s, in any order; answers to requests of an attempt
//! that has been given up are told apart by its number.
//!
//! Invariants:
//! - What the group may give to others is out of `owned` before JoinGroup (eager) or before the next JoinGroup
//!   (cooperative) says so, and the application has been told and has answered ([`Event::Released`]).
//! - After an error that ends the membership everything owned is lost, never revoked: offsets can no longer be
//!   committed.
//! - An application that has not polled for `max.poll.interval.ms` leaves the group, and joins again when it polls.

mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_model::{ErrorCode, Millis, NodeId, TopicPartition};
use ottla_protocol::Str;
use ottla_protocol::api::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupResponse};
use ottla_protocol::api::leave_group::LeaveGroupRequest;
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::assignors::{self, Assignor, Member, RebalanceProtocol, Topics};

/// What of the configuration concerns membership.
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    pub group_id: Str,
    /// A static member: it may be away for the session timeout without a rebalance.
    pub group_instance_id: Option<Str>,
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    /// `max.poll.interval.ms`: how long the application may take between polls, and how long a rebalance waits for
    /// it.
    pub max_poll_interval_ms: i32,
    pub retry_backoff_ms: i64,
    /// In the order of preference; not empty.
    pub assignors: Vec<Assignor>,
    pub rack: Option<Str>,
}

/// What happens to a membership. Answers carry the number of the attempt that asked; `Err` is a request that got no
/// answer, as [`ErrorCode::NetworkException`] or what the codec said.
#[derive(Clone, Debug)]
pub enum Event {
    /// The topics that the application wants; none: it unsubscribed.
    Subscribe(Vec<Arc<str>>),
    /// The partitions of all topics the shell knows of those asked for; topics that do not exist are absent.
    Topics(Topics),
    Coordinator(Result<NodeId, ErrorCode>),
    Joined(u64, Result<JoinGroupResponse, ErrorCode>),
    Synced(u64, Result<SyncGroupResponse, ErrorCode>),
    Heartbeat(u64, Result<HeartbeatResponse, ErrorCode>),
    /// Another request to the coordinator, such as a commit, was answered with this error.
    CoordinatorSaid(ErrorCode),
    /// The application has seen to one [`Action::Revoke`] or [`Action::Lose`].
    Released,
    /// The application closes its consumer.
    Close,
    Tick,
}

/// What the shell does next.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    FindCoordinator,
    Join(u64, JoinGroupRequest),
    Sync(u64, SyncGroupRequest),
    Heartbeat(u64, HeartbeatRequest),
    /// No answer is waited for.
    Leave(LeaveGroupRequest),
    /// This member leads: it needs the partitions of these topics, now and whenever they change.
    WatchTopics(Vec<Arc<str>>),
    /// Stop fetching these, commit if configured, tell the application, then [`Event::Released`].
    Revoke(Vec<TopicPartition>),
    /// As `Revoke`, but they belong to others already: nothing can be committed.
    Lose(Vec<TopicPartition>),
    /// These were added; the whole assignment is [`Membership::owned`].
    Assign(Vec<TopicPartition>),
    /// The group refuses this member; the application is told. Its next poll tries again, unless it was fenced.
    Fail(ErrorCode),
}

#[derive(Clone, PartialEq, Debug)]
enum State {
    /// Not in a rebalance, and not (or no longer) content with the generation.
    Unjoined,
    /// About to join: the application gives up partitions, the coordinator is looked for.
    Preparing,
    Joining,
    /// The leader waits for the topics of the group.
    Leading(Vec<Member>),
    Syncing,
    /// Assigned; what was taken away is being given up.
    Completing {
        added: Vec<TopicPartition>,
        rejoin: bool,
    },
    Stable,
    /// Another process has the instance id, or the application closed.
    Over,
}

/// A member of a group; see the module.
#[derive(Debug)]
pub struct Membership {
    config: MembershipConfig,
    state: State,
    coordinator: Option<NodeId>,
    finding: bool,
    attempt: u64,
    member_id: Str,
    generation: i32,
    assignor: Option<Assignor>,
    topics: Vec<Arc<str>>,
    owned: BTreeSet<TopicPartition>,
    /// The last assignment even after it was revoked: what the sticky assignor is told.
    last_assigned: Vec<TopicPartition>,
    /// What the leader assigned.
    assigned_topics: Option<Topics>,
    watched: BTreeSet<Arc<str>>,
    rejoin: bool,
    reason: Option<&'static str>,
    callbacks: u32,
    last_poll: Millis,
    /// Whether the application has polled since the membership ended or was refused.
    polled: bool,
    retry_at: Millis,
    next_heartbeat: Millis,
    heartbeat_sent: bool,
    last_heard: Millis,
}

impl Membership {
    /// Joins nothing before the first [`Event::Subscribe`] and [`Self::polled`].
    pub fn new(config: MembershipConfig) -> Self {
        Self {
            config,
            state: State::Unjoined,
            coordinator: None,
            finding: false,
            attempt: 0,
            member_id: Str::EMPTY,
            generation: -1,
            assignor: None,
            topics: Vec::new(),
            owned: BTreeSet::new(),
            last_assigned: Vec::new(),
            assigned_topics: None,
            watched: BTreeSet::new(),
            rejoin: false,
            reason: None,
            callbacks: 0,
            last_poll: Millis(0),
            polled: false,
            retry_at: Millis(0),
            next_heartbeat: Millis(0),
            heartbeat_sent: false,
            last_heard: Millis(0),
        }
    }

    /// What is assigned, without what is being given up.
    pub fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.owned
    }

    /// Generation and member id that commits carry; -1 and empty outside a group.
    pub fn identity(&self) -> (i32, &Str) {
        (self.generation, &self.member_id)
    }

    pub fn coordinator(&self) -> Option<NodeId> {
        self.coordinator
    }

    /// The application polled.
    pub fn polled(&mut self, at: Millis) {
        self.last_poll = self.last_poll.max(at);
        self.polled = true;
    }

    /// The application polled last at `at`; a member that left or was refused waits for a later poll than the one
    /// that it knows of.
    pub fn polled_at(&mut self, at: Millis) {
        if at > self.last_poll {
            self.polled(at);
        }
    }

    /// Whether nothing goes on before the application polls.
    pub fn waits_for_poll(&self) -> bool {
        !self.polled && self.state != State::Over
    }

    /// Nothing happens by itself before this time.
    pub fn next_deadline(&self) -> Millis {
        let mut deadline = Millis::MAX;
        if self.state == State::Preparing && self.callbacks == 0 && !self.finding {
            deadline = deadline.min(self.retry_at);
        }
        if self.in_group() {
            deadline = deadline.min(self.last_poll + i64::from(self.config.max_poll_interval_ms));
            deadline = deadline.min(if self.heartbeat_sent {
                self.last_heard + i64::from(self.config.session_timeout_ms)
            } else {
                self.next_heartbeat
            });
        }
        deadline
    }

    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.state != State::Over {
            self.handle(now, event, &mut actions);
            self.advance(now, &mut actions);
        }
        actions
    }

    fn handle(&mut self, now: Millis, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Subscribe(topics) if topics.is_empty() => {
                self.topics.clear();
                self.leave("the consumer unsubscribed from all topics", actions);
                self.release_all(actions);
            }
            Event::Subscribe(mut topics) => {
                topics.sort();
                topics.dedup();
                if topics != self.topics {
                    self.topics = topics;
                    self.want_rejoin("the subscription changed");
                }
            }
            Event::Topics(topics) => self.see_topics(now, topics, actions),
            Event::Coordinator(found) => {
                self.finding = false;
                match found {
                    Ok(node) => {
                        self.coordinator = Some(node);
                        self.last_heard = now;
                    }
                    Err(error) if error.is_retriable() => self.back_off(now),
                    Err(error) => self.fail(error, actions),
                }
            }
            Event::Joined(attempt, answer) if attempt == self.attempt && self.state == State::Joining => {
                self.joined(now, answer, actions);
            }
            Event::Synced(attempt, answer) if attempt == self.attempt && self.state == State::Syncing => {
                self.synced(now, answer, actions);
            }
            Event::Heartbeat(attempt, answer) if attempt == self.attempt => {
                self.heartbeat_sent = false;
                let error = answer.map_or_else(|error| error, |answer| known(answer.error_code));
                if error.is_ok() || error == ErrorCode::RebalanceInProgress {
                    self.last_heard = now;
                }
                self.told(now, error, actions);
            }
            Event::CoordinatorSaid(error) => self.told(now, error, actions),
            Event::Released => self.callbacks = self.callbacks.saturating_sub(1),
            Event::Close => {
                self.leave("the consumer is being closed", actions);
                self.state = State::Over;
            }
            Event::Joined(..) | Event::Synced(..) | Event::Heartbeat(..) | Event::Tick => {}
        }
    }

    /// Takes every step that needs nothing from outside.
    fn advance(&mut self, now: Millis, actions: &mut Vec<Action>) {
        self.mind_the_clock(now, actions);
        if self.callbacks == 0
            && let State::Completing { added, rejoin } = &mut self.state
        {
            let (added, rejoin) = (std::mem::take(added), *rejoin);
            self.state = State::Stable;
            self.owned.extend(added.iter().cloned());
            actions.push(Action::Assign(added));
            if rejoin {
                self.want_rejoin("partitions were given up for others");
            }
        }
        if self.state == State::Stable && self.rejoin {
            self.state = State::Unjoined;
        }
        if self.state == State::Unjoined && self.polled && !self.topics.is_empty() {
            self.state = State::Preparing;
            self.give_up_before_joining(actions);
        }
        if self.state == State::Preparing && self.callbacks == 0 && now >= self.retry_at {
            if self.coordinator.is_some() {
                self.attempt += 1;
                self.heartbeat_sent = false;
                self.rejoin = false;
                self.state = State::Joining;
                actions.push(Action::Join(self.attempt, self.join_request()));
            } else if !self.finding {
                self.find_coordinator(actions);
            }
        }
        if self.heartbeats() && self.coordinator.is_none() && !self.finding && now >= self.retry_at {
            self.find_coordinator(actions);
        }
    }

    fn mind_the_clock(&mut self, now: Millis, actions: &mut Vec<Action>) {
        if self.in_group() && now - self.last_poll >= i64::from(self.config.max_poll_interval_ms) {
            self.leave("the application has not polled for max.poll.interval.ms", actions);
            self.lose_all(actions);
            return;
        }
        if !self.heartbeats() || self.coordinator.is_none() {
            return;
        }
        if now - self.last_heard >= i64::from(self.config.session_timeout_ms) {
            // Whether the coordinator or the way to it is gone: look for it anew.
            self.coordinator = None;
            self.heartbeat_sent = false;
        } else if !self.heartbeat_sent && now >= self.next_heartbeat {
            self.heartbeat_sent = true;
            self.next_heartbeat = now + i64::from(self.config.heartbeat_interval_ms);
            actions.push(Action::Heartbeat(self.attempt, self.heartbeat_request()));
        }
    }

    fn in_group(&self) -> bool {
        self.generation >= 0 || self.state == State::Joining
    }

    /// JoinGroup keeps a member alive while it waits; otherwise it is heartbeats.
    fn heartbeats(&self) -> bool {
        self.generation >= 0 && self.state != State::Joining
    }

    fn give_up_before_joining(&mut self, actions: &mut Vec<Action>) {
        if self.generation < 0 {
            return self.lose_all(actions);
        }
        let gone: Vec<TopicPartition> = match Assignor::protocol(&self.config.assignors) {
            RebalanceProtocol::Eager => std::mem::take(&mut self.owned).into_iter().collect(),
            RebalanceProtocol::Cooperative => {
                self.owned.extract_if(.., |partition| !self.topics.contains(&partition.topic)).collect()
            }
        };
        self.release(Action::Revoke, gone, actions);
    }

    fn release(
        &mut self,
        how: fn(Vec<TopicPartition>) -> Action,
        gone: Vec<TopicPartition>,
        actions: &mut Vec<Action>,
    ) {
        if !gone.is_empty() {
            self.callbacks += 1;
            actions.push(how(gone));
        }
    }

    fn lose_all(&mut self, actions: &mut Vec<Action>) {
        let gone = std::mem::take(&mut self.owned).into_iter().collect();
        self.release(Action::Lose, gone, actions);
    }

    fn release_all(&mut self, actions: &mut Vec<Action>) {
        let gone = std::mem::take(&mut self.owned).into_iter().collect();
        self.release(Action::Revoke, gone, actions);
    }

    fn joined(
        &mut self,
        now: Millis,
        answer: Result<JoinGroupResponse, ErrorCode>,
        actions: &mut Vec<Action>,
    ) {
        let answer = match answer {
            Ok(answer) if answer.error_code == 0 => answer,
            Ok(answer) if known(answer.error_code) == ErrorCode::MemberIdRequired => {
                self.member_id = answer.member_id.detached();
                self.state = State::Preparing;
                return;
            }
            Ok(answer) => return self.attempt_failed(now, known(answer.error_code), actions),
            Err(error) => return self.attempt_failed(now, error, actions),
        };
        self.member_id = answer.member_id.detached();
        self.generation = answer.generation_id;
        self.assignor = answer.protocol_name.as_deref().and_then(Assignor::from_name);
        self.last_heard = now;
        self.next_heartbeat = now + i64::from(self.config.heartbeat_interval_ms);
        self.reason = None;
        self.assigned_topics = None;
        if self.assignor.is_none() {
            return self.fail(ErrorCode::InconsistentGroupProtocol, actions);
        }
        if answer.leader != self.member_id {
            self.watched.clear();
            return self.sync(Vec::new(), actions);
        }
        let Some(members) = requests::members(&answer) else {
            return self.fail(ErrorCode::InconsistentGroupProtocol, actions);
        };
        let topics: BTreeSet<Arc<str>> =
            members.iter().flat_map(|member| member.subscription.topics.iter().cloned()).collect();
        self.watched = topics;
        actions.push(Action::WatchTopics(self.watched.iter().cloned().collect()));
        // A static member that came back leads again, but the assignment stands.
        self.state = State::Leading(if answer.skip_assignment { Vec::new() } else { members });
    }

    fn see_topics(&mut self, now: Millis, mut topics: Topics, actions: &mut Vec<Action>) {
        topics.retain(|topic, _| self.watched.contains(topic));
        // As in Kafka's client, a leader without a rack counts with racks, but assigns anew only for partitions.
        let mut seen = topics.clone();
        if self.config.rack.is_none() {
            seen.values_mut().flatten().for_each(BTreeSet::clear);
        }
        if let State::Leading(members) = &self.state {
            let members = members.clone();
            let assignor = self.assignor.unwrap_or(Assignor::Range);
            let assigned = assignor.assign(&topics, &members);
            self.assigned_topics = Some(seen);
            self.last_heard = self.last_heard.max(now);
            self.sync(members.into_iter().zip(assigned).collect(), actions);
        } else if self.assigned_topics.as_ref().is_some_and(|assigned| *assigned != seen) {
            self.assigned_topics = Some(seen);
            self.want_rejoin("the partitions of the group's topics changed");
        }
    }

    fn sync(&mut self, assigned: Vec<(Member, Vec<TopicPartition>)>, actions: &mut Vec<Action>) {
        self.state = State::Syncing;
        match self.sync_request(assigned) {
            Ok(request) => actions.push(Action::Sync(self.attempt, request)),
            Err(_) => self.fail(ErrorCode::InvalidRequest, actions),
        }
    }

    fn synced(
        &mut self,
        now: Millis,
        answer: Result<SyncGroupResponse, ErrorCode>,
        actions: &mut Vec<Action>,
    ) {
        let answer = match answer {
            Ok(answer) if answer.error_code == 0 => answer,
            Ok(answer) => return self.attempt_failed(now, known(answer.error_code), actions),
            Err(error) => return self.attempt_failed(now, error, actions),
        };
        self.last_heard = now;
        let Ok(assigned) = assignors::decode_assignment(answer.assignment) else {
            return self.fail(ErrorCode::InconsistentGroupProtocol, actions);
        };
        let all = assigned.len();
        // The subscription may have changed since the leader heard of it.
        let assigned: BTreeSet<_> = assigned.into_iter().filter(|p| self.topics.contains(&p.topic)).collect();
        if assigned.len() < all {
            self.want_rejoin("the subscription changed while the group was assigned");
        }
        self.last_assigned = assigned.iter().cloned().collect();
        let gone: Vec<_> = self.owned.extract_if(.., |partition| !assigned.contains(partition)).collect();
        let added = assigned.into_iter().filter(|partition| !self.owned.contains(partition)).collect();
        self.state = State::Completing { added, rejoin: !gone.is_empty() };
        self.release(Action::Revoke, gone, actions);
    }

    /// JoinGroup or SyncGroup failed.
    fn attempt_failed(&mut self, now: Millis, error: ErrorCode, actions: &mut Vec<Action>) {
        self.state = State::Unjoined;
        self.back_off(now);
        match error {
            // Somebody else made the group rebalance: no reason to wait.
            ErrorCode::RebalanceInProgress => self.retry_at = now,
            _ => self.told(now, error, actions),
        }
        if self.state == State::Unjoined {
            self.rejoin = true;
        }
    }

    /// What an error of the coordinator means for the membership, whatever was asked.
    fn told(&mut self, now: Millis, error: ErrorCode, actions: &mut Vec<Action>) {
        match error {
            ErrorCode::None | ErrorCode::CoordinatorLoadInProgress => {}
            ErrorCode::RebalanceInProgress => self.want_rejoin("the group is rebalancing"),
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                // An illegal generation leaves the member known: it goes on under its id.
                self.end_generation(error == ErrorCode::UnknownMemberId);
                self.reason = Some(error.name());
                self.lose_all(actions);
            }
            ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NetworkException
            | ErrorCode::RequestTimedOut => {
                self.coordinator = None;
                self.heartbeat_sent = false;
                self.back_off(now);
            }
            error if error.is_retriable() => {}
            error => self.fail(error, actions),
        }
    }

    fn fail(&mut self, error: ErrorCode, actions: &mut Vec<Action>) {
        self.end_generation(error == ErrorCode::FencedInstanceId);
        self.lose_all(actions);
        self.polled = false;
        if error == ErrorCode::FencedInstanceId {
            self.state = State::Over;
        }
        actions.push(Action::Fail(error));
    }

    fn leave(&mut self, reason: &'static str, actions: &mut Vec<Action>) {
        // A static member's place waits for it until its session ends.
        if self.config.group_instance_id.is_none() && !self.member_id.is_empty() && self.coordinator.is_some()
        {
            actions.push(Action::Leave(self.leave_request(reason)));
        }
        self.end_generation(true);
        self.polled = false;
    }

    fn end_generation(&mut self, forget_member: bool) {
        self.generation = -1;
        self.attempt += 1;
        self.heartbeat_sent = false;
        self.assigned_topics = None;
        self.watched.clear();
        self.state = State::Unjoined;
        if forget_member {
            self.member_id = Str::EMPTY;
        }
    }

    fn want_rejoin(&mut self, reason: &'static str) {
        self.rejoin = true;
        self.reason.get_or_insert(reason);
    }

    fn back_off(&mut self, now: Millis) {
        self.retry_at = now + self.config.retry_backoff_ms;
    }

    fn find_coordinator(&mut self, actions: &mut Vec<Action>) {
        self.finding = true;
        actions.push(Action::FindCoordinator);
    }
}

/// Codes that this version does not know count as the unknown error.
fn known(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

#[cfg(test)]
mod tests;
