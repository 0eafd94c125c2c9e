//! One record at a time: from `send` until a consumer has it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ottla_client::consumer::OffsetSpec;
use ottla_client::{Producer, Record};

use super::{Histogram, Report, produce};
use crate::connect::Options;
use crate::progress::Progress;
use crate::utc::Timestamp;

/// How long a record may be on its way.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes by which a record is known.
const MARK_BYTES: usize = 16;

#[derive(clap::Args)]
pub struct Args {
    topic: String,
    /// How many records are sent, one after the other
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Bytes of each value, at least 16
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(16..))]
    size: u32,
    /// Create the topic with so many partitions if it is missing
    #[arg(long, value_name = "PARTITIONS", value_parser = clap::value_parser!(i32).range(1..))]
    create: Option<i32>,
}

pub async fn run(connection: &Options, args: &Args) -> Result<Report> {
    // A record waits for no other one, unless the user says so.
    let own = [("linger.ms", "0"), ("enable.auto.commit", "false"), ("allow.auto.create.topics", "false")];
    let config = connection.config(&own)?;
    let admin = connection.admin_with(&config).await?;
    let (mut consumer, partitions) = super::reader(&admin, &config, &args.topic, args.create).await?;
    let producer = Producer::new(&config)?;
    for partition in &partitions {
        consumer.seek_to(partition, OffsetSpec::Latest)?;
    }
    for partition in &partitions {
        // Known before the first record is sent, which would be passed over otherwise.
        consumer.position(partition).await?;
    }
    // Others may write into the topic too.
    let own = Timestamp::now().0 as u64 * 1_000_000;
    let mut value = produce::value(args.size as usize);
    let mut progress = Progress::new("records", Some(args.records));
    let mut latencies = Histogram::default();
    let begun = Instant::now();
    for number in 0..args.records {
        value[..MARK_BYTES].copy_from_slice(format!("{:016x}", own.wrapping_add(number)).as_bytes());
        let sent = Instant::now();
        let receipt = producer.send(Record::to(&args.topic).value(&value)).await?;
        loop {
            if sent.elapsed() > PATIENCE {
                bail!("record {} did not come within {} s", number + 1, PATIENCE.as_secs());
            }
            let records = consumer.poll(PATIENCE).await?;
            if records.iter().any(|record| record.value() == Some(&value[..])) {
                break;
            }
        }
        latencies.record(sent.elapsed());
        receipt.await?;
        progress.at(number + 1);
    }
    let elapsed = begun.elapsed();
    drop(progress);
    consumer.close().await?;
    let bytes = args.records * u64::from(args.size);
    Ok(Report { records: args.records, bytes, elapsed, latency_of: "end to end", latencies })
}
