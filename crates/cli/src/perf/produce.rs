//! Records sent as fast as they are taken, or at a rate; each one's way from `send` to its acknowledgement is measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ottla_client::{Producer, Receipt, Record};
use tokio::sync::mpsc;

use super::{Histogram, Report};
use crate::connect::Options;
use crate::exit::Told;
use crate::progress::Progress;

#[derive(clap::Args)]
pub struct Args {
    topic: String,
    /// How many records are sent
    #[arg(short = 'n', long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Bytes of each value
    #[arg(short, long, default_value_t = 100)]
    size: usize,
    /// Records a second, at most
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Create the topic with so many partitions if it is missing
    #[arg(long, value_name = "PARTITIONS", value_parser = clap::value_parser!(i32).range(1..))]
    create: Option<i32>,
}

/// Bytes that codecs find something in, but not much.
pub fn value(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'A' + (state % 26) as u8
    };
    (0..size).map(letter).collect()
}

pub async fn run(connection: &Options, args: &Args) -> Result<Report> {
    let config = connection.config(&[])?;
    let admin = connection.admin_with(&config).await?;
    super::partitions(&admin, &args.topic, args.create).await?;
    let producer = Producer::new(&config)?;
    let (receipts, waiting) = mpsc::unbounded_channel();
    let arrivals = Arc::new(Arrivals::default());
    let watched = Arc::clone(&arrivals);
    let watcher = std::thread::spawn(move || watched.watch(waiting));
    let value = value(args.size);
    let mut progress = Progress::new("records", Some(args.records));
    let begun = Instant::now();
    for count in 0..args.records {
        if let Some(rate) = args.rate {
            let due = begun + Duration::from_secs_f64(count as f64 / rate as f64);
            tokio::time::sleep_until(due.into()).await;
        }
        let sent = Instant::now();
        let receipt = producer.send(Record::to(&args.topic).value(&value)).await;
        // The other side ends only after this one.
        let _ = receipts.send((sent, receipt));
        progress.at(arrivals.done());
    }
    drop(receipts);
    let flushed = producer.flush().await;
    let elapsed = begun.elapsed();
    watcher.join().expect("the thread does not panic").context("watch receipts")?;
    drop(progress);
    let (delivered, failed) =
        (arrivals.delivered.load(Ordering::Relaxed), arrivals.failed.load(Ordering::Relaxed));
    if failed > 0 {
        eprintln!("error: {failed} of {} records did not arrive", args.records);
        flushed?;
        return Err(Told(1).into());
    }
    let latencies = arrivals.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let bytes = delivered * args.size as u64;
    Ok(Report { records: delivered, bytes, elapsed, latency_of: "acknowledgement", latencies })
}

/// What has become of records so far.
#[derive(Default)]
struct Arrivals {
    latencies: Mutex<Histogram>,
    delivered: AtomicU64,
    failed: AtomicU64,
}

/// When a record was given to the producer, and what came of it.
type Sent = (Instant, ottla_client::Result<Receipt>);

impl Arrivals {
    fn done(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// Watches each receipt on its own: partitions do not answer in the order of sending.
    fn watch(self: Arc<Self>, mut receipts: mpsc::UnboundedReceiver<Sent>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            while let Some((sent, receipt)) = receipts.recv().await {
                let arrivals = Arc::clone(&self);
                tasks.spawn(async move {
                    let outcome = match receipt {
                        Ok(receipt) => receipt.await.map(drop),
                        Err(error) => Err(error),
                    };
                    arrivals.count(sent, &outcome);
                });
                while tasks.try_join_next().is_some() {}
            }
            while tasks.join_next().await.is_some() {}
        });
        Ok(())
    }

    fn count(&self, sent: Instant, outcome: &ottla_client::Result<()>) {
        if outcome.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).record(sent.elapsed());
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }
}
