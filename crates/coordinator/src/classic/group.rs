//! A classic group and its members: the state, without the steps that change it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis};
use ottla_protocol::Str;
use ottla_protocol::api::join_group::JoinGroupResponseMember;

use super::subscription;
use crate::event::Ticket;
use crate::timers::{Timer, TimerKey, Timers};

/// Protocol type of Kafka's consumers; only their subscriptions can be read here.
const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum GroupState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    /// Being deleted: the tombstones are not committed yet.
    Dead,
}

impl GroupState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A way of assigning that a member offers, with what it wants the leader to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Protocol {
    pub name: Str,
    pub metadata: Bytes,
}

/// What a member said of itself, and what it was given.
#[derive(Clone, Debug)]
pub(crate) struct MemberState {
    pub client_id: Str,
    pub client_host: Str,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// In order of preference, names unique.
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub instance_id: Option<Str>,
    pub state: MemberState,
    /// A waiting JoinGroup and its version.
    pub joining: Option<(Ticket, i16)>,
    /// A waiting SyncGroup.
    pub syncing: Option<Ticket>,
    /// It has not completed a join yet.
    pub is_new: bool,
    pub session: Timer,
}

impl Member {
    pub fn new(instance_id: Option<Str>, state: MemberState) -> Self {
        Self { instance_id, state, joining: None, syncing: None, is_new: false, session: Timer::default() }
    }

    /// Whoever waits for an answer of ours is alive; a new member has to get through in any case.
    pub fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    pub fn metadata(&self, protocol: Option<&Str>) -> Bytes {
        let offered = |name: &Str| self.state.protocols.iter().find(|protocol| protocol.name == *name);
        protocol.and_then(offered).map(|protocol| protocol.metadata.clone()).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(crate) struct ClassicGroup {
    pub id: Str,
    pub state: GroupState,
    pub previous_state: GroupState,
    /// When the group came into its state; absent in records of old brokers.
    pub state_since: Option<Millis>,
    pub generation: i32,
    pub protocol_type: Option<Str>,
    pub protocol_name: Option<Str>,
    pub leader: Option<Str>,
    pub members: BTreeMap<Str, Member>,
    /// Instance id to member id.
    pub static_members: BTreeMap<Str, Str>,
    /// Member ids handed out with MEMBER_ID_REQUIRED and not taken up yet.
    pub pending_members: BTreeMap<Str, Timer>,
    /// Members of this generation that have not sent SyncGroup.
    pub pending_sync: BTreeSet<Str>,
    pub join_timer: Timer,
    pub sync_timer: Timer,
    /// During the first rebalance: the current delay and what is left of the rebalance timeout.
    pub initial_delay: Option<(i64, i64)>,
    pub new_member_added: bool,
    /// `None`: not known, because the members are no consumers or cannot be read.
    pub subscribed_topics: Option<BTreeSet<Str>>,
    /// Members whose JoinGroup waits.
    pub joining: usize,
    /// How many members offer a protocol.
    offers: BTreeMap<Str, usize>,
}

impl ClassicGroup {
    pub fn new(id: Str, now: Millis) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            previous_state: GroupState::Empty,
            state_since: Some(now),
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            join_timer: Timer::default(),
            sync_timer: Timer::default(),
            initial_delay: None,
            new_member_added: false,
            subscribed_topics: None,
            joining: 0,
            offers: BTreeMap::new(),
        }
    }

    pub fn transition(&mut self, now: Millis, state: GroupState) {
        self.previous_state = self.state;
        self.state = state;
        self.state_since = Some(now);
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Adds a member that is not in the group yet.
    pub fn add(&mut self, member_id: Str, member: Member, protocol_type: &Str) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member_id.clone());
        }
        self.count_offers(&member.state.protocols, 1);
        self.joining += usize::from(member.joining.is_some());
        self.members.insert(member_id, member);
    }

    /// Adds a member as the group's record names it.
    pub fn add_loaded(&mut self, id: Str, instance_id: Option<Str>, state: MemberState, protocol_type: &Str) {
        self.add(id, Member::new(instance_id, state), protocol_type);
    }

    /// Takes a member out, pending ones too; its timer is stopped. Another member leads if it was the leader.
    pub fn remove(&mut self, timers: &mut Timers, member_id: &str) -> Option<Member> {
        let removed = self.members.remove_entry(member_id);
        if let Some((id, mut member)) = removed {
            timers.clear(&mut member.session, || session_key(&self.id, &id));
            self.count_offers(&member.state.protocols, -1);
            self.joining -= usize::from(member.joining.is_some());
            if let Some(instance_id) = &member.instance_id {
                self.static_members.remove(instance_id);
            }
            if self.is_leader(member_id) {
                self.leader = self.members.keys().next().cloned();
            }
            self.pending_sync.remove(member_id);
            return Some(member);
        }
        self.remove_pending(timers, member_id);
        None
    }

    /// Forgets a member id that was handed out; false if there is none.
    pub fn remove_pending(&mut self, timers: &mut Timers, member_id: &str) -> bool {
        let Some((id, mut timer)) = self.pending_members.remove_entry(member_id) else { return false };
        timers.clear(&mut timer, || session_key(&self.id, &id));
        true
    }

    pub fn set_protocols(&mut self, member_id: &str, protocols: Vec<Protocol>) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let before = std::mem::replace(&mut member.state.protocols, protocols);
        let after = member.state.protocols.clone();
        self.count_offers(&before, -1);
        self.count_offers(&after, 1);
    }

    fn count_offers(&mut self, protocols: &[Protocol], by: isize) {
        for protocol in protocols {
            let count = self.offers.entry(protocol.name.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.offers.remove(&protocol.name);
            }
        }
    }

    pub fn set_session(&mut self, timers: &mut Timers, member_id: &str, due: Millis) {
        if let Some((id, _)) = self.members.get_key_value(member_id) {
            let id = id.clone();
            if let Some(member) = self.members.get_mut(member_id) {
                timers.set(&mut member.session, due, || session_key(&self.id, &id));
            }
        }
    }

    /// Whether a member may take part that offers these protocols.
    pub fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| self.is_common(&protocol.name))
    }

    fn is_common(&self, protocol: &Str) -> bool {
        self.offers.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// The protocol most members prefer among those that all offer; on a draw the first by name.
    pub fn select_protocol(&self) -> Option<Str> {
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(choice) =
                member.state.protocols.iter().find(|protocol| self.is_common(&protocol.name))
            {
                *votes.entry(&choice.name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// The longest time any member asks for.
    pub fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| member.state.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(0).max(0))
    }

    pub fn has_all_members_joined(&self) -> bool {
        self.members.len() == self.joining && self.pending_members.is_empty()
    }

    /// Errors: `UNKNOWN_MEMBER_ID` (25), `FENCED_INSTANCE_ID` (82).
    pub fn validate_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(existing) if **existing != *member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Errors: 15 while it is deleted, 22, 25, 27, 82.
    pub fn validate_offset_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if self.state == GroupState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else {
            return Err(ErrorCode::UnknownMemberId);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    pub fn update_subscribed_topics(&mut self) {
        self.subscribed_topics = match (self.uses_consumer_protocol(), &self.protocol_name) {
            (false, _) => None,
            (true, _) if self.members.is_empty() => Some(BTreeSet::new()),
            (true, None) => None,
            (true, protocol) => {
                let metadata = self.members.values().map(|member| member.metadata(protocol.as_ref()));
                metadata
                    .map(|metadata| subscription::topics(&metadata))
                    .collect::<Option<Vec<_>>>()
                    .map(|topics| topics.into_iter().flatten().collect())
            }
        };
    }

    /// A consumer group whose subscriptions cannot be read counts as subscribed to everything.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The members as the leader sees them, for the selected protocol.
    pub fn join_members(&self) -> Vec<JoinGroupResponseMember> {
        let describe = |(id, member): (&Str, &Member)| JoinGroupResponseMember {
            member_id: id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol_name.as_ref()),
        };
        self.members.iter().map(describe).collect()
    }
}

pub(super) fn session_key(group: &Str, member: &Str) -> TimerKey {
    TimerKey::Session { group: group.clone(), member: member.clone() }
}
