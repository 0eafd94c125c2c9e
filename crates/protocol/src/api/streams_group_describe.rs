//! StreamsGroupDescribe, API key 89.
//!
//! Unstable in 4.1.
//!
//! Versions:
//! - 1: `AssignorName`; the topology description on request

use crate::{Message, Str};

/// Describes streams groups.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 89, versions = "0-1", flexible = "0+")]
pub struct StreamsGroupDescribeRequest {
    pub group_ids: Vec<Str>,
    pub include_authorized_operations: bool,
    #[field(versions = "1+")]
    pub include_topology_description: bool,
}

/// The answer to [`StreamsGroupDescribeRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 89, versions = "0-1", flexible = "0+")]
pub struct StreamsGroupDescribeResponse {
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct DescribedGroup {
    pub error_code: i16,
    pub error_message: Option<Str>,
    pub group_id: Str,
    pub group_state: Str,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub topology: Option<Topology>,
    pub members: Vec<Member>,
    #[field(default = i32::MIN)]
    pub authorized_operations: i32,
    #[field(versions = "1+")]
    pub topology_description: Option<TopologyDescription>,
    #[field(versions = "1+")]
    pub topology_description_status: i8,
    #[field(versions = "1+", ignorable)]
    pub assignor_name: Option<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Topology {
    pub epoch: i32,
    pub subtopologies: Option<Vec<Subtopology>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Subtopology {
    pub subtopology_id: Str,
    pub source_topics: Vec<Str>,
    pub repartition_sink_topics: Vec<Str>,
    pub state_changelog_topics: Vec<TopicInfo>,
    pub repartition_source_topics: Vec<TopicInfo>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopicInfo {
    pub name: Str,
    pub partitions: i32,
    pub replication_factor: i16,
    pub topic_configs: Vec<KeyValue>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct KeyValue {
    pub key: Str,
    pub value: Str,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Member {
    pub member_id: Str,
    pub member_epoch: i32,
    pub instance_id: Option<Str>,
    pub rack_id: Option<Str>,
    pub client_id: Str,
    pub client_host: Str,
    pub topology_epoch: i32,
    pub process_id: Str,
    pub user_endpoint: Option<Endpoint>,
    pub client_tags: Vec<KeyValue>,
    pub task_offsets: Vec<TaskOffset>,
    pub task_end_offsets: Vec<TaskOffset>,
    pub assignment: Assignment,
    pub target_assignment: Assignment,
    pub is_classic: bool,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub host: Str,
    pub port: u16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TaskOffset {
    pub subtopology_id: Str,
    pub partition: i32,
    pub offset: i64,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Assignment {
    pub active_tasks: Vec<TaskIds>,
    pub standby_tasks: Vec<TaskIds>,
    pub warmup_tasks: Vec<TaskIds>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TaskIds {
    pub subtopology_id: Str,
    pub partitions: Vec<i32>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopologyDescription {
    pub subtopologies: Vec<TopologyDescriptionSubtopology>,
    pub global_stores: Vec<TopologyDescriptionGlobalStore>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopologyDescriptionSubtopology {
    pub subtopology_id: Str,
    pub nodes: Vec<TopologyDescriptionNode>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopologyDescriptionNode {
    pub name: Str,
    pub node_type: i8,
    pub source_topics: Vec<Str>,
    pub sink_topic: Option<Str>,
    pub stores: Vec<Str>,
    pub successors: Vec<Str>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct TopologyDescriptionGlobalStore {
    pub source: TopologyDescriptionNode,
    pub processor: TopologyDescriptionNode,
}
