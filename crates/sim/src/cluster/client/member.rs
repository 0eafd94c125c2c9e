//! A member of a group: joins, shares the partitions out if it leads, commits while it owns, leaves, or falls silent
//! for longer than its session and then goes on as if nothing had happened. One of fixed identity does not leave: it
//! starts anew in its own place, and whoever still goes by its former id is refused.

use std::time::Duration;

use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::heartbeat::HeartbeatRequest;
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ottla_protocol::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use tokio::time::sleep;

use super::{BACKOFF, Client, Commit, PARTITIONS, lock};

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "in-turn";
/// The least that brokers allow.
const SESSION_TIMEOUT_MS: i32 = 6_000;
const REBALANCE_TIMEOUT_MS: i32 = 2_000;
const SILENCE_MS_MAX: i64 = 15_000;
/// The offsets that a generation commits are above all of the generations before it.
const OFFSETS_OF_GENERATION: i64 = 1_000_000;

/// A member between one answer and the next.
struct Member {
    group: String,
    coordinator: i32,
    /// Its fixed identity, if it has one.
    instance: Option<Str>,
    /// Empty until the coordinator has given one.
    id: Str,
    /// What it was before it started anew: id and generation.
    former: Option<(Str, i32)>,
    generation: i32,
    /// What it commits next. An offset is committed until that is acknowledged.
    offset: i64,
}

impl Client {
    pub async fn take_part(mut self, group: String, instance: Option<Str>) {
        while self.topic_id == Uuid::ZERO {
            self.look().await;
        }
        let coordinator = self.coordinator(&group).await;
        let (id, former) = (Str::EMPTY, None);
        let mut member = Member { group, coordinator, instance, id, former, generation: -1, offset: 0 };
        loop {
            match self.join(&mut member).await {
                Some(owned) => self.own(&mut member, &owned).await,
                None => {
                    sleep(BACKOFF).await;
                    member.coordinator = self.coordinator(&member.group).await;
                }
            }
        }
    }

    /// Joins and syncs; what it owns from then on.
    async fn join(&mut self, member: &mut Member) -> Option<Vec<i32>> {
        let protocol = JoinGroupRequestProtocol { name: PROTOCOL.into(), ..Default::default() };
        let request = JoinGroupRequest {
            group_id: member.group.as_str().into(),
            session_timeout_ms: SESSION_TIMEOUT_MS,
            rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        let joined = self.ask(member.coordinator, &request).await?;
        match ErrorCode::from_code(joined.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::MemberIdRequired) => {
                member.id = joined.member_id;
                return None;
            }
            code => {
                member.forgets(code);
                return None;
            }
        }
        (member.id, member.generation) = (joined.member_id.clone(), joined.generation_id);
        let request = SyncGroupRequest {
            group_id: member.group.as_str().into(),
            generation_id: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(PROTOCOL.into()),
            assignments: share_out(&joined),
        };
        let synced = self.ask(member.coordinator, &request).await?;
        if synced.error_code != 0 {
            member.forgets(ErrorCode::from_code(synced.error_code));
            return None;
        }
        self.go_by_former_id(member).await;
        let owned: Vec<i32> = synced.assignment.iter().map(|partition| i32::from(*partition)).collect();
        let name = member.instance.as_ref().unwrap_or(&member.id);
        lock(&self.ledger).owns(&member.group, member.generation, name, &owned);
        Some(owned)
    }

    /// Commits under the id that it had before: nobody may take that, now that another has its place.
    async fn go_by_former_id(&mut self, member: &mut Member) {
        let Some((id, generation)) = member.former.take().filter(|(id, _)| *id != member.id) else { return };
        let commit = Commit {
            group: &member.group,
            partition: 0,
            offset: member.offset,
            generation,
            member: id,
            instance: member.instance.clone(),
        };
        if self.try_commit(member.coordinator, commit).await == Some(0) {
            let Member { group, coordinator, id, .. } = member;
            lock(&self.ledger).breaks(format!(
                "node {coordinator} takes a commit of group {group} from whom {id} replaced"
            ));
        }
    }

    /// Commits and beats until it is told to join anew.
    async fn own(&mut self, member: &mut Member, owned: &[i32]) {
        member.offset = member.offset.max(i64::from(member.generation) * OFFSETS_OF_GENERATION);
        loop {
            match self.random.below(40) {
                0 => {
                    let ms = self.random.below(SILENCE_MS_MAX) as u64;
                    sleep(Duration::from_millis(ms)).await;
                }
                1 if member.instance.is_some() => {
                    member.former = Some((std::mem::take(&mut member.id), member.generation));
                    return self.pause(2_000).await;
                }
                1 => return self.leave(member).await,
                2..=9 => {
                    let Some(code) = self.beat(member).await else { return };
                    if code != 0 {
                        return member.forgets(ErrorCode::from_code(code));
                    }
                }
                10..=17 => {
                    for partition in owned {
                        self.ask_committed(member.coordinator, &member.group, *partition).await;
                    }
                }
                _ => {
                    for partition in owned {
                        let commit = Commit {
                            group: &member.group,
                            partition: *partition,
                            offset: member.offset,
                            generation: member.generation,
                            member: member.id.clone(),
                            instance: member.instance.clone(),
                        };
                        match self.try_commit(member.coordinator, commit).await {
                            Some(0) => {}
                            Some(code) => return member.forgets(ErrorCode::from_code(code)),
                            None => return,
                        }
                    }
                    member.offset += 1;
                }
            }
            self.pause(200).await;
        }
    }

    async fn beat(&mut self, member: &Member) -> Option<i16> {
        let request = HeartbeatRequest {
            group_id: member.group.as_str().into(),
            generation_id: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
        };
        Some(self.ask(member.coordinator, &request).await?.error_code)
    }

    async fn leave(&mut self, member: &mut Member) {
        let identity = MemberIdentity { member_id: member.id.clone(), ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: member.group.as_str().into(),
            members: vec![identity],
            ..Default::default()
        };
        self.ask(member.coordinator, &request).await;
        member.id = Str::EMPTY;
        self.pause(2_000).await;
    }
}

impl Member {
    /// What an error takes from it.
    fn forgets(&mut self, code: Option<ErrorCode>) {
        if matches!(
            code,
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId)
        ) {
            self.id = Str::EMPTY;
        }
    }
}

/// Every partition to one member, in turn; nothing unless the answer is the leader's.
fn share_out(joined: &JoinGroupResponse) -> Vec<SyncGroupRequestAssignment> {
    let count = joined.members.len() as i32;
    let of_member = |(turn, member): (i32, &ottla_protocol::api::join_group::JoinGroupResponseMember)| {
        let partitions = (0..PARTITIONS).filter(|partition| partition % count == turn);
        SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: partitions.map(|partition| partition as u8).collect::<Vec<u8>>().into(),
        }
    };
    (0..).zip(&joined.members).map(of_member).collect()
}
