//! Control records: transaction markers and the records of the KRaft quorum itself.

use ottla_model::Uuid;

use crate::{Message, Str};

/// The part of a control record's key behind its version.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0")]
pub struct ControlRecordTypeSchema {
    pub r#type: i16,
}

/// Value of a commit or abort marker.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0")]
pub struct EndTxnMarker {
    pub coordinator_epoch: i32,
}

/// First record of a KRaft epoch: who leads and who voted.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0-1", flexible = "0+")]
pub struct LeaderChangeMessage {
    pub version: i16,
    pub leader_id: i32,
    pub voters: Vec<LeaderChangeMessageVoter>,
    pub granting_voters: Vec<LeaderChangeMessageVoter>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "Voter")]
pub struct LeaderChangeMessageVoter {
    pub voter_id: i32,
    #[field(versions = "1+")]
    pub voter_directory_id: Uuid,
}

/// First record of a KRaft snapshot.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0", flexible = "0+")]
pub struct SnapshotHeaderRecord {
    pub version: i16,
    pub last_contained_log_timestamp: i64,
}

/// Last record of a KRaft snapshot.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0", flexible = "0+")]
pub struct SnapshotFooterRecord {
    pub version: i16,
}

/// The `kraft.version` from this offset on.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0", flexible = "0+")]
pub struct KRaftVersionRecord {
    pub version: i16,
    pub k_raft_version: i16,
}

/// The voters from this offset on.
#[derive(Message, Clone, Debug, PartialEq)]
#[message(data, versions = "0", flexible = "0+")]
pub struct VotersRecord {
    pub version: i16,
    pub voters: Vec<VotersRecordVoter>,
}

#[derive(Message, Clone, Debug, PartialEq)]
#[message(name = "Voter")]
pub struct VotersRecordVoter {
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub k_raft_version_feature: KRaftVersionFeature,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub name: Str,
    pub host: Str,
    pub port: u16,
}

#[derive(Message, Clone, Debug, PartialEq)]
pub struct KRaftVersionFeature {
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}
