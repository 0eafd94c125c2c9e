//! Random requests, commits, failures and time, from seeds: every request is answered once, the state stays
//! consistent, and a replay of the log gives what was committed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis, Offset};
use ottla_protocol::Str;
use ottla_protocol::api::heartbeat::HeartbeatRequest;
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use ottla_protocol::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use ottla_protocol::api::list_groups::ListGroupsRequest;
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla_protocol::api::offset_fetch::OffsetFetchRequestGroup;
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use super::*;
use crate::classic::GroupState;
use crate::event::{Append, ClientContext};

const GROUPS: [&str; 3] = ["a", "b", "c"];
const TOPICS: [&str; 2] = ["t", "u"];
const PROTOCOLS: [&str; 3] = ["range", "roundrobin", "sticky"];

/// xorshift64*
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Walk {
    dice: Dice,
    coordinator: GroupCoordinator,
    now: Millis,
    tickets: u64,
    unanswered: BTreeSet<Ticket>,
    undecided: VecDeque<Append>,
    log: Vec<Record>,
    /// Members that were let in, with their generation: most requests are of these.
    known: Vec<(Str, Str, i32)>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let config = CoordinatorConfig { max_size: 4, offsets_retention_ms: 1_000_000, ..Default::default() };
        let mut coordinator = GroupCoordinator::new(config, seed);
        coordinator.loaded(Millis(0));
        Self {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            coordinator,
            now: Millis(0),
            tickets: 0,
            unanswered: BTreeSet::new(),
            undecided: VecDeque::new(),
            log: Vec::new(),
            known: Vec::new(),
        }
    }

    fn take(&mut self, actions: Actions) {
        for (ticket, response) in actions.replies {
            assert!(self.unanswered.remove(&ticket), "{ticket:?} is answered twice");
            if let Response::JoinGroup(response) = response
                && !response.member_id.is_empty()
            {
                // The group is not in the answer; a wrong guess makes a request of a stranger.
                let group = Str::from(self.dice.one_of(&GROUPS));
                self.known.push((group, response.member_id, response.generation_id));
            }
        }
        self.undecided.extend(actions.appends);
    }

    fn step(&mut self, event: Event) {
        let actions = self.coordinator.step(self.now, event);
        self.take(actions);
        self.check();
    }

    fn decide(&mut self) {
        let Some(append) = self.undecided.pop_front() else { return };
        if self.dice.chance(15) {
            self.step(Event::AppendFailed { append: append.id, error: ErrorCode::NotEnoughReplicas });
        } else {
            let base_offset = Offset(self.log.len() as i64);
            self.log.extend(append.records);
            self.step(Event::Committed { append: append.id, base_offset });
        }
    }

    fn walk(&mut self) {
        match self.dice.below(10) {
            0..=3 => self.decide(),
            4 => {
                let ms = self.dice.one_of(&[10, 1_000, 4_000, 20_000, 600_000]);
                self.now = self.now + ms;
                self.step(Event::Tick);
            }
            5 if self.dice.chance(5) => self.step(Event::TopicsDeleted { topics: vec!["u".into()] }),
            _ => {
                self.tickets += 1;
                let ticket = Ticket(self.tickets);
                self.unanswered.insert(ticket);
                let version = self.dice.below(10) as i16;
                let context = ClientContext { version, client_id: "c".into(), client_host: "/h".into() };
                let request = self.request();
                self.step(Event::Request { ticket, context, request });
            }
        }
    }

    fn request(&mut self) -> Request {
        let stranger = (Str::from(self.dice.one_of(&GROUPS)), Str::EMPTY, -1);
        let (mut group_id, member_id, mut generation_id) = match self.known.len() {
            0 => stranger,
            _ if self.dice.chance(30) => stranger,
            count => {
                let recent = count.saturating_sub(6) as u64;
                self.known[(recent + self.dice.below(count as u64 - recent)) as usize].clone()
            }
        };
        // Mostly where the member is, in its generation.
        for (id, group) in &self.coordinator.groups {
            let Some(group) = group.classic() else { continue };
            if group.members.contains_key(&member_id) || group.pending_members.contains_key(&member_id) {
                (group_id, generation_id) = (id.clone(), group.generation);
            }
        }
        let instance = self.dice.chance(20).then(|| Str::from(self.dice.one_of(&["i", "j"])));
        match self.dice.below(12) {
            0..=3 => {
                let protocols = PROTOCOLS.iter().filter(|_| self.dice.chance(70));
                let protocols = protocols.map(|name| JoinGroupRequestProtocol {
                    name: (*name).into(),
                    metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
                });
                let protocols = protocols.collect();
                let request = JoinGroupRequest {
                    group_id,
                    session_timeout_ms: self.dice.one_of(&[6_000, 30_000]),
                    rebalance_timeout_ms: self.dice.one_of(&[5_000, 60_000]),
                    member_id,
                    group_instance_id: instance,
                    protocol_type: self.dice.one_of(&["consumer", "consumer", "consumer", "connect"]).into(),
                    protocols,
                    reason: None,
                };
                let member_uuid = (u128::from(self.tickets) << 96).to_be_bytes();
                Request::JoinGroup { request, member_uuid }
            }
            4 | 5 => Request::SyncGroup(SyncGroupRequest {
                group_id,
                generation_id,
                assignments: vec![SyncGroupRequestAssignment {
                    member_id: member_id.clone(),
                    assignment: Bytes::from_static(b"mine"),
                }],
                member_id,
                ..Default::default()
            }),
            6 => Request::Heartbeat(HeartbeatRequest {
                group_id,
                generation_id,
                member_id,
                group_instance_id: instance,
            }),
            7 if self.dice.chance(50) => Request::LeaveGroup(LeaveGroupRequest {
                group_id,
                members: vec![MemberIdentity { member_id, group_instance_id: instance, reason: None }],
                ..Default::default()
            }),
            7 => Request::ListGroups(ListGroupsRequest::default()),
            8 | 9 => {
                let partitions = vec![OffsetCommitRequestPartition {
                    partition_index: self.dice.below(3) as i32,
                    committed_offset: self.tickets as i64,
                    ..Default::default()
                }];
                let topic = self.dice.one_of(&TOPICS).into();
                Request::OffsetCommit(OffsetCommitRequest {
                    group_id,
                    generation_id_or_member_epoch: generation_id,
                    member_id,
                    topics: vec![OffsetCommitRequestTopic { name: topic, partitions, ..Default::default() }],
                    ..Default::default()
                })
            }
            10 => {
                let group = OffsetFetchRequestGroup { group_id, ..Default::default() };
                Request::OffsetFetch { group, require_stable: self.dice.chance(50) }
            }
            _ if self.dice.chance(50) => Request::DeleteGroups(vec![group_id]),
            _ => Request::OffsetDelete(OffsetDeleteRequest {
                group_id,
                topics: vec![OffsetDeleteRequestTopic {
                    name: self.dice.one_of(&TOPICS).into(),
                    partitions: vec![OffsetDeleteRequestPartition { partition_index: 1 }],
                }],
            }),
        }
    }

    /// What must hold after every step.
    fn check(&self) {
        for (id, group) in &self.coordinator.groups {
            assert!(
                group.body.is_some() || !group.offsets.is_empty() || group.in_flight > 0,
                "{id} is nothing"
            );
            let Some(group) = group.classic() else { continue };
            let joining = group.members.values().filter(|member| member.joining.is_some()).count();
            assert_eq!(joining, group.joining, "{id}: who waits is counted");
            let instances: BTreeMap<Str, Str> = group
                .members
                .iter()
                .filter_map(|(id, m)| Some((m.instance_id.clone()?, id.clone())))
                .collect();
            assert_eq!(instances, group.static_members, "{id}: instance ids lead to their members");
            assert!(
                group.pending_sync.iter().all(|member| group.members.contains_key(member)),
                "{id}: pending sync"
            );
            assert!(
                group.pending_members.keys().all(|member| !group.members.contains_key(member)),
                "{id}: pending"
            );
            match group.state {
                GroupState::Empty | GroupState::Dead => {
                    assert!(group.members.is_empty(), "{id}: {}", group.state)
                }
                GroupState::CompletingRebalance | GroupState::Stable => {
                    let leader = group.leader.as_ref().expect("a group with members has a leader");
                    assert!(group.members.contains_key(leader), "{id}: the leader is a member");
                    assert!(group.select_protocol().is_some(), "{id}: there is a common protocol");
                }
                GroupState::PreparingRebalance => {}
            }
            if group.state != GroupState::CompletingRebalance {
                assert!(
                    group.members.values().all(|member| member.syncing.is_none()),
                    "{id}: nobody waits in vain"
                );
            }
        }
    }

    /// A coordinator that is made of the log knows the same offsets.
    fn check_replay(&mut self) {
        while !self.undecided.is_empty() {
            self.decide();
        }
        let mut replayed = GroupCoordinator::new(self.coordinator.config, 1);
        for (offset, record) in self.log.iter().enumerate() {
            replayed.replay(Offset(offset as i64), None, &record.key, record.value.as_ref()).unwrap();
        }
        let offsets = |coordinator: &GroupCoordinator| {
            let of_group = |(id, group): (&Str, &Group)| {
                let offsets = group.offsets.iter().map(|(topic, partition, value)| {
                    ((id.clone(), topic.clone(), partition), (value.offset, value.record_offset))
                });
                offsets.collect::<Vec<_>>()
            };
            coordinator.groups.iter().flat_map(of_group).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(offsets(&replayed), offsets(&self.coordinator));
    }
}

#[test]
fn every_request_is_answered_once_and_the_state_stays_consistent() {
    for seed in 1..=150 {
        let mut walk = Walk::new(seed);
        for _ in 0..1_000 {
            walk.walk();
        }
        walk.check_replay();
        walk.step(Event::Unload);
        assert!(walk.unanswered.is_empty(), "seed {seed}: never answered: {:?}", walk.unanswered);
    }
}
