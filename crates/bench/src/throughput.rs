//! Produce and fetch at full speed: CPU of the node per GiB or per request, and MiB/s.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use ottla_protocol::api::fetch::FetchRequest;
use ottla_protocol::api::produce::ProduceRequest;
use ottla_protocol::decode_response;
use ottla_record::{Batches, Codec};

use crate::Options;
use crate::connection::{self, FETCH_VERSION, Frame, PRODUCE_VERSION, Topic, fetch_request, produce_request};
use crate::limit;
use crate::load::{self, Answers, Script};
use crate::payload::{self, Size};
use crate::subject::{Brand, Subject};

pub const CONNECTIONS: usize = 4;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub size: Size,
    pub partitions: i32,
    pub codec: Codec,
}

impl Load {
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for codec in [Codec::None, Codec::Lz4] {
            for size in Size::ALL {
                for partitions in [1, 100] {
                    if size != Size::OneRecord || codec == Codec::None {
                        all.push(Self { size, partitions, codec });
                    }
                }
            }
        }
        all
    }

    /// Such as `16k-100p-lz4`.
    pub fn name(&self) -> String {
        format!("{}-{}p-{}", self.size.name(), self.partitions, self.codec)
    }

    pub fn requests(&self, options: &Options) -> usize {
        match self.size {
            Size::Large => options.amount(1092),
            Size::Usual => options.amount(40_000),
            Size::OneRecord => options.amount(120_000),
        }
    }

    pub fn in_flight(&self) -> usize {
        match self.size {
            Size::Large => 2,
            Size::Usual => 5,
            Size::OneRecord => 8,
        }
    }
}

/// What a run has shown.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub cpu: Duration,
    pub wall: Duration,
    pub bytes: u64,
    pub requests: u64,
}

impl Run {
    pub fn cpu_per_gib(&self) -> f64 {
        self.cpu.as_secs_f64() * (1u64 << 30) as f64 / self.bytes as f64
    }

    pub fn cpu_us_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    pub fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / (1u64 << 20) as f64 / self.wall.as_secs_f64()
    }

    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }
}

/// Plays scripts and takes the node's CPU time around them.
fn measured(subject: &Subject, scripts: Vec<Script>, bytes_each: usize) -> Result<Run> {
    let before = subject.cpu()?;
    let (requests, wall) = load::run(scripts)?;
    let cpu = subject.cpu()?.saturating_sub(before);
    Ok(Run { cpu, wall, bytes: (requests * bytes_each) as u64, requests: requests as u64 })
}

/// A topic with what a produce run has put into it.
pub struct Produced {
    pub topic: Topic,
    batch_bytes: usize,
    batch_records: i64,
    per_partition: usize,
}

/// Appends to a fresh topic.
pub fn produce(subject: &mut Subject, load: Load, name: &str, options: &Options) -> Result<(Run, Produced)> {
    let (batch, records) = payload::batch(load.size, load.codec);
    let topic = match subject.brand {
        Brand::Limit => {
            let reset = Script {
                address: subject.address,
                frames: vec![limit::reset_frame()],
                requests: 1,
                in_flight: 1,
                until: None,
                answers: Answers::Any,
            };
            load::run(vec![reset])?;
            Topic { name: name.to_owned(), id: ottla_model::Uuid::default(), partitions: load.partitions }
        }
        _ => {
            let configs = [("file.delete.delay.ms", "1000")];
            subject.connect()?.create_topic(name, load.partitions, &configs)?
        }
    };
    let requests = load.requests(options) / CONNECTIONS;
    let mut scripts = Vec::new();
    for connection in 0..CONNECTIONS {
        scripts.push(Script {
            address: subject.address,
            frames: produce_frames(&topic, &batch, connection)?,
            requests,
            in_flight: load.in_flight(),
            until: None,
            answers: answers_of(subject.brand),
        });
    }
    let run = measured(subject, scripts, batch.len())?;
    let per_partition = requests * CONNECTIONS / load.partitions as usize;
    let produced = Produced { topic, batch_bytes: batch.len(), batch_records: records, per_partition };
    Ok((run, produced))
}

/// A frame for every partition, starting where the other connections do not.
pub fn produce_frames(topic: &Topic, batch: &Bytes, connection: usize) -> Result<Vec<Frame>> {
    let partitions = topic.partitions;
    let shift = connection as i32 * partitions / CONNECTIONS as i32;
    let frame =
        |n| connection::frame(&produce_request(topic, (n + shift) % partitions, batch), PRODUCE_VERSION);
    (0..partitions).map(frame).collect()
}

pub fn answers_of(brand: Brand) -> Answers {
    match brand {
        Brand::Limit => Answers::Any,
        _ => Answers::Checked(check_produced),
    }
}

pub fn check_produced(answer: Bytes) -> Result<()> {
    let (_, response) = decode_response::<ProduceRequest>(answer, PRODUCE_VERSION)?;
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let partition = partitions.next().context("an answer for the partition")?;
    ensure!(partition.error_code == 0, "produce: {} {:?}", partition.error_code, partition.error_message);
    Ok(())
}

/// Reads all of it again, about 1 MiB at a time.
pub fn fetch(subject: &mut Subject, load: Load, produced: &Produced, quick: bool) -> Result<Run> {
    let batches = ((1 << 20) / produced.batch_bytes).clamp(1, produced.per_partition);
    let bytes = batches * produced.batch_bytes;
    let fetches = (produced.per_partition / batches).max(1);
    let mut frames = Vec::new();
    for n in 0..fetches {
        for partition in 0..load.partitions {
            frames.push(match subject.brand {
                Brand::Limit => limit::fetch_frame((frames.len() * bytes) as u64, bytes as u32),
                _ => {
                    let offset = (n * batches) as i64 * produced.batch_records;
                    let request = fetch_request(&produced.topic, partition, offset, bytes as i32);
                    connection::frame(&request, FETCH_VERSION)?
                }
            });
        }
    }
    if subject.brand != Brand::Limit {
        check_fetch(subject, produced, load.partitions - 1, bytes)?;
    }
    // Once over each range; small data several times over, so that there is something to measure (2 GiB).
    let total = frames.len().max(if quick { 256 << 20 } else { 2 << 30 } / bytes);
    let mut scripts = Vec::new();
    for connection in 0..CONNECTIONS {
        let mine: Vec<Frame> = frames.iter().skip(connection).step_by(CONNECTIONS).cloned().collect();
        if mine.is_empty() {
            continue;
        }
        scripts.push(Script {
            address: subject.address,
            requests: total / CONNECTIONS,
            frames: mine,
            in_flight: 2,
            until: None,
            answers: Answers::Large { least_bytes: bytes },
        });
    }
    measured(subject, scripts, bytes)
}

/// One answer is looked into; the others have to be as long.
fn check_fetch(subject: &mut Subject, produced: &Produced, partition: i32, bytes: usize) -> Result<()> {
    let request = fetch_request(&produced.topic, partition, 0, bytes as i32);
    let response = subject.connect()?.call::<FetchRequest>(&request, FETCH_VERSION)?;
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let partition = partitions.next().context("an answer for the partition")?;
    ensure!(partition.error_code == 0 && response.error_code == 0, "fetch: {}", partition.error_code);
    let records = partition.records.as_ref().and_then(|records| records.to_bytes()).unwrap_or_default();
    ensure!(records.len() == bytes, "fetched {} bytes, {bytes} were asked for", records.len());
    let mut next = 0;
    for batch in Batches::new(records) {
        let batch = batch?;
        batch.verify_crc()?;
        ensure!(batch.header.base_offset.0 == next, "offset {} instead of {next}", batch.header.base_offset);
        next = batch.header.next_offset().0;
    }
    Ok(())
}
