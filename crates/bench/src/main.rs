//! `cargo xtask bench`: Apache Kafka 4.4.0, Ottla and the limit program in turn, on the same disk, with the same
//! settings, under the same load, in one run; and a table of ratios.
//!
//! Method, kept short on purpose:
//! - The load is made of frames prepared beforehand and sent by plain threads over blocking sockets, several in
//!   flight; the node's CPU seconds come from /proc, so the load's own cost does not count (it does take the other
//!   core).
//! - A cell is repeated until its figure stops falling (a JVM warms up); the best run counts, for every subject.
//!   The files of one run are gone before the next begins.
//! - The limit program does what nobody can leave out: receive, checksum, write, answer; `sendfile` back.
//! - Apache's own producer performance tool is the cross-check by a foreign client.
//! - Clients are measured beside each other too, against Ottla (`client`).

mod cells;
mod client;
mod cluster;
mod connection;
mod foreign;
mod latency;
mod limit;
mod load;
mod payload;
mod report;
mod subject;
mod throughput;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use report::Report;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Apache Kafka, Ottla and the limit of the machine under the same load.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask bench")]
pub struct Options {
    /// Only cells whose name contains one of these, such as `produce-16k-1p`; repeat or separate by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Print the names of the cells
    #[arg(long)]
    list: bool,
    /// A quarter of the load and fewer repetitions: to see that something works, not to quote
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    no_kafka: bool,
    #[arg(long)]
    no_ottla: bool,
    #[arg(long)]
    no_limit: bool,
    /// Least number of runs of a cell
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Write all figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Take figures of subjects that are left out from a file that --json wrote, for work on one of them
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Where the data directories are made (default: the system's temporary directory)
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The binary under test (default: target/release/ottla)
    #[arg(long)]
    ottla: Option<PathBuf>,
}

impl Options {
    fn wants(&self, cell: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| cell.contains(part.as_str()))
    }

    /// Scales an amount of load.
    fn amount(&self, full: usize) -> usize {
        if self.quick { full / 4 } else { full }
    }
}

fn measure(options: &Options, home: &Path) -> Result<(Report, client::Table)> {
    let ottla = match &options.ottla {
        Some(path) => path.clone(),
        None => ottla_e2e::artifacts::target_dir().join("release/ottla"),
    };
    if options.no_ottla {
        return Ok((cells::run(options, home, &ottla), client::Table::default()));
    }
    let ottla = ottla.canonicalize().with_context(|| format!("find {}", ottla.display()))?;
    Ok((cells::run(options, home, &ottla), client::run(options, home, &ottla)?))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some(limit::COMMAND) => return limit::serve(arguments),
        Some(client::COMMAND) => return client::load(arguments),
        _ => {}
    }
    let options = Options::parse();
    if options.list {
        let clusters = cluster::CELLS.map(str::to_owned);
        for name in cells::names().into_iter().chain(clusters).chain(client::names()) {
            println!("{name}");
        }
        return Ok(());
    }
    let base = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let home = base.join(format!("ottla-bench-{}", std::process::id()));
    std::fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let outcome = measure(&options, &home);
    let _ = std::fs::remove_dir_all(&home);
    let (mut report, clients) = outcome?;
    if let Some(file) = &options.baseline {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        report.fill_from(&text).with_context(|| format!("parse {}", file.display()))?;
    }
    report.print();
    clients.print();
    if let Some(file) = &options.json {
        std::fs::write(file, report.to_json(clients.to_json()))
            .with_context(|| format!("write {}", file.display()))?;
    }
    ensure!(report.failures().is_empty(), "not measured: {}", report.failures().join("; "));
    Ok(())
}
