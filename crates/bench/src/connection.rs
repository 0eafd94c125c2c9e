//! One request after the other, for everything that is not measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use ottla_model::Uuid;
use ottla_protocol::api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::api::fetch::{FetchPartition, FetchRequest, FetchTopic};
use ottla_protocol::api::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use ottla_protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::{Request, Segment, decode_response, encode_request};

pub const PRODUCE_VERSION: i16 = 13;
pub const FETCH_VERSION: i16 = 17;

/// A topic by what requests need of it.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
    pub partitions: i32,
}

/// A request as it is sent, in pieces that share their batches.
pub type Frame = Vec<Bytes>;

/// Encodes a request; correlation ids are not looked at, as answers come in order.
pub fn frame<R: Request>(request: &R, version: i16) -> Result<Frame> {
    let segments = encode_request(request, version, 1, Some("ottla-bench".into()))?;
    let pieces = segments.into_iter().map(|segment| match segment {
        Segment::Bytes(bytes) => Ok(bytes),
        Segment::External { .. } => bail!("a request has no external parts"),
    });
    pieces.collect()
}

pub fn produce_request(topic: &Topic, partition: i32, batch: &Bytes) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            topic_id: topic.id,
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(batch.clone().into()),
            }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    }
}

pub fn fetch_request(topic: &Topic, partition: i32, offset: i64, max_bytes: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 64 << 20,
        topics: vec![FetchTopic {
            topic_id: topic.id,
            partitions: vec![FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: max_bytes,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    }
}

/// A connection that waits for each answer.
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream };
        connection.set_patience(Duration::from_secs(90))?;
        Ok(connection)
    }

    /// How long to wait for an answer.
    pub fn set_patience(&mut self, patience: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(patience))?)
    }

    /// Over a stream that is open.
    pub fn of(stream: TcpStream) -> Self {
        Self { stream }
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub fn call<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.stream.write_all(&frame(request, version)?.concat())?;
        let (_, response) = decode_response::<R>(self.read_frame()?, version)?;
        Ok(response)
    }

    /// One answer without its length.
    pub fn read_frame(&mut self) -> Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("read an answer")?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut answer).context("read an answer")?;
        Ok(answer.into())
    }

    /// Creates a topic and waits until all of its partitions are led.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<Topic> {
        let topic = self.ask_for_topic(name, partitions, 1, configs)?;
        self.await_led(&topic, &(0..partitions).collect::<Vec<_>>())?;
        Ok(topic)
    }

    /// Creates a topic; brokers lead its partitions a little later.
    pub fn ask_for_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replicas: i16,
        configs: &[(&str, &str)],
    ) -> Result<Topic> {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: partitions,
                replication_factor: replicas,
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: (*name).into(),
                        value: Some((*value).into()),
                    })
                    .collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: 30_000,
            ..CreateTopicsRequest::default()
        };
        let response = self.call(&request, 7)?;
        let result = response.topics.first().context("an answer for the topic")?;
        ensure!(result.error_code == 0, "create {name}: {} {:?}", result.error_code, result.error_message);
        Ok(Topic { name: name.to_owned(), id: result.topic_id, partitions })
    }

    /// Waits until the node has become leader of these partitions.
    pub fn await_led(&mut self, topic: &Topic, partitions: &[i32]) -> Result<()> {
        let begun = Instant::now();
        let partition = |&partition_index: &i32| ListOffsetsPartition {
            partition_index,
            timestamp: -2,
            ..ListOffsetsPartition::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.name.as_str().into(),
                partitions: partitions.iter().map(partition).collect(),
            }],
            ..ListOffsetsRequest::default()
        };
        loop {
            let response = self.call(&request, 7)?;
            let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            if partitions.all(|partition| partition.error_code == 0) {
                return Ok(());
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "{} has no leaders", topic.name);
            // tidy: thread::sleep, as a broker does not tell when it has become leader.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn delete_topic(&mut self, topic: &Topic) -> Result<()> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(topic.name.as_str().into()), ..Default::default() }],
            timeout_ms: 30_000,
            ..DeleteTopicsRequest::default()
        };
        let response = self.call(&request, 6)?;
        let error = response.responses.first().context("an answer for the topic")?.error_code;
        ensure!(error == 0, "delete {}: {error}", topic.name);
        Ok(())
    }

    /// Appends a batch; the error code is the partition's.
    pub fn produce(&mut self, topic: &Topic, partition: i32, batch: &Bytes) -> Result<i16> {
        let response = self.call(&produce_request(topic, partition, batch), PRODUCE_VERSION)?;
        let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        Ok(partitions.next().context("an answer for the partition")?.error_code)
    }
}
