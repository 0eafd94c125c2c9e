//! Records sent, and what is in the log afterwards.

use std::time::{Duration, Instant};

use ottla_client::admin::NewTopic;
use ottla_client::blocking::block_on;
use ottla_client::model::{ErrorCode, NodeId};
use ottla_client::protocol::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_client::{
    Admin, Client, ClientConfig, Error, Header, Producer, Record, RecordMetadata, Target, TrySendError,
};
use ottla_record::{Batches, Record as Stored};

use crate::node::TestNode;

/// All records of a partition, with the size of the batches they came in.
fn stored(client: &Client, topic: &str, partition: i32) -> (Vec<Stored>, Vec<usize>) {
    let metadata = client.metadata();
    let topic = metadata.topic(topic).unwrap();
    let (mut records, mut batches, mut offset) = (Vec::new(), Vec::new(), 0);
    loop {
        let partitions = vec![FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        }];
        let topics = vec![FetchTopic { topic_id: topic.id, partitions, ..Default::default() }];
        let request = FetchRequest { max_bytes: 1 << 20, topics, ..Default::default() };
        let answer = block_on(client.call(Target::Node(NodeId(1)), request)).unwrap();
        let answer = &answer.responses[0].partitions[0];
        assert_eq!(answer.error_code, 0);
        let bytes = answer.records.as_ref().and_then(|records| records.to_bytes()).unwrap_or_default();
        if bytes.is_empty() {
            return (records, batches);
        }
        for batch in Batches::new(bytes) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            offset = batch.header.next_offset().0;
            batches.push(batch.bytes.len());
            records.extend(batch.records().unwrap().map(Result::unwrap));
        }
    }
}

#[test]
fn records_arrive_whole_in_order_and_with_their_offsets() {
    let node = TestNode::start("");
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let config = node.config().with("compression.type", codec).unwrap().with("batch.size", 1000).unwrap();
        let producer = Producer::new(&config).unwrap();
        let headers = [Header::new("h", b"1"), Header { key: "null", value: None }];
        let values: Vec<String> = (0..500).map(|i| format!("value {i}")).collect();
        let send = async {
            let mut receipts = Vec::new();
            for value in &values {
                let record = Record::to(codec).key("key").value(value).headers(&headers);
                receipts.push(producer.send(record).await?);
            }
            producer.flush().await?;
            let mut offsets = Vec::new();
            for receipt in receipts {
                offsets.push(receipt.await?.offset.0);
            }
            Ok::<_, Error>(offsets)
        };
        assert_eq!(block_on(send), Ok((0..500).collect::<Vec<i64>>()), "{codec}");
        let (records, batches) = stored(producer.client(), codec, 0);
        assert!((2..100).contains(&batches.len()), "{codec}: {batches:?}");
        let found: Vec<&[u8]> = records.iter().map(|record| record.value.as_deref().unwrap()).collect();
        assert!(
            found.iter().zip(&values).all(|(found, sent)| *found == sent.as_bytes()) && found.len() == 500
        );
        let first = &records[0];
        assert_eq!((first.key.as_deref(), first.headers.len()), (Some(&b"key"[..]), 2));
        assert_eq!((&first.headers[0].key[..], first.headers[1].value.as_deref()), (&b"h"[..], None));
        block_on(producer.close(Duration::from_secs(5))).unwrap();
        assert_eq!(producer.try_send(Record::to(codec)).unwrap_err(), TrySendError::Failed(Error::Closed));
    }
}

/// Words in no order, which compressors make the more of the harder they try.
fn compressible() -> String {
    let words = ["broker", "topic", "leader", "offset", "epoch", "replica", "segment"];
    let word = |i: usize| words[i * i * 31 % 101 % words.len()];
    let value: Vec<&str> = (0..20_000).map(word).collect();
    value.join(" ")
}

/// The levels reach the compressors: the hardest one makes less of the same records. The default of lz4 is no level of
/// its high compressor but the fast one, and makes more of them than the lowest level.
#[test]
fn levels_of_compression_are_heeded() {
    let node = TestNode::start("");
    let value = compressible();
    for (codec, low, high) in [("gzip", 1, 9), ("lz4", 9, 1), ("lz4", 3, 12), ("zstd", -20, 19)] {
        let size = |level: i32| {
            let topic = format!("{codec}-{level}");
            let level_name = format!("compression.{codec}.level");
            let config = node.config().with("compression.type", codec).unwrap();
            let producer = Producer::new(&config.with(&level_name, level).unwrap()).unwrap();
            block_on(block_on(producer.send(Record::to(&topic).value(&value))).unwrap()).unwrap();
            stored(producer.client(), &topic, 0).1[0]
        };
        let (low, high) = (size(low), size(high));
        assert!(high < low, "{codec}: {high} bytes with effort, {low} without");
    }
}

/// Threads that fill batches compress them too, with little memory, so that they wait for it as well: what each of them
/// sent is in order, once. At the hardest level, and in batches that take it milliseconds, so that the sender often
/// comes upon one that is away.
#[test]
fn threads_that_compress_side_by_side_keep_the_order() {
    const RECORDS: u32 = 3000;
    let node = TestNode::start("");
    let config = node.config().with("compression.type", "lz4").unwrap().with("compression.lz4.level", 17);
    let config = config.unwrap().with("buffer.memory", 400_000).unwrap().with("batch.size", 20_000).unwrap();
    let producer = Producer::new(&config).unwrap();
    let mut state = 1u32;
    let mut letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 28) as u8
    };
    let letters: Vec<u8> = (0..10_000).map(&mut letter).collect();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (producer, letters) = (&producer, &letters);
            scope.spawn(move || {
                for number in 0..RECORDS {
                    let from = (number * 131 + thread * 17) as usize % 9000;
                    let mut value = letters[from..from + 700 + from % 300].to_vec();
                    value[..4].copy_from_slice(&thread.to_be_bytes());
                    value[4..8].copy_from_slice(&number.to_be_bytes());
                    drop(block_on(producer.send(Record::to("t").value(&value))).unwrap());
                }
            });
        }
    });
    block_on(producer.flush()).unwrap();
    let mut next = [0; 4];
    for record in stored(producer.client(), "t", 0).0 {
        let value = record.value.unwrap();
        let word = |at: usize| u32::from_be_bytes(value[at..at + 4].try_into().unwrap());
        let seen = &mut next[word(0) as usize];
        assert_eq!(word(4), *seen);
        *seen += 1;
    }
    assert_eq!(next, [RECORDS; 4]);
}

/// With a client that is closed under it a producer takes nothing more, and what it had taken is told so.
#[test]
fn receipts_end_with_the_client() {
    let node = TestNode::start("");
    let config = node.config().with("linger.ms", 60_000).unwrap();
    let client = Client::new(&config).unwrap();
    let producer = Producer::with_client(client.clone(), &config).unwrap();
    let receipt = block_on(producer.send(Record::to("t").value("lingers"))).unwrap();
    client.close();
    assert_eq!(receipt.wait().unwrap_err(), Error::Closed);
    assert_eq!(block_on(producer.send(Record::to("t").value("late"))).err(), Some(Error::Closed));
}

/// A broker that compresses on its own does it at the level of the topic, or else at its own.
#[test]
fn brokers_heed_the_levels_of_lz4_too() {
    let node = TestNode::start("compression.lz4.level=3");
    let admin = Admin::new(&node.config()).unwrap();
    let producer = Producer::new(&node.config()).unwrap();
    let value = compressible();
    let create = |name: &str, level: Option<&str>| {
        let level = level.map(|level| ("compression.lz4.level".to_owned(), level.to_owned()));
        let configs = std::iter::once(("compression.type".to_owned(), "lz4".to_owned())).chain(level);
        let topic = NewTopic { name: name.to_owned(), configs: configs.collect(), ..Default::default() };
        block_on(admin.create_topic(&topic))
    };
    let size = |name: &str, level: Option<&str>| {
        create(name, level).unwrap();
        block_on(block_on(producer.send(Record::to(name).value(&value))).unwrap()).unwrap();
        let (records, batches) = stored(producer.client(), name, 0);
        assert_eq!(records[0].value.as_deref(), Some(value.as_bytes()));
        batches[0]
    };
    let (fast, brokers, hard) = (size("fast", Some("9")), size("brokers", None), size("hard", Some("17")));
    assert!(fast > brokers && brokers > hard, "{fast}, {brokers} and {hard} bytes");
    assert_eq!(size("level-3", Some("3")), brokers);
    for level in ["0", "18"] {
        let refused = create("never", Some(level)).unwrap_err().to_string();
        assert!(refused.contains("compression.lz4.level"), "{refused}");
    }
}

#[test]
fn without_idempotence_and_without_acknowledgements() {
    let node = TestNode::start("");
    let producer = Producer::new(&node.config().with("acks", 0).unwrap()).unwrap();
    let receipt = block_on(producer.send(Record::to("t").value("x"))).unwrap();
    assert_eq!(block_on(receipt).unwrap().offset.0, -1);
    let producer = Producer::new(&node.config().with("acks", 1).unwrap()).unwrap();
    let receipt = block_on(producer.send(Record::to("t").value("y"))).unwrap();
    assert_eq!(receipt.wait().unwrap().offset.0, 1);
}

#[test]
fn a_batch_that_the_broker_finds_too_large_is_cut() {
    let node = TestNode::start("message.max.bytes=5000");
    let producer = Producer::new(&node.config().with("linger.ms", 100).unwrap()).unwrap();
    let value = [7; 1000];
    let sending = async {
        let mut receipts = Vec::new();
        for _ in 0..30 {
            receipts.push(producer.send(Record::to("t").value(&value)).await?);
        }
        let mut offsets = Vec::new();
        for receipt in receipts {
            offsets.push(receipt.await?.offset.0);
        }
        Ok::<_, Error>(offsets)
    };
    assert_eq!(block_on(sending), Ok((0..30).collect::<Vec<i64>>()));
    let (records, batches) = stored(producer.client(), "t", 0);
    assert!(records.len() == 30 && batches.iter().all(|bytes| *bytes <= 5000), "{batches:?}");
    let receipt = block_on(producer.send(Record::to("t").value(&[7; 6000]))).unwrap();
    assert_eq!(receipt.wait().unwrap_err().code(), Some(ErrorCode::MessageTooLarge));
    assert_eq!(block_on(producer.flush()).unwrap_err().code(), Some(ErrorCode::MessageTooLarge));
    // What comes after is not held up by what was refused.
    let receipt = block_on(producer.send(Record::to("t").value("small"))).unwrap();
    assert_eq!(receipt.wait().unwrap().offset.0, 30);
}

#[test]
fn what_cannot_be_sent_is_refused_with_a_reason() {
    let node = TestNode::start("auto.create.topics.enable=false");
    let config = node.config().with("max.block.ms", 300).unwrap();
    let producer = Producer::new(&config).unwrap();
    let begun = Instant::now();
    let error = block_on(producer.send(Record::to("missing"))).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("sending to missing took longer than 300 ms"), "{text}");
    assert!(text.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let error = block_on(producer.send(Record::to("no such name!"))).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidTopicException), "{error}");
}

#[test]
fn a_full_buffer_blocks_and_then_says_so() {
    let node = TestNode::start("");
    let pairs = [("buffer.memory", "40000"), ("max.block.ms", "200"), ("linger.ms", "60000")];
    let config = ClientConfig::from_pairs(pairs).unwrap();
    let config = config.with("bootstrap.servers", node.address()).unwrap();
    let producer = Producer::new(&config).unwrap();
    block_on(producer.send(Record::to("t").value("first"))).unwrap().wait_for(&producer);
    let error = block_on(producer.send(Record::to("t").value(&[0; 50_000]))).unwrap_err();
    assert_eq!(error, Error::RecordTooLarge { bytes: 50_036, limit: 40_000, setting: "buffer.memory" });
    let error = block_on(producer.send(Record::to("t").partition(9))).unwrap_err();
    assert!(error.to_string().contains("t has 1 partitions"), "{error}");
    drop(node);
    let mut taken = 0;
    let error = loop {
        match block_on(producer.send(Record::to("t").value(&[0; 15_000]))) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(taken, 2);
    assert!(
        error.to_string().contains("buffer.memory (40000 bytes)") || error.to_string().contains("refused")
    );
    assert!(matches!(error, Error::TimedOut { .. }));
    let error = block_on(producer.close(Duration::from_millis(100))).unwrap_err();
    assert!(error.to_string().contains("closing the producer"), "{error}");
}

trait WaitFor {
    fn wait_for(self, producer: &Producer);
}

impl WaitFor for ottla_client::Receipt {
    /// Waits without lingering.
    fn wait_for(self, producer: &Producer) {
        block_on(producer.flush()).unwrap();
        self.wait().unwrap();
    }
}

/// Answers are lost with every stop: what was appended is sent again, and told from what was not.
#[test]
fn a_broker_that_goes_and_comes_back_gets_every_record_once_and_in_order() {
    const RESTARTS: usize = 20;
    let mut node = TestNode::start("");
    // Little memory: what is under way stays little, and the load ends with the last stop.
    let pairs = [("batch.size", "500"), ("buffer.memory", "50000"), ("retry.backoff.max.ms", "100")];
    let config = ClientConfig::from_pairs(pairs).unwrap().with("bootstrap.servers", node.address()).unwrap();
    let producer = Producer::new(&config).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let sending = producer.clone();
    let load = std::thread::spawn(move || {
        let mut receipts = Vec::new();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            for _ in 0..200 {
                let value = receipts.len().to_string();
                receipts.push(block_on(sending.send(Record::to("t").value(&value))).unwrap());
            }
        }
        receipts
    });
    for _ in 0..RESTARTS {
        // Something has arrived since the last stop.
        block_on(block_on(producer.send(Record::to("marks").value("x"))).unwrap()).unwrap();
        node.restart();
    }
    drop(stop);
    let receipts = load.join().unwrap();
    block_on(producer.flush()).unwrap();
    let count = receipts.len();
    for receipt in receipts {
        receipt.wait().unwrap();
    }
    block_on(producer.client().updated_metadata()).unwrap();
    let (records, _) = stored(producer.client(), "t", 0);
    let found: Vec<&[u8]> = records.iter().map(|record| record.value.as_deref().unwrap()).collect();
    assert_eq!(found.len(), count);
    assert!(found.iter().enumerate().all(|(i, value)| *value == i.to_string().as_bytes()));
}

#[test]
fn a_function_hears_of_each_record_once_and_may_panic() {
    let node = TestNode::start("");
    let producer = Producer::new(&node.config()).unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    block_on(async {
        for i in 0..50_i64 {
            let told = told.clone();
            let value = i.to_string();
            let record = Record::to("t").value(&value).partition(0);
            let done = move |outcome: Result<RecordMetadata, Error>| {
                told.send((i, outcome.unwrap().offset.0)).unwrap();
                assert!(i != 7, "the application's mistake");
            };
            producer.send_with(record, done).await.unwrap();
        }
        producer.flush().await.unwrap();
    });
    let mut all: Vec<_> = (0..50).map(|_| heard.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..50).map(|i| (i, i)).collect::<Vec<_>>());

    // Nobody answers any more: what was taken is told as well.
    drop(node);
    let told_last = told.clone();
    let last = Record::to("t").value("last").partition(0);
    let done = move |outcome: Result<RecordMetadata, Error>| {
        assert!(outcome.is_err());
        told_last.send((50, -1)).unwrap();
    };
    block_on(producer.send_with(last, done)).unwrap();
    block_on(producer.close(Duration::from_millis(50))).unwrap_err();
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), (50, -1));
}
