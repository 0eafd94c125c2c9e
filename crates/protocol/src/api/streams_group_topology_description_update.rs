//! StreamsGroupTopologyDescriptionUpdate, API key 93.
//!
//! Without a plugin for topology descriptions every call answers UNSUPPORTED_VERSION in its body.

use crate::{Message, Str};

/// Stores the description of a streams group's topology.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 93, versions = "0", flexible = "0+")]
pub struct StreamsGroupTopologyDescriptionUpdateRequest {
    pub group_id: Str,
    pub member_id: Str,
    pub topology_epoch: i32,
    pub topology_description: TopologyDescription,
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

/// The answer to [`StreamsGroupTopologyDescriptionUpdateRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 93, versions = "0", flexible = "0+")]
pub struct StreamsGroupTopologyDescriptionUpdateResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<Str>,
}
