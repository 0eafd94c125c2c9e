//! DescribeGroups, ListGroups and DeleteGroups.

use ottla_model::{ErrorCode, Millis};
use ottla_protocol::Str;
use ottla_protocol::api::delete_groups::DeletableGroupResult;
use ottla_protocol::api::describe_groups::{DescribedGroup, DescribedGroupMember};
use ottla_protocol::api::list_groups::{ListGroupsRequest, ListedGroup};

use super::expiry::Tombstone;
use super::{Body, GroupCoordinator};
use crate::classic::{ClassicGroup, GroupState};
use crate::event::{Response, Ticket};
use crate::outbox::Effect;

/// Since this version a missing group is an error; before, it is `Dead`.
const DESCRIBE_NOT_FOUND_SINCE: i16 = 6;

impl GroupCoordinator {
    pub(super) fn describe(&self, group_id: &Str, version: i16) -> DescribedGroup {
        match self.groups.get(&**group_id).and_then(|group| group.body.as_ref()) {
            Some(Body::Classic(group)) => describe_classic(group),
            body => {
                let mut described = DescribedGroup {
                    group_id: group_id.clone(),
                    group_state: GroupState::Dead.name().into(),
                    ..Default::default()
                };
                if version >= DESCRIBE_NOT_FOUND_SINCE {
                    let reason = if body.is_some() { "is not a classic group" } else { "not found" };
                    described.error_code = ErrorCode::GroupIdNotFound.code();
                    described.error_message = Some(format!("Group {group_id} {reason}.").into());
                }
                described
            }
        }
    }

    /// Filters are names without regard to case; unknown ones match nothing, none match everything.
    pub(super) fn list(&self, request: &ListGroupsRequest) -> Vec<ListedGroup> {
        let matches = |filter: &[Str], name: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let mut listed = Vec::new();
        for (group_id, group) in &self.groups {
            let (group_type, state, protocol_type) = match &group.body {
                None => continue,
                Some(Body::Classic(group)) => {
                    ("classic", group.state.name(), group.protocol_type.clone().unwrap_or_default())
                }
                Some(Body::Other(group)) => (group.kind.name(), group.state_name(), group.kind.name().into()),
            };
            if matches(&request.states_filter, state) && matches(&request.types_filter, group_type) {
                listed.push(ListedGroup {
                    group_id: group_id.clone(),
                    protocol_type,
                    group_state: state.into(),
                    group_type: group_type.into(),
                });
            }
        }
        listed
    }

    /// Deletes empty groups with their offsets. Errors for each: 68, 69.
    pub(super) fn delete(&mut self, now: Millis, ticket: Ticket, group_ids: Vec<Str>) {
        let mut tombstones = Vec::new();
        let mut results = Vec::with_capacity(group_ids.len());
        for group_id in group_ids {
            let outcome = self.validate_delete(&group_id);
            if outcome.is_ok() {
                self.delete_group(now, &group_id, &mut tombstones);
            }
            let error_code = outcome.err().unwrap_or_default().code();
            results.push(DeletableGroupResult { group_id, error_code, ..Default::default() });
        }
        let reply = (ticket, Response::DeleteGroups(results));
        self.append_tombstones(now, tombstones, Some(reply));
    }

    fn validate_delete(&self, group_id: &str) -> Result<(), ErrorCode> {
        match self.groups.get(group_id).and_then(|group| group.body.as_ref()) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(Body::Other(group)) if group.is_empty() => Ok(()),
            Some(Body::Other(_)) => Err(ErrorCode::NonEmptyGroup),
            Some(Body::Classic(group)) => match group.state {
                GroupState::Dead => Err(ErrorCode::GroupIdNotFound),
                GroupState::Empty => Ok(()),
                _ => Err(ErrorCode::NonEmptyGroup),
            },
        }
    }

    /// Collects the tombstones of everything the log has under the group id: offsets first, the group last.
    fn delete_group(&mut self, now: Millis, group_id: &str, tombstones: &mut Vec<Tombstone>) {
        let Some((group_id, group)) = self.groups.get_key_value(group_id) else { return };
        let mut slots: Vec<(Str, i32)> =
            group.offsets.iter().map(|(topic, partition, _)| (topic.clone(), partition)).collect();
        let open = self.transactions.slots_of(group_id).map(|(topic, partition)| (topic.clone(), partition));
        slots.extend(open);
        // Commits that are on their way come before the tombstones.
        for pending in &self.outbox.pending {
            if let Effect::Commit { group, offsets } = &pending.effect
                && group == group_id
            {
                slots.extend(offsets.iter().map(|(topic, partition, _)| (topic.clone(), *partition)));
            }
        }
        slots.sort_unstable();
        slots.dedup();
        let group_id = group_id.clone();
        for (topic, partition) in slots {
            tombstones.push(Tombstone::offset(&group_id, topic, partition));
        }
        self.bury(now, &group_id, tombstones);
    }
}

fn describe_classic(group: &ClassicGroup) -> DescribedGroup {
    let is_stable = group.state == GroupState::Stable;
    let members = group.members.iter().map(|(member_id, member)| DescribedGroupMember {
        member_id: member_id.clone(),
        group_instance_id: member.instance_id.clone(),
        client_id: member.state.client_id.clone(),
        client_host: member.state.client_host.clone(),
        member_metadata: if is_stable {
            member.metadata(group.protocol_name.as_ref())
        } else {
            Default::default()
        },
        // Kept while the next generation forms, as Kafka does.
        member_assignment: member.state.assignment.clone(),
    });
    DescribedGroup {
        group_id: group.id.clone(),
        group_state: group.state.name().into(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: if is_stable { group.protocol_name.clone().unwrap_or_default() } else { Str::EMPTY },
        members: members.collect(),
        ..Default::default()
    }
}
