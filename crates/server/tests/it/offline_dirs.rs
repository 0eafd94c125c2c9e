//! Starting while one of several log directories cannot be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ottla_commit_log::{FileCache, LogContext, OpenDirError, RealDisk, TailBudget};
use ottla_metadata::MetadataImage;
use ottla_model::{ErrorCode, NodeId};
use ottla_protocol::api::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use ottla_protocol::api::create_topics::{CreatableTopic, CreateTopicsRequest};
use ottla_protocol::api::describe_log_dirs::DescribeLogDirsRequest;
use ottla_server::config::ServerConfig;
use ottla_server::storage::{self, Directories, FormatOptions, OpenError, Quorum};
use tempfile::TempDir;

use crate::node::TestNode;
use crate::quorum::{CLUSTER, config, format};

/// Formatted directories `a` and `b` of a node; the metadata log lies in `a`.
struct Two {
    temp: TempDir,
    config: ServerConfig,
}

impl Two {
    fn new(more: &str) -> Self {
        let temp = TempDir::new().unwrap();
        let dirs =
            format!("log.dirs={0}/a,{0}/b\n{1}", temp.path().display(), more.replace("{}", &text(&temp)));
        let config = config(temp.path(), &dirs);
        format(&config, Quorum::Standalone);
        Self { temp, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn open(&self) -> Result<Directories, OpenError> {
        let context =
            LogContext { files: FileCache::new(Arc::new(RealDisk), 100), tails: TailBudget::new(1 << 20) };
        storage::open(&context, &self.config, || panic!("the directories have ids"))
    }
}

fn text(temp: &TempDir) -> String {
    temp.path().display().to_string()
}

fn replace_by_file(dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::write(dir, "not a directory").unwrap();
}

fn replace_by_dir(file: &Path) {
    let _ = fs::remove_file(file);
    fs::create_dir(file).unwrap();
}

const BREAKAGES: [fn(&Path); 4] = [
    replace_by_file,
    |dir| replace_by_dir(&dir.join("meta.properties")),
    |dir| fs::write(dir.join("meta.properties"), "version=1\nnode.id=one\n").unwrap(),
    |dir| replace_by_dir(&dir.join(".lock")),
];

#[test]
fn a_directory_that_fails_is_left_offline() {
    for break_it in BREAKAGES {
        let two = Two::new("");
        break_it(&two.path("b"));
        let opened = two.open().unwrap();
        let data: Vec<&Path> = opened.data.iter().map(|directory| directory.log_dir.path()).collect();
        assert_eq!((data, opened.offline), (vec![&*two.path("a")], vec![two.path("b")]));
    }
}

#[test]
fn the_metadata_directory_and_one_for_data_must_be_usable() {
    for break_it in BREAKAGES {
        let two = Two::new("");
        break_it(&two.path("a"));
        let error = two.open().unwrap_err();
        assert!(matches!(&error, OpenError::Directory(_)), "{error}");
        assert!(error.to_string().contains(&*two.path("a").to_string_lossy()), "{error}");
    }

    let two = Two::new("metadata.log.dir={}/metadata\n");
    break_both(&two);
    assert!(matches!(two.open(), Err(OpenError::NoneUsable)));
    let mut controller = Two::new("metadata.log.dir={}/metadata\n");
    break_both(&controller);
    controller.config.roles.broker = false;
    assert_eq!(controller.open().unwrap().offline.len(), 2);
}

fn break_both(two: &Two) {
    replace_by_file(&two.path("a"));
    replace_by_file(&two.path("b"));
}

/// What may be a mistake of whoever started the node is not taken for a fault of the disk.
#[test]
fn a_directory_that_is_empty_or_taken_is_refused() {
    let two = Two::new("");
    let others = two.open().unwrap();
    let error = two.open().unwrap_err();
    assert!(matches!(error, OpenError::Directory(OpenDirError::Locked(_))), "{error}");
    drop(others);
    fs::remove_file(two.path("b/meta.properties")).unwrap();
    assert!(matches!(two.open(), Err(OpenError::NotFormatted(path)) if path == two.path("b")));
}

#[test]
fn formatting_leaves_out_what_cannot_be_read() {
    let two = Two::new("");
    fs::remove_dir_all(two.path("a")).unwrap();
    replace_by_file(&two.path("b"));
    let formatted = format(&two.config, Quorum::Standalone);
    assert_eq!(formatted.directories.len(), 1);
    let (path, error) = &formatted.ignored[0];
    assert_eq!(*path, two.path("b"));
    assert!(error.to_string().contains("Not a directory"), "{error}");

    replace_by_file(&two.path("a"));
    let options =
        FormatOptions { cluster_id: CLUSTER.into(), quorum: Quorum::Standalone, ..FormatOptions::default() };
    storage::format(&RealDisk, &two.config, &options, ottla_model::Millis(0), || unreachable!()).unwrap_err();
}

/// One directory is gone, or a log in it cannot be loaded: the controller takes it for offline and lets nobody lead
/// there; nothing new is put there nor instead of what lies there. It comes back with what it had.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_a_directory_and_gets_it_back() {
    let breakages: [fn(&Path); 2] = [
        |dir| fs::write(dir, "").unwrap(),
        |dir| {
            copy(&dir.with_extension("sound"), dir);
            replace_by_dir(&dir.join("t-1/leader-epoch-checkpoint"));
        },
    ];
    for break_it in breakages {
        let temp = TempDir::new().unwrap();
        let (a, b) = (temp.path().join("a"), temp.path().join("b"));
        let node = TestNode::start(&format!("log.dirs={},{}\n", a.display(), b.display())).await;
        create_topic(&node, "t", 2).await;
        await_leader(&node, "t", 1, 1).await;
        assert!(a.join("t-0").exists() && b.join("t-1").exists());

        let sound = b.with_extension("sound");
        let node = node
            .restart(|| {
                fs::rename(&b, &sound).unwrap();
                break_it(&b);
            })
            .await;
        await_leader(&node, "t", 1, -1).await;
        await_leader(&node, "t", 0, 1).await;
        assert_eq!(node.running.node.image().cluster.broker(NodeId(1)).unwrap().directories.len(), 1);
        create_topic(&node, "new", 2).await;
        await_leader(&node, "new", 1, 1).await;
        assert!(a.join("new-0").exists() && a.join("new-1").exists() && !a.join("t-1").exists());
        let mut client = node.client().await;
        let described = client.send(&DescribeLogDirsRequest { topics: None }, 4).await.results;
        let of =
            |dir: &Path| described.iter().find(|result| *result.log_dir == *dir.to_string_lossy()).unwrap();
        assert_eq!((of(&a).error_code, of(&a).topics.len()), (0, 2));
        let storage_error = ErrorCode::KafkaStorageError.code();
        assert_eq!((of(&b).error_code, of(&b).topics.len(), of(&b).total_bytes), (storage_error, 0, -1));
        let topic = AlterReplicaLogDirTopic { name: "t".into(), partitions: vec![0] };
        let dir = AlterReplicaLogDir { path: of(&b).log_dir.clone(), topics: vec![topic] };
        let answer = client.send(&AlterReplicaLogDirsRequest { dirs: vec![dir] }, 2).await;
        assert_eq!(answer.results[0].partitions[0].error_code, storage_error);

        let node = node
            .restart(|| {
                assert!(!b.join(".kafka_cleanshutdown").exists(), "nobody has looked through it");
                let _ = fs::remove_dir_all(&b).or_else(|_| fs::remove_file(&b));
                fs::rename(&sound, &b).unwrap();
            })
            .await;
        await_leader(&node, "t", 1, 1).await;
        assert_eq!(node.running.node.image().cluster.broker(NodeId(1)).unwrap().directories.len(), 2);
        assert!(b.join("t-1").exists() && !a.join("t-1").exists());
        node.running.stop().await;
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

async fn create_topic(node: &TestNode, name: &str, partitions: i32) {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let created = node.client().await.send(&request, 7).await.topics.remove(0);
    assert_eq!(created.error_code, 0, "{:?}", created.error_message);
}

/// Waits until the metadata has this leader.
async fn await_leader(node: &TestNode, topic: &str, partition: i32, leader: i32) {
    let mut metadata = node.running.node.metadata().clone();
    let leads = |image: &MetadataImage| {
        let topic = image.topics.by_name(topic);
        topic.is_some_and(|topic| topic.partitions[&partition].leader == NodeId(leader))
    };
    let waited = async {
        while !leads(&metadata.image()) {
            metadata.changed().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waited).await;
    waited.unwrap_or_else(|_| panic!("{topic}-{partition} is led by {leader}"));
}
