//! Log directories of brokers: which replica lies where, and what follows when a directory is lost (KIP-858).

use ottla_model::{ErrorCode, NodeId, Uuid};
use ottla_protocol::api::assign_replicas_to_dirs::{
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, AssignReplicasToDirsResponseDirectoryData,
    AssignReplicasToDirsResponsePartitionData, AssignReplicasToDirsResponseTopicData,
};
use ottla_protocol::records::metadata::MetadataRecord;

use crate::partition_change::PartitionChange;
use crate::{Outcome, State};

pub(crate) struct DirectoryControl<'a> {
    pub state: &'a State<'a>,
}

impl DirectoryControl<'_> {
    /// A broker tells where its replicas lie. The caller has checked the broker's epoch.
    pub fn assign(&self, request: &AssignReplicasToDirsRequest) -> Outcome<AssignReplicasToDirsResponse> {
        let broker = NodeId(request.broker_id);
        let mut assigned = Assigned::default();
        let directories = request.directories.iter().map(|directory| {
            let topics = directory.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|partition| {
                    let index = partition.partition_index;
                    let result = self.assign_one(broker, directory.id, topic.topic_id, index, &mut assigned);
                    let error_code = result.err().unwrap_or_default().code();
                    AssignReplicasToDirsResponsePartitionData { partition_index: index, error_code }
                });
                let partitions = partitions.collect();
                AssignReplicasToDirsResponseTopicData { topic_id: topic.topic_id, partitions }
            });
            let topics = topics.collect();
            AssignReplicasToDirsResponseDirectoryData { id: directory.id, topics }
        });
        let response =
            AssignReplicasToDirsResponse { directories: directories.collect(), ..Default::default() };
        assigned.records.extend(assigned.lost);
        Outcome::new(assigned.records, response)
    }

    fn assign_one(
        &self,
        broker: NodeId,
        directory: Uuid,
        topic_id: Uuid,
        index: i32,
        assigned: &mut Assigned,
    ) -> Result<(), ErrorCode> {
        let topic = self.state.topic_by_id(topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partitions.get(&index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if !partition.replicas.contains(&broker) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let change = || PartitionChange::new(self.state, &topic.name, topic_id, index, partition);
        let mut moved = change();
        moved.directories.push((broker, directory));
        assigned.records.extend(moved.build());
        let is_online = self.state.broker(broker).is_some_and(|known| known.has_online_directory(directory));
        if !is_online {
            assigned.lost.extend(change().with_topics_election().without(broker).build());
        }
        Ok(())
    }

    /// Changes to the partitions that lie in directories which a broker lost.
    pub fn on_offline(&self, broker: NodeId, offline: &[Uuid]) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        for topic in self.state.topics() {
            for (&index, partition) in topic.partitions.iter() {
                let lies_there =
                    partition.directory(broker).is_some_and(|directory| offline.contains(&directory));
                if lies_there && partition.isr.contains(&broker) {
                    let change = PartitionChange::new(self.state, &topic.name, topic.id, index, partition);
                    records.extend(change.with_topics_election().without(broker).build());
                }
            }
        }
        records
    }
}

#[derive(Default)]
struct Assigned {
    records: Vec<MetadataRecord>,
    /// For replicas in directories that are not online: they follow after the assignments.
    lost: Vec<MetadataRecord>,
}
