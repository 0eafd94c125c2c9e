//! JoinGroup.

use std::collections::BTreeSet;

use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupResponse};

use super::Step;
use super::group::{ClassicGroup, GroupState, Member, MemberState, Protocol, session_key};
use crate::config::CoordinatorConfig;
use crate::event::{ClientContext, Response, Ticket};
use crate::outbox::{Effect, StaticReplaced};
use crate::records;
use crate::timers::Timer;

/// Since this version a dynamic member has to come back with the id it was given.
const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// Up to this version the protocol name cannot be null.
const PROTOCOL_NAME_NOT_NULL_UNTIL: i16 = 6;
/// Since this version a replaced static leader is told not to assign again.
const SKIP_ASSIGNMENT_SINCE: i16 = 9;

/// A JoinGroup, copied out of its frame.
pub(crate) struct Join {
    pub ticket: Ticket,
    pub version: i16,
    pub member_id: Str,
    pub instance_id: Option<Str>,
    pub protocol_type: Str,
    pub member_uuid: [u8; 16],
    pub state: MemberState,
}

impl Join {
    pub fn new(
        ticket: Ticket,
        context: &ClientContext,
        request: &JoinGroupRequest,
        member_uuid: [u8; 16],
    ) -> Self {
        let mut protocols: Vec<Protocol> = Vec::new();
        let mut names = BTreeSet::new();
        for protocol in &request.protocols {
            if names.insert(&*protocol.name) {
                protocols.push(Protocol {
                    name: protocol.name.detached(),
                    metadata: records::copied(&protocol.metadata),
                });
            }
        }
        Self {
            ticket,
            version: context.version,
            member_id: request.member_id.detached(),
            instance_id: request.group_instance_id.as_ref().map(Str::detached),
            protocol_type: request.protocol_type.detached(),
            member_uuid,
            state: MemberState {
                client_id: context.client_id.detached(),
                client_host: context.client_host.detached(),
                // Version 0 has no rebalance timeout.
                rebalance_timeout_ms: if context.version == 0 {
                    request.session_timeout_ms
                } else {
                    request.rebalance_timeout_ms
                },
                session_timeout_ms: request.session_timeout_ms,
                protocols,
                assignment: Default::default(),
            },
        }
    }

    /// The instance id, or else the client id, and a UUID: what Kafka's tools show as the member.
    fn new_member_id(&self) -> Str {
        let prefix: &str = self.instance_id.as_deref().unwrap_or(&self.state.client_id);
        let mut uuid = self.member_uuid;
        uuid[6] = uuid[6] & 0x0f | 0x40;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Str::from(format!("{prefix}-{}", groups.join("-")))
    }

    fn refuse(&self, step: &mut Step<'_>, member_id: Str, error: ErrorCode) {
        let response = JoinGroupResponse { member_id, error_code: error.code(), ..Default::default() };
        step.reply(self.ticket, join_response(response, self.version));
    }
}

/// Fits the answer to versions in which the protocol name cannot be null.
pub(crate) fn join_response(mut response: JoinGroupResponse, version: i16) -> Response {
    if version <= PROTOCOL_NAME_NOT_NULL_UNTIL && response.protocol_name.is_none() {
        response.protocol_name = Some(Str::default());
    }
    Response::JoinGroup(response)
}

impl ClassicGroup {
    /// Handles a JoinGroup; the answer may wait for the other members.
    pub fn join(&mut self, step: &mut Step<'_>, join: Join) {
        let is_unknown = join.member_id.is_empty();
        let refused_id = if is_unknown { Str::default() } else { join.member_id.clone() };
        if !self.accepts(step.config, &join.member_id) {
            self.remove(step.timers, &join.member_id);
            join.refuse(step, Str::default(), ErrorCode::GroupMaxSizeReached);
        } else if self.state == GroupState::Dead {
            join.refuse(step, refused_id, ErrorCode::CoordinatorNotAvailable);
        } else if !self.supports(&join.protocol_type, &join.state.protocols) {
            join.refuse(step, refused_id, ErrorCode::InconsistentGroupProtocol);
        } else if is_unknown {
            self.join_new(step, join);
        } else {
            self.join_existing(step, join);
        }
    }

    fn accepts(&self, config: &CoordinatorConfig, member_id: &str) -> bool {
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                self.members.get(member_id).is_some_and(|member| member.joining.is_some())
                    || self.joining < config.max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(member_id) || self.members.len() < config.max_size
            }
        }
    }

    fn join_new(&mut self, step: &mut Step<'_>, join: Join) {
        let new_member_id = join.new_member_id();
        if new_member_id.len() > i16::MAX as usize {
            // No record could hold it.
            return join.refuse(step, Str::EMPTY, ErrorCode::UnknownServerError);
        }
        match &join.instance_id {
            Some(instance_id) => match self.static_members.get(instance_id).cloned() {
                Some(old_member_id) => self.replace_static(step, join, old_member_id, new_member_id),
                None => self.add_and_rebalance(step, join, new_member_id),
            },
            None if join.version >= MEMBER_ID_REQUIRED_SINCE
                && self.pending_members.len() >= CoordinatorConfig::PENDING_MEMBERS_MAX =>
            {
                join.refuse(step, Str::EMPTY, ErrorCode::GroupMaxSizeReached);
            }
            None if join.version >= MEMBER_ID_REQUIRED_SINCE => {
                let mut timer = Timer::default();
                let due = step.now + i64::from(join.state.session_timeout_ms);
                step.timers.set(&mut timer, due, || session_key(&self.id, &new_member_id));
                self.pending_members.insert(new_member_id.clone(), timer);
                join.refuse(step, new_member_id, ErrorCode::MemberIdRequired);
            }
            None => self.add_and_rebalance(step, join, new_member_id),
        }
    }

    fn join_existing(&mut self, step: &mut Step<'_>, join: Join) {
        let member_id = join.member_id.clone();
        if self.pending_members.contains_key(&member_id) {
            if join.instance_id.is_some() {
                return join.refuse(step, member_id, ErrorCode::UnknownServerError);
            }
            return self.add_and_rebalance(step, join, member_id);
        }
        if let Err(error) = self.validate_member(&member_id, join.instance_id.as_deref()) {
            return join.refuse(step, member_id, error);
        }
        let unchanged =
            self.members.get(&member_id).is_some_and(|m| m.state.protocols == join.state.protocols);
        match self.state {
            GroupState::PreparingRebalance => self.update_and_rebalance(step, join),
            GroupState::CompletingRebalance if unchanged => self.answer_current(step, &join),
            GroupState::Stable if unchanged && !self.is_leader(&member_id) => {
                self.answer_current(step, &join)
            }
            GroupState::CompletingRebalance | GroupState::Stable => self.update_and_rebalance(step, join),
            GroupState::Empty | GroupState::Dead => join.refuse(step, member_id, ErrorCode::UnknownMemberId),
        }
    }

    /// The member missed the answer of this generation: it gets it again.
    fn answer_current(&self, step: &mut Step<'_>, join: &Join) {
        let response = self.join_answer(&join.member_id);
        step.reply(join.ticket, join_response(response, join.version));
    }

    /// The answer that lets a member into the current generation.
    pub(super) fn join_answer(&self, member_id: &Str) -> JoinGroupResponse {
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.clone(),
            members: if self.is_leader(member_id) { self.join_members() } else { Vec::new() },
            ..Default::default()
        }
    }

    fn add_and_rebalance(&mut self, step: &mut Step<'_>, join: Join, member_id: Str) {
        self.remove_pending(step.timers, &member_id);
        let mut member = Member::new(join.instance_id.clone(), join.state);
        member.is_new = true;
        member.joining = Some((join.ticket, join.version));
        if self.state == GroupState::PreparingRebalance && self.previous_state == GroupState::Empty {
            self.new_member_added = true;
        }
        self.add(member_id.clone(), member, &join.protocol_type);
        self.set_session(step.timers, &member_id, step.now + CoordinatorConfig::NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_or_complete(step);
    }

    fn update_and_rebalance(&mut self, step: &mut Step<'_>, join: Join) {
        self.update_member(step, &join.member_id.clone(), join);
        self.rebalance_or_complete(step);
    }

    /// Takes over what the member offers now and lets its JoinGroup wait.
    fn update_member(&mut self, step: &mut Step<'_>, member_id: &Str, join: Join) {
        self.set_protocols(member_id, join.state.protocols);
        let Some(member) = self.members.get_mut(member_id) else { return };
        member.state.rebalance_timeout_ms = join.state.rebalance_timeout_ms;
        member.state.session_timeout_ms = join.state.session_timeout_ms;
        match member.joining.replace((join.ticket, join.version)) {
            None => self.joining += 1,
            Some((ticket, version)) => {
                // The client asked again; whoever waits for the first answer is sent back as well.
                let response = JoinGroupResponse {
                    member_id: member_id.clone(),
                    error_code: ErrorCode::RebalanceInProgress.code(),
                    ..Default::default()
                };
                step.reply(ticket, join_response(response, version));
            }
        }
    }

    /// A static member came back under a new member id.
    fn replace_static(&mut self, step: &mut Step<'_>, join: Join, old_member_id: Str, new_member_id: Str) {
        let Some(instance_id) = join.instance_id.clone() else { return };
        let version = join.version;
        let old_leader = self.leader.clone();
        let Some(old) = self.swap_static_member(step, &instance_id, &old_member_id, &new_member_id) else {
            return;
        };
        let session_timeout_ms = i64::from(old.session_timeout_ms);
        self.set_session(step.timers, &new_member_id, step.now + session_timeout_ms);
        self.update_member(step, &new_member_id, join);
        match self.state {
            GroupState::Stable if self.select_protocol() == self.protocol_name => {
                // Nothing changes for the others. It waits for the record, not for a rebalance.
                let records = vec![records::group_metadata(self, None)];
                let group = self.id.clone();
                let replaced = StaticReplaced {
                    group,
                    instance_id,
                    old_member_id,
                    new_member_id,
                    old,
                    old_leader,
                    version,
                };
                step.append(records, Effect::StaticReplaced(Box::new(replaced)), None);
            }
            GroupState::Stable => self.rebalance_or_complete(step),
            GroupState::CompletingRebalance => self.prepare_rebalance(step),
            GroupState::PreparingRebalance => self.maybe_complete_join(step),
            GroupState::Empty | GroupState::Dead => {
                self.finish_join(step, &new_member_id, |response| {
                    response.error_code = ErrorCode::UnknownServerError.code();
                });
                tracing::error!(group = %self.id, "static member in a group without members");
            }
        }
    }

    /// Gives the member a new id; whoever waits under the old one is fenced (82).
    fn swap_static_member(
        &mut self,
        step: &mut Step<'_>,
        instance_id: &Str,
        old_member_id: &Str,
        new_member_id: &Str,
    ) -> Option<MemberState> {
        let was_leader = self.is_leader(old_member_id);
        let fenced = ErrorCode::FencedInstanceId;
        self.fail_join(step, old_member_id, old_member_id.clone(), fenced);
        self.fail_sync(step, old_member_id, fenced);
        let was_pending_sync = self.pending_sync.contains(old_member_id);
        let protocol_type = self.protocol_type.clone().unwrap_or_default();
        let old = self.remove(step.timers, old_member_id)?;
        let state = old.state.clone();
        self.add(new_member_id.clone(), Member::new(Some(instance_id.clone()), old.state), &protocol_type);
        if was_leader {
            self.leader = Some(new_member_id.clone());
        }
        if was_pending_sync {
            self.pending_sync.insert(new_member_id.clone());
        }
        Some(state)
    }

    /// The record of a static replacement is committed: the member gets the current generation.
    pub fn static_replaced(&mut self, step: &mut Step<'_>, replaced: &StaticReplaced) {
        let member_id = &replaced.new_member_id;
        if !self.members.contains_key(member_id) {
            return;
        }
        let mut answer = self.join_answer(member_id);
        if replaced.version >= SKIP_ASSIGNMENT_SINCE {
            answer.skip_assignment = self.is_leader(member_id);
        } else {
            // Older clients would assign again if they saw themselves as the leader.
            answer.leader = replaced.old_leader.clone().unwrap_or_default();
            answer.members = Vec::new();
        }
        self.finish_join(step, member_id, |response| *response = answer);
    }

    /// The record of a static replacement was refused: the old member id holds again.
    pub fn static_replacement_failed(
        &mut self,
        step: &mut Step<'_>,
        replaced: StaticReplaced,
        error: ErrorCode,
    ) {
        let StaticReplaced { instance_id, old_member_id, new_member_id, old, old_leader, .. } = replaced;
        if self
            .members
            .get(&new_member_id)
            .is_none_or(|member| member.instance_id.as_ref() != Some(&instance_id))
        {
            return;
        }
        let (generation, leader) = (self.generation, old_leader.unwrap_or_default());
        let (protocol_type, protocol_name) = (self.protocol_type.clone(), self.protocol_name.clone());
        self.finish_join(step, &new_member_id, |response| {
            *response = JoinGroupResponse {
                error_code: error.code(),
                generation_id: generation,
                protocol_type,
                protocol_name,
                leader,
                ..Default::default()
            };
        });
        let session_timeout_ms = i64::from(old.session_timeout_ms);
        if self.swap_static_member(step, &instance_id, &new_member_id, &old_member_id).is_none() {
            return;
        }
        self.set_protocols(&old_member_id, old.protocols);
        if let Some(member) = self.members.get_mut(&old_member_id) {
            member.state.rebalance_timeout_ms = old.rebalance_timeout_ms;
            member.state.session_timeout_ms = old.session_timeout_ms;
        }
        self.set_session(step.timers, &old_member_id, step.now + session_timeout_ms);
    }

    /// Answers a waiting JoinGroup, if there is one.
    pub(super) fn finish_join(
        &mut self,
        step: &mut Step<'_>,
        member_id: &str,
        fill: impl FnOnce(&mut JoinGroupResponse),
    ) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let Some((ticket, version)) = member.joining.take() else { return };
        self.joining -= 1;
        let mut response = JoinGroupResponse::default();
        fill(&mut response);
        step.reply(ticket, join_response(response, version));
    }

    /// Answers a waiting JoinGroup with an error and the member id that the client shall hold.
    pub(super) fn fail_join(
        &mut self,
        step: &mut Step<'_>,
        member_id: &str,
        answered_id: Str,
        error: ErrorCode,
    ) {
        self.finish_join(step, member_id, |response| {
            response.member_id = answered_id;
            response.error_code = error.code();
        });
    }

    /// The first record of the group was refused: the join behind it fails, if it still waits.
    pub fn creation_failed(&mut self, step: &mut Step<'_>, ticket: Ticket, error: ErrorCode) {
        let waits = |(id, member): (&Str, &Member)| {
            member.joining.is_some_and(|(waiting, _)| waiting == ticket).then(|| id.clone())
        };
        if let Some(member_id) = self.members.iter().find_map(waits) {
            self.fail_join(step, &member_id, Str::default(), error);
        }
    }
}
