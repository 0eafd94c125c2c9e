//! `ottla produce`: records from lines, files or JSON. What was read either arrives or is told to be lost.

mod envelope;
mod input;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use ottla_client::{ClientConfig, Header, Producer, Receipt, Record};

use self::input::{Input, OwnedRecord, Text};
use crate::connect::{self, Options};
use crate::exit::{self, Told, usage};
use crate::progress::Progress;
use crate::select::{self, pair};

/// Receipts that nobody has looked at.
const RECEIPTS_MAX: usize = 100_000;
/// Failures that are told one by one.
const FAILURES_TOLD: u64 = 10;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Options,
    topic: String,
    /// Files, each of them one record; without any, lines of stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Lines of this file; - is stdin
    #[arg(short, long, value_name = "FILE", conflicts_with = "files")]
    lines: Option<PathBuf>,
    /// Lines are JSON objects as `ottla consume --output json` prints them: key, value, headers, partition, timestamp
    #[arg(long, conflicts_with_all = ["files", "key_separator", "null"])]
    json: bool,
    /// What stands between key and value in a line; a line without it has no key
    #[arg(short = 'K', long, value_name = "TEXT", value_parser = input::unescape, conflicts_with = "files")]
    key_separator: Option<Text>,
    /// What ends a record instead of a newline
    #[arg(short = 'D', long, value_name = "TEXT", value_parser = input::unescape, conflicts_with = "files")]
    delimiter: Option<Text>,
    /// The key of all records
    #[arg(short, long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// A header of all records; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// The partition of all records
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Values (and keys) that read so are none: tombstones
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// The codec of batches
    #[arg(short = 'z', long, value_name = "CODEC", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    compression: Option<String>,
    /// Who has to have a record: all in-sync replicas, the leader (1) or nobody (0)
    #[arg(short, long, value_parser = ["all", "-1", "0", "1"], allow_hyphen_values = true)]
    acks: Option<String>,
    /// Where the topic is missing, let the cluster create it
    #[arg(long)]
    create: bool,
}

pub fn run(args: Args) -> Result<()> {
    connect::run(async move {
        let mut config = args.connection.config(&[("allow.auto.create.topics", "true")])?;
        let chosen = [("compression.type", &args.compression), ("acks", &args.acks)];
        for (name, value) in chosen.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            config.set(name, value)?;
        }
        let metadata = args.connection.admin_with(&config).await?.metadata().await?;
        match metadata.topic(&args.topic) {
            None if !args.create => {
                let hint = "create it, or say --create where the cluster does that by itself";
                return Err(select::no_topic(&args.topic).context(hint));
            }
            Some(topic) if args.partition.is_some_and(|index| index as usize >= topic.partitions.len()) => {
                let count = topic.partitions.len();
                return usage(format!("{} has {count} partitions, from 0 on", args.topic));
            }
            _ => {}
        }
        send_all(&args, &config).await
    })
}

async fn send_all(args: &Args, config: &ClientConfig) -> Result<()> {
    let producer = Producer::new(config)?;
    let (receipts, waiting) = mpsc::sync_channel(RECEIPTS_MAX);
    let check = std::thread::spawn(move || check(waiting));
    let read = read(args, &producer, &receipts).await;
    drop(receipts);
    let flushed = producer.flush().await;
    let (delivered, failed, code) = check.join().expect("the thread does not panic");
    producer.close(Duration::from_secs(5)).await.ok();
    if failed > FAILURES_TOLD {
        eprintln!("error: … and {} more", failed - FAILURES_TOLD);
    }
    if failed > 0 || read.is_err() {
        eprintln!("error: {delivered} records arrived, {failed} failed");
    }
    read?;
    if failed > 0 {
        return Err(Told(code).into());
    }
    Ok(flushed?)
}

/// A record on its way, and where it came from.
type Sent = (String, ottla_client::Result<Receipt>);

/// Reads to the end of the input. A record that the producer does not take is a failure of its own.
async fn read(args: &Args, producer: &Producer, receipts: &mpsc::SyncSender<Sent>) -> Result<()> {
    let mut progress = Progress::new("records", None);
    let mut count = 0;
    let mut send = async |place: String, own: OwnedRecord| {
        let fixed = args.headers.iter().map(|(name, value)| Header::new(name, value.as_bytes()));
        let headers: Vec<_> = own.headers().chain(fixed).collect();
        let record = Record {
            topic: &args.topic,
            partition: args.partition.or(own.partition),
            timestamp: own.timestamp,
            key: own.key.as_deref().or(args.key.as_ref().map(String::as_bytes)),
            value: own.value.as_deref(),
            headers: &headers,
        };
        let taken = producer.send(record).await;
        // The other side ends only after this one.
        let _ = receipts.send((place, taken));
        count += 1;
        progress.at(count);
    };
    for file in &args.files {
        let value = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        send(file.display().to_string(), OwnedRecord::of(None, Some(value))).await;
    }
    if !args.files.is_empty() {
        return Ok(());
    }
    let source: Box<dyn BufRead> = match args.lines.as_ref().filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            Box::new(BufReader::new(File::open(file).with_context(|| format!("open {}", file.display()))?))
        }
        None => Box::new(io::stdin().lock()),
    };
    let delimiter = args.delimiter.clone().unwrap_or_else(|| Text(b"\n".into()));
    let mut input = Input::new(source, delimiter);
    while let Some((number, line)) = input.next().context("read the input")? {
        let place = format!("record {number}");
        let record = match args.json {
            true => envelope::read(&line).with_context(|| place.clone())?,
            false => OwnedRecord::of_line(line, args.key_separator.as_ref(), args.null.as_deref()),
        };
        send(place, record).await;
    }
    Ok(())
}

/// Waits for all receipts in order. Gives how many arrived, how many failed, and the gravest exit code.
fn check(receipts: mpsc::Receiver<Sent>) -> (u64, u64, u8) {
    let (mut delivered, mut failed, mut code) = (0, 0, 0);
    for (place, receipt) in receipts {
        match receipt.and_then(Receipt::wait) {
            Ok(_) => delivered += 1,
            Err(error) => {
                failed += 1;
                let error = anyhow::Error::from(error).context(place);
                code = code.max(exit::code(&error));
                if failed <= FAILURES_TOLD {
                    exit::tell(&error);
                }
            }
        }
    }
    (delivered, failed, code)
}
