//! The load of the client cells with the rdkafka crate: `src/client/load.rs` of the bench, call by call.

#[path = "../../../src/client/workload.rs"]
mod workload;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use workload::{Latencies, Mode, Round, Workload, print_peak};

/// Records between two looks at the acknowledgements.
const LOOK_EVERY: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts acknowledgements.
#[derive(Default)]
struct Acknowledged(AtomicUsize);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        result.as_ref().expect("deliver a record");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn main() {
    let load = Workload::parse(std::env::args().skip(1)).expect("the arguments of a load");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &load.bootstrap);
    for (name, value) in &load.settings {
        config.set(name, value);
    }
    match load.mode {
        Mode::Produce => produce(&load, &config),
        Mode::Consume => consume(&load, &config),
        Mode::Latency => latency(&load, &config),
    }
    print_peak();
}

fn produce(load: &Workload, config: &ClientConfig) {
    let payloads = load.payloads();
    let producer: BaseProducer<Acknowledged> =
        config.create_with_context(Acknowledged::default()).expect("create a producer");
    for round in 1..=load.rounds {
        let measured = Round::begin();
        for (number, value) in (0..load.records).zip(payloads.iter().cycle()) {
            send(&producer, load, number, value);
            if number % LOOK_EVERY == 0 {
                producer.poll(Duration::ZERO);
            }
        }
        producer.flush(PATIENCE).expect("flush");
        assert_eq!(producer.context().0.load(Ordering::Relaxed), load.records * round);
        measured.end();
    }
}

/// Waits where the producer has no room.
fn send(producer: &BaseProducer<Acknowledged>, load: &Workload, number: usize, value: &[u8]) {
    let mut record = BaseRecord::<(), [u8]>::to(&load.topic).partition(load.partition(number)).payload(value);
    while let Err((error, refused)) = producer.send(record) {
        let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
        assert_eq!(error, full, "send a record");
        producer.poll(Duration::from_millis(100));
        record = refused;
    }
}

fn consume(load: &Workload, config: &ClientConfig) {
    let consumer = consumer(config);
    for _ in 0..load.rounds {
        assign(&consumer, load, Offset::Beginning);
        let round = Round::begin();
        let (mut records, mut bytes) = (0, 0);
        while records < load.records {
            let Some(record) = consumer.poll(Duration::from_secs(1)) else { continue };
            bytes += record.expect("a record").payload().map_or(0, <[u8]>::len);
            records += 1;
        }
        round.end();
        assert_eq!(bytes, records * load.record_bytes);
        consumer.unassign().expect("unassign");
    }
}

fn latency(load: &Workload, config: &ClientConfig) {
    for _ in 0..load.rounds {
        let consumer = consumer(config);
        // Offset::End would be looked up when the first fetch is due, which may be after the first record.
        let ends = |partition| {
            consumer.fetch_watermarks(&load.topic, partition, PATIENCE).expect("ask for the end").1
        };
        let mut partitions = TopicPartitionList::new();
        for partition in 0..load.partitions {
            let from = Offset::Offset(ends(partition));
            partitions.add_partition_offset(&load.topic, partition, from).expect("add a partition");
        }
        consumer.assign(&partitions).expect("assign");
        let begun = Instant::now() + Duration::from_millis(200);
        let (sent, config) = (load.clone(), config.clone());
        let sender = std::thread::spawn(move || {
            let mut value = vec![b'x'; sent.record_bytes];
            let producer: BaseProducer<Acknowledged> =
                config.create_with_context(Acknowledged::default()).expect("create a producer");
            for number in 0..sent.records {
                Latencies::wait_until_due(begun, number);
                value[..8].copy_from_slice(&(number as u64).to_be_bytes());
                send(&producer, &sent, number, &value);
                producer.poll(Duration::ZERO);
            }
            producer.flush(PATIENCE).expect("flush");
        });
        let mut latencies = Latencies::new(begun, load.records);
        while !latencies.is_complete() {
            if let Some(record) = consumer.poll(Duration::from_secs(1)) {
                latencies.see(record.expect("a record").payload().unwrap_or_default());
            }
        }
        sender.join().expect("the sender");
        latencies.print();
    }
}

fn consumer(config: &ClientConfig) -> BaseConsumer {
    config.clone().set("group.id", "bench").create().expect("create a consumer")
}

fn assign(consumer: &BaseConsumer, load: &Workload, from: Offset) {
    let mut partitions = TopicPartitionList::new();
    for partition in 0..load.partitions {
        partitions.add_partition_offset(&load.topic, partition, from).expect("add a partition");
    }
    consumer.assign(&partitions).expect("assign");
}
