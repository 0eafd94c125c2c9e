//! A connection that asks one thing at a time.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use ottla_model::{ErrorCode, Millis};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_protocol::api::metadata::{MetadataRequest, MetadataRequestTopic};
use ottla_protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::{Records, Request, Segment, decode_response, encode_request};
use ottla_record::BatchBuilder;
use ottla_testing::TestBroker;

pub struct Wire(TcpStream);

impl Wire {
    pub fn to(broker: &TestBroker) -> Self {
        Self(TcpStream::connect(broker.address()).expect("connect"))
    }

    /// What is answered, or how the connection ended.
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        for segment in encode_request(request, version, 7, Some("test".into())).expect("encode a request") {
            if let Segment::Bytes(bytes) = segment {
                self.0.write_all(&bytes)?;
            }
        }
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame)?;
        let (correlation_id, answer) = decode_response::<R>(Bytes::from(frame), version).expect("an answer");
        assert_eq!(correlation_id, 7);
        Ok(answer)
    }

    pub fn create_topic(&mut self, name: &str, replicas: i16) {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: replicas,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = self.ask(7, &request).expect("an answer");
        assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
    }

    /// The leader of a topic's first partition, as this broker knows it.
    pub fn leader(&mut self, topic: &str) -> Option<i32> {
        let topic = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let answer = self.ask(12, &request).expect("an answer");
        answer.topics[0].partitions.first().map(|partition| partition.leader_id).filter(|leader| *leader >= 0)
    }

    /// Produces one record; its offset, or the error.
    pub fn produce(
        &mut self,
        topic: &str,
        timestamp: Millis,
        value: &str,
    ) -> io::Result<Result<i64, ErrorCode>> {
        let data = PartitionProduceData { index: 0, records: Some(Records::Bytes(batch(timestamp, value))) };
        let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
        let request =
            ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() };
        let answer = self.ask(9, &request)?;
        let partition = &answer.responses[0].partition_responses[0];
        Ok(checked(partition.error_code).map(|()| partition.base_offset))
    }

    /// Log start offset, high watermark and bytes of records from an offset on.
    pub fn fetch(&mut self, topic: &str, offset: i64) -> io::Result<Result<(i64, i64, usize), ErrorCode>> {
        let partition = FetchPartition {
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            current_leader_epoch: -1,
            ..Default::default()
        };
        let topic = FetchTopic { topic: topic.into(), partitions: vec![partition], ..Default::default() };
        let request = FetchRequest {
            replica_id: -1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let answer = self.ask(12, &request)?;
        let partition = &answer.responses[0].partitions[0];
        let bytes = match &partition.records {
            Some(Records::Bytes(bytes)) => bytes.len(),
            _ => 0,
        };
        let state = (partition.log_start_offset, partition.high_watermark, bytes);
        Ok(checked(partition.error_code).map(|()| state))
    }
}

fn checked(error_code: i16) -> Result<(), ErrorCode> {
    match ErrorCode::from_code(error_code).expect("a known error") {
        code if code.is_ok() => Ok(()),
        code => Err(code),
    }
}

fn batch(timestamp: Millis, value: &str) -> Bytes {
    let mut batch = BatchBuilder::default();
    batch.append(timestamp, None, Some(value.as_bytes()));
    batch.build()
}
