//! What the active controller answers, asked over sockets of both kinds of listeners.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis, NodeId, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntityData as QuotaEntityData,
    AlterClientQuotasRequestEntryData as QuotaEntryData, OpData,
};
use ottla_protocol::api::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::api::describe_client_quotas::{ComponentData, DescribeClientQuotasRequest};
use ottla_protocol::api::describe_cluster::DescribeClusterRequest;
use ottla_protocol::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
};
use ottla_protocol::api::init_producer_id::InitProducerIdRequest;

use ottla_protocol::records::metadata::{BeginTransactionRecord, MetadataRecord, TopicRecord};
use ottla_record::{Batch, BatchBuilder, Batches, Compression, StampedBatch};
use ottla_server::clock::{self, Clock};

use crate::node::TestNode;
use crate::replication::Peer;

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_grow_and_go_with_their_directories() {
    let node = TestNode::start("log.segment.delete.delay.ms=1\n").await;
    let mut client = node.client().await;
    let topic = CreatableTopic {
        name: Str::from("orders"),
        num_partitions: 2,
        replication_factor: -1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let created = client.send(&request, 7).await.topics.remove(0);
    assert_eq!((created.error_code, created.num_partitions, created.replication_factor), (0, 2, 1));
    assert_eq!(created.configs.map(|configs| configs.len() > 30), Some(true));
    let topic = CreatePartitionsTopic { name: Str::from("orders"), count: 3, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![topic], ..Default::default() };
    assert_eq!(client.send(&request, 3).await.results[0].error_code, 0);
    let live = |node: &TestNode| node.data().into_iter().filter(|name| name.starts_with("orders-")).count();
    assert_eq!(live(&node), 3, "what was answered is there");

    // By id, as kafka-clients do with what they got.
    let state = DeleteTopicState { topic_id: created.topic_id, name: None };
    let request = DeleteTopicsRequest { topics: vec![state], ..Default::default() };
    let deleted = client.send(&request, 6).await.responses.remove(0);
    assert_eq!((deleted.error_code, deleted.name.as_deref()), (0, Some("orders")));
    let unknown = client.send(&request, 6).await.responses.remove(0);
    assert_eq!((unknown.error_code, unknown.name), (100, None));
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let gone = async {
        while live(&node) > 0 {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the directories are removed");
    node.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_tell_of_the_quorum_and_each_of_its_own_nodes() {
    let node = TestNode::start("").await;
    let asked = DescribeQuorumRequestTopicData {
        topic_name: Str::from("__cluster_metadata"),
        partitions: vec![DescribeQuorumRequestPartitionData { partition_index: 0 }],
    };
    let quorum = DescribeQuorumRequest { topics: vec![asked] };
    for (listener, endpoint_type, other) in [("PLAINTEXT", 1, 2), ("CONTROLLER", 2, 1)] {
        let mut client = node.client_of(listener).await;
        let response = client.send(&quorum, 2).await;
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id, partition.leader_epoch), (0, 1, 1));
        assert_eq!(partition.current_voters.len(), 1);
        let port = node.running.addresses.iter().find(|(name, _)| name == "CONTROLLER").unwrap().1.port();
        assert_eq!(response.nodes[0].listeners[0].port, port);

        let describe = |endpoint_type| DescribeClusterRequest { endpoint_type, ..Default::default() };
        let described = client.send(&describe(endpoint_type), 2).await;
        assert_eq!((described.error_code, described.controller_id, described.brokers.len()), (0, 1, 1));
        assert_eq!(client.send(&describe(other), 2).await.error_code, 114);
        assert_eq!(client.send(&describe(9), 2).await.error_code, 115);
    }
    node.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_ids_are_given_once() {
    let node = TestNode::start("").await;
    let mut client = node.client().await;
    let mut given = Vec::new();
    for _ in 0..3 {
        let response = client.send(&InitProducerIdRequest::default(), 5).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        given.push(response.producer_id);
    }
    assert_eq!(given, [0, 1, 2]);
    assert_eq!(node.running.node.image().producer_ids.next_producer_id, 1000, "a block at a time");
    node.running.stop().await;
}

/// What was altered is described, by exact name, by default and by type.
#[tokio::test(flavor = "multi_thread")]
async fn quotas_of_clients_are_kept_and_described() {
    let node = TestNode::start("").await;
    let mut client = node.client().await;
    let user =
        |name: Option<&str>| QuotaEntityData { entity_type: "user".into(), entity_name: name.map(Str::from) };
    let client_id =
        QuotaEntityData { entity_type: "client-id".into(), entity_name: Some(Str::from("reports")) };
    let entities = [vec![user(Some("alice"))], vec![user(None)], vec![user(Some("alice")), client_id]];
    let entries = entities.iter().zip([1.0, 2.0, 3.0]).map(|(entity, value)| QuotaEntryData {
        entity: entity.clone(),
        ops: vec![OpData { key: "producer_byte_rate".into(), value: value * 1000.0, remove: false }],
    });
    let request = AlterClientQuotasRequest { entries: entries.collect(), validate_only: false };
    let altered = client.send(&request, 1).await;
    assert!(altered.entries.iter().all(|entry| entry.error_code == 0), "{altered:?}");

    let component = |kind: &str, match_type, name: Option<&str>| ComponentData {
        entity_type: Str::from(kind),
        match_type,
        r#match: name.map(Str::from),
    };
    let (exact, default, any) = (0, 1, 2);
    for (components, strict, expected) in [
        (vec![], false, Ok(vec![2.0, 1.0, 3.0])),
        (vec![component("user", exact, Some("alice"))], false, Ok(vec![1.0, 3.0])),
        (vec![component("user", exact, Some("alice"))], true, Ok(vec![1.0])),
        (vec![component("user", default, None)], false, Ok(vec![2.0])),
        (vec![component("client-id", any, None)], false, Ok(vec![3.0])),
        (vec![component("ip", any, None)], false, Ok(vec![])),
        (vec![component("user", exact, None)], false, Err(ErrorCode::InvalidRequest)),
        (vec![component("group", any, None)], false, Err(ErrorCode::UnsupportedVersion)),
        (vec![component("user", any, None); 2], false, Err(ErrorCode::InvalidRequest)),
    ] {
        let request = DescribeClientQuotasRequest { components, strict };
        let described = client.send(&request, 1).await;
        let found = match described.error_code {
            0 => Ok(described.entries.unwrap().iter().map(|entry| entry.values[0].value / 1000.0).collect()),
            code => Err(ErrorCode::from_code(code).unwrap()),
        };
        let mut expected = expected;
        let mut found: Result<Vec<f64>, _> = found;
        for list in [&mut found, &mut expected].into_iter().flatten() {
            list.sort_by(f64::total_cmp);
        }
        assert_eq!(found, expected, "{request:?}");
    }
    node.running.stop().await;
}

/// A controller ended in the middle of a metadata transaction: the next one aborts it, and nothing of it shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_a_controller_left_open_is_aborted() {
    let node = TestNode::start("").await;
    let path = node.data_dir().join("__cluster_metadata-0/00000000000000000000.log");
    let half = TopicRecord { name: Str::from("half"), topic_id: Uuid::from_u128(7 << 64) };
    let opened = [BeginTransactionRecord { name: None }.into(), MetadataRecord::from(half)];
    let leave_open = || {
        let log = Bytes::from(std::fs::read(&path).unwrap());
        let last = Batches::new(log).map(Result::unwrap).last().unwrap().header;
        let mut builder = BatchBuilder::new(Compression::NONE);
        for record in &opened {
            builder.append(last.max_timestamp, None, Some(&record.encode(0).unwrap()));
        }
        let batch = Batch::parse(&builder.build()).unwrap();
        let batch = StampedBatch::restamp(batch, last.next_offset(), last.leader_epoch);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&batch.to_bytes()).unwrap();
    };
    let node = node.restart(leave_open).await;
    let topic = CreatableTopic {
        name: Str::from("whole"),
        num_partitions: 1,
        replication_factor: -1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 20_000, ..Default::default() };
    let created = node.client().await.send(&request, 7).await.topics.remove(0);
    assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    let node = node.restart(|| ()).await;
    let image = node.running.node.image();
    assert!(image.topics.by_name("half").is_none() && image.topics.by_name("whole").is_some());
    drop(image);
    let log = Bytes::from(std::fs::read(&path).unwrap());
    let values =
        Batches::new(log).map(Result::unwrap).filter(|batch| !batch.header.is_control()).flat_map(values);
    let aborts = values.filter(|value| {
        matches!(MetadataRecord::decode(value.clone()), Ok((_, MetadataRecord::AbortTransaction(_))))
    });
    assert_eq!(aborts.count(), 1);
    node.running.stop().await;
}

/// A wall clock that somebody sets forward.
#[derive(Default)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Millis {
        self.steady() + self.0.load(Ordering::Relaxed)
    }

    fn steady(&self) -> Millis {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Millis(since_epoch.as_millis() as i64)
    }
}

/// Sessions are over when their time has passed, whatever the wall clock says.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_fences_nobody() {
    let clock = Arc::new(SetClock::default());
    clock::set_for_thread(Some(clock.clone()));
    let node = TestNode::start("").await;
    let _peer = Peer::register(&node, 2, 9).await;
    let topic = |name| CreatableTopic {
        name: Str::from(name),
        num_partitions: 1,
        replication_factor: -1,
        ..Default::default()
    };
    let mut client = node.client().await;
    for (name, ahead_ms) in [("before", 0), ("after", 3_600_000), ("back", -3_600_000)] {
        clock.0.store(ahead_ms, Ordering::Relaxed);
        let request = CreateTopicsRequest { topics: vec![topic(name)], ..Default::default() };
        assert_eq!(client.send(&request, 7).await.topics[0].error_code, 0);
    }
    // What was decided before the last topic is in the image.
    let is_fenced = node.running.node.image().cluster.broker(NodeId(2)).unwrap().fenced;
    assert!(!is_fenced, "its session has hardly begun");
    node.running.stop().await;
    clock::set_for_thread(None);
}

fn values(batch: Batch) -> Vec<Bytes> {
    batch.records().unwrap().map(|record| record.unwrap().value.unwrap()).collect()
}
