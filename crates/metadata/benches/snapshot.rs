//! How fast a snapshot becomes an image, and what the image costs: decoded, replayed and applied, without the disk.
//! `cargo bench -p ottla-metadata`; the aim is 500,000 partitions a second.

use std::borrow::Borrow;
use std::time::Duration;

use bytes::Bytes;
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::{MetadataDelta, MetadataImage, Provenance, WriteOptions};
use ottla_model::Uuid;
use ottla_protocol::Str;
use ottla_protocol::records::metadata::{MetadataRecord, PartitionRecord, TopicRecord};

/// As in the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 5;

fn main() {
    println!("topics x partitions     partitions/s   bytes in memory per partition");
    for (topics, partitions) in [(200_000, 1), (50_000, 10), (500, 1000)] {
        let count = topics * partitions;
        let snapshot = snapshot(topics, partitions);
        let mut best = Duration::MAX;
        let mut image = None;
        for _ in 0..RUNS {
            let start = cpu_time();
            image = Some(load(&snapshot));
            best = best.min(cpu_time() - start);
        }
        drop(image);
        let before = resident_bytes();
        let kept: Vec<_> = (0..RUNS).map(|_| load(&snapshot)).collect();
        let bytes = resident_bytes().saturating_sub(before) / (RUNS * count);
        drop(kept);
        let rate = count as f64 / best.as_secs_f64();
        println!("{topics:>7} x {partitions:<10} {rate:>12.0}   {bytes}");
    }
}

fn snapshot(topics: usize, partitions: usize) -> Vec<Bytes> {
    let mut records = Vec::with_capacity(topics * (partitions + 1));
    for topic in 0..topics {
        let topic_id =
            Uuid::from_u128((topic as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        records
            .push(MetadataRecord::from(TopicRecord { name: Str::from(format!("topic-{topic}")), topic_id }));
        for partition in 0..partitions {
            let replicas: Vec<i32> =
                (0..3).map(|replica| ((topic + partition + replica) % 3) as i32).collect();
            let directories = replicas.iter().map(|id| Uuid::from_u128(1000 + *id as u128)).collect();
            records.push(
                PartitionRecord {
                    partition_id: partition as i32,
                    topic_id,
                    isr: replicas.clone(),
                    leader: replicas[0],
                    replicas,
                    directories,
                    leader_epoch: 3,
                    partition_epoch: 7,
                    ..Default::default()
                }
                .into(),
            );
        }
    }
    let version = MetadataVersion::LATEST;
    let records = replay(records.iter()).write(&WriteOptions { metadata_version: version });
    records.iter().map(|record| record.encode(version.record_version(record)).unwrap()).collect()
}

fn load(snapshot: &[Bytes]) -> MetadataImage {
    replay(snapshot.iter().map(|bytes| MetadataRecord::decode(bytes.clone()).unwrap().1))
}

fn replay(records: impl Iterator<Item: Borrow<MetadataRecord>>) -> MetadataImage {
    let mut delta = MetadataDelta::from_snapshot(&MetadataImage::default());
    records.for_each(|record| delta.replay(record.borrow()).unwrap());
    delta.finish_snapshot().unwrap();
    delta.apply(Provenance::NONE)
}

/// What this thread has had of a core: others may use the machine at the same time.
fn cpu_time() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap())
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
