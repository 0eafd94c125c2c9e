//! `ottla perf`: how fast a cluster takes records, gives them, and passes one on.

mod consume;
mod end_to_end;
mod histogram;
mod produce;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ottla_client::admin::NewTopic;
use ottla_client::metadata::Metadata;
use ottla_client::{Admin, ClientConfig, Consumer};
use ottla_model::{ErrorCode, TopicPartition};
use serde_json::{Value, json};

use self::histogram::Histogram;
use crate::connect::{self, Actions};
use crate::select;
use crate::table::{Format, print_json};

pub type Args = Actions<Action>;

#[derive(clap::Subcommand)]
pub enum Action {
    /// Send records and measure how long each is on its way
    Produce(produce::Args),
    /// Read records from the beginning of a topic and measure how long each poll waits
    Consume(consume::Args),
    /// Send records one by one and measure when a consumer has each
    EndToEnd(end_to_end::Args),
}

pub fn run(args: Args) -> Result<()> {
    connect::run(async move {
        let format = args.connection.output;
        let report = match args.action {
            Action::Produce(own) => produce::run(&args.connection, &own).await?,
            Action::Consume(own) => consume::run(&args.connection, &own).await?,
            Action::EndToEnd(own) => end_to_end::run(&args.connection, &own).await?,
        };
        report.print(format)
    })
}

/// The partitions of a topic; with `create` it may be missing.
async fn partitions(admin: &Admin, topic: &str, create: Option<i32>) -> Result<Vec<TopicPartition>> {
    let client = admin.client();
    let known =
        |metadata: &Metadata| Some(metadata.topic(topic)?.partitions.len()).filter(|count| *count > 0);
    let mut count = known(&*admin.metadata().await?);
    if let (None, Some(partitions)) = (count, create) {
        let topic = NewTopic { name: topic.to_owned(), partitions: Some(partitions), ..NewTopic::default() };
        admin.create_topic(&topic).await?;
        // Who is asked may not have heard of it yet.
        let find = async |_| {
            let count = known(&*client.updated_metadata().await?);
            count.ok_or_else(|| ErrorCode::UnknownTopicOrPartition.into())
        };
        count = Some(client.retry(client.api_timeout(), "waiting for the topic", find).await?);
    }
    let count = count.ok_or_else(|| select::no_topic(topic))?;
    let name: Arc<str> = topic.into();
    Ok((0..count as i32).map(|partition| TopicPartition::new(Arc::clone(&name), partition)).collect())
}

/// A consumer that has all partitions of a topic, and positions in none.
async fn reader(
    admin: &Admin,
    config: &ClientConfig,
    topic: &str,
    create: Option<i32>,
) -> Result<(Consumer, Vec<TopicPartition>)> {
    let partitions = partitions(admin, topic, create).await?;
    let mut consumer = Consumer::with_client(admin.client().clone(), config)?;
    consumer.assign(partitions.iter().cloned())?;
    Ok((consumer, partitions))
}

/// What was measured.
struct Report {
    records: u64,
    bytes: u64,
    elapsed: Duration,
    /// What the latencies are of.
    latency_of: &'static str,
    latencies: Histogram,
}

const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)];

impl Report {
    fn to_json(&self) -> Value {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        let mut latency = json!({"of": self.latency_of, "mean_ms": ms(self.latencies.mean())});
        for (name, percent) in PERCENTILES {
            latency[format!("{name}_ms")] = ms(self.latencies.percentile(percent)).into();
        }
        let buckets = self.latencies.buckets().into_iter();
        let buckets = buckets.map(|(below, count)| json!({"below_ms": ms(below as f64), "count": count}));
        json!({
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "records_per_second": self.records as f64 / seconds,
            "bytes_per_second": self.bytes as f64 / seconds,
            "latency": latency,
            "histogram": buckets.collect::<Vec<_>>(),
        })
    }

    fn print(&self, format: Format) -> Result<()> {
        if format == Format::Json {
            return print_json(&self.to_json());
        }
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{} records, {:.1} MB in {seconds:.2} s: {:.0} records/s, {:.2} MB/s",
            self.records,
            self.bytes as f64 / 1e6,
            self.records as f64 / seconds,
            self.bytes as f64 / 1e6 / seconds
        )?;
        if self.latencies.is_empty() {
            return Ok(());
        }
        let percentiles = PERCENTILES.map(|(name, percent)| {
            format!("{} {}", name.replace('_', "."), readable(self.latencies.percentile(percent)))
        });
        writeln!(
            out,
            "{}: mean {}, {}",
            self.latency_of,
            readable(self.latencies.mean()),
            percentiles.join(", ")
        )?;
        let buckets = self.latencies.buckets();
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        for (below, count) in buckets {
            // Whatever is there is seen.
            let bar = (count * 50).div_ceil(most) as usize;
            writeln!(out, "{:>10}  {:<50} {count}", readable(below as f64), "#".repeat(bar))?;
        }
        Ok(())
    }
}

/// Milliseconds of microseconds.
fn ms(us: f64) -> f64 {
    us.round() / 1000.0
}

fn readable(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 100_000.0 => format!("{:.1} ms", us / 1000.0),
        us if us < 10_000_000.0 => format!("{:.0} ms", us / 1000.0),
        us => format!("{:.1} s", us / 1e6),
    }
}
