//! The story of `../README.md` with the rdkafka crate and the librdkafka it builds.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::util::get_rdkafka_version;

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

struct Story {
    bootstrap: String,
    topic: String,
    group: String,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("BOOTSTRAP TOPIC GROUP");
    Story { bootstrap: next(), topic: next(), group: next() }.tell();
}

impl Story {
    fn tell(&self) {
        let (mut seen, a) = (Vec::new(), self.member());
        until(|| owned(&a) == 4, || take(&a, &mut seen));
        let alone = owned(&a);
        let b = self.member();
        until(|| owned(&a) == 2 && owned(&b) == 2, || {
            take(&a, &mut seen);
            take(&b, &mut seen);
        });
        let shared = [owned(&a), owned(&b)];
        self.produce(0, 100);
        let end = Instant::now() + Duration::from_secs(40);
        while seen.len() < 100 {
            assert!(Instant::now() < end, "out of time with {} records", seen.len());
            take(&a, &mut seen);
            take(&b, &mut seen);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        for member in [a, b] {
            member.commit_consumer_state(CommitMode::Sync).expect("commit");
        }
        self.produce(100, 120);
        let (mut rest, c) = (Vec::new(), self.member());
        let end = Instant::now() + Duration::from_secs(40);
        while rest.len() < 20 {
            assert!(Instant::now() < end, "out of time with {} records", rest.len());
            take(&c, &mut rest);
        }
        take(&c, &mut rest);
        rest.sort_unstable();
        assert_eq!(rest, (100..120).collect::<Vec<_>>());
        println!(
            "{{\"client\": \"rdkafka crate, librdkafka {}\", \"produced\": 120, \"alone\": {alone}, \"shared\": {shared:?}, \
             \"first\": {}, \"resumed\": {}, \"headers\": true}}",
            get_rdkafka_version().1,
            seen.len(),
            rest.len()
        );
    }

    fn produce(&self, first: u32, last: u32) {
        for (i, codec) in (0..).zip(CODECS) {
            let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
                .set("bootstrap.servers", &self.bootstrap)
                .set("enable.idempotence", "true")
                .set("compression.type", codec)
                .create()
                .expect("create a producer");
            for n in (first..last).filter(|n| n % 4 == i) {
                let (key, value, header) = (format!("key-{n}"), format!("value-{n}"), n.to_string());
                let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some(&header) });
                let record = BaseRecord::to(&self.topic).key(&key).payload(&value).headers(headers);
                producer.send(record).map_err(|(error, _)| error).expect("queue a record");
            }
            producer.flush(Duration::from_secs(30)).expect("deliver the records");
        }
    }

    fn member(&self) -> BaseConsumer {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", &self.group)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "300")
            .create()
            .expect("create a consumer");
        consumer.subscribe(&[&self.topic]).expect("subscribe");
        consumer
    }
}

fn owned(consumer: &BaseConsumer) -> usize {
    consumer.assignment().expect("read the assignment").count()
}

fn take(consumer: &BaseConsumer, seen: &mut Vec<u32>) {
    let Some(message) = consumer.poll(Duration::from_millis(100)) else { return };
    let message = message.expect("poll");
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("a value").to_vec()).expect("UTF-8");
    let n: u32 = text(message.key()).strip_prefix("key-").expect("a key").parse().expect("a number");
    assert_eq!(text(message.payload()), format!("value-{n}"));
    assert_eq!(text(message.headers().expect("headers").get(0).value), n.to_string());
    seen.push(n);
}

fn until(condition: impl Fn() -> bool, mut step: impl FnMut()) {
    let end = Instant::now() + Duration::from_secs(40);
    while !condition() {
        assert!(Instant::now() < end, "out of time");
        step();
    }
}
