//! Format, lead, decide, stop and come back, on real files in a temporary directory.

use std::path::Path;
use std::sync::Arc;

use ottla_commit_log::{FileCache, LogContext, RealDisk, TailBudget};
use ottla_metadata::MetadataImage;
use ottla_model::{BrokerEpoch, Millis, NodeId, Uuid};
use ottla_protocol::Str;
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use ottla_protocol::api::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use ottla_server::broker::lifecycle::{BrokerLifecycle, Registration, Session};
use ottla_server::broker::log_dir_states::LogDirStates;
use ottla_server::config::{Properties, ServerConfig};
use ottla_server::controller::{self, ControllerClient, Options, Running};
use ottla_server::quorum::snapshot;
use ottla_server::rpc::RpcNetwork;
use ottla_server::storage::{self, Directories, FormatOptions, Quorum};

pub const CLUSTER: &str = "DFF4aVFKT9OXlxhwrJUsDg";

pub fn config(directory: &Path, more: &str) -> ServerConfig {
    let text = format!(
        "node.id=1\nprocess.roles=broker,controller\nlisteners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:9093\nlog.dirs={}\n{more}",
        directory.display()
    );
    ServerConfig::from_properties(&Properties::parse("test", &text).unwrap()).unwrap().0
}

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number << 64 | number)
}

pub fn format(config: &ServerConfig, quorum: Quorum) -> storage::Formatted {
    let options = FormatOptions { cluster_id: CLUSTER.into(), quorum, ..FormatOptions::default() };
    let mut next = 500;
    storage::format(&RealDisk, config, &options, Millis(1_795_364_503_039), || {
        next += 1;
        id(next)
    })
    .unwrap()
}

pub fn open(config: &ServerConfig) -> Directories {
    let context =
        LogContext { files: FileCache::new(Arc::new(RealDisk), 100), tails: TailBudget::new(1 << 20) };
    storage::open(&context, config, || panic!("the directory has an id")).unwrap()
}

pub fn start(config: &ServerConfig, directories: &Directories, incarnation: u128) -> Running {
    let incarnation = id(incarnation);
    let network = RpcNetwork::new();
    let opened_ports = Vec::new();
    let options = Options { config, directories, incarnation, seed: [1, 2], opened_ports, network };
    controller::start(options).unwrap()
}

async fn join(
    config: &ServerConfig,
    running: &Running,
    incarnation: u128,
    previous: BrokerEpoch,
) -> BrokerLifecycle {
    let controller = ControllerClient::new(config, running.controller.clone(), RpcNetwork::new());
    let (log_dirs, session) = (LogDirStates::new(Vec::new()), Session::new(config));
    let lifecycle = BrokerLifecycle::new(config, controller, running.metadata.clone(), log_dirs, session);
    let registration = Registration {
        node_id: NodeId(1),
        cluster_id: CLUSTER.into(),
        incarnation: id(incarnation),
        listeners: config.broker_listeners().cloned().collect(),
        rack: None,
        directories: vec![id(501)],
        previous_epoch: previous,
    };
    lifecycle.register(registration).await.unwrap();
    assert!(!running.metadata.image().cluster.is_alive(NodeId(1)));
    lifecycle.unfence().await.unwrap();
    assert!(running.metadata.image().cluster.is_alive(NodeId(1)));
    lifecycle
}

pub fn create(name: &str, num_partitions: i32) -> CreateTopicsRequest {
    let topic = CreatableTopic {
        name: Str::from(name),
        num_partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() }
}

fn without_provenance(image: &MetadataImage) -> MetadataImage {
    MetadataImage { provenance: ottla_metadata::Provenance::NONE, ..image.clone() }
}

#[tokio::test]
async fn a_node_formats_leads_decides_and_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), "");
    format(&config, Quorum::Standalone);
    let directories = open(&config);
    let running = start(&config, &directories, 900);
    let image = running.metadata.image();
    assert_eq!(image.metadata_version().0, 33);
    assert_eq!(image.features.level("group.version"), 1);
    let info = running.controller.describe_quorum().await.unwrap();
    assert_eq!((info.leader, info.epoch.0, info.kraft_version), (Some(NodeId(1)), 1, 1));
    assert_eq!(info.voters.iter().next().unwrap().endpoints[0].port, 9093);

    let lifecycle = join(&config, &running, 901, BrokerEpoch::NONE).await;
    let response = running.controller.create_topics(create("orders", 3)).await.unwrap();
    let created = &response.topics[0];
    assert_eq!((created.error_code, created.num_partitions, created.replication_factor), (0, 3, 1));
    // What was answered is visible.
    let image = running.metadata.image();
    let topic = image.topics.by_name("orders").unwrap();
    assert_eq!(topic.id, created.topic_id);
    assert!(topic.partitions.values().all(|p| p.leader == NodeId(1) && p.directories == [id(501)]));
    let again = running.controller.create_topics(create("orders", 3)).await.unwrap();
    assert_eq!(again.topics[0].error_code, 36);
    assert_eq!(again.topics[0].error_message.as_deref(), Some("Topic 'orders' already exists."));

    running.controller.create_topics(create("gone", 1)).await.unwrap();
    let name = Some(Str::from("gone"));
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name, ..DeleteTopicState::default() }],
        ..DeleteTopicsRequest::default()
    };
    assert_eq!(running.controller.delete_topics(delete).await.unwrap().responses[0].error_code, 0);
    assert!(running.metadata.image().topics.by_name("gone").is_none());

    let epoch = lifecycle.epoch();
    lifecycle.controlled_shutdown().await.unwrap();
    running.controller.stop().await;
    let stopped = running.metadata.image();
    assert!(running.controller.create_topics(create("late", 1)).await.is_err());
    drop((running, directories));

    let directories = open(&config);
    let running = start(&config, &directories, 910);
    assert_eq!(running.controller.describe_quorum().await.unwrap().epoch.0, 2);
    let back = running.metadata.image();
    assert_eq!(without_provenance(&back).topics, stopped.topics);
    assert_eq!(back.configs, stopped.configs);
    assert!(back.topics.by_name("orders").unwrap().partitions.values().all(|p| p.leader == NodeId::NONE));
    join(&config, &running, 911, epoch).await;
    let image = running.metadata.image();
    let orders = image.topics.by_name("orders").unwrap();
    assert!(orders.partitions.values().all(|p| p.leader == NodeId(1) && p.isr == [NodeId(1)]));
    running.controller.stop().await;
}

#[tokio::test]
async fn a_killed_node_registers_at_once_and_snapshots_carry_the_metadata() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), "metadata.log.max.record.bytes.between.snapshots=1\n");
    format(&config, Quorum::Standalone);
    let directories = open(&config);
    let mut running = start(&config, &directories, 900);
    join(&config, &running, 901, BrokerEpoch::NONE).await;
    running.controller.create_topics(create("orders", 2)).await.unwrap();
    let directory = temp.path().join("__cluster_metadata-0");
    let snapshots = || snapshot::list(&RealDisk, &directory).unwrap();
    while snapshots().len() < 2 {
        running.metadata.changed().await;
    }
    // What a kill would leave at this moment, while the node goes on.
    let killed = tempfile::tempdir().unwrap();
    let parts = ["", "__cluster_metadata-0"];
    for part in parts {
        std::fs::create_dir_all(killed.path().join(part)).unwrap();
        for entry in std::fs::read_dir(temp.path().join(part)).unwrap().map(Result::unwrap) {
            let is_whole = !entry.file_name().to_string_lossy().ends_with(".part");
            if entry.file_type().unwrap().is_file() && is_whole {
                std::fs::copy(entry.path(), killed.path().join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    running.controller.stop().await;
    let config = crate::quorum::config(killed.path(), "");
    let directory = killed.path().join("__cluster_metadata-0");
    let snapshots = || snapshot::list(&RealDisk, &directory).unwrap();

    let newest = *snapshots().last().unwrap();
    let content = snapshot::read(&RealDisk, &directory.join(newest.file_name())).unwrap();
    assert_eq!(content.quorum.len(), 2);
    let directories = open(&config);
    let running = start(&config, &directories, 910);
    join(&config, &running, 910, BrokerEpoch::NONE).await;
    assert_eq!(running.metadata.image().topics.by_name("orders").unwrap().partitions.len(), 2);
    running.controller.stop().await;
}

#[tokio::test]
async fn a_static_quorum_becomes_dynamic_and_does_without_its_setting() {
    let temp = tempfile::tempdir().unwrap();
    let mut with_voters = config(temp.path(), "");
    let voter = ottla_server::config::QuorumVoter { id: NodeId(1), host: "localhost".into(), port: 9093 };
    with_voters.quorum.voters = vec![voter];
    format(&with_voters, Quorum::Configured);
    let directories = open(&with_voters);
    let running = start(&with_voters, &directories, 900);
    assert_eq!(running.controller.kraft_version(), 0);
    let update =
        FeatureUpdateKey { feature: Str::from("kraft.version"), max_version_level: 1, ..Default::default() };
    let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
    assert_eq!(running.controller.update_features(request).await.unwrap().error_code, 0);
    assert_eq!(running.controller.kraft_version(), 1);
    let info = running.controller.describe_quorum().await.unwrap();
    assert_eq!(info.voters.iter().next().unwrap().key.directory, id(501));
    assert!(info.replicas.observers.is_empty(), "the voter was there before, without its directory");
    running.controller.stop().await;
    drop((running, directories));

    let config = config(temp.path(), "");
    let directories = open(&config);
    let running = start(&config, &directories, 910);
    assert_eq!(
        (running.controller.kraft_version(), running.controller.describe_quorum().await.unwrap().epoch.0),
        (1, 2)
    );
    running.controller.stop().await;
}
