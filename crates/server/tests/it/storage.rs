//! Formatting against what Apache Kafka's tool wrote.

use std::path::{Path, PathBuf};

use ottla_commit_log::RealDisk;
use ottla_commit_log::disk::read_file;
use ottla_raft::ControlRecord;
use ottla_server::quorum::snapshot;
use ottla_server::storage::{self, FormatError, FormatOptions, Quorum};

use crate::quorum::{CLUSTER, config, format};

const SNAPSHOT: &str = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/dirs").join(name)
}

#[test]
fn a_static_voters_directory_is_kafkas() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(temp.path(), "");
    config.quorum.voters =
        vec![ottla_server::config::QuorumVoter { id: config.node_id, host: "localhost".into(), port: 9093 }];
    let formatted = format(&config, Quorum::Configured);
    assert_eq!(formatted.metadata_version.name(), "4.4-IV2");
    compare(temp.path(), &golden("format-4.4-static"));
}

#[test]
fn a_node_without_initial_controllers_has_kafkas_directory() {
    let temp = tempfile::tempdir().unwrap();
    format(&config(temp.path(), ""), Quorum::None);
    compare(temp.path(), &golden("format-4.4-no-initial-controllers"));
}

/// The same files, and the same snapshot but for its timestamps.
fn compare(ours: &Path, theirs: &Path) {
    let names = |directory: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(ours), names(theirs));
    let metadata = "__cluster_metadata-0";
    assert_eq!(names(&ours.join(metadata)), names(&theirs.join(metadata)));
    let (ours, theirs) = (batches(&ours.join(SNAPSHOT)), batches(&theirs.join(SNAPSHOT)));
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 3);
}

/// Each batch with checksum and timestamps blanked out, and, of the header's record, its timestamp.
fn batches(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = read_file(&RealDisk, path).unwrap();
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let size = 12 + u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let mut batch: Vec<u8> = bytes.drain(..size).collect();
        batch[17..21].fill(0);
        batch[27..43].fill(0);
        if batches.is_empty() {
            // Record: length, attributes, two deltas, key length, key (4), value length, version (2), timestamp (8).
            batch[61 + 5 + 4 + 1 + 2..][..8].fill(0);
        }
        batches.push(batch);
    }
    batches
}

#[test]
fn a_standalone_node_is_the_only_voter() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), "");
    let formatted = format(&config, Quorum::Standalone);
    let content = snapshot::read(&RealDisk, &temp.path().join(SNAPSHOT)).unwrap();
    let theirs = snapshot::read(&RealDisk, &golden("format-4.3-standalone").join(SNAPSHOT)).unwrap();
    let voters = |records: &[ControlRecord]| match records {
        [ControlRecord::KRaftVersion(1), ControlRecord::Voters(voters)] => voters.clone(),
        other => panic!("{other:?}"),
    };
    let (ours, theirs) = (voters(&content.quorum), voters(&theirs.quorum));
    let (ours, theirs) = (ours.iter().next().unwrap(), theirs.iter().next().unwrap());
    assert_eq!(ours.kraft_version, theirs.kraft_version);
    assert_eq!(ours.endpoints[0].listener, theirs.endpoints[0].listener);
    assert_eq!(ours.key.directory, formatted.directories[0].id);
    assert_eq!(content.records.len(), 6);

    let again =
        FormatOptions { cluster_id: CLUSTER.into(), quorum: Quorum::Standalone, ..FormatOptions::default() };
    let refused = storage::format(&RealDisk, &config, &again, ottla_model::Millis(0), || unreachable!());
    assert!(matches!(refused, Err(FormatError::AlreadyFormatted(_))), "{refused:?}");
    let ignored = FormatOptions { ignore_formatted: true, ..again };
    let formatted =
        storage::format(&RealDisk, &config, &ignored, ottla_model::Millis(0), || unreachable!()).unwrap();
    assert!(formatted.directories.is_empty());
    let (text, fine) = storage::info(&RealDisk, &config);
    assert!(fine && text.contains("cluster.id=DFF4aVFKT9OXlxhwrJUsDg"), "{text}");

    let of_another = FormatOptions { cluster_id: "AAAAAAAAAAAAAAAAAAAAAw".into(), ..ignored };
    let refused = storage::format(&RealDisk, &config, &of_another, ottla_model::Millis(0), || unreachable!());
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("of cluster DFF4aVFKT9OXlxhwrJUsDg, not"), "{refused}");
}

#[test]
fn snapshots_of_kafka_are_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../testdata/golden/metadata/quorum/__cluster_metadata-0");
    let mut records = Vec::new();
    for id in snapshot::list(&RealDisk, &directory).unwrap() {
        records.push(snapshot::read(&RealDisk, &directory.join(id.file_name())).unwrap().records.len());
    }
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|&count| count > 5), "{records:?}");
}
