//! Settings are described as Apache Kafka does (testdata/describe.txt): value, source, synonyms, flags, type.

use std::sync::Arc;

use ottla_metadata::configs::{ConfigMap, ConfigSource, Described, Layers};

fn map(entries: &str) -> ConfigMap {
    let pairs = entries.lines().map(|line| line.trim().split_once('=').unwrap());
    pairs.map(|(name, value)| (Arc::from(name), Arc::from(value))).collect()
}

fn line(described: &Described) -> String {
    let source = |source| match source {
        ConfigSource::Topic => "DYNAMIC_TOPIC_CONFIG",
        ConfigSource::DynamicBroker => "DYNAMIC_BROKER_CONFIG",
        ConfigSource::DynamicDefaultBroker => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        ConfigSource::StaticBroker => "STATIC_BROKER_CONFIG",
        ConfigSource::Default => "DEFAULT_CONFIG",
        ConfigSource::BrokerLogger => "DYNAMIC_BROKER_LOGGER_CONFIG",
        ConfigSource::ClientMetrics => "DYNAMIC_CLIENT_METRICS_CONFIG",
        ConfigSource::Group => "DYNAMIC_GROUP_CONFIG",
    };
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
    let synonyms: String = described
        .synonyms
        .iter()
        .map(|s| format!("{}={}@{}; ", s.name, value(&s.value), source(s.source)))
        .collect();
    format!(
        "{} = {} | {}{}{} {} [{synonyms}]",
        described.name,
        value(&described.value),
        source(described.source),
        if described.read_only { " ro" } else { "" },
        if described.sensitive { " sens" } else { "" },
        described.kind.map_or("UNKNOWN".to_owned(), |kind| kind.to_string()),
    )
}

const STATIC: &str = "process.roles=broker,controller
    node.id=1
    broker.id=1
    controller.quorum.bootstrap.servers=127.0.0.1:29193
    listeners=PLAINTEXT://127.0.0.1:29192,CONTROLLER://127.0.0.1:29193
    controller.listener.names=CONTROLLER
    log.dirs=/kafka/data
    log.retention.hours=24
    log.segment.bytes=2000000
    unknown.setting=abc
    listener.name.plaintext.max.connections=77
    offsets.topic.replication.factor=1
    share.coordinator.state.topic.replication.factor=1
    share.coordinator.state.topic.min.isr=1
    transaction.state.log.replication.factor=1
    transaction.state.log.min.isr=1
    group.initial.rebalance.delay.ms=0";

const DYNAMIC_BROKER: &str = "log.cleaner.threads=2
    message.max.bytes=2000000
    num.io.threads=12
    foo.bar=1
    leader.replication.throttled.rate=5000
    max.connections.per.ip.overrides=1.2.3.4:5
    listener.name.plaintext.max.connections=55
    log.cleanup.policy=compact,delete
    unclean.leader.election.enable=true
    sasl.jaas.config=secret
    listener.name.plaintext.sasl.jaas.config=secret
    num.replica.fetchers=2";

const DYNAMIC_DEFAULT: &str = "min.insync.replicas=1
    log.retention.ms=-7
    log.segment.bytes=3000000
    foo.bar2=1
    leader.replication.throttled.rate=6000";

#[test]
fn settings_are_described_as_kafka_does() {
    let before = Layers {
        static_broker: map(STATIC),
        dynamic_default: map("min.insync.replicas=1"),
        ..Layers::default()
    };
    let after = Layers {
        static_broker: map(STATIC),
        dynamic_broker: map(DYNAMIC_BROKER),
        dynamic_default: map(DYNAMIC_DEFAULT),
    };
    let topic = map("retention.ms= 77 \ncleanup.policy=\nsegment.bytes=1048576");
    let group = map("consumer.session.timeout.ms=50000
        errors.deadletterqueue.topic.name=foo
        share.partition.max.record.locks=101");
    let metrics = map("interval.ms=5000\nmatch=client_id=a.*");
    let none = ConfigMap::new();
    let mut expected = include_str!("../../testdata/describe.txt").lines().skip(2).peekable();
    let mut sections = 0;
    while let Some(head) = expected.next() {
        let ours = match head {
            "before DESCRIBE TOPIC 't1'" => before.describe_topic_configs(&none),
            "before DESCRIBE BROKER '1'" => before.describe_node(),
            "before DESCRIBE BROKER ''" => before.describe_default_brokers(),
            "before DESCRIBE GROUP 'g1'" => before.describe_group_configs(&none),
            "before DESCRIBE CLIENT_METRICS 's1'" => Layers::describe_client_metrics(&none),
            "after DESCRIBE TOPIC 't1'" => after.describe_topic_configs(&topic),
            "after DESCRIBE BROKER '1'" => after.describe_node(),
            "after DESCRIBE BROKER ''" => after.describe_default_brokers(),
            "after DESCRIBE GROUP 'g1'" => after.describe_group_configs(&group),
            "after DESCRIBE CLIENT_METRICS 's1'" => Layers::describe_client_metrics(&metrics),
            other => panic!("{other}"),
        };
        // Our own settings are no news of Kafka's.
        let mut ours: Vec<String> = ours.iter().filter(|d| d.name != "acks.durability").map(line).collect();
        let mut theirs: Vec<String> = Vec::new();
        while let Some(line) = expected.next_if(|line| !line.contains(" DESCRIBE ")) {
            theirs.push(line.to_owned());
        }
        ours.sort();
        theirs.sort();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{head}");
        }
        assert_eq!(ours.len(), theirs.len(), "{head}");
        sections += 1;
    }
    assert_eq!(sections, 10);
}
