//! The two figures that bound the codec's share of a request, beside kafka-protocol in the same run:
//! a Produce request decoded in at most 0.25 µs, and the Metadata response of 10,000 partitions encoded in at most
//! 1.2 ms, neither slower than there. Fails beyond that. `cargo bench -p ottla-protocol`

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use ottla_model::Uuid;
use ottla_protocol::api::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::{Decoder, Encoder, Message, Records};

const PRODUCE_VERSION: i16 = 13;
const METADATA_VERSION: i16 = 13;
const PARTITIONS: i32 = 10_000;
const TOPICS: i32 = 100;

fn main() {
    let produce = produce_request().encode_to_bytes(PRODUCE_VERSION).unwrap();
    let ours =
        fastest(20_000, || ProduceRequest::decode(&mut Decoder::new(produce.clone()), PRODUCE_VERSION));
    let theirs = fastest(20_000, || {
        kafka_protocol::messages::ProduceRequest::decode(&mut produce.clone(), PRODUCE_VERSION)
    });
    report("decode Produce", ours, theirs, 250.0);

    let metadata = metadata_response();
    let encoded = metadata.encode_to_bytes(METADATA_VERSION).unwrap();
    let foreign =
        kafka_protocol::messages::MetadataResponse::decode(&mut encoded.clone(), METADATA_VERSION).unwrap();
    let ours = fastest(20, || {
        let mut e = Encoder::new();
        metadata.encode(&mut e, METADATA_VERSION).unwrap();
        e.finish()
    });
    let theirs = fastest(20, || {
        let mut buffer = BytesMut::new();
        foreign.encode(&mut buffer, METADATA_VERSION).unwrap();
        buffer
    });
    report("encode Metadata of 10,000 partitions", ours, theirs, 1_200_000.0);
}

/// Nanoseconds of the fastest of many rounds of `count` calls.
fn fastest<T>(count: u32, mut call: impl FnMut() -> T) -> f64 {
    let round = || {
        let start = Instant::now();
        for _ in 0..count {
            black_box(call());
        }
        start.elapsed().as_nanos() as f64 / f64::from(count)
    };
    std::iter::repeat_with(round).take(50).fold(f64::INFINITY, f64::min)
}

fn report(what: &str, ours: f64, theirs: f64, limit: f64) {
    let ratio = ours / theirs;
    println!("{what}: {:.3} µs, kafka-protocol {:.3} µs, ratio {ratio:.2}", ours / 1e3, theirs / 1e3);
    assert!(ours <= limit && ratio <= 1.0, "{what} is too slow");
}

fn produce_request() -> ProduceRequest {
    let records = Some(Records::Bytes(Bytes::from(vec![7; 1024])));
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            topic_id: Uuid([7; 16]),
            partition_data: vec![PartitionProduceData { index: 3, records }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn metadata_response() -> MetadataResponse {
    let brokers = (0..3).map(|node_id| MetadataResponseBroker {
        node_id,
        host: format!("broker-{node_id}.example.com").into(),
        port: 9092,
        rack: None,
    });
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        leader_id: partition_index % 3,
        leader_epoch: 5,
        replica_nodes: vec![0, 1, 2],
        isr_nodes: vec![0, 1, 2],
        ..Default::default()
    };
    let topics = (0..TOPICS).map(|topic| MetadataResponseTopic {
        name: Some(format!("topic-{topic}").into()),
        topic_id: Uuid([topic as u8; 16]),
        partitions: (0..PARTITIONS / TOPICS).map(partition).collect(),
        ..Default::default()
    });
    MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some("cluster".into()),
        controller_id: 1,
        topics: topics.collect(),
        ..Default::default()
    }
}
