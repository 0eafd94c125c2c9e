//! What operators ask, of a node in this process.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ottla_client::admin::{
    Admin, CommittedOffset, ConfigChange, ConfigResourceType, ElectionType, FeatureUpdate, NewTopic,
    OffsetSpec, QuotaEntity, QuotaMatch, ReplicationFactorChange, Resource, UpgradeType,
};
use ottla_client::blocking::block_on;
use ottla_client::model::{ErrorCode, Millis, NodeId, Offset, Uuid};
use ottla_client::{ClientConfig, Consumer, Error, Producer, Record};

use crate::node::TestNode;

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions: Some(partitions), ..NewTopic::default() }
}

fn code<T>(result: Result<T, Error>) -> Option<ErrorCode> {
    result.err().and_then(|error| error.code())
}

#[test]
fn topics_are_created_grown_and_deleted() {
    let node = TestNode::start("");
    let admin = Admin::new(&node.config()).unwrap();
    let configs = vec![("retention.ms".to_owned(), "5000".to_owned())];
    block_on(admin.create_topic(&NewTopic { configs, ..topic("t", 2) })).unwrap();
    assert_eq!(code(block_on(admin.create_topic(&topic("t", 2)))), Some(ErrorCode::TopicAlreadyExists));
    let assigned = NewTopic { name: "by-hand".into(), assignments: vec![vec![1]], ..NewTopic::default() };
    block_on(admin.create_topic(&assigned)).unwrap();
    let metadata = block_on(admin.metadata()).unwrap();
    assert_eq!(metadata.topic("t").unwrap().partitions.len(), 2);
    assert_eq!(metadata.topic("by-hand").unwrap().partitions.len(), 1);

    block_on(admin.create_partitions("t", 5)).unwrap();
    assert_eq!(block_on(admin.metadata()).unwrap().topic("t").unwrap().partitions.len(), 5);
    assert_eq!(code(block_on(admin.create_partitions("t", 3))), Some(ErrorCode::InvalidPartitions));

    block_on(admin.delete_topic("t")).unwrap();
    assert!(block_on(admin.metadata()).unwrap().topic("t").is_none());
    assert_eq!(code(block_on(admin.delete_topic("t"))), Some(ErrorCode::UnknownTopicOrPartition));
}

/// KIP-919: an admin client that knows controllers only, as when no broker runs.
#[test]
fn controllers_are_asked_past_brokers() {
    let node = TestNode::start("");
    let at = |address: std::net::SocketAddr| {
        let config = ClientConfig::default().with("bootstrap.controllers", address).unwrap();
        config.with("default.api.timeout.ms", 5000).unwrap()
    };
    let config = at(node.controller_address());
    let admin = Admin::new(&config).unwrap();
    let cluster = block_on(admin.describe_cluster()).unwrap();
    let controllers: Vec<_> = cluster.brokers.iter().map(|node| (node.broker_id, node.port)).collect();
    assert_eq!((cluster.controller_id, cluster.endpoint_type), (1, 2));
    assert_eq!(controllers, [(1, i32::from(node.controller_address().port()))]);
    assert_eq!(block_on(admin.describe_quorum()).unwrap().leader_id, 1);
    assert!(block_on(admin.describe_features()).unwrap().finalized.contains_key("metadata.version"));
    let gone = block_on(admin.remove_raft_voter(NodeId(9), Uuid::ZERO)).unwrap_err();
    assert!(!gone.is_retriable(), "{gone}");

    let refused = Producer::new(&config).unwrap_err().to_string();
    assert!(refused.contains("bootstrap.servers is needed"), "{refused}");
    let refused = Consumer::new(&config).unwrap_err().to_string();
    assert!(refused.contains("bootstrap.servers is needed"), "{refused}");
    let both = config.with("bootstrap.servers", node.address()).unwrap();
    let refused = Admin::new(&both).unwrap_err().to_string();
    assert!(refused.contains("You cannot set both bootstrap.servers and bootstrap.controllers"), "{refused}");
    // A broker where a controller is meant.
    let mistaken = Admin::new(&at(node.address())).unwrap();
    let refused = block_on(mistaken.describe_cluster()).unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("endpoint"), "{refused}");
}

#[test]
fn configs_are_described_set_and_taken_back() {
    let node = TestNode::start("");
    let admin = Admin::new(&node.config()).unwrap();
    block_on(admin.create_topic(&topic("t", 1))).unwrap();
    for (kind, name, config, set) in [
        (ConfigResourceType::Topic, "t", "retention.ms", "5000"),
        (ConfigResourceType::Broker, "1", "log.cleaner.threads", "2"),
        (ConfigResourceType::Broker, "", "log.retention.ms", "7000"),
        (ConfigResourceType::Group, "g", "consumer.session.timeout.ms", "50000"),
    ] {
        let resource = Resource { kind, name: name.into() };
        let own = || {
            let entries = block_on(admin.describe_configs(&resource)).unwrap();
            let entry = entries.into_iter().find(|entry| entry.name == config);
            entry.filter(|entry| entry.is_own(kind)).map(|entry| entry.value.unwrap())
        };
        assert_eq!(own(), None, "{kind:?}");
        let change = [(config.to_owned(), ConfigChange::Set(set.to_owned()))];
        block_on(admin.alter_configs(&resource, &change)).unwrap();
        assert_eq!(own().as_deref(), Some(set), "{kind:?}");
        block_on(admin.alter_configs(&resource, &[(config.to_owned(), ConfigChange::Delete)])).unwrap();
        assert_eq!(own(), None, "{kind:?}");
        let listed = block_on(admin.list_config_resources(&[kind])).unwrap();
        assert!(listed.iter().all(|resource| resource.kind == kind));
        assert_eq!(listed.contains(&resource), matches!(name, "t" | "1"), "{listed:?}");
    }
    let resource = Resource { kind: ConfigResourceType::Topic, name: "t".into() };
    let wrong = [("retention.ms".to_owned(), ConfigChange::Set("soon".into()))];
    assert_eq!(code(block_on(admin.alter_configs(&resource, &wrong))), Some(ErrorCode::InvalidConfig));

    // A topic that is not there is not waited for.
    let began = Instant::now();
    let none = Resource { kind: ConfigResourceType::Topic, name: "none".into() };
    assert_eq!(code(block_on(admin.describe_configs(&none))), Some(ErrorCode::UnknownTopicOrPartition));
    let change = [("retention.ms".to_owned(), ConfigChange::Set("1".into()))];
    assert_eq!(code(block_on(admin.alter_configs(&none, &change))), Some(ErrorCode::UnknownTopicOrPartition));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn offsets_are_found_and_records_deleted() {
    let node = TestNode::start("");
    let admin = Admin::new(&node.config()).unwrap();
    block_on(admin.create_topic(&topic("t", 2))).unwrap();
    let producer = Producer::new(&node.config()).unwrap();
    for time in [1000, 3000, 2000] {
        let record = Record::to("t").value("v").partition(0).timestamp(Millis(time));
        block_on(producer.send(record)).unwrap();
    }
    block_on(producer.flush()).unwrap();
    let both = [("t".to_owned(), 0), ("t".to_owned(), 1)];
    let found = |spec| -> Vec<Option<i64>> {
        let found = block_on(admin.list_offsets(&both, spec)).unwrap();
        found.values().map(|found| found.offset.map(|offset| offset.0)).collect()
    };
    assert_eq!(found(OffsetSpec::Earliest), [Some(0), Some(0)]);
    assert_eq!(found(OffsetSpec::Latest), [Some(3), Some(0)]);
    assert_eq!(found(OffsetSpec::MaxTimestamp), [Some(1), None]);
    assert_eq!(found(OffsetSpec::At(Millis(1500))), [Some(1), None]);

    assert_eq!(block_on(admin.delete_records("t", 0, 2)).unwrap(), Offset(2));
    assert_eq!(found(OffsetSpec::Earliest), [Some(2), Some(0)]);
    assert_eq!(block_on(admin.delete_records("t", 0, -1)).unwrap(), Offset(3));
    assert_eq!(code(block_on(admin.delete_records("t", 0, 9))), Some(ErrorCode::OffsetOutOfRange));
    let unknown = block_on(admin.list_offsets(&[("none".to_owned(), 0)], OffsetSpec::Latest));
    assert_eq!(code(unknown), Some(ErrorCode::UnknownTopicOrPartition));
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let node = TestNode::start("offsets.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=0");
    let admin = Admin::new(&node.config()).unwrap();
    block_on(admin.create_topic(&topic("t", 2))).unwrap();
    let committed = CommittedOffset { topic: "t".into(), partition: 1, offset: Offset(7) };
    block_on(admin.commit_offsets("idle", std::slice::from_ref(&committed))).unwrap();
    assert_eq!(block_on(admin.committed_offsets("idle")).unwrap(), [committed]);

    let config = node.config().with("group.id", "busy").unwrap().with("client.id", "reader").unwrap();
    let mut consumer = Consumer::new(&config).unwrap();
    consumer.subscribe(["t"]).unwrap();
    let described = loop {
        block_on(consumer.poll(std::time::Duration::from_millis(50))).unwrap();
        let described = block_on(admin.describe_group("busy"));
        match described {
            Ok(described) if described.state == "Stable" => break described,
            _ => {}
        }
    };
    assert_eq!((described.coordinator, described.assignor.as_str()), (NodeId(1), "range"));
    let member = &described.members[0];
    assert_eq!(member.client_id, "reader");
    assert_eq!(member.partitions, [("t".to_owned(), 0), ("t".to_owned(), 1)]);

    let listed = block_on(admin.list_groups()).unwrap();
    let shown: Vec<_> = listed.iter().map(|group| (group.id.as_str(), group.state.as_str())).collect();
    assert_eq!(shown, [("busy", "Stable"), ("idle", "Empty")]);
    assert_eq!(code(block_on(admin.delete_group("busy"))), Some(ErrorCode::NonEmptyGroup));
    block_on(admin.delete_group("idle")).unwrap();
    assert_eq!(code(block_on(admin.describe_group("idle"))), Some(ErrorCode::GroupIdNotFound));
}

#[test]
fn the_cluster_tells_of_itself() {
    let node = TestNode::start("");
    let admin = Admin::new(&node.config()).unwrap();
    block_on(admin.create_topic(&topic("t", 1))).unwrap();
    let cluster = block_on(admin.describe_cluster()).unwrap();
    assert_eq!((cluster.brokers.len(), cluster.controller_id), (1, 1));
    let quorum = block_on(admin.describe_quorum()).unwrap();
    assert_eq!((quorum.leader_id, quorum.current_voters.len()), (1, 1));
    let dirs = block_on(admin.describe_log_dirs(NodeId(1))).unwrap();
    assert_eq!(dirs.len(), 1);
    assert!(dirs[0].topics.iter().any(|topic| topic.name.as_str() == "t"));
}

#[test]
fn partitions_are_moved_and_led_by_whom_they_should() {
    let node = TestNode::start("");
    let admin = Admin::new(&node.config()).unwrap();
    block_on(admin.create_topic(&topic("t", 2))).unwrap();
    let (first, unknown) = (("t".to_owned(), 0), ("t".to_owned(), 7));
    let results =
        block_on(admin.elect_leaders(ElectionType::Preferred, Some(&[first.clone(), unknown.clone()])));
    let codes: Vec<_> = results.unwrap().into_values().map(code).collect();
    assert_eq!(codes, [Some(ErrorCode::ElectionNotNeeded), Some(ErrorCode::UnknownTopicOrPartition)]);
    assert_eq!(block_on(admin.elect_leaders(ElectionType::Unclean, None)).unwrap(), BTreeMap::new());

    let change = |replicas: Option<Vec<i32>>| {
        let replicas = replicas.map(|ids| ids.into_iter().map(NodeId).collect());
        let results = block_on(admin.alter_partition_reassignments(
            &BTreeMap::from([(first.clone(), replicas)]),
            ReplicationFactorChange::Allowed,
        ));
        code(results.unwrap().remove(&first).unwrap())
    };
    assert_eq!(change(Some(vec![1])), None);
    assert_eq!(change(Some(vec![9])), Some(ErrorCode::InvalidReplicaAssignment));
    assert_eq!(change(None), Some(ErrorCode::NoReassignmentInProgress));
    assert_eq!(block_on(admin.list_partition_reassignments(None)).unwrap(), BTreeMap::new());
    let none = block_on(admin.list_partition_reassignments(Some(&[unknown])));
    assert_eq!(none.unwrap(), BTreeMap::new());

    let path = block_on(admin.describe_log_dirs(NodeId(1))).unwrap()[0].log_dir.as_str().to_owned();
    let moved = |path: &str| {
        let paths = BTreeMap::from([(first.clone(), path.to_owned())]);
        code(block_on(admin.alter_replica_log_dirs(NodeId(1), &paths)).unwrap().remove(&first).unwrap())
    };
    assert_eq!(moved(&path), None);
    assert_eq!(moved("/nowhere"), Some(ErrorCode::LogDirNotFound));
}

#[test]
fn features_quotas_and_members_of_the_quorum_are_changed() {
    let node = TestNode::start("");
    let admin = Admin::new(&node.config()).unwrap();
    let features = block_on(admin.describe_features()).unwrap();
    let level = features.finalized["metadata.version"];
    assert!(features.epoch.is_some() && features.supported["metadata.version"].1 >= level);
    let update = |level, upgrade| {
        let update = FeatureUpdate { feature: "group.version".into(), level, upgrade };
        block_on(admin.update_features(&[update], false))
    };
    assert_eq!(code(update(99, UpgradeType::Upgrade)), Some(ErrorCode::InvalidUpdateVersion));
    update(0, UpgradeType::SafeDowngrade).unwrap();
    update(1, UpgradeType::Upgrade).unwrap();

    let entity: QuotaEntity =
        [("user".to_owned(), Some("alice".to_owned())), ("client-id".to_owned(), None)].into();
    let alter = |name: &str, value| block_on(admin.alter_client_quotas(&entity, &[(name.to_owned(), value)]));
    let quotas =
        |filter| block_on(admin.describe_client_quotas(&[("user".to_owned(), filter)], false)).unwrap();
    alter("producer_byte_rate", Some(1024.0)).unwrap();
    let expected = BTreeMap::from([(entity.clone(), [("producer_byte_rate".to_owned(), 1024.0)].into())]);
    assert_eq!(quotas(QuotaMatch::Any), expected);
    assert_eq!(quotas(QuotaMatch::Name("alice".into())), expected);
    assert_eq!(quotas(QuotaMatch::Default), BTreeMap::new());
    assert_eq!(code(alter("speed", Some(1.0))), Some(ErrorCode::InvalidRequest));
    alter("producer_byte_rate", None).unwrap();
    assert_eq!(quotas(QuotaMatch::Any), BTreeMap::new());

    let gone = block_on(admin.unregister_broker(NodeId(9)));
    assert_eq!(code(gone), Some(ErrorCode::BrokerIdNotRegistered));
    let unknown = block_on(admin.remove_raft_voter(NodeId(9), Uuid([7; 16])));
    assert_eq!(code(unknown), Some(ErrorCode::VoterNotFound));
    let already = block_on(admin.add_raft_voter(NodeId(1), Uuid([7; 16]), &[]));
    assert_eq!(code(already), Some(ErrorCode::InvalidRequest));
}

#[test]
fn committed_offsets_are_deleted_and_producers_described() {
    let node = TestNode::start("offsets.topic.num.partitions=1");
    let admin = Admin::new(&node.config()).unwrap();
    block_on(admin.create_topic(&topic("t", 1))).unwrap();
    let place = ("t".to_owned(), 0);
    let committed = CommittedOffset { topic: "t".into(), partition: 0, offset: Offset(7) };
    block_on(admin.commit_offsets("g", &[committed])).unwrap();
    let results = block_on(admin.delete_offsets("g", std::slice::from_ref(&place))).unwrap();
    assert_eq!(results, BTreeMap::from([(place.clone(), Ok(()))]));
    assert_eq!(block_on(admin.committed_offsets("g")).unwrap(), []);
    let unknown = block_on(admin.delete_offsets("none", std::slice::from_ref(&place)));
    assert_eq!(code(unknown), Some(ErrorCode::GroupIdNotFound));

    let producer = Producer::new(&node.config()).unwrap();
    block_on(async { producer.send(Record::to("t").value("v")).await.unwrap().await }).unwrap();
    let producers = block_on(admin.describe_producers(std::slice::from_ref(&place))).unwrap();
    let shown: Vec<_> =
        producers[&place].iter().map(|p| (p.epoch, p.last_sequence, p.transaction_start)).collect();
    assert_eq!(shown, [(0, 0, None)]);
}
