//! Metadata logs and snapshots that Apache Kafka 4.4.0 wrote (testdata/golden/metadata).

use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_metadata::features::MetadataVersion;
use ottla_metadata::{MetadataDelta, MetadataImage, Provenance, WriteOptions};
use ottla_model::{Millis, Offset};
use ottla_protocol::records::metadata::MetadataRecord;
use ottla_record::Batches;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/metadata").join(path)
}

/// Offset, written version and record of each data record in a log or snapshot.
fn records(path: &str) -> Vec<(i64, i16, MetadataRecord)> {
    let bytes = Bytes::from(std::fs::read(golden(path)).unwrap());
    let mut records = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch.unwrap();
        if batch.header.attributes.is_control() {
            continue;
        }
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let (version, metadata) = MetadataRecord::decode(record.value.unwrap()).unwrap();
            records.push((record.offset.0, version, metadata));
        }
    }
    records
}

fn provenance(offset: i64) -> Provenance {
    Provenance { offset: Offset(offset), epoch: 1, time: Millis(1) }
}

/// Replays a log up to (not with) `end`, an image for each record, and checks that one delta over all of it
/// gives the same.
fn replay(records: &[(i64, i16, MetadataRecord)], end: i64) -> MetadataImage {
    let mut image = MetadataImage::default();
    let mut one_delta = MetadataDelta::new(&image);
    let mut delta = MetadataDelta::new(&image);
    for (offset, _, record) in records.iter().take_while(|(offset, ..)| *offset < end) {
        delta.replay(record).unwrap_or_else(|error| panic!("{offset}: {error}: {record:?}"));
        one_delta.replay(record).unwrap();
        if !delta.in_transaction() {
            image = delta.apply(provenance(*offset));
            assert_eq!(&image.topics, &delta.image().topics);
            delta = MetadataDelta::new(&image);
        }
    }
    assert_eq!(one_delta.apply(image.provenance), image);
    image
}

fn from_snapshot(records: &[(i64, i16, MetadataRecord)], end: i64) -> MetadataImage {
    let mut delta = MetadataDelta::from_snapshot(&MetadataImage::default());
    for (_, _, record) in records {
        delta.replay(record).unwrap();
    }
    delta.finish_snapshot().unwrap();
    delta.apply(provenance(end - 1))
}

/// Our records of an image are the ones Kafka wrote; only the order inside an aggregate is free.
fn assert_writes(image: &MetadataImage, expected: &[(i64, i16, MetadataRecord)]) {
    let version = image.metadata_version();
    let options = WriteOptions { metadata_version: version };
    let encoded =
        |version: i16, record: &MetadataRecord| (record.record_type(), record.encode(version).unwrap());
    let written = image.write(&options);
    let mut ours: Vec<_> =
        written.iter().map(|record| encoded(version.record_version(record), record)).collect();
    let mut theirs: Vec<_> = expected
        .iter()
        .map(|(_, version, record)| encoded(*version, &with_sorted_features(record)))
        .collect();
    let aggregates = |records: &[(i16, Bytes)]| {
        let mut kinds: Vec<i16> =
            records.iter().map(|(kind, _)| if *kind == 3 { 2 } else { *kind }).collect();
        kinds.dedup();
        kinds
    };
    assert_eq!(aggregates(&ours), aggregates(&theirs));
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

/// Kafka writes the features of a registration in the order of a hash map.
fn with_sorted_features(record: &MetadataRecord) -> MetadataRecord {
    let mut record = record.clone();
    match &mut record {
        MetadataRecord::RegisterBroker(broker) => broker.features.sort_by(|a, b| a.name.cmp(&b.name)),
        MetadataRecord::RegisterController(node) => node.features.sort_by(|a, b| a.name.cmp(&b.name)),
        _ => (),
    }
    record
}

#[test]
fn a_quorums_log_gives_what_its_snapshots_say() {
    let log = records("quorum/__cluster_metadata-0/00000000000000000000.log");
    for (end, snapshot) in [
        (2191, "quorum/__cluster_metadata-0/00000000000000002191-0000000012.checkpoint"),
        (2274, "quorum/__cluster_metadata-0/00000000000000002274-0000000013.checkpoint"),
    ] {
        let expected = records(snapshot);
        let image = replay(&log, end);
        assert_eq!(image, from_snapshot(&expected, end));
        assert_writes(&image, &expected);
    }
}

#[test]
fn every_golden_log_survives_a_snapshot_of_ours() {
    for log in ["quorum", "single", "static-upgraded"] {
        let log = records(&format!("{log}/__cluster_metadata-0/00000000000000000000.log"));
        let image = replay(&log, i64::MAX);
        let options = WriteOptions { metadata_version: image.metadata_version() };
        let written: Vec<_> = image.write(&options).into_iter().map(|record| (0, 0, record)).collect();
        assert_eq!(from_snapshot(&written, image.provenance.offset.0 + 1), image);
    }
}

#[test]
fn records_are_written_in_the_versions_that_kafka_writes() {
    for log in ["quorum", "single", "static-upgraded"] {
        let mut version = MetadataVersion::MIN;
        for (offset, written, record) in
            records(&format!("{log}/__cluster_metadata-0/00000000000000000000.log"))
        {
            if let MetadataRecord::FeatureLevel(level) = &record
                && &*level.name == "metadata.version"
            {
                version = MetadataVersion(level.feature_level);
            }
            assert_eq!(version.record_version(&record), written, "{log} {offset}: {record:?}");
        }
    }
}
