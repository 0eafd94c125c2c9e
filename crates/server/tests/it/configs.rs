//! The APIs of settings on a running node. Codes and messages are those of Apache Kafka 4.4.0.

use ottla_model::Millis;
use ottla_protocol::api::alter_configs::{self, AlterConfigsRequest};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult,
};
use ottla_protocol::api::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsRequestCursor, TopicRequest,
};
use ottla_protocol::api::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use ottla_protocol::api::list_config_resources::ListConfigResourcesRequest;
use ottla_protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::{Records, Str};
use ottla_record::{BatchBuilder, Compression};
use ottla_server::broker::partition::Durability;

use crate::node::{Client, TestNode};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

async fn create(client: &mut Client, name: &str, partitions: i32) {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let response = client.send(&request, 7).await;
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

async fn describe(client: &mut Client, kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| Str::from(*key)).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: false,
    };
    client.send(&request, 4).await.results.remove(0)
}

async fn value(client: &mut Client, kind: i8, name: &str, key: &str) -> (String, i8) {
    let mut described = describe(client, kind, name, Some(&[key])).await;
    assert_eq!(described.configs.len(), 1, "{described:?}");
    let entry = described.configs.remove(0);
    (entry.value.map(|value| value.to_string()).unwrap_or_default(), entry.config_source)
}

fn resource(kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> AlterConfigsResource {
    let config = |&(name, config_operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: name.into(),
        config_operation,
        value: value.map(Str::from),
    };
    AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: changes.iter().map(config).collect(),
    }
}

async fn alter(client: &mut Client, resources: Vec<AlterConfigsResource>) -> Vec<(i16, String)> {
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let answers = client.send(&request, 1).await.responses;
    answers
        .into_iter()
        .map(|a| (a.error_code, a.error_message.map(|m| m.to_string()).unwrap_or_default()))
        .collect()
}

async fn set(client: &mut Client, kind: i8, name: &str, key: &str, value: &str) -> (i16, String) {
    alter(client, vec![resource(kind, name, &[(key, 0, Some(value))])]).await.remove(0)
}

fn ok() -> (i16, String) {
    (0, String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_takes_effect_at_once() {
    let node = TestNode::start("log.segment.bytes=2000000").await;
    let mut client = node.client().await;
    create(&mut client, "t", 1).await;
    let partition = node.running.node.broker().partition_by_name("t", 0).unwrap();
    let slot = partition.slot;
    let seen = || {
        let shard = partition.shard.clone();
        async move {
            let run = shard.run(move |state| {
                let partition = state.partition(slot).unwrap();
                (partition.log.config().segment_bytes, partition.durability)
            });
            run.await
        }
    };
    assert_eq!(value(&mut client, TOPIC, "t", "segment.bytes").await, ("2000000".into(), 4));
    assert_eq!(seen().await, (2_000_000, Durability::PageCache));

    assert_eq!(set(&mut client, BROKER, "", "log.segment.bytes", "3000000").await, ok());
    assert_eq!(seen().await.0, 3_000_000);
    assert_eq!(set(&mut client, BROKER, "1", "log.segment.bytes", "4000000").await, ok());
    assert_eq!(seen().await.0, 4_000_000);
    assert_eq!(set(&mut client, TOPIC, "t", "segment.bytes", "5000000").await, ok());
    assert_eq!(value(&mut client, TOPIC, "t", "segment.bytes").await, ("5000000".into(), 1));
    assert_eq!(seen().await.0, 5_000_000);
    let mut controller = node.client_of("CONTROLLER").await;
    assert_eq!(set(&mut controller, BROKER, "", "acks.durability", "fsync").await, ok());
    assert_eq!(value(&mut controller, BROKER, "1", "acks.durability").await, ("fsync".into(), 3));
    assert_eq!(seen().await.1, Durability::Fsync);
    assert_eq!(set(&mut client, TOPIC, "t", "acks.durability", "kafka").await, ok());
    assert_eq!(seen().await.1, Durability::PageCache);

    // The old request deletes what it does not name.
    let config = alter_configs::AlterableConfig { name: "retention.ms".into(), value: Some("7".into()) };
    let old = alter_configs::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        configs: vec![config],
    };
    let request = AlterConfigsRequest { resources: vec![old], validate_only: false };
    assert_eq!(client.send(&request, 2).await.responses[0].error_code, 0);
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await, ("7".into(), 1));
    assert_eq!(value(&mut client, TOPIC, "t", "segment.bytes").await, ("4000000".into(), 2));
    assert_eq!(seen().await, (4_000_000, Durability::Fsync));
    node.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_connections_follow_their_settings() {
    let node = TestNode::start("").await;
    let mut client = node.client().await;
    assert_eq!(set(&mut client, BROKER, "1", "max.connections.per.ip", "1").await, ok());
    let mut refused = node.client().await;
    let ended = tokio::io::AsyncReadExt::read(refused.stream(), &mut [0; 1]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert_eq!(set(&mut client, BROKER, "1", "max.connections.per.ip", "2").await, ok());
    let mut other = node.client().await;
    assert_eq!(value(&mut other, BROKER, "1", "max.connections.per.ip").await, ("2".into(), 2));
    node.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_as_kafka_does() {
    let node = TestNode::start("").await;
    let mut client = node.client().await;
    create(&mut client, "t", 1).await;
    for (kind, name, change, code, message) in [
        (TOPIC, "t", ("foo", 0, Some("1")), 40, "Unknown topic config name: foo"),
        (
            TOPIC,
            "t",
            ("retention.ms", 2, Some("1")),
            40,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (TOPIC, "t", ("retention.ms", 0, None), 42, "Null value not supported for : retention.ms"),
        (TOPIC, "x", ("retention.ms", 0, Some("1")), 3, "The topic 'x' does not exist."),
        (BROKER, "1", ("node.id", 0, Some("3")), 42, "Cannot update these configs dynamically: [node.id]"),
        (
            BROKER,
            "7",
            ("message.max.bytes", 0, Some("3")),
            42,
            "Unexpected broker id, expected 1, but received 7",
        ),
        (BROKER, "x", ("message.max.bytes", 0, Some("3")), 42, "Node id must be an integer, but it is: x"),
        (
            GROUP,
            "g",
            ("consumer.session.timeout.ms", 0, Some("5")),
            40,
            "consumer.session.timeout.ms must be in the range 45000 to 60000 inclusive.",
        ),
        (
            CLIENT_METRICS,
            "s",
            ("interval.ms", 0, Some("5")),
            42,
            "Invalid value 5 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
        ),
        (BROKER_LOGGER, "1", ("nope.x", 0, Some("INFO")), 40, "Logger nope.x does not exist!"),
        (
            BROKER_LOGGER,
            "1",
            ("root", 1, None),
            42,
            "Removing the log level of the root logger is not allowed",
        ),
        (64, "x", ("a", 0, Some("1")), 42, "Unknown resource type 64"),
    ] {
        let answered = alter(&mut client, vec![resource(kind, name, &[change])]).await;
        assert_eq!(answered, [(code, message.to_owned())], "{kind} {name} {change:?}");
    }
    // One refusal does not keep the other resources from being changed, and answers are in the order asked.
    let retention = ("retention.ms", 0, Some("9"));
    let answered = alter(
        &mut client,
        vec![
            resource(BROKER, "1", &[("node.id", 0, Some("3"))]),
            resource(TOPIC, "t", &[retention]),
            resource(GROUP, "g", &[retention, retention]),
            resource(GROUP, "h", &[]),
            resource(GROUP, "h", &[]),
        ],
    )
    .await;
    let codes: Vec<i16> = answered.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [42, 0, 42, 42, 42], "{answered:?}");
    assert_eq!(value(&mut client, TOPIC, "t", "retention.ms").await.0, "9");

    for (kind, name, code, message) in [
        (TOPIC, "x", 3, ""),
        (TOPIC, "", 17, "Topic name is invalid: the empty string is not allowed"),
        (BROKER, "7", 42, "Unexpected broker id, expected 1 or empty string, but received 7"),
        (GROUP, "", 42, "Group name must not be empty"),
        (CLIENT_METRICS, "", 42, "Client metrics subscription name must not be empty"),
        (GROUP, "g", 0, ""),
    ] {
        let described = describe(&mut client, kind, name, None).await;
        assert_eq!(
            (described.error_code, described.error_message.as_deref()),
            (code, Some(message)),
            "{kind} {name}"
        );
    }
    node.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_and_partitions_are_listed() {
    let node = TestNode::start("").await;
    let mut client = node.client().await;
    create(&mut client, "a", 3).await;
    create(&mut client, "b", 1).await;
    assert_eq!(set(&mut client, GROUP, "g", "share.isolation.level", "read_committed").await, ok());
    let all = client.send(&ListConfigResourcesRequest::default(), 1).await.config_resources;
    let listed: Vec<(i8, String)> =
        all.into_iter().map(|r| (r.resource_type, r.resource_name.to_string())).collect();
    let expected = [(GROUP, "g"), (BROKER_LOGGER, "1"), (BROKER, "1"), (TOPIC, "a"), (TOPIC, "b")];
    assert_eq!(listed, expected.map(|(kind, name)| (kind, name.to_owned())));
    let unknown = ListConfigResourcesRequest { resource_types: vec![3] };
    assert_eq!(client.send(&unknown, 1).await.error_code, 35);

    // Page by page, two partitions each.
    let mut cursor = None;
    let mut pages = Vec::new();
    loop {
        let request =
            DescribeTopicPartitionsRequest { topics: Vec::new(), response_partition_limit: 2, cursor };
        let page = client.send(&request, 0).await;
        let partitions = page.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                assert_eq!((partition.leader_id, partition.isr_nodes.as_slice()), (1, &[1][..]));
                format!("{}-{}", topic.name.as_deref().unwrap_or_default(), partition.partition_index)
            })
        });
        pages.push(partitions.collect::<Vec<_>>().join(" "));
        let Some(next) = page.next_cursor else { break };
        cursor = Some(DescribeTopicPartitionsRequestCursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
        });
    }
    assert_eq!(pages, ["a-0 a-1", "a-2 b-0"]);
    let request = DescribeTopicPartitionsRequest {
        topics: vec![TopicRequest { name: "nope".into() }, TopicRequest { name: "no pe".into() }],
        response_partition_limit: 2000,
        cursor: None,
    };
    let codes: Vec<i16> =
        client.send(&request, 0).await.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [17, 3]);
    node.running.stop().await;
}

/// `flush.messages=1` is how Kafka's users ask for durable appends: nothing is acknowledged before it is synced.
#[tokio::test(flavor = "multi_thread")]
async fn flush_messages_syncs_before_the_acknowledgement() {
    let node = TestNode::start("").await;
    let mut client = node.client().await;
    create(&mut client, "t", 1).await;
    let partition = node.running.node.broker().partition_by_name("t", 0).unwrap();
    let slot = partition.slot;
    let offsets = || {
        partition.shard.run(move |state| {
            let log = &state.partition(slot).unwrap().log;
            (log.log_end_offset().0, log.synced_offset().0)
        })
    };
    produce(&mut client, "t").await;
    assert_eq!(offsets().await, (1, 0));
    assert_eq!(set(&mut client, TOPIC, "t", "flush.messages", "3").await, ok());
    produce(&mut client, "t").await;
    assert_eq!(offsets().await, (2, 0));
    produce(&mut client, "t").await;
    assert_eq!(offsets().await, (3, 3));
    assert!(!partition.is_durable());
    assert_eq!(set(&mut client, TOPIC, "t", "flush.messages", "1").await, ok());
    produce(&mut client, "t").await;
    assert_eq!(offsets().await, (4, 4));
    // Nor does it count for replicas and readers.
    assert!(partition.is_durable());
    node.running.stop().await;
}

async fn produce(client: &mut Client, topic: &str) {
    let mut batch = BatchBuilder::new(Compression::NONE);
    batch.append(Millis(1), None, Some(b"v"));
    let partition = PartitionProduceData { index: 0, records: Some(Records::from(batch.build())) };
    let topic =
        TopicProduceData { name: topic.into(), partition_data: vec![partition], ..Default::default() };
    let request =
        ProduceRequest { acks: 1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() };
    let response = client.send(&request, 9).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0, "{response:?}");
}
