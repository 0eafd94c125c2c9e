//! Several nodes in this process that are one cluster: they elect, fail over, hand over, refuse what does not belong,
//! and bring a wiped node up by a snapshot.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use ottla_commit_log::RealDisk;
use ottla_model::{ErrorCode, Millis, Offset, Uuid};
use ottla_protocol::api::create_topics::CreateTopicsRequest;
use ottla_protocol::api::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestPartitionData, DescribeQuorumRequestTopicData,
    DescribeQuorumResponsePartitionData,
};
use ottla_protocol::api::envelope::EnvelopeRequest;
use ottla_protocol::api::fetch::FetchRequest;
use ottla_protocol::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use ottla_protocol::api::vote::{VoteRequest, VoteRequestPartitionData, VoteRequestTopicData};
use ottla_server::config::{Properties, ServerConfig};
use ottla_server::node::RunningNode;
use ottla_server::quorum::snapshot;
use ottla_server::random;
use ottla_server::rpc::{NodeAddress, NodeClient, RpcNetwork};
use ottla_server::storage::{self, FormatOptions, Quorum};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::quorum::{create, id};

/// Generous: only a hang waits this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short enough that a test that loses a leader goes on soon.
const QUICK: &str = "controller.quorum.fetch.timeout.ms=600\ncontroller.quorum.election.timeout.ms=300\n\
    broker.heartbeat.interval.ms=100\nbroker.session.timeout.ms=1500\noffsets.topic.replication.factor=1\n";

/// Combined nodes 1, 2, … on directories of this test.
pub struct Cluster {
    pub dir: TempDir,
    /// No other test's: a port that a node leaves may be another cluster's before it comes back.
    id: String,
    /// Controllers' and clients' ports.
    ports: Vec<(u16, u16)>,
    quorum: Voters,
    extra: String,
    nodes: Vec<Option<RunningNode>>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Voters {
    Static,
    Dynamic,
}

fn new_id() -> String {
    random::uuid().to_string()
}

/// Ports that were free a moment ago, and that no other cluster of these tests was given.
fn free_ports(count: usize) -> Vec<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let mut listeners = Vec::new();
    while listeners.len() < count {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if given.insert(listener.local_addr().unwrap().port()) {
            listeners.push(listener);
        }
    }
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Cluster {
    pub async fn start(count: usize, quorum: Voters, extra: &str) -> Self {
        let free = free_ports(count * 2);
        let ports = free.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let nodes = (0..count).map(|_| None).collect();
        let mut cluster = Self {
            dir: TempDir::new().unwrap(),
            id: new_id(),
            ports,
            quorum,
            extra: extra.to_owned(),
            nodes,
        };
        for node in 1..=count {
            cluster.format(node, cluster.initial());
        }
        let starts = (1..=count).map(|node| RunningNode::start(cluster.config(node)));
        let starts: Vec<_> = starts.map(tokio::spawn).collect();
        for (node, start) in starts.into_iter().enumerate() {
            cluster.nodes[node] = Some(start.await.unwrap().unwrap());
        }
        cluster
    }

    fn config(&self, node: usize) -> ServerConfig {
        let (controller, client) = self.ports[node - 1];
        let list = |entry: &dyn Fn(usize, u16) -> String| {
            let entries = self.ports.iter().enumerate().map(|(index, (port, _))| entry(index + 1, *port));
            entries.collect::<Vec<_>>().join(",")
        };
        let quorum = match self.quorum {
            Voters::Static => {
                format!("controller.quorum.voters={}", list(&|node, port| format!("{node}@127.0.0.1:{port}")))
            }
            Voters::Dynamic => format!(
                "controller.quorum.bootstrap.servers={}",
                list(&|_, port| format!("127.0.0.1:{port}"))
            ),
        };
        let text = format!(
            "node.id={node}\nprocess.roles=broker,controller\n\
             listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n{quorum}\nlog.dirs={}\n{QUICK}{}",
            self.dir.path().join(node.to_string()).display(),
            self.extra
        );
        ServerConfig::from_properties(&Properties::parse("test", &text).unwrap()).unwrap().0
    }

    fn initial(&self) -> Quorum {
        match self.quorum {
            Voters::Static => Quorum::Configured,
            Voters::Dynamic => {
                let voter = |(index, (port, _)): (usize, &(u16, u16))| {
                    let node = index + 1;
                    format!("{node}@127.0.0.1:{port}:{}", id(node as u128)).parse().unwrap()
                };
                Quorum::Initial(self.ports.iter().enumerate().map(voter).collect())
            }
        }
    }

    fn format(&self, node: usize, quorum: Quorum) {
        let options = FormatOptions { cluster_id: self.id.clone(), quorum, ..FormatOptions::default() };
        let mut next = 500 + 10 * node as u128;
        let new_id = || {
            next += 1;
            id(next)
        };
        storage::format(&RealDisk, &self.config(node), &options, Millis(1_795_364_503_039), new_id).unwrap();
    }

    pub fn node(&self, node: usize) -> &RunningNode {
        self.nodes[node - 1].as_ref().expect("the node runs")
    }

    pub fn running(&self) -> impl Iterator<Item = (usize, &RunningNode)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| Some((index + 1, node.as_ref()?)))
    }

    pub async fn stop(&mut self, node: usize) {
        self.nodes[node - 1].take().expect("the node runs").stop().await;
    }

    pub async fn launch(&mut self, node: usize) {
        self.nodes[node - 1] = Some(RunningNode::start(self.config(node)).await.unwrap());
    }

    /// Waits for the active controller.
    async fn active(&self) -> usize {
        let mut waits = JoinSet::new();
        for (node, running) in self.running() {
            let mut leader = running.node.controller().leader().clone();
            waits.spawn(async move {
                leader.wait_for(|leader| leader.is_active).await.expect("the node runs");
                node
            });
        }
        within(waits.join_next()).await.expect("a node runs").unwrap()
    }

    pub async fn client(&self, node: usize) -> NodeClient {
        connect(self.ports[node - 1].1).await
    }

    async fn controller_client(&self, node: usize) -> NodeClient {
        connect(self.ports[node - 1].0).await
    }

    /// Has a broker create a topic, and waits until all nodes know it.
    pub async fn create_topic(&self, asked: usize, name: &str) {
        let request = CreateTopicsRequest { timeout_ms: 30_000, ..create(name, 1) };
        let response = within(self.client(asked).await.call(&request)).await.unwrap();
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        for (node, _) in self.running() {
            self.await_topic(node, name).await;
        }
    }

    async fn await_topic(&self, node: usize, name: &str) {
        let mut metadata = self.node(node).node.metadata().clone();
        within(async {
            while metadata.peek().topics.by_name(name).is_none() {
                metadata.changed().await;
            }
        })
        .await;
    }

    async fn describe_quorum(&self, asked: usize) -> DescribeQuorumResponsePartitionData {
        let request = describe_quorum_request();
        let mut response = within(self.client(asked).await.call(&request)).await.unwrap();
        response.topics[0].partitions.remove(0)
    }

    /// Which controllers say in each version of DescribeQuorum that they lead.
    async fn claims(&self) -> Vec<usize> {
        let request = describe_quorum_request();
        let mut claims = Vec::new();
        for (node, _) in self.running() {
            let mut client = self.controller_client(node).await;
            for version in 0..=2 {
                client.send_version(&request, version).unwrap();
                let response = within(client.receive::<DescribeQuorumRequest>()).await.unwrap();
                let partition = &response.topics[0].partitions[0];
                match ErrorCode::from_code(partition.error_code) {
                    Some(ErrorCode::None) => claims.push(node),
                    code => assert_eq!(code, Some(ErrorCode::NotLeaderOrFollower)),
                }
            }
        }
        claims
    }
}

fn describe_quorum_request() -> DescribeQuorumRequest {
    let partition = DescribeQuorumRequestPartitionData { partition_index: 0 };
    let topic = DescribeQuorumRequestTopicData {
        topic_name: "__cluster_metadata".into(),
        partitions: vec![partition],
    };
    DescribeQuorumRequest { topics: vec![topic] }
}

async fn connect(port: u16) -> NodeClient {
    let address = NodeAddress { host: "127.0.0.1".into(), port };
    NodeClient::connect(&RpcNetwork::new(), &address, "test", PATIENCE).await.unwrap()
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it does not hang")
}

/// A leader that stops hands over; what clients ask of any broker reaches whoever decides; a node that comes back is
/// a follower with everything.
async fn fail_over(quorum: Voters) {
    let mut cluster = Cluster::start(3, quorum, "").await;
    let mut epoch = 0;
    for round in 0..3 {
        let active = cluster.active().await;
        let asked = active % 3 + 1;
        cluster.create_topic(asked, &format!("topic-{round}")).await;
        let described = cluster.describe_quorum(asked).await;
        assert_eq!((described.error_code, described.leader_id), (0, active as i32));
        assert!(described.leader_epoch > epoch, "{} after {epoch}", described.leader_epoch);
        epoch = described.leader_epoch;
        let voters: Vec<i32> = described.current_voters.iter().map(|voter| voter.replica_id).collect();
        assert_eq!((voters, described.observers.len()), (vec![1, 2, 3], 0));
        assert_eq!(cluster.claims().await, [active; 3]);
        cluster.stop(active).await;
        assert_ne!(cluster.active().await, active);
        cluster.create_topic(asked, &format!("without-{round}")).await;
        cluster.launch(active).await;
        cluster.await_topic(active, &format!("without-{round}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_of_dynamic_voters_fails_over() {
    fail_over(Voters::Dynamic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_of_static_voters_fails_over() {
    fail_over(Voters::Static).await;
}

/// kraft.version is raised once every voter has told the leader its directory, and not before; from then on the voters
/// are in the log, and no setting is needed to know them.
#[tokio::test(flavor = "multi_thread")]
async fn static_voters_become_dynamic() {
    let mut cluster = Cluster::start(3, Voters::Static, "").await;
    let active = cluster.active().await;
    let change = |level, upgrade_type| UpdateFeaturesRequest {
        feature_updates: vec![FeatureUpdateKey {
            feature: "kraft.version".into(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    const UPGRADE: i8 = 1;
    const SAFE_DOWNGRADE: i8 = 2;
    let mut client = cluster.client(active % 3 + 1).await;
    let refused = ErrorCode::InvalidUpdateVersion.code();
    within(async {
        loop {
            let answer = client.call(&change(1, UPGRADE)).await.unwrap();
            if answer.error_code == 0 {
                return;
            }
            assert_eq!(answer.error_code, refused, "{answer:?}");
        }
    })
    .await;
    let answer = within(client.call(&change(0, SAFE_DOWNGRADE))).await.unwrap();
    assert_eq!(answer.error_code, refused, "{answer:?}");
    let described = cluster.describe_quorum(active).await;
    assert!(described.current_voters.iter().all(|voter| !voter.replica_directory_id.is_zero()));
    assert!(described.observers.is_empty(), "{:?}", described.observers);
    cluster.quorum = Voters::Dynamic;
    cluster.stop(active).await;
    cluster.launch(active).await;
    cluster.create_topic(active, "after").await;
}

/// A controller that lost its disk comes back as an observer. The snapshot that it is given first is cut short, which
/// it refuses until there is a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_controller_is_brought_up_by_a_whole_snapshot() {
    let mut cluster =
        Cluster::start(3, Voters::Dynamic, "metadata.log.max.record.bytes.between.snapshots=2000\n").await;
    let active = cluster.active().await;
    let (wiped, other) = (active % 3 + 1, (active + 1) % 3 + 1);
    let metadata_dir = |node: usize| cluster.dir.path().join(node.to_string()).join("__cluster_metadata-0");
    let (of_active, of_wiped) = (metadata_dir(active), metadata_dir(wiped));
    let mut topics = 0;
    while newest_snapshot(&of_active) == Offset::ZERO {
        cluster.create_topic(other, &format!("topic-{topics}")).await;
        topics += 1;
    }
    cluster.stop(wiped).await;
    std::fs::remove_dir_all(cluster.dir.path().join(wiped.to_string())).unwrap();
    cluster.format(wiped, Quorum::None);
    let newest = snapshot::list(&RealDisk, &of_active).unwrap().pop().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(of_active.join(newest.file_name())).unwrap();
    file.set_len(file.metadata().unwrap().len() - 5).unwrap();

    let start = tokio::spawn(RunningNode::start(cluster.config(wiped)));
    while newest_snapshot(&of_active) == newest.end {
        cluster.create_topic(other, &format!("topic-{topics}")).await;
        topics += 1;
    }
    cluster.nodes[wiped - 1] = Some(within(start).await.unwrap().unwrap());
    cluster.await_topic(wiped, &format!("topic-{}", topics - 1)).await;
    assert!(newest_snapshot(&of_wiped) > newest.end, "the one cut short was not taken");
    let described = cluster.describe_quorum(wiped).await;
    assert_eq!(described.observers.iter().map(|o| o.replica_id).collect::<Vec<_>>(), [wiped as i32]);
}

fn newest_snapshot(directory: &Path) -> Offset {
    snapshot::list(&RealDisk, directory).unwrap().last().map_or(Offset::ZERO, |id| id.end)
}

/// What does not belong is refused, each with its own code, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused() {
    let mut cluster = Cluster::start(1, Voters::Dynamic, "").await;
    let before = cluster.describe_quorum(1).await;
    let mut client = cluster.controller_client(1).await;
    let vote = |cluster_id: &str, voter: i32, directory: Uuid| VoteRequest {
        cluster_id: Some(cluster_id.into()),
        voter_id: voter,
        topics: vec![VoteRequestTopicData {
            topic_name: "__cluster_metadata".into(),
            partitions: vec![VoteRequestPartitionData {
                replica_epoch: before.leader_epoch,
                replica_id: 9,
                replica_directory_id: id(9),
                voter_directory_id: directory,
                last_offset: 1,
                pre_vote: true,
                ..Default::default()
            }],
        }],
    };
    let answer = client.call(&vote("anotherClusterAAAAAAAA", 1, id(1))).await.unwrap();
    assert_eq!((answer.error_code, answer.topics.len()), (ErrorCode::InconsistentClusterId.code(), 0));
    let mut shapeless = vote(&cluster.id, 1, id(1));
    shapeless.topics[0].topic_name = "orders".into();
    assert_eq!(client.call(&shapeless).await.unwrap().error_code, ErrorCode::InvalidRequest.code());
    for (voter, directory) in [(2, id(1)), (1, id(7))] {
        let answer = client.call(&vote(&cluster.id, voter, directory)).await.unwrap();
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::InvalidVoterKey.code());
    }
    // Every version gets an answer, those that cannot say where the leader is too.
    for version in 0..=2 {
        let mut late = vote(&cluster.id, 1, id(1));
        late.topics[0].partitions[0].pre_vote = false;
        client.send_version(&late, version).unwrap();
        let answer = client.receive::<VoteRequest>().await.unwrap();
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id, partition.vote_granted), (0, 1, false));
        assert_eq!(answer.node_endpoints.len(), usize::from(version > 0));
    }
    let fetch = FetchRequest { max_wait_ms: 0, ..Default::default() };
    assert_eq!(client.call(&fetch).await.unwrap().error_code, ErrorCode::InvalidRequest.code());

    let principal = Some(bytes::Bytes::from_static(b"\0\0\x05User\x0aANONYMOUS\0\0"));
    let envelope = |request_data: &'static [u8], request_principal, address: &'static [u8]| EnvelopeRequest {
        request_data: bytes::Bytes::from_static(request_data),
        request_principal,
        client_host_address: bytes::Bytes::from_static(address),
    };
    // Metadata is not for controllers; 300 is no key.
    let metadata = b"\0\x03\0\x01\0\0\0\x05\0\x01c\xff\xff\xff\xff";
    for (request, error) in [
        (envelope(metadata, principal.clone(), &[127, 0, 0, 1]), ErrorCode::InvalidRequest),
        (
            envelope(b"\x01\x2c\0\0\0\0\0\0\0\0", principal.clone(), &[127, 0, 0, 1]),
            ErrorCode::UnsupportedVersion,
        ),
        (envelope(metadata, None, &[127, 0, 0, 1]), ErrorCode::PrincipalDeserializationFailure),
        (envelope(metadata, principal, &[127]), ErrorCode::InvalidRequest),
    ] {
        assert_eq!(client.call(&request).await.unwrap().error_code, error.code());
    }
    let after = cluster.describe_quorum(1).await;
    assert_eq!((after.leader_id, after.leader_epoch), (before.leader_id, before.leader_epoch));
    cluster.stop(1).await;
}

/// A whole cluster that is stopped at once has nobody to hand over to, and does not wait for anybody.
#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_stop_at_once() {
    let mut cluster = Cluster::start(3, Voters::Static, "").await;
    cluster.create_topic(1, "orders").await;
    let began = std::time::Instant::now();
    let [first, second, third] = [0, 1, 2].map(|node| cluster.nodes[node].take().unwrap().stop());
    within(async { tokio::join!(first, second, third) }).await;
    // Leaders that cannot move and a quorum without a successor would take five seconds each.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    for node in 1..=3 {
        let clean = cluster.dir.path().join(node.to_string()).join(".kafka_cleanshutdown");
        assert!(clean.exists());
    }
}
