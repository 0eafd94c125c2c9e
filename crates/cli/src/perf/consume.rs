//! Records read as fast as they come; how long each poll waited for them is measured.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ottla_client::consumer::OffsetSpec;

use super::{Histogram, Report};
use crate::connect::Options;
use crate::progress::Progress;

#[derive(clap::Args)]
pub struct Args {
    topic: String,
    /// How many records are read; all that are there without it
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Give up when nothing comes for so many seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    timeout: u64,
}

pub async fn run(connection: &Options, args: &Args) -> Result<Report> {
    let config = connection.config(&[
        ("enable.auto.commit", "false"),
        ("allow.auto.create.topics", "false"),
        ("max.poll.records", "10000"),
    ])?;
    let admin = connection.admin_with(&config).await?;
    let (mut consumer, partitions) = super::reader(&admin, &config, &args.topic, None).await?;
    let begins = consumer.beginning_offsets(&partitions).await?;
    let ends = consumer.end_offsets(&partitions).await?;
    let sum = |offsets: &std::collections::BTreeMap<_, ottla_model::Offset>| -> i64 {
        offsets.values().map(|offset| offset.0).sum()
    };
    let there = (sum(&ends) - sum(&begins)).max(0) as u64;
    for partition in &partitions {
        consumer.seek_to(partition, OffsetSpec::Earliest)?;
    }
    let wanted = args.records.unwrap_or(there);
    let mut progress = Progress::new("records", Some(wanted));
    let (mut records, mut bytes, mut latencies) = (0, 0, Histogram::default());
    let begun = Instant::now();
    let mut elapsed = Duration::ZERO;
    while records < wanted {
        let polled = Instant::now();
        let batch = consumer.poll(Duration::from_secs(args.timeout)).await?;
        if batch.is_empty() {
            // Offsets of transactions and compacted records are no records.
            if args.records.is_none() {
                break;
            }
            bail!("{records} of {wanted} records came, then nothing for {} s", args.timeout);
        }
        latencies.record(polled.elapsed());
        for record in &batch {
            records += 1;
            bytes += (record.key().map_or(0, <[u8]>::len) + record.value().map_or(0, <[u8]>::len)) as u64;
        }
        elapsed = begun.elapsed();
        progress.at(records);
    }
    drop(progress);
    consumer.close().await?;
    Ok(Report { records, bytes, elapsed, latency_of: "poll", latencies })
}
