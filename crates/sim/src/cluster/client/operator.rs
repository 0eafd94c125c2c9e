//! What an operator asks for while everything goes wrong: elections, other replicas, topics that come and go, upgrades,
//! controllers that lose their vote, or their disk and all that was on it, and get it back.

use std::ops::RangeInclusive;

use ottla_metadata::features::{KRAFT_VERSION, METADATA_VERSION, MetadataVersion};
use ottla_model::{ErrorCode, Uuid};
use ottla_protocol::api::add_raft_voter::{AddRaftVoterRequest, Listener};
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData, ReplicaState,
};
use ottla_protocol::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use ottla_protocol::api::remove_raft_voter::RemoveRaftVoterRequest;
use ottla_protocol::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};

use super::{Client, PARTITIONS, TOPIC, lock};
use crate::cluster::host::replaced_directory_id;
use crate::node::CONTROLLER_PORT;

const BETWEEN_MS_MAX: i64 = 3_000;
const TIMEOUT_MS: i32 = 3_000;
/// Comes and goes; nobody writes to it.
const PASSING_TOPIC: &str = "passing";
const UPGRADE: i8 = 1;
/// Levels of `metadata.version` since the oldest release that a simulated cluster begins with.
const LEVELS: i64 = 7;

impl Client {
    /// One request after the other. At the end every partition is to have a replica on every broker, and every
    /// controller a vote.
    pub async fn operate(mut self, controllers: RangeInclusive<i32>, replaces_controllers: bool) {
        self.create(TOPIC).await;
        // One controller at most has no vote: then it is to get it back before another loses it.
        let mut without_vote = None;
        loop {
            self.pause(BETWEEN_MS_MAX).await;
            let winds_down = lock(&self.ledger).winds_down;
            let partition = self.random.below(i64::from(PARTITIONS)) as i32;
            match self.random.below(9) {
                _ if winds_down => {
                    for partition in 0..PARTITIONS {
                        let replicas = (1..=self.nodes).collect();
                        self.reassign(partition, replicas).await;
                    }
                    if let Some(id) = without_vote {
                        self.give_vote(id).await;
                    }
                    let voters = self.voters().await;
                    let all_vote = voters.is_some_and(|voters| {
                        without_vote = controllers.clone().find(|id| !self.has_vote(&voters, *id));
                        without_vote.is_none() && voters.len() == controllers.clone().count()
                    });
                    lock(&self.ledger).all_vote = all_vote;
                }
                0 => self.elect(partition).await,
                1 | 2 => {
                    let first = self.random.below(i64::from(self.nodes)) as i32;
                    let count = self.nodes - self.random.below(2) as i32;
                    let replicas = (0..count).map(|next| 1 + (first + next) % self.nodes).collect();
                    self.reassign(partition, replicas).await;
                }
                3 | 4 => self.create(PASSING_TOPIC).await,
                5 => self.delete(PASSING_TOPIC).await,
                6 => {
                    let level = MetadataVersion::LATEST.0 - self.random.below(LEVELS) as i16;
                    self.upgrade(METADATA_VERSION, level).await;
                }
                7 => self.upgrade(KRAFT_VERSION, 1).await,
                _ => match without_vote {
                    None => {
                        let id = self.random.below(i64::from(controllers.end() - controllers.start() + 1));
                        let id = controllers.start() + id as i32;
                        match replaces_controllers && self.random.chance(500) {
                            true => lock(&self.ledger).replace_disk(id),
                            false => self.remove_voter(id, self.directory_id(id)).await,
                        }
                        without_vote = Some(id);
                    }
                    Some(id) => {
                        if self.give_vote(id).await {
                            without_vote = None;
                        }
                    }
                },
            }
        }
    }

    /// Raises a feature, if that is possible.
    async fn upgrade(&mut self, feature: &str, level: i16) {
        let update = FeatureUpdateKey {
            feature: feature.into(),
            max_version_level: level,
            upgrade_type: UPGRADE,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest {
            timeout_ms: TIMEOUT_MS,
            feature_updates: vec![update],
            ..Default::default()
        };
        if let Some(answer) = self.ask_anybody(&request).await
            && answer.error_code == 0
            && answer.results.iter().all(|result| result.error_code == 0)
        {
            lock(&self.ledger).raised(feature, level);
        }
    }

    /// Of the disk that a controller has now.
    fn directory_id(&self, id: i32) -> Uuid {
        replaced_directory_id(id, lock(&self.ledger).new_disks(id))
    }

    /// Whether a controller is among these voters, with the disk that it has now.
    fn has_vote(&self, voters: &[(i32, Uuid)], id: i32) -> bool {
        // Voters of the settings have no directory ids.
        let is_its = |directory: Uuid| directory.is_zero() || directory == self.directory_id(id);
        voters.iter().any(|(voter, directory)| *voter == id && is_its(*directory))
    }

    /// As [`Self::add_voter`], once the vote of the disk that it had before is taken away.
    async fn give_vote(&mut self, id: i32) -> bool {
        let times = lock(&self.ledger).new_disks(id);
        if times == 0 {
            return self.add_voter(id).await;
        }
        self.remove_voter(id, replaced_directory_id(id, times - 1)).await;
        let has_vote =
            self.add_voter(id).await && self.voters().await.is_some_and(|voters| self.has_vote(&voters, id));
        if has_vote {
            lock(&self.ledger).newcomer = None;
        }
        has_vote
    }

    async fn remove_voter(&mut self, id: i32, directory: Uuid) {
        let request =
            RemoveRaftVoterRequest { voter_id: id, voter_directory_id: directory, ..Default::default() };
        if let Some(answer) = self.ask_anybody(&request).await {
            lock(&self.ledger).voters_changed += usize::from(answer.error_code == 0);
        }
    }

    /// Whether it has a vote by now.
    async fn add_voter(&mut self, id: i32) -> bool {
        let listener =
            Listener { name: "CONTROLLER".into(), host: format!("node{id}").into(), port: CONTROLLER_PORT };
        let request = AddRaftVoterRequest {
            timeout_ms: TIMEOUT_MS,
            voter_id: id,
            voter_directory_id: self.directory_id(id),
            listeners: vec![listener],
            ack_when_committed: true,
            ..Default::default()
        };
        let code = self.ask_anybody(&request).await.map(|answer| answer.error_code);
        code == Some(0) || code == Some(ErrorCode::DuplicateVoter.code())
    }

    /// Ids and those of their directories.
    async fn voters(&mut self) -> Option<Vec<(i32, Uuid)>> {
        let partition = DescribeQuorumRequestPartitionData::default();
        let topic = DescribeQuorumRequestTopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![partition],
        };
        let answer = self.ask_anybody(&DescribeQuorumRequest { topics: vec![topic] }).await?;
        let partition = answer.topics.first()?.partitions.first()?;
        let voter = |voter: &ReplicaState| (voter.replica_id, voter.replica_directory_id);
        (partition.error_code == 0).then(|| partition.current_voters.iter().map(voter).collect())
    }

    /// Asks that the first of its replicas lead a partition.
    async fn elect(&mut self, partition: i32) {
        let asked = TopicPartitions { topic: TOPIC.into(), partitions: vec![partition] };
        let request = ElectLeadersRequest {
            election_type: 0,
            topic_partitions: Some(vec![asked]),
            timeout_ms: TIMEOUT_MS,
        };
        self.ask_anybody(&request).await;
    }

    async fn reassign(&mut self, partition: i32, replicas: Vec<i32>) {
        let partition = ReassignablePartition { partition_index: partition, replicas: Some(replicas) };
        let topic = ReassignableTopic { name: TOPIC.into(), partitions: vec![partition] };
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: TIMEOUT_MS,
            topics: vec![topic],
            ..Default::default()
        };
        self.ask_anybody(&request).await;
    }

    /// Deletes a topic, until it is gone.
    async fn delete(&mut self, name: &str) {
        loop {
            let topic = DeleteTopicState { name: Some(name.into()), ..Default::default() };
            let request =
                DeleteTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, ..Default::default() };
            let answer = self.ask_anybody(&request).await;
            let code = answer.and_then(|answer| Some(answer.responses.first()?.error_code));
            if code.is_some_and(|code| code == 0 || code == ErrorCode::UnknownTopicOrPartition.code()) {
                return;
            }
            self.pause(100).await;
        }
    }
}
