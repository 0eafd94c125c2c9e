//! What a KRaft node keeps outside its log.

use ottla_model::Uuid;

use crate::{Message, Str};

/// The file `quorum-state`: a node's epoch, leader and vote. It lies on disk as JSON, not in this codec's
/// bytes.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0-1", flexible = "0+")]
pub struct QuorumStateData {
    #[field(versions = "0")]
    pub cluster_id: Str,
    #[field(default = -1)]
    pub leader_id: i32,
    #[field(default = -1)]
    pub leader_epoch: i32,
    #[field(default = -1)]
    pub voted_id: i32,
    #[field(versions = "1+")]
    pub voted_directory_id: Uuid,
    #[field(versions = "0")]
    pub applied_offset: i64,
    #[field(versions = "0", default = empty)]
    pub current_voters: Option<Vec<Voter>>,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Voter {
    pub voter_id: i32,
}
