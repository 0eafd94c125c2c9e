//! A node that replicates with a broker played by the test: first as its leader, then as its follower.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ottla_metadata::features::SUPPORTED;
use ottla_model::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset, Uuid};
use ottla_protocol::api::alter_partition::{
    AlterPartitionRequest, AlterPartitionRequestPartitionData, AlterPartitionRequestTopicData, BrokerState,
};
use ottla_protocol::api::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use ottla_protocol::api::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use ottla_protocol::api::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::api::broker_heartbeat::BrokerHeartbeatRequest;
use ottla_protocol::api::broker_registration::{BrokerRegistrationRequest, Feature, Listener};
use ottla_protocol::api::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use ottla_protocol::api::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use ottla_protocol::api::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse,
    PartitionData, ReplicaState,
};
use ottla_protocol::api::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use ottla_protocol::api::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ottla_protocol::{ApiKey, Decoder, Message, Records, RequestHeader, Segment, encode_response};
use ottla_record::{Batch, BatchBuilder, Compression, StampedBatch};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::node::{Client, TestNode};

const PEER: i32 = 2;
const FETCH_VERSION: i16 = 17;

/// The other broker, as the controller knows it.
pub struct Peer {
    id: i32,
    controller: Client,
    epoch: i64,
}

impl Peer {
    pub async fn register(node: &TestNode, id: i32, port: u16) -> Self {
        let mut controller = node.client_of("CONTROLLER").await;
        let request = BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: node.running.node.cluster_id().into(),
            incarnation_id: Uuid::from_u128((76 << 64) + id as u128),
            listeners: vec![Listener {
                name: "PLAINTEXT".into(),
                host: "127.0.0.1".into(),
                port,
                security_protocol: 0,
            }],
            features: SUPPORTED
                .iter()
                .map(|feature| Feature {
                    name: feature.name.into(),
                    min_supported_version: feature.min,
                    max_supported_version: feature.max,
                })
                .collect(),
            log_dirs: vec![Uuid::from_u128((78 << 64) + id as u128)],
            ..Default::default()
        };
        let response = controller.send(&request, 4).await;
        assert_eq!(response.error_code, 0);
        let mut peer = Self { id, controller, epoch: response.broker_epoch };
        assert!(!peer.heartbeat(false).await, "unfenced at once");
        peer
    }

    /// Whether it is fenced.
    async fn heartbeat(&mut self, want_fence: bool) -> bool {
        let request = BrokerHeartbeatRequest {
            broker_id: self.id,
            broker_epoch: self.epoch,
            current_metadata_offset: i64::MAX,
            want_fence,
            ..Default::default()
        };
        let response = self.controller.send(&request, 1).await;
        assert_eq!(response.error_code, 0);
        response.is_fenced
    }
}

impl Peer {
    /// As the leader, has the controller change the in-sync set of partition 0.
    async fn alter_isr(&mut self, topic_id: Uuid, isr: &[i32], partition_epoch: i32) {
        let member = |id: &i32| BrokerState { broker_id: *id, broker_epoch: -1 };
        let partition = AlterPartitionRequestPartitionData {
            partition_index: 0,
            leader_epoch: 0,
            new_isr_with_epochs: isr.iter().map(member).collect(),
            partition_epoch,
            ..Default::default()
        };
        let topic = AlterPartitionRequestTopicData { topic_id, partitions: vec![partition] };
        let request =
            AlterPartitionRequest { broker_id: self.id, broker_epoch: self.epoch, topics: vec![topic] };
        let response = self.controller.send(&request, 3).await;
        assert_eq!((response.error_code, response.topics[0].partitions[0].error_code), (0, 0));
    }
}

async fn create_topic(node: &TestNode, replicas: &[i32], configs: &[(&str, &str)]) -> Uuid {
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: replicas.to_vec() }],
        configs: configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) })
            .collect(),
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let created = node.client().await.send(&request, 7).await.topics.remove(0);
    assert_eq!(created.error_code, 0, "{:?}", created.error_message);
    created.topic_id
}

fn batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append(Millis(1), None, Some(value));
    builder.build()
}

/// A batch as a leader has it in its log.
fn stamped(value: &[u8], offset: i64, epoch: i32) -> Bytes {
    let batch = Batch::parse(&batch(value)).unwrap();
    StampedBatch::restamp(batch, Offset(offset), LeaderEpoch(epoch)).to_bytes()
}

fn produce(topic_id: Uuid, value: &[u8], acks: i16, timeout_ms: i32) -> ProduceRequest {
    let data = PartitionProduceData { index: 0, records: Some(Records::Bytes(batch(value))) };
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms,
        topic_data: vec![TopicProduceData { topic_id, partition_data: vec![data], ..Default::default() }],
    }
}

fn fetch(topic_id: Uuid, broker_epoch: i64, session: (i32, i32), offset: Option<i64>) -> FetchRequest {
    let partition = offset.map(|fetch_offset| FetchPartition {
        partition: 0,
        fetch_offset,
        current_leader_epoch: 0,
        last_fetched_epoch: if fetch_offset > 0 { 0 } else { -1 },
        log_start_offset: 0,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic =
        partition.map(|partition| FetchTopic { topic_id, partitions: vec![partition], ..Default::default() });
    FetchRequest {
        replica_state: ReplicaState { replica_id: PEER, replica_epoch: broker_epoch },
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1 << 20,
        session_id: session.0,
        session_epoch: session.1,
        topics: topic.into_iter().collect(),
        ..Default::default()
    }
}

fn error_of(response: &ottla_protocol::api::produce::ProduceResponse) -> (Option<ErrorCode>, i64) {
    let partition = &response.responses[0].partition_responses[0];
    (ErrorCode::from_code(partition.error_code), partition.base_offset)
}

async fn latest(client: &mut Client) -> i64 {
    let partition = ListOffsetsPartition { partition_index: 0, current_leader_epoch: -1, timestamp: -1 };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    client.send(&request, 7).await.topics[0].partitions[0].offset
}

/// What was produced with acks=all is acknowledged when the follower asks for what comes behind it, and not before;
/// without enough replicas it is refused; a follower that is back is let in again.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_acknowledges_what_its_follower_has() {
    let node = TestNode::start("offsets.topic.replication.factor=1\n").await;
    let mut peer = Peer::register(&node, PEER, 9).await;
    let topic_id = create_topic(&node, &[1, PEER], &[("min.insync.replicas", "2")]).await;
    let mut producer = node.client().await;
    let mut client = node.client().await;
    let mut follower = node.client().await;

    // Nobody fetches: the request's time runs out, and nothing shows.
    let response = producer.send(&produce(topic_id, b"a", -1, 50), 13).await;
    assert_eq!(error_of(&response).0, Some(ErrorCode::RequestTimedOut));
    assert_eq!(latest(&mut client).await, 0);

    let response = follower.send(&fetch(topic_id, peer.epoch, (0, 0), Some(0)), FETCH_VERSION).await;
    assert_eq!(response.error_code, 0);
    let session = response.session_id;
    let data = &response.responses[0].partitions[0];
    assert_eq!((data.error_code, data.high_watermark), (0, 0));
    assert!(!data.records.as_ref().unwrap().is_empty());

    // It has the first record, which is committed then.
    let asked = fetch(topic_id, peer.epoch, (session, 1), Some(1));
    assert_eq!(follower.send(&asked, FETCH_VERSION).await.error_code, 0);
    assert_eq!(latest(&mut client).await, 1);
    let produced = tokio::spawn(async move {
        let response = producer.send(&produce(topic_id, b"b", -1, 30_000), 13).await;
        error_of(&response)
    });
    // A session that names nothing is told what came; asking for what is behind it acknowledges it.
    let mut epoch = 2;
    let has_records = |response: &FetchResponse| {
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.filter_map(|data| data.records.as_ref()).any(|records| !records.is_empty())
    };
    while !has_records(
        &follower.send(&fetch(topic_id, peer.epoch, (session, epoch), None), FETCH_VERSION).await,
    ) {
        epoch += 1;
    }
    assert_eq!(latest(&mut client).await, 1, "not committed yet");
    let asked = fetch(topic_id, peer.epoch, (session, epoch + 1), Some(2));
    assert_eq!(follower.send(&asked, FETCH_VERSION).await.error_code, 0);
    assert_eq!(produced.await.unwrap(), (Some(ErrorCode::None), 1));

    // Fenced, it leaves the in-sync set, and what is too little refuses.
    assert!(peer.heartbeat(true).await);
    let mut producer = node.client().await;
    let refused = async {
        loop {
            let response = producer.send(&produce(topic_id, b"c", -1, 10), 13).await;
            match error_of(&response).0 {
                Some(ErrorCode::NotEnoughReplicas) => break,
                // Taken before the metadata came.
                error => assert_eq!(error, Some(ErrorCode::RequestTimedOut)),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), refused).await.expect("refused in the end");

    // Back, it asks for the log's end and is let in.
    assert!(!peer.heartbeat(false).await);
    let accepted = async {
        loop {
            let asked = fetch(topic_id, peer.epoch, (0, 0), Some(2));
            let response = follower.send(&asked, FETCH_VERSION).await;
            let data = &response.responses[0].partitions[0];
            let records = data.records.clone().unwrap_or_default().to_bytes().unwrap_or_default();
            let behind = 2 + ottla_record::Batches::new(records).count() as i64;
            let asked = fetch(topic_id, peer.epoch, (response.session_id, 1), Some(behind));
            follower.send(&asked, FETCH_VERSION).await;
            let response = producer.send(&produce(topic_id, b"d", -1, 1), 13).await;
            if error_of(&response).0 != Some(ErrorCode::NotEnoughReplicas) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), accepted).await.expect("in sync again");
    node.running.stop().await;
}

/// A throttled follower that is not in sync gets no more than the rate allows; one in sync gets everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_follower_waits_until_it_is_in_sync() {
    let node = TestNode::start("leader.replication.throttled.rate=1\n").await;
    let mut peer = Peer::register(&node, PEER, 9).await;
    let topic_id = create_topic(&node, &[1, PEER], &[("leader.replication.throttled.replicas", "0:1")]).await;
    let mut client = node.client().await;
    let mut follower = node.client().await;
    let response = client.send(&produce(topic_id, b"a", 1, 1000), 13).await;
    assert_eq!(error_of(&response), (Some(ErrorCode::None), 0));
    let asked = fetch(topic_id, peer.epoch, (0, -1), Some(0));
    let records = async |follower: &mut Client| {
        let response = follower.send(&asked, FETCH_VERSION).await;
        let data = &response.responses[0].partitions[0];
        assert_eq!(data.error_code, 0);
        data.records.as_ref().unwrap().len()
    };
    assert!(records(&mut follower).await > 0);
    assert!(records(&mut follower).await > 0, "in sync it is not held back");
    // Fenced, it is in sync no more, and what it was sent counts.
    assert!(peer.heartbeat(true).await);
    let held_back = async { while records(&mut follower).await > 0 {} };
    tokio::time::timeout(Duration::from_secs(30), held_back).await.expect("held back");
    node.running.stop().await;
}

/// The test's side of a fetcher's connection.
struct FakeLeader(TcpStream);

enum Asked {
    Fetch(FetchRequest),
    ListOffsets(i64),
}

impl FakeLeader {
    async fn accept(listener: &TcpListener) -> Self {
        Self(listener.accept().await.unwrap().0)
    }

    async fn reply<M: Message>(&mut self, header: &(ApiKey, RequestHeader), response: &M) {
        let (key, header) = header;
        let version = header.request_api_version;
        for segment in encode_response(*key, version, header.correlation_id, response).unwrap() {
            let Segment::Bytes(bytes) = segment else { panic!("an answer without files") };
            self.0.write_all(&bytes).await.unwrap();
        }
    }

    /// The next request but ApiVersions.
    async fn next(&mut self) -> ((ApiKey, RequestHeader), Asked) {
        loop {
            let size = self.0.read_i32().await.unwrap();
            let mut frame = vec![0; size as usize];
            self.0.read_exact(&mut frame).await.unwrap();
            let mut body = Decoder::new(Bytes::from(frame));
            let header = RequestHeader::decode_frame(&mut body).unwrap();
            let version = header.1.request_api_version;
            match header.0 {
                ApiKey::ApiVersions => {
                    ApiVersionsRequest::decode(&mut body, version).unwrap();
                    let row = |key: ApiKey, max_version| ApiVersion {
                        api_key: key as i16,
                        min_version: 0,
                        max_version,
                    };
                    let response = ApiVersionsResponse {
                        api_keys: vec![
                            row(ApiKey::ApiVersions, 4),
                            row(ApiKey::Fetch, FETCH_VERSION),
                            row(ApiKey::ListOffsets, 9),
                        ],
                        ..Default::default()
                    };
                    self.reply(&header, &response).await;
                }
                ApiKey::Fetch => {
                    let request = FetchRequest::decode(&mut body, version).unwrap();
                    return (header, Asked::Fetch(request));
                }
                ApiKey::ListOffsets => {
                    let request = ListOffsetsRequest::decode(&mut body, version).unwrap();
                    let partition = &request.topics[0].partitions[0];
                    return (header, Asked::ListOffsets(partition.timestamp));
                }
                key => panic!("asked for {key:?}"),
            }
        }
    }

    /// Expects a fetch that names the partition; passes over those that name nothing.
    async fn fetched(&mut self, topic_id: Uuid) -> ((ApiKey, RequestHeader), FetchPartition, (i32, i32)) {
        loop {
            let (header, asked) = self.next().await;
            let Asked::Fetch(request) = asked else { panic!("a fetch") };
            assert_eq!(request.replica_state.replica_id, 1);
            assert!(request.replica_state.replica_epoch >= 0);
            let session = (request.session_id, request.session_epoch);
            match request.topics.into_iter().flat_map(|topic| topic.partitions).next() {
                Some(partition) => return (header, partition, session),
                None => self.reply(&header, &answer(topic_id, None)).await,
            }
        }
    }
}

fn answer(topic_id: Uuid, partition: Option<PartitionData>) -> FetchResponse {
    let topic = partition.map(|partition| FetchableTopicResponse {
        topic_id,
        partitions: vec![partition],
        ..Default::default()
    });
    FetchResponse { session_id: 5, responses: topic.into_iter().collect(), ..Default::default() }
}

fn records(bytes: Bytes, high_watermark: i64) -> PartitionData {
    PartitionData {
        high_watermark,
        log_start_offset: 0,
        records: Some(Records::Bytes(bytes)),
        ..Default::default()
    }
}

/// Appends what its leader sends, refuses what is corrupt, cuts what diverges, finds its leader's range again; and
/// leads with what it has when its leader is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_has_what_its_leader_sent_and_leads_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = TestNode::start("offsets.topic.replication.factor=1\nreplica.fetch.backoff.ms=20\n").await;
    let mut peer = Peer::register(&node, PEER, listener.local_addr().unwrap().port()).await;
    // What it has it says when it is on the disk.
    let topic_id = create_topic(&node, &[PEER, 1], &[("acks.durability", "fsync")]).await;
    let mut leader = FakeLeader::accept(&listener).await;

    let (header, asked, session) = leader.fetched(topic_id).await;
    assert_eq!((asked.fetch_offset, asked.last_fetched_epoch, asked.current_leader_epoch), (0, -1, 0));
    assert_eq!(session, (0, 0));
    let two = [&stamped(b"a", 0, 0)[..], &stamped(b"b", 1, 0)].concat();
    // The last batch of an answer is usually cut.
    let cut = [&two[..], &stamped(b"c", 2, 0)[..30]].concat();
    leader.reply(&header, &answer(topic_id, Some(records(cut.into(), 1)))).await;

    let (header, asked, session) = leader.fetched(topic_id).await;
    assert_eq!((asked.fetch_offset, asked.last_fetched_epoch), (2, 0));
    assert_eq!(session, (5, 1));
    let mut corrupt = stamped(b"c", 2, 0).to_vec();
    *corrupt.last_mut().unwrap() ^= 1;
    leader.reply(&header, &answer(topic_id, Some(records(corrupt.into(), 2)))).await;

    // After the back-off it asks for the same.
    let (header, asked, _) = leader.fetched(topic_id).await;
    assert_eq!(asked.fetch_offset, 2);
    let diverging = PartitionData {
        high_watermark: 1,
        diverging_epoch: EpochEndOffset { epoch: 0, end_offset: 1 },
        records: Some(Records::default()),
        ..Default::default()
    };
    leader.reply(&header, &answer(topic_id, Some(diverging))).await;

    let (header, asked, _) = leader.fetched(topic_id).await;
    assert_eq!((asked.fetch_offset, asked.last_fetched_epoch), (1, 0), "cut to what the leader has");
    let gone = PartitionData {
        error_code: ErrorCode::OffsetOutOfRange.code(),
        high_watermark: -1,
        log_start_offset: -1,
        records: Some(Records::default()),
        ..Default::default()
    };
    leader.reply(&header, &answer(topic_id, Some(gone))).await;
    for (timestamp, offset) in [(-1, 12), (-2, 10)] {
        let (header, asked) = leader.next().await;
        assert!(matches!(asked, Asked::ListOffsets(found) if found == timestamp));
        let partition = ListOffsetsPartitionResponse { offset, ..Default::default() };
        let topic = ListOffsetsTopicResponse { name: "t".into(), partitions: vec![partition] };
        leader.reply(&header, &ListOffsetsResponse { topics: vec![topic], ..Default::default() }).await;
    }

    let (header, asked, _) = leader.fetched(topic_id).await;
    assert_eq!((asked.fetch_offset, asked.log_start_offset), (10, 10), "the leader's log begins there");
    let batches = [&stamped(b"k", 10, 0)[..], &stamped(b"l", 11, 0)].concat();
    leader.reply(&header, &answer(topic_id, Some(records(batches.into(), 11)))).await;
    let (_, asked, _) = leader.fetched(topic_id).await;
    assert_eq!(asked.fetch_offset, 12);

    // Its leader is gone: it leads, and everything it has is committed, as it is alone in sync.
    assert!(peer.heartbeat(true).await);
    let mut client = node.client().await;
    let leads = async { while latest(&mut client).await < 12 {} };
    tokio::time::timeout(Duration::from_secs(30), leads).await.expect("leads");
    let response = client.send(&produce(topic_id, b"m", -1, 1000), 13).await;
    assert_eq!(error_of(&response), (Some(ErrorCode::None), 12));
    node.running.stop().await;
}

/// A long poll is under way when the leader's epoch rises, with the same leader: the follower asks again at once, in
/// the new epoch, and the leader refuses the first question as one of an old epoch. The follower is not to take that
/// for the answer to the second: it would wait for an epoch that does not come.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_an_earlier_question_is_not_taken_for_the_one_to_a_later() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = TestNode::start("offsets.topic.replication.factor=1\n").await;
    Peer::register(&node, PEER, listener.local_addr().unwrap().port()).await;
    Peer::register(&node, 3, 9).await;
    let topic_id = create_topic(&node, &[PEER, 1, 3], &[]).await;
    let mut leader = FakeLeader::accept(&listener).await;
    let (header, ..) = leader.fetched(topic_id).await;
    leader.reply(&header, &answer(topic_id, Some(records(stamped(b"a", 0, 0), 1)))).await;
    let (first, asked, session) = leader.fetched(topic_id).await;
    assert_eq!((asked.current_leader_epoch, asked.fetch_offset, session), (0, 1, (5, 1)));

    // A replica less is a new epoch of the same leader.
    let partition = ReassignablePartition { partition_index: 0, replicas: Some(vec![PEER, 1]) };
    let topic = ReassignableTopic { name: "t".into(), partitions: vec![partition] };
    let request = AlterPartitionReassignmentsRequest { topics: vec![topic], ..Default::default() };
    let response = node.client().await.send(&request, 1).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
    let (second, asked, session) = leader.fetched(topic_id).await;
    assert_eq!((asked.current_leader_epoch, asked.fetch_offset, session), (1, 1, (5, 2)));

    let fenced = PartitionData {
        error_code: ErrorCode::FencedLeaderEpoch.code(),
        high_watermark: -1,
        ..records(Bytes::new(), -1)
    };
    leader.reply(&first, &answer(topic_id, Some(fenced))).await;
    leader.reply(&second, &answer(topic_id, Some(records(stamped(b"b", 1, 1), 2)))).await;
    let third = tokio::time::timeout(Duration::from_secs(30), leader.fetched(topic_id));
    let (_, asked, _) = third.await.expect("it goes on asking");
    assert_eq!((asked.current_leader_epoch, asked.fetch_offset), (1, 2));
    node.running.stop().await;
}

/// A leader's answer longer than any that this node would make ends the connection, not the follower: it connects again
/// and asks for what it lacks.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_too_long_is_refused_and_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = TestNode::start("offsets.topic.replication.factor=1\nreplica.fetch.backoff.ms=20\n").await;
    Peer::register(&node, PEER, listener.local_addr().unwrap().port()).await;
    let topic_id = create_topic(&node, &[PEER, 1], &[]).await;
    let mut leader = FakeLeader::accept(&listener).await;
    let (header, ..) = leader.fetched(topic_id).await;
    leader.reply(&header, &answer(topic_id, Some(records(stamped(b"a", 0, 0), 1)))).await;
    leader.fetched(topic_id).await;
    leader.0.write_all(&i32::MAX.to_be_bytes()).await.unwrap();
    let again = async {
        let mut leader = FakeLeader::accept(&listener).await;
        let (_, asked, session) = leader.fetched(topic_id).await;
        assert_eq!((asked.fetch_offset, session), (1, (0, 0)));
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.expect("it connects again");
    node.running.stop().await;
}

/// A partition goes to another directory while it is written to, and comes back; the controller knows where it lies.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_moves_between_log_directories_with_everything_in_it() {
    let dirs = TempDir::new().unwrap();
    let paths: Vec<String> = ["a", "b"].map(|name| dirs.path().join(name).display().to_string()).into();
    let node = TestNode::start(&format!("log.dirs={}\n", paths.join(","))).await;
    let topic_id = create_topic(&node, &[1], &[]).await;
    let mut client = node.client().await;
    let mut count = 0;
    let broker = node.running.node.broker().clone();
    let dir_of = || broker.partition_by_id(topic_id, 0).unwrap().dir_id;
    for path in paths.iter().chain(&paths) {
        let id = broker.dirs.iter().find(|dir| dir.dir.path().ends_with(path)).unwrap().id;
        let topic = AlterReplicaLogDirTopic { name: "t".into(), partitions: vec![0] };
        let dir = AlterReplicaLogDir { path: path.as_str().into(), topics: vec![topic] };
        let answer = client.send(&AlterReplicaLogDirsRequest { dirs: vec![dir] }, 2).await;
        assert_eq!(answer.results[0].partitions[0].error_code, 0);
        let moved = async {
            let mut goes_on = true;
            while goes_on {
                goes_on = dir_of() != id;
                let response = client.send(&produce(topic_id, b"v", -1, 1000), 13).await;
                match error_of(&response) {
                    (Some(ErrorCode::None), offset) => {
                        assert_eq!(offset, count);
                        count += 1;
                    }
                    (error, _) => assert_eq!(error, Some(ErrorCode::NotLeaderOrFollower)),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), moved).await.expect("it moves");
        assert_eq!(latest(&mut client).await, count);
        let mut metadata = node.running.node.metadata().clone();
        let told = async {
            let directory = |image: &ottla_metadata::MetadataImage| {
                image.topics.by_id(topic_id).unwrap().partitions[&0].directory(NodeId(1))
            };
            while directory(&metadata.image()) != Some(id) {
                metadata.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told).await.expect("the controller knows");
        let left: Vec<_> = paths.iter().filter(|other| *other != path).collect();
        assert!(!Path::new(left[0]).join("t-0").exists());
    }
    let unknown = AlterReplicaLogDir {
        path: "/nowhere".into(),
        topics: vec![AlterReplicaLogDirTopic { name: "t".into(), partitions: vec![0] }],
    };
    let answer = client.send(&AlterReplicaLogDirsRequest { dirs: vec![unknown] }, 2).await;
    assert_eq!(answer.results[0].partitions[0].error_code, ErrorCode::LogDirNotFound.code());
    node.running.stop().await;
}

/// Apache Kafka was stopped while it moved a partition: what it had copied lies in a directory of its own, and the move
/// goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_a_stop_interrupted_goes_on() {
    const FUTURE: &str = "t-0.0123456789abcdef0123456789abcdef-future";
    let dirs = TempDir::new().unwrap();
    let paths: Vec<_> = ["a", "b"].map(|name| dirs.path().join(name)).into();
    let node = TestNode::start(&format!("log.dirs={},{}\n", paths[0].display(), paths[1].display())).await;
    let topic_id = create_topic(&node, &[1], &[]).await;
    let mut client = node.client().await;
    for offset in 0..5 {
        let response = client.send(&produce(topic_id, b"v", -1, 1000), 13).await;
        assert_eq!(error_of(&response), (Some(ErrorCode::None), offset));
    }
    let (from, to) = if paths[0].join("t-0").exists() { (0, 1) } else { (1, 0) };
    let node = node
        .restart(|| {
            let future = paths[to].join(FUTURE);
            std::fs::create_dir(&future).unwrap();
            for entry in std::fs::read_dir(paths[from].join("t-0")).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), future.join(entry.file_name())).unwrap();
            }
            let log = std::fs::OpenOptions::new().write(true).open(future.join("00000000000000000000.log"));
            log.unwrap().set_len(2 * batch(b"v").len() as u64).unwrap();
        })
        .await;
    let broker = node.running.node.broker().clone();
    let target = broker.dirs.iter().find(|dir| dir.dir.path() == paths[to]).unwrap().id;
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let moved = async {
        while broker.partition_by_id(topic_id, 0).is_ok_and(|handle| handle.dir_id != target) {
            again.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), moved).await.expect("it moves");
    let mut client = node.client().await;
    assert_eq!(latest(&mut client).await, 5);
    assert!(paths[to].join("t-0").exists() && !paths[to].join(FUTURE).exists());
    assert!(!paths[from].join("t-0").exists());
    let response = client.send(&produce(topic_id, b"v", -1, 1000), 13).await;
    assert_eq!(error_of(&response), (Some(ErrorCode::None), 5));

    // Its log is gone, and the controller has heard that it moved: what was copied is the log.
    let node = node.restart(|| std::fs::rename(paths[to].join("t-0"), paths[to].join(FUTURE)).unwrap()).await;
    assert_eq!(latest(&mut node.client().await).await, 6);
    assert!(paths[to].join("t-0").exists() && !paths[to].join(FUTURE).exists());
    node.running.stop().await;
}

/// A move that is held up by its rate ends when the broker stops, and goes on at the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_move_does_not_hold_up_a_stop() {
    let dirs = TempDir::new().unwrap();
    let paths: Vec<_> = ["a", "b"].map(|name| dirs.path().join(name)).into();
    let rate = "replica.alter.log.dirs.io.max.bytes.per.second=1";
    let node =
        TestNode::start(&format!("log.dirs={},{}\n{rate}\n", paths[0].display(), paths[1].display())).await;
    let topic_id = create_topic(&node, &[1], &[]).await;
    let mut client = node.client().await;
    client.send(&produce(topic_id, &[0; 1000], -1, 1000), 13).await;
    let to = if paths[0].join("t-0").exists() { 1 } else { 0 };
    let topic = AlterReplicaLogDirTopic { name: "t".into(), partitions: vec![0] };
    let dir = AlterReplicaLogDir { path: paths[to].display().to_string().into(), topics: vec![topic] };
    client.send(&AlterReplicaLogDirsRequest { dirs: vec![dir] }, 2).await;
    let running = |node: &TestNode| node.running.node.broker().log_dir_moves.running();
    let futures = || {
        let entries = std::fs::read_dir(&paths[to]).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().to_string_lossy().ends_with("-future")).count()
    };
    let mut again = tokio::time::interval(Duration::from_millis(5));
    while running(&node).iter().all(|moving| moving.log_end_offset() == Offset(0)) {
        again.tick().await;
    }
    let stop = node.restart(|| assert_eq!(futures(), 1));
    let node = tokio::time::timeout(Duration::from_secs(20), stop).await.expect("it stops at once");
    assert_eq!(running(&node).len(), 1, "the move goes on");
    node.running.stop().await;
}

/// Records are deleted when every live replica has deleted them: a follower hears of the new start with its next
/// fetch, and says in the one after that it has it.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_on_all_replicas() {
    let node = TestNode::start("").await;
    let peer = Peer::register(&node, PEER, 9).await;
    let topic_id = create_topic(&node, &[1, PEER], &[]).await;
    let (mut client, mut follower) = (node.client().await, node.client().await);
    for offset in 0..2 {
        let response = client.send(&produce(topic_id, b"v", 1, 1000), 13).await;
        assert_eq!(error_of(&response), (Some(ErrorCode::None), offset));
    }
    let asked = fetch(topic_id, peer.epoch, (0, 0), Some(2));
    let session = follower.send(&asked, FETCH_VERSION).await.session_id;
    let deleting = tokio::spawn(async move {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 1 }];
        let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions }];
        let mut response = client.send(&DeleteRecordsRequest { topics, timeout_ms: 30_000 }, 2).await;
        response.topics.remove(0).partitions.remove(0)
    });
    let (mut epoch, mut told) = (1, None);
    while told != Some(1) {
        let asked = fetch(topic_id, peer.epoch, (session, epoch), None);
        let response = follower.send(&asked, FETCH_VERSION).await;
        told = response.responses.first().map(|topic| topic.partitions[0].log_start_offset).or(told);
        epoch += 1;
    }
    assert!(!deleting.is_finished(), "the follower has it still");
    let mut asked = fetch(topic_id, peer.epoch, (session, epoch), Some(2));
    asked.topics[0].partitions[0].log_start_offset = 1;
    follower.send(&asked, FETCH_VERSION).await;
    let deleted = tokio::time::timeout(Duration::from_secs(20), deleting).await.expect("deleted").unwrap();
    assert_eq!((deleted.error_code, deleted.low_watermark), (0, 1));
    node.running.stop().await;
}

/// A follower deletes what its leader has deleted, and tells it. Throttled, it takes nothing more once the rate is used
/// up, until it is in sync.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_deletes_as_its_leader_does_and_keeps_to_its_rate() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = TestNode::start("follower.replication.throttled.rate=1\n").await;
    let mut peer = Peer::register(&node, PEER, listener.local_addr().unwrap().port()).await;
    let throttled = [("follower.replication.throttled.replicas", "0:1")];
    let topic_id = create_topic(&node, &[PEER, 1], &throttled).await;
    let mut leader = FakeLeader::accept(&listener).await;
    let (header, ..) = leader.fetched(topic_id).await;
    let two = [&stamped(b"a", 0, 0)[..], &stamped(b"b", 1, 0)].concat();
    let deleted = PartitionData { log_start_offset: 1, ..records(two.into(), 2) };
    leader.reply(&header, &answer(topic_id, Some(deleted))).await;
    // In sync it goes on, whatever it took.
    let (header, asked, _) = leader.fetched(topic_id).await;
    assert_eq!((asked.fetch_offset, asked.log_start_offset), (2, 1));

    peer.alter_isr(topic_id, &[PEER], 0).await;
    let held = PartitionData { log_start_offset: 1, ..records(stamped(b"c", 2, 0), 2) };
    leader.reply(&header, &answer(topic_id, Some(held))).await;
    // Only a fetch that is wrong comes in this time.
    let early = tokio::time::timeout(Duration::from_millis(300), leader.fetched(topic_id)).await;
    assert!(early.is_err(), "the rate is used up");
    peer.alter_isr(topic_id, &[PEER, 1], 1).await;
    let (_, asked, _) = leader.fetched(topic_id).await;
    assert_eq!(asked.fetch_offset, 3);
    node.running.stop().await;
}
