//! The client of this repository against Apache Kafka and against Ottla, the same tests for both: whatever it does
//! works with either, beside kafka-clients and librdkafka in one group, and while brokers die and networks fail.
//!
//! `E2E_KILLS` says how many brokers are killed under load (3 otherwise), `E2E_CUT_SECONDS` how long connections are
//! delayed and cut (20 otherwise).

mod disturbed;
mod mixed_group;
mod near_by;
mod strangers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_client::admin::{NewTopic, OffsetSpec};
use ottla_client::blocking::{Admin, Consumer, Producer};
use ottla_client::model::{ErrorCode, Offset, TopicPartition};
use ottla_client::{ClientConfig, Header, Record};
use ottla_e2e::node::{Brand, Node};
use ottla_e2e::tools::Jars;
use ottla_e2e::{artifacts, process, tools, world};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("settings_are_those_of_kafka_clients", || as_kept("ClientConfigs", "apache-client-configs-4.4.0.tsv")),
    ("assignments_are_those_of_kafka_clients", || as_kept("Assignments", "apache-assignments-4.4.0.txt")),
    ("codecs_and_acks_apache", || codecs_and_acks(&*world::judge()?)),
    ("codecs_and_acks_ottla", || codecs_and_acks(&*world::candidate()?)),
    ("partitioners_apache", || partitioners(&*world::judge()?)),
    ("partitioners_ottla", || partitioners(&*world::candidate()?)),
    ("mixed_groups_apache", || mixed_group::assignors(&*world::judge()?)),
    ("mixed_groups_ottla", || mixed_group::assignors(&*world::candidate()?)),
    ("static_membership_apache", || mixed_group::static_membership(&*world::judge()?)),
    ("static_membership_ottla", || mixed_group::static_membership(&*world::candidate()?)),
    ("aborted_transactions", aborted_transactions),
    ("reset_policies_apache", || reset_policies(&*world::judge()?)),
    ("reset_policies_ottla", || reset_policies(&*world::candidate()?)),
    ("refusals_apache", || refusals(Brand::Apache)),
    ("refusals_ottla", || refusals(Brand::candidate())),
    ("near_by_apache", || near_by::follower(Brand::Apache)),
    ("near_by_ottla", || near_by::follower(Brand::candidate())),
    ("strangers_are_named", strangers::named),
    ("kills_apache", || disturbed::kills(Brand::Apache)),
    ("kills_ottla", || disturbed::kills(Brand::candidate())),
    ("cuts_apache", || disturbed::cuts(Brand::Apache)),
    ("cuts_ottla", || disturbed::cuts(Brand::candidate())),
];

/// How long a foreign client may take for its part.
const LIMIT: Duration = Duration::from_secs(90);

fn java(arguments: &[&str]) -> Result<String> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let outcome = tools::runner()?.call(Jars::Broker, "SuiteClient", &arguments, b"", LIMIT)?;
    ensure!(outcome.status == 0, "{arguments:?} ended with {}: {}", outcome.status, outcome.stderr);
    Ok(outcome.stdout)
}

/// librdkafka, by way of confluent-kafka.
fn librdkafka(arguments: &[&str]) -> Result<String> {
    let mut command = process::bound(&artifacts::python()?.display().to_string());
    command.arg(artifacts::crate_dir().join("clients/python/suite.py")).args(arguments);
    let output = process::output(command, LIMIT)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?} ended with {}: {errors}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn topic(node: &Node, name: &str, partitions: i32) -> Result<()> {
    let admin = Admin::new(&ClientConfig::new(&node.bootstrap()))?;
    let topic = NewTopic { name: name.into(), partitions: Some(partitions), ..NewTopic::default() };
    admin.create_topic(&topic).with_context(|| format!("create {name}"))?;
    // When leaders answer they take records too: without acknowledgements nobody would say that they do not yet.
    let partitions: Vec<_> = (0..partitions).map(|partition| (name.to_owned(), partition)).collect();
    admin
        .list_offsets(&partitions, OffsetSpec::Latest)
        .with_context(|| format!("find the leaders of {name}"))?;
    Ok(())
}

fn of(topic: &str, partitions: i32) -> Vec<TopicPartition> {
    (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect()
}

/// The table that the client's own tests compare with is what the jar says.
fn as_kept(class: &str, file: &str) -> Result<()> {
    let outcome = tools::runner()?.call(Jars::Broker, class, &[], b"", LIMIT)?;
    let path = artifacts::crate_dir().join("../client/testdata").join(file);
    let kept = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let kept: Vec<_> = kept.lines().filter(|line| !line.starts_with('#')).collect();
    let printed: Vec<_> = outcome.stdout.lines().collect();
    for (kept, printed) in kept.iter().zip(&printed) {
        ensure!(kept == printed, "the jar says {printed:?}, {} says {kept:?}", path.display());
    }
    ensure!(kept.len() == printed.len(), "the jar has {} rows, the table {}", printed.len(), kept.len());
    Ok(())
}

/// Every codec with every kind of acknowledgement: this client and kafka-clients read the same, which is what was sent.
fn codecs_and_acks(node: &Node) -> Result<()> {
    const COUNT: usize = 120;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["0", "1", "all"] {
            let name = format!("suite-{codec}-{acks}");
            topic(node, &name, 3)?;
            let config = ClientConfig::new(&node.bootstrap())
                .with("compression.type", codec)?
                .with("acks", acks)?
                .with("batch.size", 500)?;
            let producer = Producer::new(&config)?;
            let mut expected = BTreeMap::new();
            for i in 0..COUNT {
                let (key, value, header) = (format!("key-{i}"), format!("value-{i}"), i.to_string());
                let headers = [Header::new("h", header.as_bytes())];
                let record = Record::to(&name).key(&key).value(&value).headers(&headers);
                let receipt = producer.send(record)?;
                if acks == "0" {
                    drop(receipt);
                } else {
                    let at = receipt.wait()?;
                    expected.insert((at.partition, at.offset.0), format!("{key} {value} {header}"));
                }
            }
            producer.close(Duration::from_secs(20))?;
            let mut read = BTreeMap::new();
            let mut consumer =
                Consumer::new(&ClientConfig::new(&node.bootstrap()).with("auto.offset.reset", "earliest")?)?;
            consumer.assign(of(&name, 3))?;
            let deadline = Instant::now() + LIMIT / 3;
            while read.len() < COUNT {
                ensure!(Instant::now() < deadline, "{codec}, acks={acks}: only {} records came", read.len());
                for record in &consumer.poll(Duration::from_millis(200))? {
                    let record = record.to_shared();
                    let text = |bytes: &Option<bytes::Bytes>| {
                        String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned()
                    };
                    let header = text(&record.headers[0].1);
                    let line = format!("{} {} {header}", text(&record.key), text(&record.value));
                    read.insert((record.partition, record.offset.0), line);
                }
            }
            ensure!(
                acks == "0" || read == expected,
                "{codec}, acks={acks}: read {read:?}, sent {expected:?}"
            );
            let values: BTreeSet<_> = read.values().collect();
            ensure!(values.len() == COUNT, "{codec}, acks={acks}: {} different records", values.len());
            let told = java(&["read", &node.bootstrap(), &name, &COUNT.to_string()])?;
            let told: BTreeSet<&str> = told.lines().collect();
            let ours: BTreeSet<String> = read
                .iter()
                .map(|((partition, offset), line)| format!("{partition} {offset} {line}"))
                .collect();
            ensure!(
                told == ours.iter().map(String::as_str).collect(),
                "{codec}: Java read {told:?}, we {ours:?}"
            );
        }
    }
    Ok(())
}

/// The same keys go to the same partitions as those of kafka-clients and librdkafka.
fn partitioners(node: &Node) -> Result<()> {
    const COUNT: usize = 200;
    topic(node, "suite-keys", 7)?;
    let (bootstrap, count) = (node.bootstrap(), COUNT.to_string());
    for (ours, theirs) in [
        ("default", java(&["partitions", &bootstrap, "suite-keys", &count])?),
        ("murmur2-random", librdkafka(&["partitions", &bootstrap, "suite-keys", "murmur2_random", &count])?),
        ("consistent-crc32", librdkafka(&["partitions", &bootstrap, "suite-keys", "consistent", &count])?),
    ] {
        let producer = Producer::new(&ClientConfig::new(&bootstrap).with("partitioner", ours)?)?;
        let receipts = (0..COUNT).map(|i| {
            let key = format!("key-{i}");
            producer.send(Record::to("suite-keys").key(&key).value("v"))
        });
        let receipts: Vec<_> = receipts.collect::<Result<_, _>>()?;
        let mut chosen = Vec::new();
        for receipt in receipts {
            chosen.push(receipt.wait()?.partition.to_string());
        }
        let theirs: Vec<&str> = theirs.lines().collect();
        ensure!(chosen == theirs, "{ours}: {chosen:?} instead of {theirs:?}");
        ensure!(chosen.iter().collect::<BTreeSet<_>>().len() == 7, "{ours} uses {chosen:?} only");
    }
    Ok(())
}

/// Transactions that kafka-clients made are read as they should be, from Apache Kafka and, as Ottla cannot take them
/// yet, from its directory that Ottla took over.
fn aborted_transactions() -> Result<()> {
    let mut node = Node::start(Brand::Apache, "")?;
    topic(&node, "suite-tx", 1)?;
    java(&["transactions", &node.bootstrap(), "suite-tx"])?;
    for brand in [Brand::Apache, Brand::candidate()] {
        if node.brand() != brand {
            node.stop()?;
            node.launch_as(brand)?;
        }
        for (isolation, expected) in [("read_committed", 20), ("read_uncommitted", 30)] {
            let config = ClientConfig::new(&node.bootstrap())
                .with("isolation.level", isolation)?
                .with("auto.offset.reset", "earliest")?;
            let mut consumer = Consumer::new(&config)?;
            let partition = TopicPartition::new("suite-tx", 0);
            consumer.assign([partition.clone()])?;
            let mut values = Vec::new();
            // Markers have offsets too: 30 records, 3 markers.
            while consumer.position(&partition)? < Offset(33) {
                for record in &consumer.poll(Duration::from_millis(200))? {
                    values.push(String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned());
                }
            }
            ensure!(values.len() == expected, "{brand:?}, {isolation}: {values:?}");
            let gone = values.iter().filter(|value| value.starts_with("gone")).count();
            ensure!(gone == expected - 20, "{brand:?}, {isolation}: {gone} of aborted transactions");
        }
    }
    Ok(())
}

/// Where a consumer without an offset begins, and what happens behind the end.
fn reset_policies(node: &Node) -> Result<()> {
    topic(node, "suite-reset", 1)?;
    let producer = Producer::new(&ClientConfig::new(&node.bootstrap()))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis() as i64;
    for age_s in [7200, 1800, 0] {
        let time = ottla_client::model::Millis(now - age_s * 1000);
        producer.send(Record::to("suite-reset").value("v").timestamp(time))?.wait()?;
    }
    let partition = TopicPartition::new("suite-reset", 0);
    for (policy, expected) in [("earliest", 0), ("latest", 3), ("by_duration:PT1H", 1)] {
        for begin in [None, Some(Offset(99))] {
            let config = ClientConfig::new(&node.bootstrap()).with("auto.offset.reset", policy)?;
            let mut consumer = Consumer::new(&config)?;
            consumer.assign([partition.clone()])?;
            let mut first = None;
            if let Some(offset) = begin {
                consumer.seek(&partition, offset)?;
            }
            // Only a fetch tells that an offset is out of range; at the end there is no record, but a position.
            let deadline = Instant::now() + LIMIT;
            while first.is_none_or(|first| Some(first) == begin) {
                ensure!(Instant::now() < deadline, "{policy} from {begin:?} begins nowhere");
                let records = consumer.poll(Duration::from_millis(200))?;
                let record = records.iter().next().map(|record| record.offset());
                first = Some(record.map_or_else(|| consumer.position(&partition), Ok)?);
            }
            let first = first.context("a consumer begins somewhere")?;
            ensure!(first == Offset(expected), "{policy} from {begin:?} begins at {first}");
        }
    }
    let config = ClientConfig::new(&node.bootstrap()).with("auto.offset.reset", "none")?;
    let mut consumer = Consumer::new(&config)?;
    consumer.assign([partition.clone()])?;
    consumer.seek(&partition, Offset(99))?;
    let error = (0..50).find_map(|_| consumer.poll(Duration::from_millis(200)).err());
    let error = error.context("out of range and no policy, and nobody says so")?;
    ensure!(error.code() == Some(ErrorCode::OffsetOutOfRange), "{error}");
    consumer.seek(&partition, Offset(1))?;
    ensure!(consumer.poll(Duration::from_secs(5))?.len() == 2, "the consumer does not go on after the error");
    Ok(())
}

/// What brokers refuse is told with their code and with what it is about; what they take is not touched by it.
fn refusals(brand: Brand) -> Result<()> {
    let node = Node::start(brand, "auto.create.topics.enable=false")?;
    let config = ClientConfig::new(&node.bootstrap())
        .with("max.block.ms", 3000)?
        .with("default.api.timeout.ms", 3000)?
        .with("auto.offset.reset", "earliest")?;
    let small = NewTopic {
        name: "suite-small".into(),
        partitions: Some(1),
        configs: vec![("max.message.bytes".into(), "1000".into())],
        ..NewTopic::default()
    };
    Admin::new(&config)?.create_topic(&small)?;
    let producer = Producer::new(&config)?;
    // Under way together, of which one cannot be taken.
    let sent = [10, 2000, 20].map(|bytes| producer.send(Record::to("suite-small").value(&vec![b'v'; bytes])));
    let [first, large, last] = sent.map(|sent| sent.and_then(ottla_client::Receipt::wait));
    ensure!(
        (first?.offset, last?.offset) == (Offset(0), Offset(1)),
        "the others are not where they should be"
    );
    refused(large, ErrorCode::MessageTooLarge, "")?;
    for (topic, code) in [
        ("suite-missing", ErrorCode::UnknownTopicOrPartition),
        ("suite missing!", ErrorCode::InvalidTopicException),
    ] {
        refused(producer.send(Record::to(topic).value("v")), code, topic)?;
        let mut consumer = Consumer::new(&config)?;
        let partition = TopicPartition::new(topic, 0);
        consumer.assign([partition.clone()])?;
        refused(consumer.position(&partition), code, topic)?;
    }
    for (name, value, code) in [
        ("session.timeout.ms", "5000", ErrorCode::InvalidSessionTimeout),
        ("group.id", "suite-\u{1F980}", ErrorCode::None),
    ] {
        let config = config.clone().with("group.id", "suite-refused")?.with(name, value)?;
        let mut consumer = Consumer::new(&config)?;
        consumer.subscribe(["suite-small"])?;
        let deadline = Instant::now() + LIMIT;
        let first = loop {
            ensure!(Instant::now() < deadline, "{name}={value}: neither records nor an error");
            match consumer.poll(Duration::from_millis(200)) {
                Ok(records) if records.is_empty() => continue,
                outcome => break outcome,
            }
        };
        match code {
            ErrorCode::None => ensure!(!first?.is_empty(), "{name}={value}"),
            code => refused(first, code, "")?,
        }
    }
    Ok(())
}

/// That it failed with this code, as itself or as the reason of the time that passed.
fn refused<T>(outcome: ottla_client::Result<T>, code: ErrorCode, about: &str) -> Result<()> {
    let error = outcome.err().with_context(|| format!("{code} is no error"))?.to_string();
    ensure!(error.contains(code.name()) && error.contains(about), "{error:?} instead of {code} of {about:?}");
    Ok(())
}
