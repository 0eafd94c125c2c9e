//! Metadata logs and snapshots that Apache Kafka wrote: read, replayed, and carried on.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_commit_log::RealDisk;
use ottla_commit_log::disk::read_file;
use ottla_metadata::{MetadataDelta, MetadataImage, Provenance, WriteOptions};
use ottla_model::{NodeId, Offset};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_raft::ControlRecord;
use ottla_record::Batches;
use ottla_server::config::ServerConfig;
use ottla_server::quorum::batches::{BatchData, ControlData, read_batch};
use ottla_server::quorum::snapshot::{self, SnapshotHead};
use ottla_server::storage::OpenError;

use crate::quorum::{config, create, open, start};

const PARTITION: &str = "__cluster_metadata-0";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

/// A log directory with a golden metadata log and the `meta.properties` that belongs to it.
fn directory(name: &str, meta_properties: &str) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    let to = temp.path().join(PARTITION);
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(golden("metadata").join(name).join(PARTITION)).unwrap() {
        let entry = entry.unwrap();
        std::fs::write(to.join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
    }
    std::fs::write(temp.path().join("meta.properties"), meta_properties).unwrap();
    temp
}

/// Everything in a log file: control records and metadata records by offset.
fn read_log(name: &str) -> (Vec<ControlRecord>, Vec<(Offset, MetadataRecord)>) {
    let path = golden("metadata").join(name).join(PARTITION).join("00000000000000000000.log");
    let (mut controls, mut records) = (Vec::new(), Vec::new());
    for batch in Batches::new(Bytes::from(read_file(&RealDisk, &path).unwrap())) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        match read_batch(&batch).unwrap() {
            BatchData::Metadata(more) => records.extend(more),
            BatchData::Control(more) => controls.extend(more.into_iter().map(|(_, record)| match record {
                ControlData::Quorum(record) => record,
                other => panic!("{other:?} in a log"),
            })),
        }
    }
    (controls, records)
}

fn replay<'a>(records: impl IntoIterator<Item = &'a MetadataRecord>) -> MetadataImage {
    let mut delta = MetadataDelta::new(&MetadataImage::default());
    for record in records {
        delta.replay(record).unwrap_or_else(|error| panic!("{record:?}: {error}"));
    }
    delta.apply(Provenance::NONE)
}

#[test]
fn a_log_of_many_elections_replays_to_what_the_snapshots_say() {
    let (controls, records) = read_log("quorum");
    let leaders =
        controls.iter().filter(|record| matches!(record, ControlRecord::LeaderChange { .. })).count();
    assert_eq!(leaders, 11);
    let directory = golden("metadata/quorum").join(PARTITION);
    for id in snapshot::list(&RealDisk, &directory).unwrap().into_iter().skip(1) {
        let content = snapshot::read(&RealDisk, &directory.join(id.file_name())).unwrap();
        let from_snapshot = replay(&content.records);
        let from_log =
            replay(records.iter().filter(|(offset, _)| *offset < id.end).map(|(_, record)| record));
        assert_eq!(from_log, from_snapshot, "{}", id.file_name());
    }
}

/// Written again, a snapshot holds the same: voters, kraft.version, records and their versions.
#[test]
fn a_snapshot_is_written_as_kafka_writes_it() {
    let temp = tempfile::tempdir().unwrap();
    let directory = golden("metadata/quorum").join(PARTITION);
    let id = *snapshot::list(&RealDisk, &directory).unwrap().last().unwrap();
    let theirs = snapshot::read(&RealDisk, &directory.join(id.file_name())).unwrap();
    let [ControlRecord::KRaftVersion(kraft_version), ControlRecord::Voters(voters)] = &theirs.quorum[..]
    else {
        panic!("{:?}", theirs.quorum)
    };
    let image = replay(&theirs.records);
    let version = image.metadata_version();
    let records = image.write(&WriteOptions { metadata_version: version });
    let head = SnapshotHead {
        id,
        last_contained_log_timestamp: theirs.last_contained_log_timestamp,
        kraft_version: *kraft_version,
        voters: Some(voters),
    };
    let values = records.iter().map(|record| record.encode(version.record_version(record)).unwrap());
    let now = theirs.last_contained_log_timestamp;
    let path = snapshot::write(&RealDisk, temp.path(), head, now, values).unwrap();
    let ours = snapshot::read(&RealDisk, &path).unwrap();
    assert_eq!(ours.quorum, theirs.quorum);
    assert_eq!(ours.last_contained_log_timestamp, theirs.last_contained_log_timestamp);
    assert_eq!(ours.records.len(), theirs.records.len());
    assert_eq!(replay(&ours.records), image);
    let sizes = [&path, &directory.join(id.file_name())].map(|path| std::fs::metadata(path).unwrap().len());
    assert_eq!(sizes[0], sizes[1], "the same records take the same bytes, in whatever order");
}

#[tokio::test]
async fn a_node_that_kafka_stopped_is_carried_on() {
    let meta = std::fs::read_to_string(golden("dirs/clean-stop/meta.properties")).unwrap();
    let temp = directory("single", &meta);
    let config = config(temp.path(), "");
    let (_, records) = read_log("single");
    let before = replay(records.iter().map(|(_, record)| record));

    let directories = open(&config);
    let running = start(&config, &directories, 900);
    let info = running.controller.describe_quorum().await.unwrap();
    assert_eq!((info.leader, info.epoch.0), (Some(NodeId(1)), 2));
    let image = running.metadata.image();
    assert_eq!(image.topics, before.topics);
    assert_eq!(image.configs, before.configs);
    assert_eq!(image.scram, before.scram);
    assert_eq!(image.acls, before.acls);
    assert_eq!(image.producer_ids, before.producer_ids);
    // No broker is there to hold the topic's replica.
    let refused = running.controller.create_topics(create("more", 1)).await.unwrap();
    assert_eq!(refused.topics[0].error_code, 38);
    running.controller.stop().await;
    let epochs =
        std::fs::read_to_string(temp.path().join(PARTITION).join("leader-epoch-checkpoint")).unwrap();
    assert!(epochs.ends_with("\n2 204\n"), "{epochs:?}");
}

#[tokio::test]
async fn a_static_voter_whose_quorum_became_dynamic_is_carried_on() {
    let (controls, _) = read_log("static-upgraded");
    let voters = controls.iter().rev().find_map(|record| match record {
        ControlRecord::Voters(voters) => Some(voters.clone()),
        _ => None,
    });
    let voter = voters.unwrap().iter().next().unwrap().clone();
    let meta =
        format!("version=1\ncluster.id=x\nnode.id={}\ndirectory.id={}\n", voter.key.id, voter.key.directory);
    let temp = directory("static-upgraded", &meta);
    let config = config(temp.path(), "");
    let directories = open(&config);
    let running = start(&config, &directories, 900);
    let info = running.controller.describe_quorum().await.unwrap();
    assert_eq!((info.epoch.0, info.kraft_version), (3, 1));
    // The controller moved to another port: the voters were written anew.
    assert_eq!(info.voters.iter().next().unwrap().endpoints[0].port, 9093);
    running.controller.stop().await;
}

#[test]
fn foreign_and_unformatted_directories_are_refused_by_name() {
    let open_error = |config: &ServerConfig| {
        use ottla_commit_log::{FileCache, LogContext, TailBudget};
        let context = LogContext {
            files: FileCache::new(std::sync::Arc::new(RealDisk), 100),
            tails: TailBudget::new(1 << 20),
        };
        ottla_server::storage::open(&context, config, || panic!("no id is needed")).unwrap_err()
    };
    let temp = tempfile::tempdir().unwrap();
    assert!(matches!(open_error(&config(temp.path(), "")), OpenError::NotFormatted(_)));
    let temp =
        directory("single", "version=1\ncluster.id=x\nnode.id=7\ndirectory.id=E6m2QIEaSViH7i7ZGvEnuw\n");
    let error = open_error(&config(temp.path(), ""));
    assert!(error.to_string().ends_with("belongs to node 7, but node.id is 1"), "{error}");
}
