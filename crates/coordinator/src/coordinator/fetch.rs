//! OffsetFetch: reads of committed offsets.

use ottla_model::ErrorCode;
use ottla_protocol::Str;
use ottla_protocol::api::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};

use super::{Group, GroupCoordinator};
use crate::classic::GroupState;
use crate::event::{Response, Ticket};
use crate::offsets::OffsetAndMetadata;

pub(super) fn fetch_failure(request: &OffsetFetchRequestGroup, error: ErrorCode) -> Response {
    let group_id = request.group_id.clone();
    Response::OffsetFetch(OffsetFetchResponseGroup {
        group_id,
        error_code: error.code(),
        ..Default::default()
    })
}

impl GroupCoordinator {
    /// A stable read waits for the commits before it, and refuses (88) what a transaction may still change.
    pub(super) fn fetch_offsets(
        &mut self,
        ticket: Ticket,
        request: OffsetFetchRequestGroup,
        require_stable: bool,
    ) {
        let in_flight = self.groups.get(&*request.group_id).is_some_and(|group| group.in_flight > 0);
        match self.outbox.pending.back_mut() {
            Some(pending) if require_stable && in_flight => pending.fetches.push((ticket, request)),
            _ => {
                let response = self.read_offsets(&request, require_stable);
                self.outbox.reply(ticket, Response::OffsetFetch(response));
            }
        }
    }

    /// Answers the stable reads that waited for an append.
    pub(super) fn answer_fetches(&mut self, fetches: Vec<(Ticket, OffsetFetchRequestGroup)>) {
        for (ticket, request) in fetches {
            let response = self.read_offsets(&request, true);
            self.outbox.reply(ticket, Response::OffsetFetch(response));
        }
    }

    fn read_offsets(
        &self,
        request: &OffsetFetchRequestGroup,
        require_stable: bool,
    ) -> OffsetFetchResponseGroup {
        let exists = |group: &&Group| {
            group.body.is_some() && group.classic().is_none_or(|group| group.state != GroupState::Dead)
        };
        let group = self.groups.get(&*request.group_id).filter(exists);
        let is_unstable = |topic: &Str, partition| {
            require_stable && self.transactions.holds(&request.group_id, topic, partition)
        };
        let mut response =
            OffsetFetchResponseGroup { group_id: request.group_id.clone(), ..Default::default() };
        let topics = &mut response.topics;
        match &request.topics {
            Some(requested) => topics.extend(requested.iter().map(|topic| {
                let read = |&partition: &i32| {
                    let committed = group.and_then(|group| group.offsets.get(&topic.name, partition));
                    answer(partition, committed, is_unstable(&topic.name, partition))
                };
                OffsetFetchResponseTopics {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic.partition_indexes.iter().map(read).collect(),
                }
            })),
            None => topics.extend(group.iter().flat_map(|group| group.offsets.topics()).map(
                |(name, partitions)| {
                    let read = |(partition, committed): (&i32, &OffsetAndMetadata)| {
                        answer(*partition, Some(committed), is_unstable(name, *partition))
                    };
                    OffsetFetchResponseTopics {
                        name: name.clone(),
                        partitions: partitions.iter().map(read).collect(),
                        ..Default::default()
                    }
                },
            )),
        }
        response
    }
}

fn answer(
    partition: i32,
    committed: Option<&OffsetAndMetadata>,
    unstable: bool,
) -> OffsetFetchResponsePartitions {
    let mut answer = OffsetFetchResponsePartitions {
        partition_index: partition,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::EMPTY),
        ..Default::default()
    };
    if unstable {
        answer.error_code = ErrorCode::UnstableOffsetCommit.code();
    } else if let Some(committed) = committed {
        answer.committed_offset = committed.offset;
        answer.committed_leader_epoch = committed.leader_epoch;
        answer.metadata = Some(committed.metadata.clone());
    }
    answer
}
