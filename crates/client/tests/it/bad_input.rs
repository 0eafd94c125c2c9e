//! What applications and peers do wrong: the error names it, nothing hangs, and what was taken is not lost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ottla_client::blocking::block_on;
use ottla_client::consumer::{Rebalance, RebalanceListener};
use ottla_client::model::{ErrorCode, Offset, TopicPartition};
use ottla_client::{Admin, Choice, Client, ClientConfig, Consumer, Error, Partitioner, Producer, Record};

use crate::node::TestNode;

const GROUPS: &str = "offsets.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=0";
/// Longer than any of these calls may take, whatever it waits for.
const SOON: Duration = Duration::from_secs(10);

fn set(mut config: ClientConfig, pairs: &[(&str, &str)]) -> ClientConfig {
    for (name, value) in pairs {
        config.set(name, value).unwrap();
    }
    config
}

/// The next error of polls, of which none waits long.
fn poll_error(consumer: &mut Consumer) -> Error {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < SOON, "nobody says what is wrong");
        if let Err(error) = block_on(consumer.poll(Duration::from_millis(100))) {
            return error;
        }
    }
}

/// Values in the order in which they come, until there are `count`.
fn read(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let (begun, mut values) = (Instant::now(), Vec::new());
    while values.len() < count {
        assert!(begun.elapsed() < SOON, "only {values:?} came");
        let records = block_on(consumer.poll(Duration::from_millis(100))).unwrap();
        values.extend(records.iter().map(|r| String::from_utf8(r.value().unwrap().to_vec()).unwrap()));
    }
    values
}

fn send(producer: &Producer, topic: &str, values: &[&str]) {
    for value in values {
        block_on(block_on(producer.send(Record::to(topic).value(value).partition(0))).unwrap()).unwrap();
    }
}

#[test]
fn brokers_that_cannot_be_reached_are_named_by_every_client() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let begun = Instant::now();
    let waits = [("default.api.timeout.ms", "300"), ("max.block.ms", "300")];
    let config = set(ClientConfig::new(&nobody), &waits);
    let refused = format!("last failure: no connection to {nobody}: Connection refused");
    let told = |error: Error| assert!(error.to_string().contains(&refused), "{error}");

    let producer = Producer::new(&config).unwrap();
    told(block_on(producer.send(Record::to("t").value("x"))).unwrap_err());
    block_on(producer.close(Duration::from_secs(1))).unwrap();
    let admin = Admin::new(&config).unwrap();
    told(block_on(admin.metadata()).unwrap_err());
    told(block_on(admin.describe_group("g")).unwrap_err());
    let mut consumer = Consumer::new(&set(config, &[("group.id", "g")])).unwrap();
    let partition = TopicPartition::new("t", 0);
    consumer.assign([partition.clone()]).unwrap();
    // As with Kafka's clients, polling waits for brokers that may come.
    assert!(block_on(consumer.poll(Duration::from_millis(100))).unwrap().is_empty());
    told(block_on(consumer.position(&partition)).unwrap_err());
    told(block_on(consumer.committed(std::slice::from_ref(&partition))).unwrap_err());
    consumer.seek(&partition, Offset(1)).unwrap();
    told(block_on(consumer.commit()).unwrap_err());
    block_on(consumer.close()).unwrap_err();
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_record_that_no_request_holds_is_refused_and_others_arrive() {
    let node = TestNode::start("");
    let pairs = [("max.request.size", "2000"), ("linger.ms", "200"), ("auto.offset.reset", "earliest")];
    let config = set(node.config(), &pairs);
    let producer = Producer::new(&config).unwrap();
    let before = block_on(producer.send(Record::to("t").value("before"))).unwrap();
    let error = block_on(producer.send(Record::to("t").value(&[0; 2000]))).unwrap_err();
    assert_eq!(error, Error::RecordTooLarge { bytes: 2036, limit: 2000, setting: "max.request.size" });
    assert_eq!(error.to_string(), "a record of 2036 bytes is larger than 2000 (max.request.size)");
    let after = block_on(producer.send(Record::to("t").value("after"))).unwrap();
    assert_eq!((before.wait().unwrap().offset, after.wait().unwrap().offset), (Offset(0), Offset(1)));
}

#[test]
fn topics_that_are_not_there_are_named() {
    let node = TestNode::start(&format!("{GROUPS}\nauto.create.topics.enable=false"));
    let config = set(node.config(), &[("default.api.timeout.ms", "300"), ("group.id", "g")]);
    let missing = TopicPartition::new("missing", 0);
    let mut consumer = Consumer::new(&config).unwrap();
    consumer.assign([missing.clone()]).unwrap();
    let error = block_on(consumer.position(&missing)).unwrap_err().to_string();
    let expected = "finding the position of missing-0 took longer than 300 ms; last failure: missing";
    assert!(error.starts_with(expected) && error.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    let error = block_on(consumer.end_offsets(&[missing])).unwrap_err().to_string();
    assert!(error.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");

    // What will never be a topic is an error at once, for members too, who go on with the others.
    let named = |error: Error| {
        assert_eq!(error.code(), Some(ErrorCode::InvalidTopicException), "{error}");
        assert!(error.to_string().starts_with("no such name!: "), "{error}");
    };
    consumer.assign([TopicPartition::new("no such name!", 0)]).unwrap();
    named(poll_error(&mut consumer));
    let admin = Admin::new(&node.config()).unwrap();
    let topic = ottla_client::admin::NewTopic { name: "t".into(), ..Default::default() };
    block_on(admin.create_topic(&topic)).unwrap();
    send(&Producer::new(&node.config()).unwrap(), "t", &["a"]);
    let mut member = Consumer::new(&set(config, &[("auto.offset.reset", "earliest")])).unwrap();
    member.subscribe(["t", "no such name!"]).unwrap();
    named(poll_error(&mut member));
    assert_eq!(read(&mut member, 1), ["a"]);
}

/// Answers every connection as an HTTP server does, and counts them, until it is dropped.
struct HttpServer {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
    over: Arc<AtomicBool>,
}

impl HttpServer {
    fn start(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let (asked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end) = (Arc::clone(&asked), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Acquire) {
                    return;
                }
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
                counter.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { address, asked, thread: Some(thread), over }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(std::net::TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A port may be another's for a while: records that were taken wait for the broker as they would if nobody answered.
#[test]
fn records_outlive_an_http_server_in_the_brokers_place() {
    let mut node = TestNode::start("");
    let config = set(node.config(), &[("reconnect.backoff.max.ms", "100"), ("retry.backoff.max.ms", "100")]);
    let producer = Producer::new(&config).unwrap();
    send(&producer, "t", &["first"]);
    let address = node.address();
    node.stop();
    let imposter = HttpServer::start(address);
    let taken = ["second", "third"].map(|v| block_on(producer.send(Record::to("t").value(v))).unwrap());
    let begun = Instant::now();
    while imposter.asked.load(Ordering::Acquire) < 5 {
        assert!(begun.elapsed() < SOON, "the client has stopped asking");
        std::thread::yield_now();
    }
    drop(imposter);
    node.start_again();
    let offsets = taken.map(|receipt| receipt.wait().unwrap().offset.0);
    assert_eq!(offsets, [1, 2]);
}

/// Kafka replaces what is no UTF-8 in names and goes on, and so does this client: records are bytes, names are text.
#[test]
fn names_that_are_no_text_are_read_as_kafka_reads_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = u32::from(address.port()).to_be_bytes();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut length = [0; 4];
                while stream.read_exact(&mut length).is_ok() {
                    let mut request = vec![0; u32::from_be_bytes(length) as usize];
                    stream.read_exact(&mut request).unwrap();
                    let mut answer = request[4..8].to_vec();
                    match request[1] {
                        // ApiVersions 4: itself up to that, and Metadata in version 1 only.
                        18 => answer.extend(b"\0\0\x03\0\x12\0\0\0\x04\0\0\x03\0\x01\0\x01\0\0\0\0\0\0"),
                        // Broker 1 in a rack of bytes, and a topic of bytes without partitions.
                        _ => {
                            answer.extend(b"\0\0\0\x01\0\0\0\x01\0\x09127.0.0.1");
                            answer.extend(port);
                            answer.extend(b"\0\x02r\xff\0\0\0\x01\0\0\0\x01\0\0\0\x03t\xc3\x28\0\0\0\0\0");
                        }
                    }
                    stream.write_all(&u32::to_be_bytes(answer.len() as u32)).unwrap();
                    stream.write_all(&answer).unwrap();
                }
            });
        }
    });
    let client = Client::new(&ClientConfig::new(&address.to_string())).unwrap();
    // An old broker creates topics, whatever it is asked.
    client.set_auto_create(true);
    client.want_all_topics(true);
    let metadata = block_on(client.updated_metadata_within(SOON)).unwrap();
    assert_eq!(metadata.topics.keys().map(|name| &**name).collect::<Vec<_>>(), ["t\u{fffd}("]);
    assert_eq!(metadata.brokers.values().next().unwrap().rack.as_deref(), Some("r\u{fffd}"));

    // A settings file is UTF-8, or else in ISO 8859-1, in which Java reads all of them.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"group.id=caf\xe9\n").unwrap();
    assert_eq!(ClientConfig::from_file(file.path()).unwrap().text("group.id"), "café");
    std::fs::write(file.path(), "group.id=café\n").unwrap();
    assert_eq!(ClientConfig::from_file(file.path()).unwrap().text("group.id"), "café");
    std::fs::write(file.path(), b"group.id=a\nclient.id=\\u00\xff\n").unwrap();
    let error = ClientConfig::from_file(file.path()).unwrap_err().to_string();
    let path = file.path().display();
    assert_eq!(error, format!("cannot read {path}: line 2: \\u must be followed by 4 hex digits"));
}

/// Panics on "bad" values.
struct Moody;

impl Partitioner for Moody {
    fn choose(&self, _: &str, _: Option<&[u8]>, value: Option<&[u8]>, _: usize) -> Choice {
        assert!(value != Some(b"bad"), "the partitioner's own");
        Choice::Partition(0)
    }
}

#[test]
fn a_partitioner_that_panics_takes_only_its_record_with_it() {
    let node = TestNode::start("");
    let config = set(node.config(), &[("auto.offset.reset", "earliest"), ("linger.ms", "100")]);
    let producer = Producer::with_partitioner(&config, Moody).unwrap();
    let send = |value: &'static str| block_on(producer.send(Record::to("t").value(value)));
    let before = send("before").unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| send("bad"))).is_err());
    let after = send("after").unwrap();
    assert_eq!((before.wait().unwrap().offset, after.wait().unwrap().offset), (Offset(0), Offset(1)));
    block_on(producer.close(Duration::from_secs(5))).unwrap();
}

/// Panics as often as it is told to.
struct MoodyListener(usize);

impl RebalanceListener for MoodyListener {
    fn assigned(&mut self, _: &mut Rebalance<'_>, _: &[TopicPartition]) {
        self.0 = self.0.checked_sub(1).map_or(0, |left| panic!("the listener's own, {left} to come"));
    }

    fn revoked(&mut self, _: &mut Rebalance<'_>, _: &[TopicPartition]) {
        assert!(self.0 == 0, "the listener's own");
    }
}

#[test]
fn a_listener_a_pattern_and_a_reader_of_a_stream_may_panic() {
    let node = TestNode::start(GROUPS);
    send(&Producer::new(&node.config()).unwrap(), "t", &["a", "b"]);
    let pairs = [("auto.offset.reset", "earliest"), ("group.id", "g"), ("max.poll.records", "1")];
    let config = set(node.config(), &pairs);
    let mut consumer = Consumer::new(&config).unwrap();
    consumer.set_listener(MoodyListener(1));
    let asked = AtomicUsize::new(0);
    let is_wanted = move |topic: &str| {
        assert!(asked.fetch_add(1, Ordering::Relaxed) > 0, "the pattern's own");
        topic == "t"
    };
    consumer.subscribe_matching(is_wanted).unwrap();
    let mut panics = 0;
    let begun = Instant::now();
    // The consumer is as it was before the poll: the next one goes on.
    let first = loop {
        assert!(begun.elapsed() < SOON, "{panics} panics, and no record");
        let poll = AssertUnwindSafe(|| block_on(consumer.poll(Duration::from_millis(100))));
        match catch_unwind(poll) {
            Ok(records) => match records.unwrap().iter().next() {
                Some(record) => break record.offset(),
                None => continue,
            },
            Err(_) => panics += 1,
        }
    };
    assert_eq!((panics, first), (2, Offset(0)));
    // What the stream gave to a reader that panics is not committed: whoever comes next reads it.
    let mut stream = consumer.into_stream();
    let reader = AssertUnwindSafe(move || {
        assert_eq!(block_on(stream.next()).unwrap().offset, Offset(1));
        panic!("the reader's own");
    });
    assert!(catch_unwind(reader).is_err());
    let mut next = Consumer::new(&config).unwrap();
    next.subscribe(["t"]).unwrap();
    let values = read(&mut next, 1);
    assert!(values == ["a"] || values == ["b"], "{values:?}");
}
