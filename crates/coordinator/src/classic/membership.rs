//! Heartbeats, sessions and leaving; and what becomes of the group when its coordinator goes away.

use ottla_model::{ErrorCode, Millis};
use ottla_protocol::Str;
use ottla_protocol::api::heartbeat::HeartbeatRequest;
use ottla_protocol::api::leave_group::{LeaveGroupResponse, MemberIdentity, MemberResponse};

use super::Step;
use super::group::{ClassicGroup, GroupState};

impl ClassicGroup {
    /// Errors: 15, 22, 25, 82, and 27 while a rebalance waits for the member.
    pub fn heartbeat(&mut self, step: &mut Step<'_>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if self.state == GroupState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => {
                self.touch_session(step, &request.member_id);
                Err(ErrorCode::RebalanceInProgress)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.touch_session(step, &request.member_id);
                Ok(())
            }
        }
    }

    /// The member is alive: its session starts again.
    pub fn touch_session(&mut self, step: &mut Step<'_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            let due: Millis = step.now + i64::from(member.state.session_timeout_ms);
            self.set_session(step.timers, member_id, due);
        }
    }

    /// The session timer of a member, or of a handed-out member id, has fired.
    pub fn session_expired(&mut self, step: &mut Step<'_>, member_id: &Str) {
        if self.state == GroupState::Dead {
            return;
        }
        if self.remove_pending(step.timers, member_id) {
            return self.complete_if_all_joined(step);
        }
        if self.members.get(member_id).is_none_or(|member| member.has_satisfied_heartbeat()) {
            return;
        }
        tracing::info!(group = %self.id, member = %**member_id, "session has expired");
        self.drop_member(step, member_id);
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.rebalance_or_complete(step),
            _ => self.complete_if_all_joined(step),
        }
    }

    /// Also ends a first rebalance before its delay: nobody else is expected if members give up already.
    fn complete_if_all_joined(&mut self, step: &mut Step<'_>) {
        if self.state == GroupState::PreparingRebalance && self.has_all_members_joined() {
            self.complete_join(step);
        }
    }

    /// Takes the member out and answers what it waits for.
    fn drop_member(&mut self, step: &mut Step<'_>, member_id: &str) {
        self.fail_join(step, member_id, Str::default(), ErrorCode::UnknownMemberId);
        self.fail_sync(step, member_id, ErrorCode::UnknownMemberId);
        self.remove(step.timers, member_id);
    }

    /// Members leave, by member id or, with an empty one, by instance id.
    pub fn leave(&mut self, step: &mut Step<'_>, members: &[MemberIdentity]) -> LeaveGroupResponse {
        if self.state == GroupState::Dead {
            let error_code = ErrorCode::CoordinatorNotAvailable.code();
            return LeaveGroupResponse { error_code, ..Default::default() };
        }
        let mut left = false;
        let mut answers = Vec::with_capacity(members.len());
        for member in members {
            let outcome = self.leave_one(step, &member.member_id, member.group_instance_id.as_deref());
            left |= outcome.is_ok();
            answers.push(MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: outcome.err().unwrap_or_default().code(),
            });
        }
        if left {
            match self.state {
                GroupState::Stable | GroupState::CompletingRebalance => self.rebalance_or_complete(step),
                GroupState::PreparingRebalance => self.maybe_complete_join(step),
                GroupState::Empty | GroupState::Dead => {}
            }
        }
        LeaveGroupResponse { members: answers, ..Default::default() }
    }

    fn leave_one(
        &mut self,
        step: &mut Step<'_>,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        let member_id = if member_id.is_empty() {
            let known = instance_id.and_then(|instance_id| self.static_members.get(instance_id));
            known.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else if self.remove_pending(step.timers, member_id) {
            return Ok(());
        } else {
            self.validate_member(member_id, instance_id)?;
            Str::from(member_id)
        };
        tracing::info!(group = %self.id, member = %*member_id, "member leaves");
        self.drop_member(step, &member_id);
        Ok(())
    }

    /// The group was loaded: sessions start anew. Too many members have to rejoin.
    pub fn loaded(&mut self, step: &mut Step<'_>) {
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.touch_session(step, &member_id);
        }
        if self.members.len() > step.config.max_size && self.state == GroupState::Stable {
            self.prepare_rebalance(step);
        }
    }

    /// Answers everyone who waits with `error`.
    pub fn fail_all(&mut self, step: &mut Step<'_>, error: ErrorCode) {
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            self.fail_join(step, &member_id, member_id.clone(), error);
            self.fail_sync(step, &member_id, error);
        }
    }
}
