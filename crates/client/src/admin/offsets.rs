//! Offsets of partitions: where they begin and end, and where a time lies.

use std::collections::BTreeMap;

use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset};
use ottla_protocol::api::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ottla_protocol::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};

use super::{Admin, Partition, checked, missing};
use crate::client::Target;
use crate::error::{Error, Result};
use crate::state::reset_policy::OffsetSpec;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// `None` where there is no such record.
    pub offset: Option<Offset>,
    /// The record's, in milliseconds since 1970 (UTC); [`Millis::NONE`] for the beginning and the end.
    pub timestamp: Millis,
    /// Epoch of the leader that appended the record.
    pub leader_epoch: LeaderEpoch,
}

impl Admin {
    /// Offsets of partitions, each from its leader. One that does not exist is an error at once, one without a
    /// leader when none comes up in time.
    pub async fn list_offsets(
        &self,
        partitions: &[Partition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<Partition, FoundOffset>> {
        let attempt = async |_| {
            let mut found = BTreeMap::new();
            let leaders = match self.by_leader(partitions).await {
                // The metadata is of now: it will not come by itself.
                Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                    return Ok(Err(error));
                }
                leaders => leaders?,
            };
            for (leader, topics) in leaders {
                let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic {
                    name: name.into(),
                    partitions: partitions
                        .into_iter()
                        .map(|partition_index| ListOffsetsPartition {
                            partition_index,
                            current_leader_epoch: -1,
                            timestamp: spec.timestamp(),
                        })
                        .collect(),
                });
                let request = ListOffsetsRequest {
                    replica_id: -1,
                    topics: topics.collect(),
                    timeout_ms: self.timeout_ms(),
                    ..Default::default()
                };
                let answer: ListOffsetsResponse = self.client.call(Target::Node(leader), request).await?;
                for topic in answer.topics {
                    for partition in topic.partitions {
                        checked(partition.error_code)?;
                        let offset = FoundOffset {
                            offset: (partition.offset >= 0).then_some(Offset(partition.offset)),
                            timestamp: Millis(partition.timestamp),
                            leader_epoch: LeaderEpoch(partition.leader_epoch),
                        };
                        found.insert((topic.name.as_str().to_owned(), partition.partition_index), offset);
                    }
                }
            }
            Ok(Ok(found))
        };
        self.client.retry(self.client.api_timeout(), "listing offsets", attempt).await?
    }

    /// Deletes the records before an offset; -1 for all that are there. Returns where the partition begins now.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<Offset> {
        let leaders = self.by_leader(&[(topic.to_owned(), partition)]).await?;
        let Some(&leader) = leaders.keys().next() else { return missing() };
        let records = DeleteRecordsPartition { partition_index: partition, offset: before };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic { name: topic.into(), partitions: vec![records] }],
            timeout_ms: self.timeout_ms(),
        };
        let check = |answer: &DeleteRecordsResponse| {
            let partition = answer.topics.first().and_then(|topic| topic.partitions.first());
            partition.map_or_else(missing, |partition| checked(partition.error_code))
        };
        let answer = self.ask(Target::Node(leader), request, check).await?;
        Ok(Offset(answer.topics[0].partitions[0].low_watermark))
    }

    pub(super) async fn by_leader(
        &self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<NodeId, BTreeMap<String, Vec<i32>>>> {
        let metadata = self.metadata().await?;
        let mut leaders = BTreeMap::<_, BTreeMap<String, Vec<i32>>>::new();
        for (topic, partition) in partitions {
            let Some(known) = metadata.partition(topic, *partition) else {
                let message = format!("{topic}-{partition}");
                return Err(Error::broker(ErrorCode::UnknownTopicOrPartition, Some(message)));
            };
            let Some(leader) = known.leader else { return Err(ErrorCode::LeaderNotAvailable.into()) };
            leaders.entry(leader).or_default().entry(topic.clone()).or_default().push(*partition);
        }
        Ok(leaders)
    }
}
