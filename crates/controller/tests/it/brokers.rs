//! Brokers come and go, partitions follow.

use ottla_model::{Millis, NodeId};
use ottla_protocol::Str;
use ottla_protocol::api::alter_partition::{
    AlterPartitionRequest, AlterPartitionRequestPartitionData, AlterPartitionRequestTopicData, BrokerState,
};
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use ottla_protocol::api::elect_leaders::{ElectLeadersRequest, TopicPartitions};

use crate::cluster::{Cluster, WITH_ELR, WITHOUT_ELR, ids};

impl Cluster {
    fn reassign(&mut self, topic: &str, replicas: Option<Vec<i32>>) -> i16 {
        let partition = ReassignablePartition { partition_index: 0, replicas };
        let topic = ReassignableTopic { name: Str::from(topic), partitions: vec![partition] };
        let request = AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
        let outcome = self.controller.alter_partition_reassignments(&request);
        self.perform(outcome).responses[0].partitions[0].error_code
    }

    /// The leader's report.
    fn alter(&mut self, topic: &str, leader: i32, isr: &[i32]) -> i16 {
        let partition = self.partition(topic, 0);
        let topic_id = self.controller.image().topics.by_name(topic).unwrap().id;
        let state = |&id: &i32| BrokerState { broker_id: id, broker_epoch: self.epochs[&id] };
        let data = AlterPartitionRequestPartitionData {
            partition_index: 0,
            leader_epoch: partition.leader_epoch.0,
            new_isr_with_epochs: isr.iter().map(state).collect(),
            partition_epoch: partition.partition_epoch.0,
            ..Default::default()
        };
        let request = AlterPartitionRequest {
            broker_id: leader,
            broker_epoch: self.epochs[&leader],
            topics: vec![AlterPartitionRequestTopicData { topic_id, partitions: vec![data] }],
        };
        let outcome = self.controller.alter_partition(&request);
        self.perform(outcome).topics[0].partitions[0].error_code
    }
}

#[test]
fn a_lost_leader_is_replaced_from_the_in_sync_replicas() {
    let mut cluster = Cluster::new(WITHOUT_ELR);
    [1, 2, 3].into_iter().for_each(|id| cluster.start(id));
    cluster.create("t", &[&[1, 2, 3]], &[]);
    assert_eq!(cluster.state("t"), (1, vec![1, 2, 3], vec![], vec![], 0));
    cluster.now = Millis(9001);
    [2, 3].into_iter().for_each(|id| assert_eq!(cluster.heartbeat(id, false), (0, false, false)));
    let records = cluster.controller.fence_stale_broker(cluster.now);
    assert_eq!(records.len(), 2, "the partition first, then the broker");
    cluster.append(records);
    assert_eq!(cluster.state("t"), (2, vec![2, 3], vec![], vec![], 1));
    assert!(cluster.controller.fence_stale_broker(cluster.now).is_empty());
    // Back, and in sync again when the leader says so; then the preferred leader is elected on request.
    assert_eq!(cluster.register(1, 11, -1), 0);
    assert_eq!(cluster.heartbeat(1, false), (0, false, false));
    assert_eq!(cluster.alter("t", 2, &[1, 2, 3]), 0);
    let asked = TopicPartitions { topic: Str::from("t"), partitions: vec![0] };
    let request = ElectLeadersRequest { topic_partitions: Some(vec![asked]), ..Default::default() };
    for expected in [0, 84] {
        let outcome = cluster.controller.elect_leaders(&request);
        let response = cluster.perform(outcome);
        assert_eq!(response.replica_election_results[0].partition_result[0].error_code, expected);
    }
    assert_eq!(cluster.state("t").0, 1);
}

#[test]
fn the_last_in_sync_replica_stays_without_elr_and_becomes_eligible_with_it() {
    for (features, stopped) in
        [(WITHOUT_ELR, (-1, vec![1], vec![], vec![], 1)), (WITH_ELR, (-1, vec![], vec![1], vec![1], 1))]
    {
        let mut cluster = Cluster::new(features);
        cluster.start(1);
        cluster.create("t", &[&[1]], &[]);
        // Controlled shutdown of the only broker: nobody else can lead, it may go.
        assert_eq!(cluster.heartbeat(1, true), (0, false, false));
        assert_eq!(cluster.state("t"), stopped);
        assert_eq!(cluster.heartbeat(1, true), (0, true, true));
        let epoch = cluster.epochs[&1];
        assert_eq!(cluster.register(1, 2, epoch), 0);
        assert_eq!(cluster.heartbeat(1, false), (0, false, false));
        assert_eq!(cluster.state("t"), (1, vec![1], vec![], vec![], 2));
        assert_eq!(cluster.partition("t", 0).leader_recovery_state as i8, 0, "nothing was lost");
    }
}

#[test]
fn an_unclean_return_leads_again_but_has_to_recover() {
    let mut cluster = Cluster::new(WITH_ELR);
    cluster.start(1);
    cluster.create("t", &[&[1]], &[]);
    assert_eq!(cluster.register(1, 2, -1), 101, "the old incarnation may still live");
    cluster.now = Millis(9001);
    assert_eq!(cluster.register(1, 2, -1), 0);
    assert_eq!(cluster.state("t"), (-1, vec![], vec![], vec![1], 1));
    assert_eq!(cluster.heartbeat(1, false), (0, false, false));
    assert_eq!(cluster.state("t"), (1, vec![1], vec![], vec![], 2));
    assert_eq!(cluster.partition("t", 0).leader_recovery_state as i8, 1);
}

#[test]
fn reassignment_adds_first_and_removes_when_the_new_are_in_sync() {
    let mut cluster = Cluster::new(WITH_ELR);
    [1, 2, 3, 4].into_iter().for_each(|id| cluster.start(id));
    cluster.create("t", &[&[1, 2]], &[]);
    assert_eq!(cluster.reassign("t", None), 85);
    assert_eq!(cluster.reassign("t", Some(vec![3, 9])), 39);
    assert_eq!(cluster.reassign("t", Some(vec![3, 4])), 0);
    let moving = cluster.partition("t", 0);
    assert_eq!(ids(&moving.replicas), [3, 4, 1, 2]);
    assert_eq!((ids(&moving.adding_replicas), ids(&moving.removing_replicas)), (vec![3, 4], vec![1, 2]));
    assert_eq!(moving.directories.len(), 4);
    assert_eq!(cluster.alter("t", 1, &[1, 2, 3]), 0);
    // The report that completes it moves the leader away from whoever made it.
    assert_eq!(cluster.alter("t", 1, &[1, 2, 3, 4]), 108);
    let done = cluster.partition("t", 0);
    assert_eq!((ids(&done.replicas), ids(&done.isr), done.leader), (vec![3, 4], vec![3, 4], NodeId(3)));
    assert!(!done.is_reassigning() && done.directories.len() == 2);
    // Cancelled, it is as before.
    assert_eq!(cluster.reassign("t", Some(vec![1, 3])), 0);
    assert_eq!(cluster.reassign("t", None), 0);
    let mut back = ids(&cluster.partition("t", 0).replicas);
    back.sort_unstable();
    assert_eq!(back, [3, 4]);
}

#[test]
fn reports_of_leaders_are_checked() {
    let mut cluster = Cluster::new(WITH_ELR);
    [1, 2, 3].into_iter().for_each(|id| cluster.start(id));
    cluster.create("t", &[&[1, 2]], &[]);
    assert_eq!(cluster.alter("t", 2, &[2]), 42, "not the leader");
    assert_eq!(cluster.alter("t", 1, &[1, 3]), 42, "not a replica");
    assert_eq!(cluster.alter("t", 1, &[2]), 42, "without itself");
    assert_eq!(cluster.alter("t", 1, &[1, 1]), 42, "twice");
    assert_eq!(cluster.alter("t", 1, &[1]), 0);
    assert_eq!(cluster.heartbeat(2, true), (0, true, true), "leads nothing");
    assert_eq!(cluster.alter("t", 1, &[1, 2]), 107, "a fenced broker is not in sync");
}
