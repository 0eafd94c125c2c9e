//! SyncGroup: the leader's assignment goes to the log, then to the members.

use std::collections::BTreeMap;

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::Step;
use super::group::{ClassicGroup, GroupState};
use crate::event::{Response, Ticket};
use crate::outbox::Effect;
use crate::records;

pub(crate) fn sync_failure(error: ErrorCode) -> Response {
    Response::SyncGroup(SyncGroupResponse { error_code: error.code(), ..Default::default() })
}

impl ClassicGroup {
    pub fn sync(&mut self, step: &mut Step<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        let member_id = &*request.member_id;
        if let Err(error) = self.validate_sync(request) {
            return step.reply(ticket, sync_failure(error));
        }
        match self.state {
            GroupState::PreparingRebalance => {
                step.reply(ticket, sync_failure(ErrorCode::RebalanceInProgress))
            }
            GroupState::CompletingRebalance => {
                if let Some(member) = self.members.get_mut(member_id)
                    && let Some(earlier) = member.syncing.replace(ticket)
                {
                    // The client asked again; the first request is answered as well.
                    step.reply(earlier, sync_failure(ErrorCode::RebalanceInProgress));
                }
                self.sync_received(step, member_id);
                if self.is_leader(member_id) {
                    self.store_assignment(step, request);
                }
            }
            GroupState::Stable => {
                self.sync_received(step, member_id);
                let response = self.sync_answer(member_id);
                step.reply(ticket, response);
            }
            GroupState::Empty | GroupState::Dead => {
                step.reply(ticket, sync_failure(ErrorCode::UnknownMemberId))
            }
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        match self.state {
            GroupState::Empty => return Err(ErrorCode::UnknownMemberId),
            GroupState::Dead => return Err(ErrorCode::CoordinatorNotAvailable),
            _ => {}
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs =
            |given: &Option<Str>, own: &Option<Str>| given.is_some() && own.is_some() && given != own;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn sync_received(&mut self, step: &mut Step<'_>, member_id: &str) {
        self.pending_sync.remove(member_id);
        if self.pending_sync.is_empty() {
            self.stop_sync_timer(step);
        }
    }

    fn sync_answer(&self, member_id: &str) -> Response {
        let assignment = self.members.get(member_id).map(|member| member.state.assignment.clone());
        Response::SyncGroup(SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment: assignment.unwrap_or_default(),
            ..Default::default()
        })
    }

    /// Members that the leader forgot get an empty assignment; assignments for strangers are dropped.
    fn store_assignment(&mut self, step: &mut Step<'_>, request: &SyncGroupRequest) {
        let mut assignments: BTreeMap<Str, Bytes> = BTreeMap::new();
        for assignment in &request.assignments {
            if let Some((member_id, _)) = self.members.get_key_value(&*assignment.member_id) {
                assignments.insert(member_id.clone(), records::copied(&assignment.assignment));
            }
        }
        let record = records::group_metadata(self, Some(&assignments));
        let effect = Effect::Assignment { group: self.id.clone(), generation: self.generation, assignments };
        step.append(vec![record], effect, None);
    }

    /// The assignment is committed: the group is stable, and whoever waits gets its part.
    pub fn assignment_stored(
        &mut self,
        step: &mut Step<'_>,
        generation: i32,
        assignments: BTreeMap<Str, Bytes>,
    ) {
        if self.state != GroupState::CompletingRebalance || generation != self.generation {
            return;
        }
        for member in self.members.values_mut() {
            member.state.assignment = Bytes::new();
        }
        for (member_id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&member_id) {
                member.state.assignment = assignment;
            }
        }
        self.answer_syncs(step, ErrorCode::None);
        self.transition(step.now, GroupState::Stable);
    }

    /// The assignment could not be stored: everyone is told, and the group tries again.
    pub fn assignment_failed(&mut self, step: &mut Step<'_>, generation: i32, error: ErrorCode) {
        if self.state != GroupState::CompletingRebalance || generation != self.generation {
            return;
        }
        self.answer_syncs(step, error);
        self.prepare_rebalance(step);
    }

    /// Answers every waiting SyncGroup, with the member's assignment if there is no error.
    pub(super) fn answer_syncs(&mut self, step: &mut Step<'_>, error: ErrorCode) {
        let waiting =
            self.members.iter_mut().filter_map(|(id, member)| Some((id.clone(), member.syncing.take()?)));
        for (member_id, ticket) in waiting.collect::<Vec<_>>() {
            let response = if error.is_ok() { self.sync_answer(&member_id) } else { sync_failure(error) };
            step.reply(ticket, response);
            self.touch_session(step, &member_id);
        }
    }

    pub(super) fn fail_sync(&mut self, step: &mut Step<'_>, member_id: &str, error: ErrorCode) {
        if let Some(ticket) = self.members.get_mut(member_id).and_then(|member| member.syncing.take()) {
            step.reply(ticket, sync_failure(error));
        }
    }

    /// The sync timer has fired: members that never asked for their assignment are out.
    pub fn sync_expired(&mut self, step: &mut Step<'_>) {
        if !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable)
            || self.pending_sync.is_empty()
        {
            return;
        }
        let missing = std::mem::take(&mut self.pending_sync);
        for member_id in &missing {
            self.remove(step.timers, member_id);
        }
        tracing::info!(group = %self.id, members = missing.len(), "removed members that have not sent SyncGroup");
        self.prepare_rebalance(step);
    }
}
