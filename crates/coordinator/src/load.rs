//! Loading: the state is what the partition's records give, in order.

use std::collections::BTreeSet;

use bytes::Bytes;
use ottla_model::{Millis, Offset, ProducerId};
use ottla_protocol::Str;
use ottla_protocol::records::group::GroupMetadataValue;

use crate::classic::{ClassicGroup, GroupState, MemberState, Protocol};
use crate::coordinator::{Body, GroupCoordinator};
use crate::event::Actions;
use crate::offsets::OffsetAndMetadata;
use crate::other::OtherGroup;
use crate::records::{self, DecodeRecordError, Decoded};

/// What became of a record that was replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replayed {
    Applied,
    /// A record of a later version of Kafka; such are passed over.
    UnknownType(i16),
}

/// How a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionResult {
    Commit,
    Abort,
}

impl GroupCoordinator {
    /// Takes in one record of the log. `producer`: set for records of a transactional batch; they count when
    /// [`replay_end_transaction`](Self::replay_end_transaction) says so.
    ///
    /// Fails on a record of a known type that cannot be read: nothing was changed, and the caller decides.
    pub fn replay(
        &mut self,
        offset: Offset,
        producer: Option<ProducerId>,
        key: &Bytes,
        value: Option<&Bytes>,
    ) -> Result<Replayed, DecodeRecordError> {
        match records::decode(key, value)? {
            Decoded::Unknown { record_type } => return Ok(Replayed::UnknownType(record_type)),
            Decoded::Offset { group, topic, partition, value: Some(mut value) } => {
                value.record_offset = offset;
                self.put_offset(producer, group, topic, partition, value);
            }
            Decoded::Offset { group, topic, partition, value: None } => {
                self.transactions.remove(&group, &topic, partition);
                if let Some(group) = self.groups.get_mut(&group) {
                    group.offsets.remove(&topic, partition);
                }
            }
            Decoded::Group { group, value: Some(value) } => {
                let body = Body::Classic(Box::new(ClassicGroup::from_record(group.clone(), value)));
                self.groups.entry(group).or_default().body = Some(body);
            }
            Decoded::Group { group, value: None } => {
                if self.groups.get(&group).is_some_and(|group| group.classic().is_some()) {
                    self.drop_body(&group);
                }
            }
            Decoded::Other { kind, record_type, group, has_value } => {
                let entry = self.groups.entry(group.clone()).or_default();
                match &mut entry.body {
                    Some(Body::Other(other)) if other.kind == kind => {
                        other.replay(record_type, key, has_value);
                        if other.is_gone() {
                            self.drop_body(&group);
                        }
                    }
                    _ if has_value => {
                        let mut other = OtherGroup::new(kind);
                        other.replay(record_type, key, has_value);
                        entry.body = Some(Body::Other(other));
                    }
                    Some(_) => {}
                    None => self.drop_body(&group),
                }
            }
        }
        Ok(Replayed::Applied)
    }

    fn put_offset(
        &mut self,
        producer: Option<ProducerId>,
        group_id: Str,
        topic: Str,
        partition: i32,
        value: OffsetAndMetadata,
    ) {
        let group = self.groups.entry(group_id.clone()).or_default();
        if group.body.is_none() {
            group.body =
                Some(Body::Classic(Box::new(ClassicGroup::new(group_id.clone(), value.commit_timestamp))));
        }
        match producer {
            None => group.offsets.put(topic, partition, value),
            Some(producer) => self.transactions.put(producer, (group_id, topic, partition), value),
        }
    }

    /// Takes in the marker that ends a producer's transaction.
    pub fn replay_end_transaction(&mut self, producer: ProducerId, result: TransactionResult) {
        let written = self.transactions.end(producer);
        if result == TransactionResult::Abort {
            return;
        }
        for ((group_id, topic, partition), value) in written {
            let group = self.groups.get(&group_id);
            let existing = group.and_then(|group| group.offsets.get(&topic, partition));
            if existing.is_none_or(|existing| existing.record_offset < value.record_offset) {
                self.put_offset(None, group_id, topic, partition, value);
            }
        }
    }

    /// Everything is replayed: sessions start anew, and groups that have outgrown the limit rebalance.
    pub fn loaded(&mut self, now: Millis) -> Actions {
        self.schedule_expiry(now);
        let group_ids: BTreeSet<Str> = self.groups.keys().cloned().collect();
        for group_id in group_ids {
            self.with_classic(now, &group_id, |group, step| group.loaded(step));
        }
        std::mem::take(&mut self.outbox.actions)
    }
}

impl ClassicGroup {
    /// The group as its record describes it: stable if it has members.
    pub(crate) fn from_record(id: Str, value: GroupMetadataValue) -> Self {
        let mut group = Self::new(id, Millis(value.current_state_timestamp));
        group.state_since =
            (value.current_state_timestamp != -1).then_some(Millis(value.current_state_timestamp));
        group.generation = value.generation;
        group.state = if value.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.protocol_type = (!value.protocol_type.is_empty()).then(|| value.protocol_type.detached());
        group.protocol_name = value.protocol.as_ref().map(Str::detached);
        group.leader = value.leader.as_ref().map(Str::detached);
        let protocol_type = value.protocol_type.detached();
        for member in value.members {
            // Version 0 has no rebalance timeout.
            let rebalance_timeout_ms = match member.rebalance_timeout {
                -1 => member.session_timeout,
                timeout => timeout,
            };
            let state = MemberState {
                client_id: member.client_id.detached(),
                client_host: member.client_host.detached(),
                rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout,
                protocols: vec![Protocol {
                    name: group.protocol_name.clone().unwrap_or_default(),
                    metadata: records::copied(&member.subscription),
                }],
                assignment: records::copied(&member.assignment),
            };
            let instance_id = member.group_instance_id.as_ref().map(Str::detached);
            group.add_loaded(member.member_id.detached(), instance_id, state, &protocol_type);
        }
        group.update_subscribed_topics();
        group
    }
}
