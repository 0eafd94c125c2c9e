//! AssignReplicasToDirs, API key 73.

use ottla_model::Uuid;

use crate::Message;

/// Reports which log directories hold which replicas, from a broker to the controller.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 73, versions = "0", flexible = "0+")]
pub struct AssignReplicasToDirsRequest {
    pub broker_id: i32,
    #[field(default = -1)]
    pub broker_epoch: i64,
    pub directories: Vec<AssignReplicasToDirsRequestDirectoryData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "DirectoryData")]
pub struct AssignReplicasToDirsRequestDirectoryData {
    pub id: Uuid,
    pub topics: Vec<AssignReplicasToDirsRequestTopicData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct AssignReplicasToDirsRequestTopicData {
    pub topic_id: Uuid,
    pub partitions: Vec<AssignReplicasToDirsRequestPartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct AssignReplicasToDirsRequestPartitionData {
    pub partition_index: i32,
}

/// The answer to [`AssignReplicasToDirsRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 73, versions = "0", flexible = "0+")]
pub struct AssignReplicasToDirsResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub directories: Vec<AssignReplicasToDirsResponseDirectoryData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "DirectoryData")]
pub struct AssignReplicasToDirsResponseDirectoryData {
    pub id: Uuid,
    pub topics: Vec<AssignReplicasToDirsResponseTopicData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "TopicData")]
pub struct AssignReplicasToDirsResponseTopicData {
    pub topic_id: Uuid,
    pub partitions: Vec<AssignReplicasToDirsResponsePartitionData>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "PartitionData")]
pub struct AssignReplicasToDirsResponsePartitionData {
    pub partition_index: i32,
    pub error_code: i16,
}
