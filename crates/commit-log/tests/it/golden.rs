//! Directories written by Apache Kafka 4.4.0 (testdata/golden/README.md): read to their expected content, recovered and
//! written again to the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ottla_commit_log::checkpoint::{self, MetaProperties};
use ottla_commit_log::{LogConfig, LogDir, RealDisk, SyncKind};
use ottla_model::{BrokerEpoch, Millis, NodeId, Offset, ProducerId, TopicPartition};
use ottla_record::Batch;
use serde_json::Value;

use crate::support::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden")
}

/// (path below golden/, settings it was written with)
fn partitions() -> Vec<(&'static str, LogConfig)> {
    let with = |segment_bytes, index_interval_bytes| LogConfig {
        segment_bytes,
        index_interval_bytes,
        retention_ms: -1,
        producer_id_expiration_ms: i64::MAX,
        ..config()
    };
    let default = with(1 << 30, 4096);
    vec![
        ("topics/app-rep-0", default.clone()),
        ("topics/codec-none-0", default.clone()),
        ("topics/codec-gzip-0", default.clone()),
        ("topics/codec-snappy-0", default.clone()),
        ("topics/codec-lz4-0", default.clone()),
        ("topics/codec-zstd-0", default.clone()),
        ("topics/idem-0", default.clone()),
        ("topics/lat-0", default.clone()),
        ("topics/recomp-0", default.clone()),
        ("topics/txn-0", default.clone()),
        ("topics/seg-0", with(3000, 300)),
        ("topics/cmp-0", LogConfig { cleanup_compact: true, ..with(3000, 200) }),
        ("topics/cmp0-0", LogConfig { cleanup_compact: true, ..with(3000, 200) }),
        ("internal/__consumer_offsets-0", default.clone()),
        ("internal/__share_group_state-0", default.clone()),
        ("internal/__transaction_state-0", default),
    ]
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A log directory that holds a copy of one golden partition.
fn copy(path: &str) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let name = Path::new(path).file_name().unwrap();
    let dir = temp.path().join(name);
    fs::create_dir(&dir).unwrap();
    for (name, content) in files(&golden().join(path)) {
        fs::write(dir.join(name), content).unwrap();
    }
    (temp, dir)
}

/// What the log holds by `expected/`: one line per batch.
fn expected(path: &str) -> Vec<Value> {
    let mut batches = Vec::new();
    for name in files(&golden().join(path)).keys().filter(|name| name.ends_with(".log")) {
        let file = format!("{}__{name}.jsonl", path.replace('/', "__"));
        let text = fs::read_to_string(golden().join("expected").join(file)).unwrap();
        batches.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    batches
}

fn assert_expected(path: &str, batches: &[Batch]) {
    let mut expected = expected(path);
    if let Some(first) = batches.first() {
        // A log start inside of a segment hides the batches before it.
        expected.retain(|line| line["lastOffset"].as_i64() >= Some(first.header.base_offset.0));
    }
    assert_eq!(batches.len(), expected.len(), "{path}");
    for (batch, line) in batches.iter().zip(expected) {
        let header = &batch.header;
        let shown = serde_json::json!({
            "size": header.size_bytes(), "baseOffset": header.base_offset.0, "lastOffset": header.last_offset().0,
            "leaderEpoch": header.leader_epoch.0, "crc": header.crc, "attributes": header.attributes.0,
            "baseTimestamp": header.base_timestamp.0, "maxTimestamp": header.max_timestamp.0,
            "producerId": header.producer_id.0, "producerEpoch": header.producer_epoch.0,
            "baseSequence": header.base_sequence, "count": header.record_count,
        });
        for (key, value) in shown.as_object().unwrap() {
            assert_eq!(&line[key], value, "{path}: {key} of batch {}", header.base_offset);
        }
        let records = batch.records().unwrap().map(|record| record.unwrap().offset.0).collect::<Vec<_>>();
        let offsets =
            line["records"].as_array().unwrap().iter().map(|record| record["offset"].as_i64().unwrap());
        assert_eq!(records, offsets.collect::<Vec<_>>(), "{path}");
    }
}

fn assert_same_files(what: &str, expected: &BTreeMap<String, Vec<u8>>, found: &BTreeMap<String, Vec<u8>>) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for (name, content) in expected {
        if what == "topics/app-rep-0" && name == "leader-epoch-checkpoint" {
            // An epoch in which nothing was written is dropped when a log is loaded.
            assert!(content == b"0\n1\n0 0\n" && (found[name] == b"0\n0\n" || &found[name] == content));
            continue;
        }
        assert_eq!(&found[name], content, "{what}: {name}");
    }
}

#[test]
fn after_a_clean_stop_logs_are_read_and_left_as_they_were() {
    for (path, config) in partitions() {
        let (temp, dir) = copy(path);
        fs::copy(
            golden().join("dirs/clean-stop/dot-kafka_cleanshutdown"),
            temp.path().join(".kafka_cleanshutdown"),
        )
        .unwrap();
        let log_dir = open_dir(RealDisk, temp.path());
        let mut loaded = load_dir(&log_dir, &config);
        assert!(loaded.clean && loaded.previous_broker_epoch.is_some());
        assert_eq!(loaded.report.bytes_scanned, 0);
        let mut log = loaded.logs.pop().unwrap();
        assert_expected(path, &read_all(&log.view(), log.log_start_offset(), 1000));
        log.close().unwrap();
        assert_same_files(path, &files(&golden().join(path)), &files(&dir));
    }
}

#[test]
fn recovery_rebuilds_indexes_epochs_and_snapshots_to_the_byte() {
    for (path, config) in partitions() {
        let (temp, dir) = copy(path);
        let compacted = path.contains("cmp");
        for file in fs::read_dir(&dir).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            // The indexes of a running Kafka have a tail of zeros.
            if name.ends_with(".index") || name.ends_with(".timeindex") {
                fs::write(file.path(), vec![0; 12 << 10]).unwrap();
            }
            if name.ends_with(".snapshot") && !compacted && !path.contains("seg-0") {
                fs::remove_file(file.path()).unwrap();
            }
            if name == "leader-epoch-checkpoint"
                && !compacted
                && !path.contains("seg-0")
                && !path.contains("app-rep")
            {
                fs::remove_file(file.path()).unwrap();
            }
        }
        let log_start = "log-start-offset-checkpoint";
        fs::copy(golden().join("dirs/clean-stop").join(log_start), temp.path().join(log_start)).unwrap();
        let log_dir = open_dir(RealDisk, temp.path());
        let mut log = load_dir(&log_dir, &config).logs.pop().unwrap();
        assert_expected(path, &read_all(&log.view(), log.log_start_offset(), 1 << 20));
        log.close().unwrap();
        let mut expected = files(&golden().join(path));
        let mut found = files(&dir);
        if path.contains("txn-0") {
            // Snapshots in the middle are written at rolls; recovery writes the last one only.
            expected.remove("00000000000000000007.snapshot");
            found.remove("00000000000000000007.snapshot");
        }
        if compacted {
            // The aborted batches are gone, so nothing tells that the marker ended anything.
            let index = "00000000000000000064.txnindex";
            assert_eq!(
                found.remove(index).is_some_and(|index| index.is_empty()),
                expected.remove(index).is_some()
            );
        }
        assert_same_files(path, &expected, &found);
    }
}

#[test]
fn the_same_batches_written_again_give_the_same_files() {
    for (path, config) in partitions() {
        if path.contains("cmp") || path.contains("txn-0") {
            continue; // Compacted, or rolled for a reason that is not in the batches.
        }
        let golden_files = files(&golden().join(path));
        let (source, _) = copy(path);
        let source_dir = open_dir(RealDisk, source.path());
        let log = load_dir(&source_dir, &config).logs.pop().unwrap();
        let batches = read_all(&log.view(), log.log_start_offset(), 1000);
        let temp = tempfile::tempdir().unwrap();
        let dir = open_dir(RealDisk, temp.path());
        let partition = log.partition().clone();
        let mut again = dir.create_log(&partition, log.topic_id().unwrap(), config.clone(), NOW).unwrap();
        if let Some(first) = batches.first() {
            again.truncate_fully_and_start_at(first.header.base_offset, NOW).unwrap();
        }
        again.become_leader(ottla_model::LeaderEpoch(0));
        for batch in batches {
            again.append_as_follower([batch], NOW).unwrap();
            // Syncing in between changes nothing.
            if again.log_end_offset().0 % 3 == 0 {
                let outcome = again.sync_job(SyncKind::Checkpoint).unwrap().run();
                again.complete_sync(outcome).unwrap();
            }
        }
        if let Some(job) = again.delete_job(Millis::MAX) {
            job.run().unwrap();
        }
        again.set_high_watermark(again.log_end_offset());
        if path.contains("seg-0") {
            again.delete_records(Offset(31)).unwrap();
        }
        again.close().unwrap();
        let mut expected = golden_files;
        if path.contains("seg-0") {
            expected.remove("00000000000000000020.snapshot"); // Of batches that are gone.
        }
        assert_same_files(path, &expected, &files(again.path()));
    }
}

#[test]
fn producers_and_aborted_transactions_of_txn_0() {
    let (temp, _) = copy("topics/txn-0");
    let dir = open_dir(RealDisk, temp.path());
    let (_, config) = partitions().into_iter().find(|(path, _)| *path == "topics/txn-0").unwrap();
    let mut log = load_dir(&dir, &config).logs.pop().unwrap();
    log.set_high_watermark(Offset(15));
    assert_eq!((log.log_end_offset(), log.last_stable_offset()), (Offset(15), Offset(15)));
    let aborted = log.view().aborted_transactions(Offset(0), Offset(15)).unwrap();
    let aborted: Vec<_> = aborted
        .iter()
        .map(|txn| (txn.producer_id.0, txn.first_offset.0, txn.last_offset.0, txn.last_stable_offset.0))
        .collect();
    assert_eq!(aborted, [(2, 3, 9, 8), (1, 8, 10, 11), (1, 13, 14, 15)]);
    for pid in [1, 2] {
        let state = log.producers().get(ProducerId(pid)).unwrap();
        assert_eq!((state.last_sequence(), state.current_txn_first_offset), (-1, None));
    }
}

#[test]
fn log_start_inside_a_segment_survives() {
    let (temp, _) = copy("topics/seg-0");
    for name in
        ["log-start-offset-checkpoint", "replication-offset-checkpoint", "recovery-point-offset-checkpoint"]
    {
        fs::copy(golden().join("dirs/clean-stop").join(name), temp.path().join(name)).unwrap();
    }
    let dir = open_dir(RealDisk, temp.path());
    let (_, config) = partitions().into_iter().find(|(path, _)| *path == "topics/seg-0").unwrap();
    let log = load_dir(&dir, &config).logs.pop().unwrap();
    assert_eq!(
        (log.log_start_offset(), log.high_watermark(), log.log_end_offset()),
        (Offset(31), Offset(80), Offset(80))
    );
    dir.checkpoint_log_starts().unwrap();
    assert_eq!(
        fs::read_to_string(temp.path().join("log-start-offset-checkpoint")).unwrap(),
        "0\n1\nseg-0 0 31\n".replace("seg-0", "seg")
    );
}

#[test]
fn checkpoints_and_properties_of_a_clean_stop() {
    let dir = golden().join("dirs/clean-stop");
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for name in ["recovery-point", "replication", "log-start", "cleaner"] {
        let text = text(&format!("{name}-offset-checkpoint"));
        let offsets = checkpoint::parse_offsets(&text).unwrap();
        let again = checkpoint::format_offsets(offsets.iter().map(|(tp, offset)| (tp, *offset)));
        assert_eq!(sorted(&again), sorted(&text), "{name}");
    }
    let cleaner = checkpoint::parse_offsets(&text("cleaner-offset-checkpoint")).unwrap();
    assert_eq!(cleaner[&TopicPartition::new("cmp", 0)], Offset(130));
    let marker = text("dot-kafka_cleanshutdown");
    let epoch = checkpoint::parse_clean_shutdown(&marker);
    assert!(epoch > BrokerEpoch(0));
    assert_eq!(checkpoint::format_clean_shutdown(epoch), marker);
    for name in ["clean-stop", "format-4.3-standalone", "format-4.3-static", "format-4.4-static"] {
        let text = fs::read_to_string(golden().join("dirs").join(name).join("meta.properties")).unwrap();
        let meta = MetaProperties::parse(&text).unwrap();
        assert!(meta.directory_id.is_some() && meta.node_id >= NodeId(1));
        let values = |text: &str| {
            sorted(
                &text.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect::<String>(),
            )
        };
        assert_eq!(values(&meta.format()), values(&text));
    }
}

#[test]
fn metadata_logs_are_read() {
    for (name, end) in [("quorum", 2281), ("single", 204), ("static-upgraded", 0)] {
        let path = format!("metadata/{name}/__cluster_metadata-0");
        let (temp, dir) = copy(&path);
        let log_dir: LogDir = open_dir(RealDisk, temp.path());
        let mut log = log_dir.open_metadata_log(LogConfig::metadata_log(), NOW).unwrap();
        let batches = read_all(&log.view(), Offset(0), 5000);
        assert_expected(&path, &batches);
        if end > 0 {
            assert_eq!(log.log_end_offset(), Offset(end), "{name}");
        }
        log.close().unwrap();
        let (expected, found) = (files(&golden().join(&path)), files(&dir));
        for (file, content) in expected.iter().filter(|(file, _)| !file.ends_with("index")) {
            assert_eq!(&found[file], content, "{name}: {file}");
        }
        assert!(load_dir(&log_dir, &LogConfig::default()).logs.is_empty(), "not one of the data logs");
    }
}

/// cmp-0 was cleaned once by Apache Kafka; cleaned again, with all horizons passed, it must hold what cmp0-0 (the same
/// input, several rounds, no delay) holds: no tombstones, the ABORT marker with its horizon, which makes it longer (by
/// how much depends on the time between).
#[test]
fn cleaning_cmp_0_again_gives_what_kafka_made_of_cmp0_0() {
    let (temp, _) = copy("topics/cmp-0");
    let config = partitions().into_iter().find(|(path, _)| *path == "topics/cmp-0").unwrap().1;
    let config = LogConfig { min_cleanable_dirty_ratio: 0.01, delete_retention_ms: 0, ..config };
    let dir = open_dir(RealDisk, temp.path());
    let mut log = load_dir(&dir, &config).logs.pop().unwrap();
    log.set_high_watermark(log.log_end_offset());
    let now = Millis(1_795_450_916_825);
    let cleanable = log.cleanable(None, now).unwrap().unwrap();
    assert_eq!((cleanable.first_dirty, cleanable.first_uncleanable), (Offset(0), Offset(130)));
    let outcome =
        log.clean_job(cleanable, ottla_commit_log::CleanerLimits::default(), now).run(&mut |_| ()).unwrap();
    assert_eq!(log.complete_clean(outcome, now).unwrap().unwrap().0, Offset(130));
    let found: Vec<_> = read_all(&log.view(), Offset(0), 1 << 20)
        .into_iter()
        .map(|batch| {
            let header = batch.header;
            // How much longer the marker gets depends on the time that has passed.
            let with_horizon = header.delete_horizon().is_some();
            assert!(!with_horizon || header.size_bytes() > 78);
            let size = if with_horizon { 79 } else { header.size_bytes() as i64 };
            (header.base_offset.0, header.last_offset().0, size, i64::from(header.attributes.0))
        })
        .collect();
    let expected: Vec<_> = expected("topics/cmp0-0")
        .into_iter()
        .map(|line| {
            let field = |name: &str| line[name].as_i64().unwrap();
            (field("baseOffset"), field("lastOffset"), field("size"), field("attributes"))
        })
        .collect();
    assert_eq!(found, expected);
}
