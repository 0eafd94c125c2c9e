//! UpdateRaftVoter, API key 82.

use ottla_model::Uuid;

use crate::{Message, Str};

/// Updates a KRaft voter's endpoints and supported versions.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(request, key = 82, versions = "0", flexible = "0+")]
pub struct UpdateRaftVoterRequest {
    pub cluster_id: Option<Str>,
    pub current_leader_epoch: i32,
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
    pub listeners: Vec<Listener>,
    pub k_raft_version_feature: KRaftVersionFeature,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct KRaftVersionFeature {
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

/// The answer to [`UpdateRaftVoterRequest`].
#[derive(Message, Clone, Debug, PartialEq)]
#[message(response, key = 82, versions = "0", flexible = "0+")]
pub struct UpdateRaftVoterResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    #[field(tag = 0)]
    pub current_leader: CurrentLeader,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct CurrentLeader {
    #[field(default = -1)]
    pub leader_id: i32,
    #[field(default = -1)]
    pub leader_epoch: i32,
    pub host: Str,
    pub port: i32,
}
