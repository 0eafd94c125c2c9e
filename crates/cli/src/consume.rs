//! `ottla consume`: records of topics, in a format of the user's, as long as there are some or until enough.
//!
//! Partitions are read by hand, from where `--offset` says, or as a member of a group, which commits what was printed
//! and nothing else.

mod envelope;
mod format;
mod start;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use ottla_client::{Admin, Consumer, Records};
use ottla_model::{Offset, TopicPartition};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use tokio::signal::unix::{SignalKind, signal};

use self::format::Template;
pub use self::format::escape;
use self::start::Start;
use crate::connect::{self, Options};
use crate::exit::usage;
use crate::progress::Progress;
use crate::select::{self, Partitions};
use crate::table::Format;

/// How long a poll may wait before it is looked whether the end is reached.
const POLL: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Options,
    /// Topics, or some partitions of them: orders, orders:0,3-5
    #[arg(required = true, value_name = "TOPIC[:PARTITIONS]")]
    topics: Vec<Partitions>,
    /// Where to begin: beginning, end, N, -N (so many before the end), @TIME; a group begins at what it has committed
    #[arg(short, long, allow_hyphen_values = true, value_name = "OFFSET")]
    offset: Option<Start>,
    /// Read as a member of this group and commit what was printed
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// End where the partitions end now
    #[arg(short = 'e', long)]
    until_end: bool,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// How a record is printed: %t topic, %p partition, %o offset, %k key, %s value, %h headers, %T timestamp, %K and
    /// %S lengths of key and value (-1 for none), %R the value's length in four bytes, %% a percent sign; \n, \r, \t,
    /// \\, \xHH
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "output")]
    format: Option<Template>,
    /// What is printed for a key or value that is none
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    null: String,
    /// Records of transactions only when they are committed
    #[arg(long)]
    read_committed: bool,
    /// Write into this file
    #[arg(short = 'O', long, value_name = "FILE")]
    to: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<()> {
    connect::run(async move {
        let mut own = vec![("allow.auto.create.topics", "false"), ("enable.auto.commit", "false")];
        if args.read_committed {
            own.push(("isolation.level", "read_committed"));
        }
        if let Some(group) = &args.group {
            let reset = match args.offset {
                None | Some(Start::Beginning) => "earliest",
                Some(Start::End) => "latest",
                Some(_) => return usage("a group begins at beginning or end where it has committed nothing"),
            };
            own[1] = ("enable.auto.commit", "true");
            own.extend([("group.id", group.as_str()), ("auto.offset.reset", reset)]);
        } else {
            // What retention took away under us is told, not passed over.
            own.push(("auto.offset.reset", "none"));
        }
        let mut config = args.connection.config(&own)?;
        if args.group.is_none() && config.is_set("group.id") {
            config.set("group.id", "")?;
        }
        let admin = args.connection.admin_with(&config).await?;
        let consumer = Consumer::with_client(admin.client().clone(), &config)?;
        Reading::begin(&args, &admin, consumer).await?.run().await
    })
}

/// What is read, how much is left, and where it goes.
struct Reading {
    consumer: Consumer,
    in_group: bool,
    /// Where each partition ends for us; empty without `--until-end`, and in a group.
    ends: BTreeMap<TopicPartition, Offset>,
    until_end: bool,
    left: u64,
    printed: u64,
    template: Option<Template>,
    null: String,
    out: Box<dyn Write>,
    /// Whether it goes to stdout, whose reader may go.
    to_stdout: bool,
    progress: Option<Progress>,
}

impl Reading {
    async fn begin(args: &Args, admin: &Admin, mut consumer: Consumer) -> Result<Self> {
        let metadata = admin.metadata().await?;
        let wanted: Vec<TopicPartition> = select::partitions(&metadata, &args.topics)?
            .into_iter()
            .map(|(topic, partition)| TopicPartition::new(topic, partition))
            .collect();
        let mut ends = BTreeMap::new();
        let mut total = args.count;
        if args.group.is_some() {
            if let Some(part) = args.topics.iter().find(|topic| topic.partitions.is_some()) {
                return usage(format!(
                    "a group gives out the partitions of {}; name the topic alone",
                    part.topic
                ));
            }
            consumer.subscribe(args.topics.iter().map(|topic| &topic.topic))?;
        } else {
            consumer.assign(wanted.iter().cloned())?;
            if args.until_end {
                ends = consumer.end_offsets(&wanted).await?;
            }
            args.offset.unwrap_or_default().seek(&mut consumer, &wanted).await?;
            if args.until_end {
                let mut there = 0;
                for (partition, end) in &ends {
                    there += (end.0 - consumer.position(partition).await?.0).max(0) as u64;
                }
                total = Some(total.unwrap_or(u64::MAX).min(there));
            }
        }
        let (out, is_terminal): (Box<dyn Write>, bool) = match &args.to {
            Some(file) => {
                let file = File::create(file).with_context(|| format!("create {}", file.display()))?;
                (Box::new(BufWriter::new(file)), false)
            }
            None => (Box::new(BufWriter::new(io::stdout())), io::stdout().is_terminal()),
        };
        let template = match (args.connection.output, &args.format) {
            (Format::Json, _) => None,
            (Format::Table, Some(template)) => Some(template.clone()),
            (Format::Table, None) => Some(Template::default()),
        };
        Ok(Self {
            consumer,
            in_group: args.group.is_some(),
            ends,
            until_end: args.until_end,
            left: args.count.unwrap_or(u64::MAX),
            printed: 0,
            template,
            null: args.null.clone(),
            out,
            to_stdout: args.to.is_none(),
            progress: (!is_terminal).then(|| Progress::new("records", total)),
        })
    }

    async fn run(mut self) -> Result<()> {
        let mut interrupt = signal(SignalKind::interrupt()).context("listen to signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen to signals")?;
        while self.left > 0 && !self.is_at_end().await? {
            let records = tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                records = self.consumer.poll(POLL) => records?,
            };
            self.print(&records)?;
            if records.is_empty() && self.to_stdout && is_abandoned(io::stdout()) {
                break;
            }
        }
        self.out.flush()?;
        self.progress = None;
        Ok(self.consumer.close().await?)
    }

    fn print(&mut self, records: &Records) -> Result<()> {
        for batch in records.batches() {
            let end = self.ends.get(batch.partition()).copied();
            for record in batch {
                if self.left == 0 || end.is_some_and(|end| record.offset() >= end) {
                    // Not printed, so not consumed.
                    self.consumer.seek(batch.partition(), record.offset())?;
                    break;
                }
                match &self.template {
                    Some(template) => template.write(&record, &self.null, &mut self.out)?,
                    None => envelope::write(&record, &mut self.out)?,
                }
                self.left -= 1;
                self.printed += 1;
            }
        }
        self.out.flush()?;
        if let Some(progress) = &mut self.progress {
            progress.at(self.printed);
        }
        Ok(())
    }

    async fn is_at_end(&mut self) -> Result<bool> {
        if !self.until_end {
            return Ok(false);
        }
        if self.in_group {
            // Which partitions they are is known when the group has met.
            let assigned = self.consumer.assignment();
            let at_end = |partition| self.consumer.lag(partition) == Some(0);
            return Ok(!assigned.is_empty() && assigned.iter().all(at_end));
        }
        for (partition, end) in &self.ends {
            if self.consumer.position(partition).await? < *end {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether nobody reads any more what is written here: the other end of a pipe is closed.
fn is_abandoned(out: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&out, PollFlags::empty())];
    let ready = event::poll(&mut fds, Some(&Timespec::default()));
    ready.is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}
