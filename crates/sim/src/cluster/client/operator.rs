//! What an operator asks for while everything goes wrong: elections, other replicas, topics that come and go.

use ottla_model::ErrorCode;
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};

use super::{Client, PARTITIONS, TOPIC, lock};

const BETWEEN_MS_MAX: i64 = 3_000;
const TIMEOUT_MS: i32 = 3_000;
/// Comes and goes; nobody writes to it.
const PASSING_TOPIC: &str = "passing";

impl Client {
    /// One request after the other. At the end every partition is to have a replica on every host.
    pub async fn operate(mut self) {
        self.create(TOPIC).await;
        loop {
            self.pause(BETWEEN_MS_MAX).await;
            let winds_down = lock(&self.ledger).winds_down;
            let partition = self.random.below(i64::from(PARTITIONS)) as i32;
            match self.random.below(6) {
                _ if winds_down => {
                    for partition in 0..PARTITIONS {
                        let replicas = (1..=self.nodes).collect();
                        self.reassign(partition, replicas).await;
                    }
                }
                0 => self.elect(partition).await,
                1 | 2 => {
                    let first = self.random.below(i64::from(self.nodes)) as i32;
                    let count = self.nodes - self.random.below(2) as i32;
                    let replicas = (0..count).map(|next| 1 + (first + next) % self.nodes).collect();
                    self.reassign(partition, replicas).await;
                }
                3 | 4 => self.create(PASSING_TOPIC).await,
                _ => self.delete(PASSING_TOPIC).await,
            }
        }
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
