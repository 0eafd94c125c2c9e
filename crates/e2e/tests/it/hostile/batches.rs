//! Record batches of which every field lies in turn, and batches that grow when they are opened.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_e2e::batch::{Batch, TIME, record, zigzag};
use ottla_e2e::node::Node;
use ottla_e2e::wire::{Body, Connection, Cursor, Header, Reply, framed, request};
use ottla_e2e::{mask, world};

use super::report;

pub fn batches() -> Result<()> {
    let good = || Batch::of(&[b"one", b"two", b"three"]);
    let with = |change: &dyn Fn(&mut Batch)| {
        let mut batch = good();
        change(&mut batch);
        batch.encode()
    };
    let mut cases: Vec<(&str, Vec<u8>)> = vec![
        ("good", good().encode()),
        ("base offset 7", with(&|b| b.base_offset = 7)),
        ("base offset -1", with(&|b| b.base_offset = -1)),
        ("length too small", with(&|b| b.length = Some(20))),
        ("length one less", with(&|b| b.length = Some(70))),
        ("length beyond the records", with(&|b| b.length = Some(1000))),
        ("length negative", with(&|b| b.length = Some(-1))),
        ("the largest length", with(&|b| b.length = Some(i32::MAX))),
        ("leader epoch 55", with(&|b| b.leader_epoch = 55)),
        ("magic 0", with(&|b| b.magic = 0)),
        ("magic 1", with(&|b| b.magic = 1)),
        ("magic 3", with(&|b| b.magic = 3)),
        ("magic -1", with(&|b| b.magic = -1)),
        ("checksum", with(&|b| b.crc = Some(1))),
        ("codec 5", with(&|b| b.attributes = 5)),
        ("codec 7", with(&|b| b.attributes = 7)),
        ("gzip that is none", with(&|b| b.attributes = 1)),
        ("snappy that is none", with(&|b| b.attributes = 2)),
        ("lz4 that is none", with(&|b| b.attributes = 3)),
        ("log append time", with(&|b| b.attributes = 8)),
        ("transactional", with(&|b| b.attributes = 16)),
        ("control", with(&|b| b.attributes = 32)),
        ("delete horizon", with(&|b| b.attributes = 64)),
        ("unused attributes", with(&|b| b.attributes = 0x7f00)),
        ("last offset delta -1", with(&|b| b.last_offset_delta = -1)),
        ("last offset delta 1", with(&|b| b.last_offset_delta = 1)),
        ("last offset delta 9", with(&|b| b.last_offset_delta = 9)),
        ("the largest last offset delta", with(&|b| b.last_offset_delta = i32::MAX)),
        ("base timestamp -1", with(&|b| (b.base_timestamp, b.max_timestamp) = (-1, -1))),
        ("base timestamp -5", with(&|b| (b.base_timestamp, b.max_timestamp) = (-5, -5))),
        ("a time in the far future", with(&|b| (b.base_timestamp, b.max_timestamp) = (i64::MAX, i64::MAX))),
        ("max timestamp lower", with(&|b| b.max_timestamp = TIME - 9)),
        ("max timestamp higher", with(&|b| b.max_timestamp = TIME + 9)),
        ("producer id without sequence", with(&|b| (b.producer_id, b.producer_epoch) = (4000, 0))),
        ("producer id without epoch", with(&|b| (b.producer_id, b.base_sequence) = (4001, 0))),
        ("an unknown producer", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4002, 0, 5))),
        ("its next batch", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4002, 0, 8))),
        ("the same again", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4002, 0, 8))),
        ("a gap", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4002, 0, 20))),
        (
            "a higher epoch, not from 0",
            with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4002, 3, 5)),
        ),
        ("a higher epoch", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4002, 3, 0))),
        ("a lower epoch", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4002, 1, 0))),
        ("producer id -7", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (-7, 0, 0))),
        ("sequence -5", with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4003, 0, -5))),
        (
            "sequence wraps",
            with(&|b| (b.producer_id, b.producer_epoch, b.base_sequence) = (4004, 0, i32::MAX - 1)),
        ),
        ("count 0", with(&|b| b.count = 0)),
        ("count -1", with(&|b| b.count = -1)),
        ("count 2", with(&|b| b.count = 2)),
        ("count 4", with(&|b| b.count = 4)),
        ("the largest count", with(&|b| b.count = i32::MAX)),
        ("count and delta too high", with(&|b| (b.count, b.last_offset_delta) = (9, 8))),
        ("no records", with(&|b| b.records.clear())),
        ("no bytes at all", vec![]),
        ("half a batch", good().encode()[..40].to_vec()),
        ("a batch without its last byte", good().encode()[..70].to_vec()),
        ("two batches", [good().encode(), good().encode()].concat()),
        ("trailing bytes", [good().encode(), vec![0; 12]].concat()),
        ("many trailing bytes", [good().encode(), vec![0; 40]].concat()),
    ];
    // Records, one byte lie each; the checksum is right, so the records themselves are looked at.
    for (name, records) in [
        ("a record's length beyond the batch", [zigzag(9000), vec![0; 8]].concat()),
        ("a record's length negative", [zigzag(-3), vec![0; 8]].concat()),
        ("a record's length as a varint without end", vec![0xff; 20]),
        (
            "a key beyond the record",
            [zigzag(8), vec![0], zigzag(0), zigzag(0), zigzag(900), vec![0; 3]].concat(),
        ),
        (
            "a value of length -2",
            [zigzag(6), vec![0], zigzag(0), zigzag(0), zigzag(-1), zigzag(-2), zigzag(0)].concat(),
        ),
        (
            "headers beyond the record",
            [zigzag(6), vec![0], zigzag(0), zigzag(0), zigzag(-1), zigzag(-1), zigzag(63)].concat(),
        ),
        (
            "headers of -1",
            [zigzag(6), vec![0], zigzag(0), zigzag(0), zigzag(-1), zigzag(-1), zigzag(-1)].concat(),
        ),
        (
            "attributes of a record",
            [zigzag(6), vec![0x7f], zigzag(0), zigzag(0), zigzag(-1), zigzag(-1), zigzag(0)].concat(),
        ),
        ("an offset delta of 5", record(5, None, b"x")),
        ("an offset delta of -1", record(-1, None, b"x")),
        ("bytes after the last record", [record(0, None, b"x"), vec![1, 2, 3]].concat()),
    ] {
        let mut batch = Batch::of(&[b"x"]);
        batch.records = records.clone();
        cases.push((name, batch.encode()));
        batch.attributes = 1;
        batch.records = gzip(&records)?;
        cases.push((name, batch.encode()));
    }
    let ask = |node: &Node, topic: &str, config: &[(&str, &str)]| -> Result<Vec<String>> {
        Connection::open(node.address(), Duration::from_secs(20))?.create_topic(topic, 1, config)?;
        cases
            .iter()
            .map(|(name, batch)| produce(node, topic, batch).with_context(|| (*name).to_owned()))
            .collect()
    };
    let (judge, candidate) = (world::judge()?, world::candidate()?);
    for (topic, config) in [
        ("hostile-plain", [].as_slice()),
        ("hostile-compact", &[("cleanup.policy", "compact")]),
        ("hostile-stamped", &[("message.timestamp.type", "LogAppendTime")]),
        ("hostile-recompressed", &[("compression.type", "lz4")]),
    ] {
        let (theirs, ours) = (ask(&judge, topic, config)?, ask(&candidate, topic, config)?);
        let names = cases.iter().map(|(name, _)| *name);
        let rows = names.zip(theirs.iter().map(String::as_str)).zip(ours.iter().map(String::as_str));
        report(rows).with_context(|| format!("topic {topic}"))?;
    }
    Ok(())
}

/// Batches of a few hundred KiB that hold a GiB: refused or taken as Kafka does, with memory in bounds.
pub fn bombs() -> Result<()> {
    let (judge, candidate) = (world::judge()?, world::candidate()?);
    let zeros = vec![0; 300 << 20];
    let big = record(0, None, &zeros);
    drop(zeros);
    let mut cases = Vec::new();
    let mut batch = Batch::of(&[b"x"]);
    (batch.attributes, batch.records) = (1, gzip(&big)?);
    cases.push(("gzip of 300 MiB", batch.encode()));
    (batch.attributes, batch.records) = (4, zstd::encode_all(&big[..], 1).context("compress with zstd")?);
    cases.push(("zstd of 300 MiB", batch.encode()));
    drop(big);
    let before = candidate.rss_kib()?;
    let mut results = Vec::new();
    for node in [&judge, &candidate] {
        Connection::open(node.address(), Duration::from_secs(20))?.create_topic("hostile-bomb", 1, &[])?;
        let mut row = Vec::new();
        for (_, batch) in &cases {
            let begun = Instant::now();
            row.push(produce(node, "hostile-bomb", batch)?);
            eprintln!(
                "e2e: {:?} took {:.0} ms for a bomb",
                node.brand(),
                begun.elapsed().as_secs_f64() * 1000.0
            );
        }
        results.push(row);
    }
    let after = candidate.rss_kib()?;
    eprintln!("e2e: memory before and after the bombs: {} and {} MiB", before >> 10, after >> 10);
    let names = cases.iter().map(|(name, _)| *name);
    report(names.zip(results[0].iter().map(String::as_str)).zip(results[1].iter().map(String::as_str)))?;
    ensure!(after < before + (128 << 10), "the bombs cost {} MiB of memory", (after - before) >> 10);
    Ok(())
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).context("compress with gzip")
}

/// Produces with version 8 and tells the answer in words.
fn produce(node: &Node, topic: &str, batch: &[u8]) -> Result<String> {
    let body = Body::new().i16(-1).i16(-1).i32(5000).i32(1).string(topic).i32(1).i32(0).bytes(batch);
    let mut connection = Connection::open(node.address(), Duration::from_secs(20))?;
    connection.send(&framed(&request(0, 8, 5, Header::Plain, body)));
    let frame = match connection.read() {
        Reply::Frame(frame) => frame,
        other => return Ok(format!("{other:?}")),
    };
    let mut cursor = Cursor(frame.get(4..).context("an answer has a correlation id")?);
    ensure!(
        cursor.i32()? == 1 && cursor.string()? == topic && cursor.i32()? == 1,
        "Produce answers another topic"
    );
    let (partition, error, base, time, start) =
        (cursor.i32()?, cursor.i16()?, cursor.i64()?, cursor.i64()?, cursor.i64()?);
    let mut told = format!("partition {partition}, error {error}, base {base}, time {time}, start {start}");
    for _ in 0..cursor.i32()? {
        let _ = write!(told, "; record {}: {}", cursor.i32()?, cursor.string()?);
    }
    let _ = write!(told, "; {}", cursor.string()?);
    Ok(mask::normalised(&told, &node.masks()))
}
