//! The requests of a membership, made of its state.

use bytes::Bytes;
use ottla_model::TopicPartition;
use ottla_protocol::api::heartbeat::HeartbeatRequest;
use ottla_protocol::api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use ottla_protocol::api::leave_group::{LeaveGroupRequest, MemberIdentity};
use ottla_protocol::api::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use ottla_protocol::{EncodeError, Str};

use super::Membership;
use crate::state::assignors::{self, Member, Subscription};

const PROTOCOL_TYPE: &str = "consumer";

/// The members that a JoinGroup answer shows to the leader; `None` if one cannot be read.
pub(super) fn members(answer: &JoinGroupResponse) -> Option<Vec<Member>> {
    let member = |member: &ottla_protocol::api::join_group::JoinGroupResponseMember| {
        Some(Member {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            subscription: assignors::decode_subscription(member.metadata.clone()).ok()?,
        })
    };
    answer.members.iter().map(member).collect()
}

impl Membership {
    pub(super) fn join_request(&self) -> JoinGroupRequest {
        let protocols = self.config.assignors.iter().map(|assignor| {
            let subscription = Subscription {
                topics: self.topics.clone(),
                user_data: assignor.user_data(&self.last_assigned, self.generation),
                owned: self.owned.iter().cloned().collect(),
                generation: self.generation,
                rack: self.config.rack.clone(),
            };
            // Names of topics that do not fit into a request were refused when the application subscribed.
            let metadata = assignors::encode_subscription(&subscription).unwrap_or_default();
            JoinGroupRequestProtocol { name: assignor.name().into(), metadata }
        });
        JoinGroupRequest {
            group_id: self.config.group_id.clone(),
            session_timeout_ms: self.config.session_timeout_ms,
            rebalance_timeout_ms: self.config.max_poll_interval_ms,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: protocols.collect(),
            reason: self.reason.map(Into::into),
        }
    }

    pub(super) fn sync_request(
        &self,
        assigned: Vec<(Member, Vec<TopicPartition>)>,
    ) -> Result<SyncGroupRequest, EncodeError> {
        let assignment = |(member, partitions): (Member, Vec<TopicPartition>)| {
            let assignment: Bytes = assignors::encode_assignment(&partitions)?;
            Ok(SyncGroupRequestAssignment { member_id: member.member_id, assignment })
        };
        Ok(SyncGroupRequest {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: self.assignor.map(|assignor| assignor.name().into()),
            assignments: assigned.into_iter().map(assignment).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn heartbeat_request(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.config.group_id.clone(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
        }
    }

    pub(super) fn leave_request(&self, reason: &str) -> LeaveGroupRequest {
        LeaveGroupRequest {
            group_id: self.config.group_id.clone(),
            member_id: Str::EMPTY,
            members: vec![MemberIdentity {
                member_id: self.member_id.clone(),
                group_instance_id: None,
                reason: Some(reason.into()),
            }],
        }
    }
}
