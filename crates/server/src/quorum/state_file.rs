//! `quorum-state`: the election state, one line of JSON.
//!
//! Version 0 holds the voters' ids and no directories and is written while kraft.version is 0; both are read.

use ottla_model::{LeaderEpoch, NodeId, Uuid};
use ottla_raft::{QuorumState, ReplicaKey};
use serde::{Deserialize, Serialize};

pub const FILE: &str = "quorum-state";

/// A `quorum-state` that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    #[error("not the JSON expected: {0}")]
    Json(#[from] serde_json::Error),
    #[error("data_version {0} is unknown")]
    Version(i64),
    #[error("{0} is no directory id")]
    DirectoryId(String),
}

#[derive(Deserialize)]
struct Version {
    data_version: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct V0 {
    cluster_id: String,
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    applied_offset: i64,
    current_voters: Option<Vec<VoterId>>,
    #[serde(rename = "data_version")]
    data_version: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VoterId {
    voter_id: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct V1 {
    leader_id: i32,
    leader_epoch: i32,
    voted_id: i32,
    voted_directory_id: String,
    #[serde(rename = "data_version")]
    data_version: i64,
}

pub fn parse(text: &str) -> Result<QuorumState, StateFileError> {
    let node = |id: i32| (id >= 0).then_some(NodeId(id));
    match serde_json::from_str::<Version>(text)?.data_version {
        0 => {
            let data: V0 = serde_json::from_str(text)?;
            let voted = node(data.voted_id).map(|id| ReplicaKey::new(id, Uuid::ZERO));
            Ok(QuorumState { epoch: LeaderEpoch(data.leader_epoch), leader: node(data.leader_id), voted })
        }
        1 => {
            let data: V1 = serde_json::from_str(text)?;
            let directory = data.voted_directory_id.parse();
            let directory = directory.map_err(|_| StateFileError::DirectoryId(data.voted_directory_id))?;
            let voted = node(data.voted_id).map(|id| ReplicaKey::new(id, directory));
            Ok(QuorumState { epoch: LeaderEpoch(data.leader_epoch), leader: node(data.leader_id), voted })
        }
        unknown => Err(StateFileError::Version(unknown)),
    }
}

/// The file's text. `voters` are those of the latest set; only kraft.version 0 writes them.
pub fn format(state: &QuorumState, kraft_version: i16, voters: impl Iterator<Item = NodeId>) -> String {
    let leader_id = state.leader.map_or(-1, |id| id.0);
    let leader_epoch = state.epoch.0;
    let voted_id = state.voted.map_or(-1, |key| key.id.0);
    let text = if kraft_version == 0 {
        let current_voters = Some(voters.map(|id| VoterId { voter_id: id.0 }).collect());
        let (cluster_id, applied_offset, data_version) = (String::new(), 0, 0);
        serde_json::to_string(&V0 {
            cluster_id,
            leader_id,
            leader_epoch,
            voted_id,
            applied_offset,
            current_voters,
            data_version,
        })
    } else {
        let voted_directory_id = state.voted.map_or(Uuid::ZERO, |key| key.directory).to_string();
        serde_json::to_string(&V1 { leader_id, leader_epoch, voted_id, voted_directory_id, data_version: 1 })
    };
    text.expect("integers and strings are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Apache Kafka 4.4.0 wrote them: a leader, a follower that voted for its leader, and a static voter.
    const LEADER: &str = r#"{"leaderId":1,"leaderEpoch":1,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
    const FOLLOWER: &str = r#"{"leaderId":1,"leaderEpoch":13,"votedId":1,"votedDirectoryId":"nytnuR4KtaWHuTGMajUUUg","data_version":1}"#;
    const STATIC: &str = r#"{"clusterId":"","leaderId":1,"leaderEpoch":2,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;

    #[test]
    fn kafkas_files_are_read_and_written_again() {
        for (text, kraft_version) in [(LEADER, 1), (FOLLOWER, 1), (STATIC, 0)] {
            let state = parse(text).unwrap();
            assert_eq!(format(&state, kraft_version, [NodeId(1)].into_iter()), text);
        }
        assert_eq!(parse(FOLLOWER).unwrap().voted.unwrap().id, NodeId(1));
        assert_eq!(parse(LEADER).unwrap().epoch, LeaderEpoch(1));
    }

    #[test]
    fn others_are_refused() {
        for text in ["", "{}", r#"{"data_version":2}"#, r#"{"data_version":1,"leaderId":1}"#] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
