//! The quorum's driver on a disk that loses what was not synced: whatever a crash leaves, the next start finds
//! everything that was committed, in order, and leads in an epoch that nobody has led before.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_commit_log::disk::{CrashImage, SimFault};
use ottla_commit_log::{Disk, FileCache, LogConfig, LogContext, LogDir, SimDisk, TailBudget};
use ottla_model::{LeaderEpoch, Millis, Offset, Uuid};
use ottla_protocol::Str;
use ottla_protocol::records::metadata::{MetadataRecord, TopicRecord};
use ottla_raft::{Identity, RaftConfig, ReplicaKey};
use ottla_server::quorum::snapshots::{SnapshotLimits, Snapshots};
use ottla_server::quorum::{
    Committed, Driver, DriverOptions, KRAFT_VERSIONS, controller_endpoints, snapshot,
};
use ottla_server::storage::{self, FormatOptions, Quorum};

use crate::quorum::{CLUSTER, config, id};

const DIR: &str = "/data";
/// A snapshot whenever there is something new, and only the newest is kept.
const LIMITS: SnapshotLimits =
    SnapshotLimits { after_bytes: 1, after_ms: 0, retention_bytes: 0, retention_ms: -1 };

type Failed = Box<dyn std::error::Error>;

/// What was promised before the crash.
#[derive(Default)]
struct Promised {
    committed: Vec<String>,
    epoch: i32,
}

struct Node {
    driver: Driver,
    snapshots: Snapshots,
    /// Names of topics in the order of their records.
    known: Vec<String>,
    now: Millis,
}

fn name(record: &MetadataRecord) -> Option<String> {
    match record {
        MetadataRecord::Topic(topic) => Some(topic.name.to_string()),
        _ => None,
    }
}

fn topic(name: &str) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord { name: Str::from(name), topic_id: Uuid::ONE })
}

fn encode(names: &[String]) -> Vec<Bytes> {
    names.iter().map(|name| topic(name).encode(0).unwrap()).collect()
}

impl Node {
    /// Opens and leads; what the node learns is in `known` when it returns.
    fn start(disk: &SimDisk, now: Millis) -> Result<Self, Failed> {
        let config = config(Path::new(DIR), "");
        let files = FileCache::new(Arc::new(disk.clone()), 100);
        let dir = LogDir::open(LogContext { files, tails: TailBudget::new(1 << 20) }, DIR)?;
        let properties = dir.meta_properties()?.ok_or("not formatted")?;
        let identity = Identity {
            key: ReplicaKey::new(properties.node_id, properties.directory_id.unwrap()),
            endpoints: controller_endpoints(&config, &[]),
            kraft_version: KRAFT_VERSIONS,
        };
        // Small segments, so that cleaning has some to remove.
        let log_config = LogConfig { segment_bytes: 400, ..LogConfig::metadata_log() };
        let log = dir.open_metadata_log(log_config, now)?;
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let config = RaftConfig::new(identity);
        let options = DriverOptions { config, configured_voters: Default::default(), disk, log };
        let (driver, recovered) = Driver::open(options, now)?;
        let snapshots = Snapshots::new(LIMITS, recovered.snapshot, now);
        let known = recovered.records.iter().filter_map(name).collect();
        let mut node = Self { driver, snapshots, known, now };
        node.driver.start(now)?;
        node.flush()?;
        Ok(node)
    }

    fn flush(&mut self) -> Result<Vec<Committed>, Failed> {
        self.now = self.now + 1000;
        self.driver.flush(self.now)?;
        let committed = self.driver.deliver().map(|delivery| delivery.batches).unwrap_or_default();
        self.known.extend(committed.iter().flat_map(|batch| &batch.records).filter_map(name));
        committed.iter().for_each(|batch| self.snapshots.delivered(batch.size_bytes));
        Ok(committed)
    }

    fn commit(&mut self, names: &[String]) -> Result<(), Failed> {
        let records = names.iter().map(|name| topic(name)).collect();
        let base = self.driver.append(self.now, records, &encode(names))?.map_err(|_| "not leader")?;
        let committed = self.flush()?;
        assert_eq!(
            committed.last().map(|batch| (batch.base, batch.end)),
            Some((base, base + names.len() as i64))
        );
        Ok(())
    }

    fn snapshot_and_clean(&mut self) -> Result<(), Failed> {
        let end = self.driver.raft().high_watermark().unwrap();
        let epoch = self.driver.raft().epoch();
        let job = self.snapshots.due(self.now, &self.driver, end, epoch, self.now).expect("it is time");
        let values = encode(&self.known);
        let written = job.run(self.now, values.into_iter())?;
        self.snapshots.written(Some(written));
        self.now = self.now + 60_000;
        self.snapshots.clean(self.now, &mut self.driver)?;
        Ok(())
    }
}

/// Formats, starts three times, writes, takes snapshots, cleans. What was promised is noted as soon as it is.
fn workload(disk: &SimDisk, promised: &mut Promised) -> Result<(), Failed> {
    let config = config(Path::new(DIR), "");
    let options =
        FormatOptions { cluster_id: CLUSTER.into(), quorum: Quorum::Standalone, ..FormatOptions::default() };
    storage::format(disk, &config, &options, Millis(1000), || id(501))?;
    let mut next = 0;
    for round in 0..3 {
        let mut node = Node::start(disk, Millis(1_000_000 * (round + 1)))?;
        assert!(node.driver.raft().epoch().0 > promised.epoch);
        promised.epoch = node.driver.raft().epoch().0;
        for batch in 0..4 {
            let names: Vec<String> = (next..next + 3).map(|number| format!("topic-{number}")).collect();
            next += 3;
            node.commit(&names)?;
            promised.committed.extend(names);
            if batch % 2 == 1 {
                node.snapshot_and_clean()?;
            }
        }
        node.driver.close(node.now)?;
    }
    Ok(())
}

#[test]
fn what_was_committed_survives_every_crash() {
    let disk = SimDisk::new();
    let mut promised = Promised::default();
    workload(&disk, &mut promised).unwrap();
    assert_eq!((promised.committed.len(), promised.epoch), (36, 3));
    let operations = disk.operations();
    let log_start = Node::start(&disk, Millis(9_000_000)).unwrap().driver.view().log_start_offset();
    assert!(log_start > Offset::ZERO, "segments were removed");

    for stop_at in 0..operations {
        let disk = SimDisk::new();
        disk.inject(SimFault::StopAt(stop_at));
        let mut promised = Promised::default();
        let failed = workload(&disk, &mut promised).is_err();
        for image in [
            CrashImage::ProcessKilled,
            CrashImage::LoseUnsynced,
            CrashImage::Torn(1),
            CrashImage::Torn(stop_at),
        ] {
            let what = format!("stopped at {stop_at} of {operations}, {image:?}");
            let after = disk.crash(image);
            if !storage::is_formatted(&after, &PathBuf::from(DIR)).unwrap() {
                assert_eq!(promised.epoch, 0, "{what}");
                continue;
            }
            let node =
                Node::start(&after, Millis(9_000_000)).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(node.driver.raft().epoch() > LeaderEpoch(promised.epoch), "{what}");
            let expected: Vec<&String> = promised.committed.iter().collect();
            let found: Vec<&String> = node.known.iter().take(expected.len()).collect();
            assert_eq!(found, expected, "{what}");
            // What was not acknowledged may be there, but whole batches of it, and nothing else.
            assert!(
                node.known.len().is_multiple_of(3) && node.known.len() <= expected.len() + 3,
                "{what}: {:?}",
                node.known
            );
            assert!(snapshot::list(&after, &Path::new(DIR).join("__cluster_metadata-0")).is_ok());
        }
        assert!(failed || stop_at + 1 >= operations);
    }
}

#[test]
fn a_failed_sync_ends_the_quorum() {
    let disk = SimDisk::new();
    let config = config(Path::new(DIR), "");
    let options =
        FormatOptions { cluster_id: CLUSTER.into(), quorum: Quorum::Standalone, ..FormatOptions::default() };
    storage::format(&disk, &config, &options, Millis(1000), || id(501)).unwrap();
    let mut node = Node::start(&disk, Millis(1_000_000)).unwrap();
    node.commit(&["before".to_string()]).unwrap();
    disk.inject(SimFault::FailSync(0));
    assert!(node.commit(&["lost".to_string()]).is_err());
    assert!(node.commit(&["after".to_string()]).is_err(), "a failed sync is final");
    let node = Node::start(&disk.crash(CrashImage::LoseUnsynced), Millis(2_000_000)).unwrap();
    assert_eq!(node.known, ["before"]);
}
