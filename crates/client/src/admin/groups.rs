//! Consumer groups of the classic protocol, and what any group has committed.

use ottla_model::{NodeId, Offset};
use ottla_protocol::Str;
use ottla_protocol::api::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ottla_protocol::api::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ottla_protocol::api::list_groups::{ListGroupsRequest, ListGroupsResponse};
use ottla_protocol::api::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic, OffsetDeleteResponse,
};
use ottla_protocol::api::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};

use super::{Admin, Partition, PartitionResults, by_topic, checked, missing};
use crate::client::{CallOptions, CoordinatorKey, Lane, Target};
use crate::error::{Error, Result};

/// The last version in which topics have names instead of ids.
const WITH_NAMES: CallOptions = CallOptions { lane: Lane::Coordinator, timeout: None, version_max: Some(9) };

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// The `group.id`.
    pub id: String,
    /// `classic`, `consumer`, `share`; empty from brokers that know only one.
    pub kind: String,
    /// What its members agreed on, such as `consumer`.
    pub protocol: String,
    /// In Kafka's words: `Stable`, `Empty`, `PreparingRebalance` and so on.
    pub state: String,
}

/// A group with its members.
#[derive(Clone, Debug)]
pub struct GroupDescription {
    /// The `group.id`.
    pub id: String,
    /// The broker that coordinates it.
    pub coordinator: NodeId,
    /// In Kafka's words, as in [`GroupListing`].
    pub state: String,
    /// The assignor.
    pub assignor: String,
    /// Those in the group now.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The member id that the coordinator gave.
    pub id: String,
    /// The `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The `client.id` of its client.
    pub client_id: String,
    /// Where it was connected from when it joined, with a slash in front.
    pub host: String,
    /// Topics and partitions; empty where the assignment is no consumer's.
    pub partitions: Vec<(String, i32)>,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommittedOffset {
    /// Name of the topic.
    pub topic: String,
    /// Index of the partition.
    pub partition: i32,
    /// That of the next record to be read.
    pub offset: Offset,
}

impl Admin {
    /// The groups of all brokers, by id.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>> {
        let mut groups = Vec::new();
        let brokers: Vec<_> = self.metadata().await?.brokers.keys().copied().collect();
        for broker in brokers {
            let check = |answer: &ListGroupsResponse| checked(answer.error_code);
            let answer = self.ask(Target::Node(broker), ListGroupsRequest::default(), check).await?;
            groups.extend(answer.groups.iter().map(|group| GroupListing {
                id: group.group_id.as_str().to_owned(),
                kind: group.group_type.as_str().to_owned(),
                protocol: group.protocol_type.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
            }));
        }
        groups.sort();
        groups.dedup_by(|a, b| a.id == b.id);
        Ok(groups)
    }

    /// A group of the classic protocol. One that does not exist is an error: GROUP_ID_NOT_FOUND.
    pub async fn describe_group(&self, id: &str) -> Result<GroupDescription> {
        let request = DescribeGroupsRequest { groups: vec![id.into()], ..Default::default() };
        let check = |answer: &DescribeGroupsResponse| {
            let Some(group) = answer.groups.first() else { return missing() };
            Error::check(group.error_code, group.error_message.as_deref())
        };
        let answer = self.ask(coordinator(id), request, check).await?;
        let node = self.client.coordinator(&CoordinatorKey::Group(id.into())).await?;
        let text = |text: &Str| text.as_str().to_owned();
        let group = answer.groups.into_iter().next().map_or_else(missing, Ok)?;
        let members = group.members.iter().map(|member| GroupMember {
            id: text(&member.member_id),
            instance_id: member.group_instance_id.as_ref().map(text),
            client_id: text(&member.client_id),
            host: text(&member.client_host),
            partitions: assigned(&member.member_assignment).unwrap_or_default(),
        });
        Ok(GroupDescription {
            id: id.to_owned(),
            coordinator: node,
            state: text(&group.group_state),
            assignor: text(&group.protocol_data),
            members: members.collect(),
        })
    }

    /// What a group has committed, by topic and partition.
    pub async fn committed_offsets(&self, group: &str) -> Result<Vec<CommittedOffset>> {
        let attempt = async |_| {
            let asked =
                OffsetFetchRequestGroup { group_id: group.into(), member_epoch: -1, ..Default::default() };
            let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
            let answer = self.client.call_with(coordinator(group), request, WITH_NAMES).await?;
            let Some(group) = answer.groups.into_iter().next() else { return missing() };
            checked(group.error_code)?;
            let mut offsets = Vec::new();
            for topic in group.topics {
                for partition in topic.partitions {
                    checked(partition.error_code)?;
                    offsets.push(CommittedOffset {
                        topic: topic.name.as_str().to_owned(),
                        partition: partition.partition_index,
                        offset: Offset(partition.committed_offset),
                    });
                }
            }
            offsets.sort();
            Ok(offsets)
        };
        self.client.retry(self.client.api_timeout(), "fetching committed offsets", attempt).await
    }

    /// Commits for a group without members.
    pub async fn commit_offsets(&self, group: &str, offsets: &[CommittedOffset]) -> Result<()> {
        let topics = offsets.iter().map(|offset| OffsetCommitRequestTopic {
            name: offset.topic.as_str().into(),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: offset.partition,
                committed_offset: offset.offset.0,
                committed_leader_epoch: -1,
                committed_metadata: Some("".into()),
            }],
            ..Default::default()
        });
        let request = OffsetCommitRequest {
            group_id: group.into(),
            generation_id_or_member_epoch: -1,
            topics: topics.collect(),
            ..Default::default()
        };
        let attempt = async |_| {
            let answer = self.client.call_with(coordinator(group), request.clone(), WITH_NAMES).await?;
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.try_for_each(|partition| checked(partition.error_code))
        };
        self.client.retry(self.client.api_timeout(), "committing offsets", attempt).await
    }

    /// Deletes what a group has committed for partitions. GROUP_SUBSCRIBED_TO_TOPIC is the result of a partition whose
    /// topic a member reads.
    pub async fn delete_offsets(&self, group: &str, partitions: &[Partition]) -> Result<PartitionResults> {
        let topics = by_topic(partitions).into_iter().map(|(name, partitions)| OffsetDeleteRequestTopic {
            name: name.into(),
            partitions: partitions
                .into_iter()
                .map(|partition_index| OffsetDeleteRequestPartition { partition_index })
                .collect(),
        });
        let request = OffsetDeleteRequest { group_id: group.into(), topics: topics.collect() };
        let check = |answer: &OffsetDeleteResponse| checked(answer.error_code);
        let answer = self.ask(coordinator(group), request, check).await?;
        let mut results = PartitionResults::new();
        for topic in answer.topics {
            for partition in topic.partitions {
                let place = (topic.name.as_str().to_owned(), partition.partition_index);
                results.insert(place, checked(partition.error_code));
            }
        }
        Ok(results)
    }

    /// Deletes a group without members, and what it has committed.
    pub async fn delete_group(&self, id: &str) -> Result<()> {
        let request = DeleteGroupsRequest { groups_names: vec![id.into()] };
        let check = |answer: &DeleteGroupsResponse| {
            let Some(group) = answer.results.first() else { return missing() };
            Error::check(group.error_code, group.error_message.as_deref())
        };
        self.ask(coordinator(id), request, check).await.map(drop)
    }
}

fn coordinator(group: &str) -> Target {
    Target::Coordinator(CoordinatorKey::Group(group.into()))
}

/// The assignment of a consumer: version, then topics with their partitions. `None` for other bytes.
fn assigned(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    let mut rest = bytes.get(2..)?;
    let mut number = |length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(taken)
    };
    let int = |bytes: &[u8]| Some(i32::from_be_bytes(bytes.try_into().ok()?));
    let mut partitions = Vec::new();
    for _ in 0..int(number(4)?)? {
        let length = u16::from_be_bytes(number(2)?.try_into().ok()?);
        let topic = std::str::from_utf8(number(length.into())?).ok()?.to_owned();
        for _ in 0..int(number(4)?)? {
            partitions.push((topic.clone(), int(number(4)?)?));
        }
    }
    Some(partitions)
}
