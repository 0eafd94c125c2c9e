//! OffsetCommit and OffsetDelete.

use ottla_model::{ErrorCode, Millis, Offset};
use ottla_protocol::Str;
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use ottla_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::expiry::Tombstone;
use super::{Body, GroupCoordinator};
use crate::classic::GroupState;
use crate::event::{Response, Ticket};
use crate::offsets::OffsetAndMetadata;
use crate::outbox::Effect;
use crate::records;

/// Since this version a commit for a generation of an unknown group says so.
const GROUP_NOT_FOUND_SINCE: i16 = 9;

impl GroupCoordinator {
    pub(super) fn commit_offsets(
        &mut self,
        now: Millis,
        ticket: Ticket,
        version: i16,
        request: OffsetCommitRequest,
    ) {
        if let Err(error) = self.validate_commit(now, version, &request) {
            let response = answer(&request, |_| error);
            return self.outbox.reply(ticket, Response::OffsetCommit(response));
        }
        let max = self.config.offset_metadata_max;
        let fits = |partition: &OffsetCommitRequestPartition| {
            let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
            metadata.len() <= max || metadata.encode_utf16().count() <= max
        };
        let response = Response::OffsetCommit(answer(&request, |partition| {
            if fits(partition) { ErrorCode::None } else { ErrorCode::OffsetMetadataTooLarge }
        }));
        let Some((group_id, _)) = self.groups.get_key_value(&*request.group_id) else { return };
        let group_id = group_id.clone();
        let Some(group) = self.groups.get_mut(&group_id) else { return };

        let expire_timestamp = (request.retention_time_ms != -1).then(|| now + request.retention_time_ms);
        let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut offsets = Vec::with_capacity(count);
        let mut records = Vec::with_capacity(count);
        for topic in &request.topics {
            let name = group.offsets.stored_name(&topic.name);
            for partition in topic.partitions.iter().filter(|partition| fits(partition)) {
                let value = OffsetAndMetadata {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_ref().map(Str::detached).unwrap_or_default(),
                    commit_timestamp: now,
                    expire_timestamp,
                    topic_id: topic.topic_id,
                    record_offset: Offset::NONE,
                };
                records.push(records::offset_commit(&group_id, &name, partition.partition_index, &value));
                offsets.push((name.clone(), partition.partition_index, value));
            }
        }
        if records.is_empty() {
            return self.outbox.reply(ticket, response);
        }
        group.in_flight += 1;
        self.append(now, records, Effect::Commit { group: group_id, offsets }, Some((ticket, response)));
    }

    /// Errors: 15, 22, 25, 27, 69, 82. Makes a group without protocol for a commit outside of any generation, and
    /// counts as a heartbeat.
    fn validate_commit(
        &mut self,
        now: Millis,
        version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        match self.groups.get(&*request.group_id).and_then(|group| group.body.as_ref()) {
            Some(Body::Classic(_)) => {}
            Some(Body::Other(group)) if generation < 0 && group.is_empty() => return Ok(()),
            Some(Body::Other(_)) => return Err(ErrorCode::UnknownMemberId),
            None if generation < 0 => self.create_classic(now, &request.group_id),
            None if version >= GROUP_NOT_FOUND_SINCE => return Err(ErrorCode::GroupIdNotFound),
            None => return Err(ErrorCode::IllegalGeneration),
        }
        let outcome = self.with_classic(now, &request.group_id, |group, step| {
            let instance_id = request.group_instance_id.as_deref();
            group.validate_offset_commit(&request.member_id, instance_id, generation)?;
            if matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance) {
                group.touch_session(step, &request.member_id);
            }
            Ok(())
        });
        outcome.unwrap_or(Err(ErrorCode::UnknownMemberId))
    }

    /// The records are in the log for good, from `base_offset` on: readers see the offsets from now on.
    pub(super) fn offsets_committed(
        &mut self,
        now: Millis,
        group_id: Str,
        offsets: Vec<(Str, i32, OffsetAndMetadata)>,
        base_offset: Offset,
    ) {
        if self.groups.get(&group_id).is_none_or(|group| group.body.is_none()) {
            self.create_classic(now, &group_id);
        }
        let Some(group) = self.groups.get_mut(&group_id) else { return };
        group.in_flight = group.in_flight.saturating_sub(1);
        for (record_offset, (topic, partition, mut value)) in (base_offset.0..).zip(offsets) {
            value.record_offset = Offset(record_offset);
            group.offsets.put(topic, partition, value);
        }
    }

    pub(super) fn delete_offsets(&mut self, now: Millis, ticket: Ticket, request: OffsetDeleteRequest) {
        if let Err(error) = self.validate_offset_delete(&request.group_id) {
            let response = OffsetDeleteResponse { error_code: error.code(), ..Default::default() };
            return self.outbox.reply(ticket, Response::OffsetDelete(response));
        }
        let Some((group_id, group)) = self.groups.get_key_value(&*request.group_id) else { return };
        let mut response = OffsetDeleteResponse::default();
        let mut tombstones = Vec::new();
        for topic in &request.topics {
            let is_subscribed = match &group.body {
                Some(Body::Classic(group)) => group.is_subscribed_to(&topic.name),
                Some(Body::Other(group)) => !group.is_empty(),
                None => false,
            };
            let error = if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
            let mut answers = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let partition_index = partition.partition_index;
                answers.push(OffsetDeleteResponsePartition { partition_index, error_code: error.code() });
                let exists = group.offsets.get(&topic.name, partition_index).is_some()
                    || self.transactions.holds(group_id, &topic.name, partition_index);
                if exists && !is_subscribed {
                    let topic = group.offsets.stored_name(&topic.name);
                    tombstones.push(Tombstone::offset(group_id, topic, partition_index));
                }
            }
            let name = topic.name.clone();
            response.topics.push(OffsetDeleteResponseTopic { name, partitions: answers });
        }
        self.append_tombstones(now, tombstones, Some((ticket, Response::OffsetDelete(response))));
    }

    /// Errors: 24, 68 (members that are no consumers), 69.
    fn validate_offset_delete(&self, group_id: &str) -> Result<(), ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        match self.groups.get(group_id).and_then(|group| group.body.as_ref()) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(Body::Other(_)) => Ok(()),
            Some(Body::Classic(group)) => match group.state {
                GroupState::Dead => Err(ErrorCode::GroupIdNotFound),
                GroupState::Empty => Ok(()),
                _ if group.uses_consumer_protocol() => Ok(()),
                _ => Err(ErrorCode::NonEmptyGroup),
            },
        }
    }
}

/// The answer to a commit, with an error for every partition.
fn answer(
    request: &OffsetCommitRequest,
    error: impl Fn(&OffsetCommitRequestPartition) -> ErrorCode,
) -> OffsetCommitResponse {
    let mut response = OffsetCommitResponse::default();
    response.topics.reserve_exact(request.topics.len());
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: error(partition).code(),
        });
        response.topics.push(OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        });
    }
    response
}
