//! The join phase: when a rebalance starts, how long it waits, and what ends it.

use bytes::Bytes;
use ottla_model::ErrorCode;
use ottla_protocol::Str;

use super::Step;
use super::group::{ClassicGroup, GroupState};
use crate::outbox::Effect;
use crate::records;
use crate::timers::{Timer, TimerKey};

impl ClassicGroup {
    /// Starts a rebalance unless one is running; else ends its join phase if everyone is there.
    pub fn rebalance_or_complete(&mut self, step: &mut Step<'_>) {
        match self.state {
            GroupState::Empty | GroupState::Stable | GroupState::CompletingRebalance => {
                self.prepare_rebalance(step)
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(step),
            GroupState::Dead => {}
        }
    }

    pub fn prepare_rebalance(&mut self, step: &mut Step<'_>) {
        if self.state == GroupState::CompletingRebalance {
            for member in self.members.values_mut() {
                member.state.assignment = Bytes::new();
            }
            self.answer_syncs(step, ErrorCode::RebalanceInProgress);
        }
        self.stop_sync_timer(step);
        let is_initial = self.state == GroupState::Empty;
        self.transition(step.now, GroupState::PreparingRebalance);
        if is_initial {
            // More members are likely to follow: wait a little, once more for each that comes in the meantime.
            let delay = i64::from(step.config.initial_rebalance_delay_ms);
            let remaining = (self.rebalance_timeout_ms() - delay).max(0);
            self.new_member_added = false;
            self.initial_delay = Some((delay, remaining));
            self.set_join_timer(step, delay);
        } else if self.has_all_members_joined() {
            self.complete_join(step);
        } else {
            self.set_join_timer(step, self.rebalance_timeout_ms());
        }
    }

    /// Ends the join phase if it only waits for members. The first rebalance ends by its delay.
    pub fn maybe_complete_join(&mut self, step: &mut Step<'_>) {
        let preparing = self.state == GroupState::PreparingRebalance;
        if preparing && self.previous_state != GroupState::Empty && self.has_all_members_joined() {
            self.complete_join(step);
        }
    }

    /// The join timer has fired.
    pub fn join_expired(&mut self, step: &mut Step<'_>) {
        if self.state != GroupState::PreparingRebalance {
            return;
        }
        match self.initial_delay {
            Some((delay, remaining)) if self.new_member_added && remaining != 0 => {
                self.new_member_added = false;
                let next_delay = i64::from(step.config.initial_rebalance_delay_ms).min(remaining);
                self.initial_delay = Some((next_delay, (remaining - delay).max(0)));
                self.set_join_timer(step, next_delay);
            }
            _ => self.complete_join(step),
        }
    }

    /// Ends the join phase: whoever has not rejoined is out, the others make up the next generation.
    pub fn complete_join(&mut self, step: &mut Step<'_>) {
        self.stop_join_timer(step);
        self.initial_delay = None;
        let missing = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none() && member.instance_id.is_none());
        let missing: Vec<Str> = missing.map(|(id, _)| id.clone()).collect();
        for member_id in &missing {
            self.remove(step.timers, member_id);
        }
        if !missing.is_empty() {
            tracing::info!(group = %self.id, members = missing.len(), "removed members that have not rejoined");
        }
        if self.members.is_empty() {
            self.become_empty(step);
        } else if self.elect_joined_leader() {
            self.start_generation(step);
        } else {
            // Only static members, and none is back: their time starts again.
            self.set_join_timer(step, self.rebalance_timeout_ms());
        }
    }

    /// Keeps the leader if it has rejoined, else takes one that has. False if nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &Str| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            let Some((first, _)) = self.members.iter().find(|(_, member)| member.joining.is_some()) else {
                return false;
            };
            self.leader = Some(first.clone());
        }
        true
    }

    fn become_empty(&mut self, step: &mut Step<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol_name = None;
        self.pending_sync.clear();
        self.update_subscribed_topics();
        self.transition(step.now, GroupState::Empty);
        tracing::info!(group = %self.id, generation = self.generation, "group is empty");
        step.append(vec![records::group_metadata(self, None)], Effect::None, None);
    }

    fn start_generation(&mut self, step: &mut Step<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol_name = self.select_protocol();
        self.update_subscribed_topics();
        self.transition(step.now, GroupState::CompletingRebalance);
        tracing::info!(
            group = %self.id, generation = self.generation, members = self.members.len(), "generation starts"
        );
        self.pending_sync = self.members.keys().cloned().collect();
        for member_id in self.members.keys().cloned().collect::<Vec<_>>() {
            let answer = self.join_answer(&member_id);
            self.finish_join(step, &member_id, |response| *response = answer);
            if let Some(member) = self.members.get_mut(&member_id) {
                member.is_new = false;
                let due = step.now + i64::from(member.state.session_timeout_ms);
                self.set_session(step.timers, &member_id, due);
            }
        }
        let (group, due) = (self.id.clone(), step.now + self.rebalance_timeout_ms());
        step.timers.set(&mut self.sync_timer, due, || TimerKey::Sync { group });
    }

    fn set_join_timer(&mut self, step: &mut Step<'_>, delay_ms: i64) {
        let group = self.id.clone();
        self.stop_join_timer(step);
        step.timers.set(&mut self.join_timer, step.now + delay_ms, || TimerKey::Join { group });
    }

    fn stop_join_timer(&mut self, step: &mut Step<'_>) {
        let group = self.id.clone();
        step.timers.clear(&mut self.join_timer, || TimerKey::Join { group });
    }

    pub(super) fn stop_sync_timer(&mut self, step: &mut Step<'_>) {
        self.pending_sync.clear();
        let group = self.id.clone();
        step.timers.clear(&mut self.sync_timer, || TimerKey::Sync { group });
    }

    /// Stops every timer of the group, which is about to be forgotten.
    pub fn stop_timers(&mut self, step: &mut Step<'_>) {
        self.stop_join_timer(step);
        self.stop_sync_timer(step);
        for member_id in self.pending_members.keys().cloned().collect::<Vec<_>>() {
            self.remove_pending(step.timers, &member_id);
        }
        for (id, member) in &mut self.members {
            let timer: &mut Timer = &mut member.session;
            step.timers.clear(timer, || super::group::session_key(&self.id, id));
        }
    }
}
