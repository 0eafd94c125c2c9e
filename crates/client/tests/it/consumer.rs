//! Consumers against a node in this process.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_client::blocking::block_on;
use ottla_client::consumer::{OffsetSpec, Rebalance, RebalanceListener};
use ottla_client::model::{ErrorCode, Millis, NodeId, Offset, TopicPartition};
use ottla_client::protocol::Records as Bytes;
use ottla_client::protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_client::protocol::api::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use ottla_client::protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_client::{Client, ClientConfig, Consumer, Target};
use ottla_record::{BatchBuilder, Codec, Compression};
use parking_lot::Mutex;

use crate::node::TestNode;

/// One node keeps the groups' offsets, and does not wait for more members than there are.
const GROUPS: &str = "offsets.topic.num.partitions=1\n\
                      group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=100";
const POLL: Duration = Duration::from_secs(1);

/// A topic with partitions, and what the tests put there.
struct Topic {
    client: Client,
    name: Arc<str>,
}

impl Topic {
    fn create(node: &TestNode, name: &str, num_partitions: i32) -> Self {
        let client = Client::new(&node.config()).unwrap();
        let topic =
            CreatableTopic { name: name.into(), num_partitions, replication_factor: 1, ..Default::default() };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = block_on(client.call(Target::Any, request)).unwrap();
        assert_eq!(answer.topics[0].error_code, 0);
        client.want_topics([name.into()]);
        block_on(client.updated_metadata()).unwrap();
        Self { client, name: name.into() }
    }

    /// Appends `count` records; values are their offsets, timestamps 1000 and their offset.
    fn fill(&self, partition: i32, from: i64, count: i64, codec: Codec) {
        let mut batch = BatchBuilder::new(Compression::of(codec));
        for offset in from..from + count {
            batch.append(Millis(1_000 + offset), None, Some(offset.to_string().as_bytes()));
        }
        let data = PartitionProduceData { index: partition, records: Some(Bytes::Bytes(batch.build())) };
        let topic_id = self.client.metadata().topic(&self.name).unwrap().id;
        let topic = TopicProduceData { name: (&*self.name).into(), topic_id, partition_data: vec![data] };
        let request =
            ProduceRequest { acks: 1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() };
        let answer = block_on(self.client.call(Target::Node(NodeId(1)), request)).unwrap();
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, from));
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: self.name.clone(), partition }
    }
}

fn config(node: &TestNode, pairs: &[(&str, &str)]) -> ClientConfig {
    let mut config = node.config();
    config.set("auto.offset.reset", "earliest").unwrap().set("fetch.max.wait.ms", 50).unwrap();
    for (name, value) in pairs {
        config.set(name, value).unwrap();
    }
    config
}

/// Polls until `count` records have come; offsets by partition, in the order in which they came.
fn read(consumer: &mut Consumer, count: usize) -> Vec<(i32, i64)> {
    let mut all = Vec::new();
    while all.len() < count {
        for record in &block_on(consumer.poll(POLL)).unwrap() {
            assert_eq!(record.value().unwrap(), record.offset().to_string().as_bytes());
            assert_eq!(record.timestamp(), Millis(1_000 + record.offset().0));
            all.push((record.partition(), record.offset().0));
        }
    }
    all
}

#[test]
fn all_records_come_in_order_whatever_the_codec_and_the_limit() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 2);
    for (at, codec) in (0..).zip(Codec::ALL) {
        topic.fill(0, at * 100, 100, codec);
        topic.fill(1, at * 100, 100, codec);
    }
    let config = config(&node, &[("max.poll.records", "33"), ("max.partition.fetch.bytes", "1000")]);
    let mut consumer = Consumer::new(&config).unwrap();
    consumer.assign([topic.partition(0), topic.partition(1)]).unwrap();
    let all = read(&mut consumer, 1_000);
    for partition in 0..2 {
        let offsets = all.iter().filter(|(of, _)| *of == partition).map(|(_, offset)| *offset);
        assert!(offsets.eq(0..500), "of partition {partition}");
    }
    assert_eq!(consumer.lag(&topic.partition(0)), Some(0));
    block_on(consumer.close()).unwrap();
}

#[test]
fn positions_follow_seeks_pauses_and_times() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 2);
    topic.fill(0, 0, 10, Codec::None);
    topic.fill(1, 0, 10, Codec::Lz4);
    let (zero, one) = (topic.partition(0), topic.partition(1));
    let mut consumer = Consumer::new(&config(&node, &[])).unwrap();
    consumer.assign([zero.clone(), one.clone()]).unwrap();
    assert_eq!(read(&mut consumer, 20).len(), 20);

    consumer.pause(&one).unwrap();
    consumer.seek(&one, Offset(3)).unwrap();
    consumer.seek(&zero, Offset(8)).unwrap();
    assert_eq!(read(&mut consumer, 2), [(0, 8), (0, 9)]);
    consumer.resume(&one).unwrap();
    assert_eq!(read(&mut consumer, 7).first(), Some(&(1, 3)));
    consumer.seek_to(&zero, OffsetSpec::At(Millis(1_006))).unwrap();
    assert_eq!(read(&mut consumer, 4), [(0, 6), (0, 7), (0, 8), (0, 9)]);
    assert_eq!(block_on(consumer.position(&zero)), Ok(Offset(10)));

    let both = [zero.clone(), one.clone()];
    assert!(block_on(consumer.beginning_offsets(&both)).unwrap().values().eq([&Offset(0), &Offset(0)]));
    assert!(block_on(consumer.end_offsets(&both)).unwrap().values().eq([&Offset(10), &Offset(10)]));
    let times = [(zero.clone(), Millis(1_004)), (one.clone(), Millis(5_000))];
    let found = block_on(consumer.offsets_for_times(&times)).unwrap();
    assert_eq!((found.len(), found[&zero].offset, found[&zero].timestamp), (1, Offset(4), Millis(1_004)));
    assert!(consumer.seek(&TopicPartition::new("t", 7), Offset(0)).is_err());
}

#[test]
fn an_offset_out_of_range_is_an_error_where_nothing_else_is_said() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 1);
    topic.fill(0, 0, 10, Codec::None);
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 4 };
    let deleted = DeleteRecordsTopic { name: "t".into(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![deleted], timeout_ms: 10_000 };
    block_on(topic.client.call(Target::Node(NodeId(1)), request)).unwrap();
    let at = |policy: &str, offset| {
        let mut consumer = Consumer::new(&config(&node, &[("auto.offset.reset", policy)])).unwrap();
        consumer.assign([topic.partition(0)]).unwrap();
        consumer.seek(&topic.partition(0), Offset(offset)).unwrap();
        consumer
    };
    let mut strict = at("none", 2);
    for _ in 0..2 {
        let error = loop {
            if let Err(error) = block_on(strict.poll(POLL)) {
                break error;
            }
        };
        assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange), "{error}");
        assert!(error.to_string().contains("t-0: offset 2 is out of range"), "{error}");
    }
    strict.seek(&topic.partition(0), Offset(8)).unwrap();
    assert_eq!(read(&mut strict, 2), [(0, 8), (0, 9)]);
    assert_eq!(read(&mut at("earliest", 2), 6)[0], (0, 4));
    let mut last = at("latest", 50);
    assert_eq!(block_on(last.poll(Duration::from_millis(300))).unwrap().len(), 0);
    topic.fill(0, 10, 1, Codec::None);
    assert_eq!(read(&mut last, 1), [(0, 10)]);

    let mut new = Consumer::new(&config(&node, &[("auto.offset.reset", "none")])).unwrap();
    new.assign([topic.partition(0)]).unwrap();
    let error = block_on(new.poll(POLL)).unwrap_err();
    assert!(error.to_string().contains("no offset is committed"), "{error}");
}

#[test]
fn what_was_read_is_committed_and_whoever_comes_next_goes_on_there() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 1);
    topic.fill(0, 0, 10, Codec::None);
    let subscribed = |pairs: &[(&str, &str)]| {
        let pairs = [&[("group.id", "g")], pairs].concat();
        let mut consumer = Consumer::new(&config(&node, &pairs)).unwrap();
        consumer.subscribe(["t"]).unwrap();
        consumer
    };
    let mut first = subscribed(&[("max.poll.records", "4")]);
    assert_eq!(read(&mut first, 4).len(), 4);
    block_on(first.commit()).unwrap();
    assert_eq!(
        block_on(first.committed(&[topic.partition(0)])).unwrap()[&topic.partition(0)].offset,
        Offset(4)
    );
    assert_eq!(read(&mut first, 4).len(), 4);
    // Closing commits what was read, dropping does not.
    block_on(first.close()).unwrap();
    let mut second = subscribed(&[]);
    assert_eq!(read(&mut second, 2), [(0, 8), (0, 9)]);
    drop(second);
    let mut third = subscribed(&[("enable.auto.commit", "false")]);
    assert_eq!(read(&mut third, 2), [(0, 8), (0, 9)]);
    assert_eq!(block_on(third.commit_async()), Ok(()));
    block_on(third.close()).unwrap();
    let mut fourth = subscribed(&[]);
    topic.fill(0, 10, 1, Codec::None);
    assert_eq!(read(&mut fourth, 1), [(0, 10)]);
}

#[test]
fn a_handler_that_panics_loses_nothing() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 1);
    topic.fill(0, 0, 5, Codec::None);
    let pairs = [("group.id", "g"), ("auto.commit.interval.ms", "0")];
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut consumer = Consumer::new(&config(&node, &pairs)).unwrap();
        consumer.subscribe(["t"]).unwrap();
        read(&mut consumer, 5);
        panic!("the handler's own");
    }));
    assert!(outcome.is_err());
    let mut next = Consumer::new(&config(&node, &pairs)).unwrap();
    next.subscribe(["t"]).unwrap();
    assert_eq!(read(&mut next, 5).len(), 5);
}

type Heard = (&'static str, Vec<i32>);

/// What members were told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Heard>>>);

impl Told {
    fn push(&self, what: &'static str, partitions: &[TopicPartition]) {
        self.0.lock().push((what, partitions.iter().map(|partition| partition.partition).collect()));
    }
}

impl RebalanceListener for Told {
    fn assigned(&mut self, _: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        self.push("assigned", partitions);
    }

    fn revoked(&mut self, rebalance: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(position) = rebalance.position(partition) {
                rebalance.commit(partition.clone(), position);
            }
        }
        self.push("revoked", partitions);
    }

    fn lost(&mut self, _: &mut Rebalance<'_>, partitions: &[TopicPartition]) {
        self.push("lost", partitions);
    }
}

/// Polls both in turn until each has its share of four partitions; what they read comes back.
fn settle(consumers: &mut [&mut Consumer]) -> Vec<(i32, i64)> {
    let mut read = Vec::new();
    loop {
        for consumer in consumers.iter_mut() {
            let records = block_on(consumer.poll(Duration::from_millis(20))).unwrap();
            read.extend(records.iter().map(|record| (record.partition(), record.offset().0)));
        }
        let shares: Vec<BTreeSet<TopicPartition>> =
            consumers.iter().map(|consumer| consumer.assignment()).collect();
        let all: BTreeSet<_> = shares.iter().flatten().collect();
        if all.len() == 4 && shares.iter().all(|share| share.len() == 4 / consumers.len()) {
            return read;
        }
    }
}

#[test]
fn members_share_the_partitions_through_every_assignor() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 4);
    (0..4).for_each(|partition| topic.fill(partition, 0, 5, Codec::None));
    for strategy in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        let told = Told::default();
        let member = || {
            let pairs = [
                ("group.id", strategy),
                ("partition.assignment.strategy", strategy),
                ("enable.auto.commit", "false"),
                ("heartbeat.interval.ms", "50"),
            ];
            let mut consumer = Consumer::new(&config(&node, &pairs)).unwrap();
            consumer.set_listener(told.clone());
            consumer.subscribe(["t"]).unwrap();
            consumer
        };
        let mut first = member();
        let mut all = settle(&mut [&mut first]);
        while all.len() < 20 {
            all.extend(block_on(first.poll(POLL)).unwrap().iter().map(|r| (r.partition(), r.offset().0)));
        }
        let mut second = member();
        let again = settle(&mut [&mut first, &mut second]);
        assert_eq!(again, [], "{strategy}: what was committed is not read again");
        let mut told = std::mem::take(&mut *told.0.lock());
        assert_eq!(told.remove(0), ("assigned", vec![0, 1, 2, 3]), "{strategy}");
        let (what, partitions) = told.remove(0);
        let cooperative = strategy == "cooperative-sticky";
        let given_up = if cooperative && what == "assigned" { told.remove(0) } else { (what, partitions) };
        assert_eq!(
            (given_up.0, given_up.1.len()),
            ("revoked", if cooperative { 2 } else { 4 }),
            "{strategy}: {told:?}"
        );
        block_on(second.close()).unwrap();
        settle(&mut [&mut first]);
        block_on(first.close()).unwrap();
    }
}

#[test]
fn closing_tells_the_listener_and_a_stream_gives_records_one_by_one() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 4);
    (0..4).for_each(|partition| topic.fill(partition, 0, 5, Codec::None));
    let told = Told::default();
    // The listener commits the positions, nobody else.
    let pairs = [("group.id", "g"), ("enable.auto.commit", "false")];
    let mut consumer = Consumer::new(&config(&node, &pairs)).unwrap();
    consumer.set_listener(told.clone());
    consumer.subscribe(["t"]).unwrap();
    let mut stream = consumer.into_stream();
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let record = block_on(stream.next()).unwrap();
        assert_eq!(record.value.as_deref(), Some(record.offset.to_string().as_bytes()));
        seen.insert((record.partition, record.offset.0));
    }
    assert_eq!(seen.len(), 20);
    let consumer = block_on(stream.into_consumer());
    block_on(consumer.close()).unwrap();
    assert_eq!(*told.0.lock(), [("assigned", vec![0, 1, 2, 3]), ("revoked", vec![0, 1, 2, 3])]);
    let next = Consumer::new(&config(&node, &pairs)).unwrap();
    let partitions: Vec<_> = (0..4).map(|partition| topic.partition(partition)).collect();
    let committed = block_on(next.committed(&partitions)).unwrap();
    assert_eq!(committed.values().map(|committed| committed.offset.0).collect::<Vec<_>>(), [5; 4]);
}

#[test]
fn an_application_that_does_not_poll_loses_its_place_and_gets_it_back() {
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 1);
    topic.fill(0, 0, 3, Codec::None);
    let pairs = [
        ("group.id", "g"),
        ("max.poll.interval.ms", "400"),
        ("session.timeout.ms", "300"),
        ("heartbeat.interval.ms", "50"),
    ];
    let told = Told::default();
    let mut slow = Consumer::new(&config(&node, &pairs)).unwrap();
    slow.set_listener(told.clone());
    slow.subscribe(["t"]).unwrap();
    assert_eq!(read(&mut slow, 3).len(), 3);
    // The other gets the partition as soon as the slow one is out.
    let mut other = Consumer::new(&config(&node, &[("group.id", "g")])).unwrap();
    other.subscribe(["t"]).unwrap();
    assert_eq!(read(&mut other, 3).len(), 3);
    block_on(other.close()).unwrap();
    topic.fill(0, 3, 1, Codec::None);
    assert_eq!(read(&mut slow, 1), [(0, 3)]);
    let told: Vec<&str> = told.0.lock().iter().map(|(what, _)| *what).collect();
    assert_eq!(told, ["assigned", "lost", "assigned"]);
}

#[test]
fn a_pattern_finds_topics_that_come_later() {
    let node = TestNode::start(GROUPS);
    let first = Topic::create(&node, "logs-a", 1);
    Topic::create(&node, "other", 1).fill(0, 0, 1, Codec::None);
    first.fill(0, 0, 1, Codec::None);
    let pairs = [("group.id", "g"), ("metadata.max.age.ms", "100")];
    let mut consumer = Consumer::new(&config(&node, &pairs)).unwrap();
    for (wrong, reason) in
        [("logs-[", "unclosed character class"), ("(?!logs-).*", "look-ahead and look-behind")]
    {
        let error = consumer.subscribe_pattern(wrong).unwrap_err().to_string();
        assert!(error.contains(wrong) && error.contains(reason), "{error}");
    }
    // The whole name, as with Kafka's clients: of these two alternatives neither is the beginning of another name.
    Topic::create(&node, "old-logs-a", 1).fill(0, 0, 1, Codec::None);
    Topic::create(&node, "no-logs-", 1).fill(0, 0, 1, Codec::None);
    consumer.subscribe_pattern("logs-[a-c]|no-logs").unwrap();
    assert_eq!(read(&mut consumer, 1), [(0, 0)]);
    let second = Topic::create(&node, "logs-b", 1);
    second.fill(0, 0, 2, Codec::None);
    assert_eq!(read(&mut consumer, 2).len(), 2);
    let assigned: Vec<String> = consumer.assignment().iter().map(|partition| partition.to_string()).collect();
    assert_eq!(assigned, ["logs-a-0", "logs-b-0"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let node = TestNode::start(GROUPS);
    let new = |pairs: &[(&str, &str)]| Consumer::new(&config(&node, pairs));
    for (pairs, reason) in [
        (&[("auto.offset.reset", "first")][..], "earliest, latest, none"),
        (&[("enable.auto.commit", "true")], "without a group.id"),
        (&[("group.id", "g"), ("partition.assignment.strategy", "fair")], "cooperative-sticky"),
    ] {
        let error = new(pairs).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(new(&[]).unwrap().subscribe(["t"]).unwrap_err().to_string().contains("group.id"));
    let mut assigned = new(&[("group.id", "g")]).unwrap();
    assigned.assign([TopicPartition::new("t", 0)]).unwrap();
    assert!(assigned.subscribe(["t"]).is_err());
}

/// The request at the log's end goes on waiting; what is sought, resumed or assigned meanwhile does not wait with it.
#[test]
fn nothing_waits_behind_a_request_that_waits_at_the_end() {
    const WAIT: Duration = Duration::from_secs(10);
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 3);
    (0..3).for_each(|partition| topic.fill(partition, 0, 5, Codec::None));
    let wait_ms = WAIT.as_millis().to_string();
    let mut consumer = Consumer::new(&config(&node, &[("fetch.max.wait.ms", &wait_ms)])).unwrap();
    let (zero, one, two) = (topic.partition(0), topic.partition(1), topic.partition(2));
    consumer.assign([zero.clone(), one.clone()]).unwrap();
    assert_eq!(read(&mut consumer, 10).len(), 10);
    let at_the_end = |consumer: &mut Consumer| {
        assert!(block_on(consumer.poll(Duration::from_millis(300))).unwrap().is_empty());
    };
    let begun = Instant::now();
    at_the_end(&mut consumer);
    consumer.seek(&zero, Offset(2)).unwrap();
    assert_eq!(read(&mut consumer, 3), [(0, 2), (0, 3), (0, 4)]);
    at_the_end(&mut consumer);
    consumer.seek_to(&one, OffsetSpec::Earliest).unwrap();
    assert_eq!(read(&mut consumer, 5).len(), 5);
    consumer.pause(&one).unwrap();
    consumer.seek(&one, Offset(3)).unwrap();
    at_the_end(&mut consumer);
    consumer.resume(&one).unwrap();
    assert_eq!(read(&mut consumer, 2), [(1, 3), (1, 4)]);
    at_the_end(&mut consumer);
    consumer.assign([zero.clone(), one, two]).unwrap();
    assert_eq!(read(&mut consumer, 5).len(), 5);
    assert!(begun.elapsed() < WAIT, "{:?}", begun.elapsed());

    // When the long request ends, nothing comes twice and nothing is left out.
    topic.fill(0, 5, 3, Codec::None);
    consumer.seek(&zero, Offset(4)).unwrap();
    assert_eq!(read(&mut consumer, 4), [(0, 4), (0, 5), (0, 6), (0, 7)]);
    at_the_end(&mut consumer);
}

/// A request at the end of an idle partition holds up neither another that is behind by many fetches, nor that one when
/// it is read from the beginning again.
#[test]
fn what_is_behind_is_read_beside_a_request_that_waits() {
    const WAIT: Duration = Duration::from_secs(10);
    let node = TestNode::start(GROUPS);
    let topic = Topic::create(&node, "t", 2);
    (0..20).for_each(|batch| topic.fill(0, batch * 25, 25, Codec::None));
    let wait_ms = WAIT.as_millis().to_string();
    let config = config(
        &node,
        &[("fetch.max.wait.ms", &wait_ms), ("max.partition.fetch.bytes", "400"), ("max.poll.records", "25")],
    );
    let mut consumer = Consumer::new(&config).unwrap();
    let (behind, idle) = (topic.partition(0), topic.partition(1));
    let begun = Instant::now();
    consumer.assign([behind.clone(), idle]).unwrap();
    for _ in 0..2 {
        let all = read(&mut consumer, 500);
        assert!(all.into_iter().map(|(_, offset)| offset).eq(0..500));
        assert!(block_on(consumer.poll(Duration::from_millis(100))).unwrap().is_empty());
        consumer.seek_to(&behind, OffsetSpec::Earliest).unwrap();
    }
    assert!(begun.elapsed() < WAIT, "{:?}", begun.elapsed());
}
