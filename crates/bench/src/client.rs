//! Clients beside each other: Ottla's, librdkafka and Java's, each in a process of its own, against one Ottla node.
//!
//! - The same loop in each (`client/load.rs`, `clients/librdkafka`, `clients/java`): the same payloads to the same
//!   partitions, the acknowledgement of every record seen; reading, every value looked at. The same settings, under
//!   each client's names for them; where a default differs it is set.
//! - A process runs several rounds and tells wall time and CPU time of each (its own, from /proc), so that start-up
//!   does not count and Java is warm; the processes take turns, and the best round of all counts, for every client.
//! - Resident memory is the most of the whole process.

mod load;
mod table;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::{artifacts, process};

pub use self::load::{COMMAND, run as load};
pub use self::table::Table;
use self::table::Target;
use self::workload::{LATENCY_WARM_UP, Mode};
use crate::Options;
use crate::cells::await_removal;
use crate::subject::{Brand, Subject};

const ROUNDS: usize = 4;
/// `buffer.memory` of every producer.
const BUFFER_BYTES: usize = 32 << 20;
/// What Ottla's client may take beside `buffer.memory`.
const MEMORY_BESIDE_MIB: f64 = 16.0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Client {
    Ottla,
    Librdkafka,
    Java,
}

impl Client {
    const ALL: [Self; 3] = [Self::Ottla, Self::Librdkafka, Self::Java];
}

/// A mode, how large records are, and where they go.
#[derive(Clone, Copy, Debug)]
struct Cell {
    mode: Mode,
    record_bytes: usize,
    codec: &'static str,
    partitions: i32,
}

impl Cell {
    fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for mode in [Mode::Produce, Mode::Consume] {
            for record_bytes in [100, 1024] {
                for codec in ["none", "lz4"] {
                    cells.extend([1, 6].map(|partitions| Self { mode, record_bytes, codec, partitions }));
                }
            }
        }
        cells.push(Self { mode: Mode::Latency, record_bytes: 100, codec: "none", partitions: 1 });
        cells
    }

    fn name(&self) -> String {
        let Self { mode, record_bytes, codec, partitions } = self;
        match mode {
            Mode::Latency => "client-latency".to_owned(),
            _ => format!("client-{}-{record_bytes}b-{codec}-{partitions}p", mode.name()),
        }
    }

    /// Records of a round.
    fn records(&self, options: &Options) -> usize {
        let sent = if self.record_bytes == 100 { 1_200_000 } else { 300_000 };
        match self.mode {
            Mode::Latency => LATENCY_WARM_UP + options.amount(10_000),
            Mode::Produce => options.amount(sent),
            // Reading is cheap, and CPU time is counted in steps of 10 ms.
            Mode::Consume => options.amount(2 * sent),
        }
    }

    fn settings(&self, client: Client) -> Vec<String> {
        let linger = if self.mode == Mode::Latency { "linger.ms=0" } else { "linger.ms=5" };
        let compression = format!("compression.type={}", self.codec);
        let produce = ["acks=all", "enable.idempotence=true", "batch.size=16384", linger, &compression];
        let consume = ["enable.auto.commit=false", "check.crcs=true", "isolation.level=read_uncommitted"];
        let mut settings: Vec<String> = match self.mode {
            Mode::Produce => produce.map(str::to_owned).to_vec(),
            Mode::Consume => consume.map(str::to_owned).to_vec(),
            Mode::Latency => produce.into_iter().chain(consume).map(str::to_owned).collect(),
        };
        if self.mode != Mode::Consume {
            settings.extend(match client {
                Client::Librdkafka => vec![
                    format!("queue.buffering.max.kbytes={}", BUFFER_BYTES >> 10),
                    "queue.buffering.max.messages=1000000".to_owned(),
                ],
                _ => vec![format!("buffer.memory={BUFFER_BYTES}")],
            });
        }
        settings
    }
}

pub fn names() -> impl Iterator<Item = String> {
    Cell::all().into_iter().map(|cell| cell.name())
}

/// Measures the cells that are wanted.
pub fn run(options: &Options, home: &Path, ottla: &Path) -> Result<Table> {
    let cells: Vec<Cell> = Cell::all().into_iter().filter(|cell| options.wants(&cell.name())).collect();
    let mut table = Table::default();
    if cells.is_empty() {
        return Ok(table);
    }
    let programs = Programs::build()?;
    let mut node = Subject::formatted(Brand::Ottla, home.join("client"), ottla)?;
    node.start_ready()?;
    eprintln!("clients");
    for cell in cells {
        measure(cell, &mut node, &programs, options, &mut table)
            .with_context(|| format!("measure {}", cell.name()))?;
    }
    Ok(table)
}

fn measure(
    cell: Cell,
    node: &mut Subject,
    programs: &Programs,
    options: &Options,
    table: &mut Table,
) -> Result<()> {
    let name = cell.name();
    let mut best = Client::ALL.map(|_| Outcome::default());
    let create = |node: &mut Subject, name: &str| {
        node.connect()?.create_topic(name, cell.partitions, &[("file.delete.delay.ms", "1000")])
    };
    let filled = match cell.mode {
        Mode::Consume => {
            let topic = create(node, &name)?;
            let fill = Cell { mode: Mode::Produce, ..cell };
            // Twice what a round reads: at the end of the log the last fetch of a round would wait, and delay the next.
            programs.run(Client::Ottla, fill, node, &name, cell.records(options), 2)?;
            Some(topic)
        }
        _ => None,
    };
    for pass in 0..options.runs {
        for client in Client::ALL {
            let own = match filled {
                Some(_) => None,
                None => Some(create(node, &format!("{name}-{client:?}-{pass}"))?),
            };
            let topic = own.as_ref().or(filled.as_ref()).context("a topic")?;
            let rounds = if cell.mode == Mode::Latency { 1 } else { ROUNDS };
            let outcome = programs.run(client, cell, node, &topic.name, cell.records(options), rounds)?;
            eprintln!("  {name} {client:?}: {}", outcome.summary());
            best[client as usize].take_best(outcome);
            if let Some(topic) = own {
                node.connect()?.delete_topic(&topic)?;
                await_removal();
            }
        }
    }
    if let Some(topic) = filled {
        node.connect()?.delete_topic(&topic)?;
        await_removal();
    }
    let records = cell.records(options) as f64;
    let mut note = |figure: &str, unit, target, of: &dyn Fn(&Outcome) -> f64| {
        table.note(format!("{name} {figure}"), unit, target, best.each_ref().map(of));
    };
    match cell.mode {
        Mode::Latency => {
            note("p50", "us", Target::None, &|outcome| outcome.latencies[0]);
            note("p99", "us", Target::AtMostOfLibrdkafka(1.0), &|outcome| outcome.latencies[1]);
            note("max", "us", Target::None, &|outcome| outcome.latencies[2]);
        }
        mode => {
            note("rate", "k rec/s", Target::AtLeastOfEach(1.5), &|outcome| records / outcome.wall / 1e3);
            note("cpu", "ns/rec", Target::AtMostOfBetter(0.6), &|outcome| outcome.cpu * 1e9 / records);
            let bound = match mode {
                Mode::Produce => Target::AtMost((BUFFER_BYTES >> 20) as f64 + MEMORY_BESIDE_MIB),
                _ => Target::None,
            };
            note("memory", "MiB", bound, &|outcome| outcome.peak_mib);
        }
    }
    Ok(())
}

/// What a process said.
#[derive(Clone, Debug)]
struct Outcome {
    wall: f64,
    cpu: f64,
    /// p50, p99 and the longest, in microseconds.
    latencies: [f64; 3],
    peak_mib: f64,
}

impl Default for Outcome {
    fn default() -> Self {
        Self { wall: f64::MAX, cpu: f64::MAX, latencies: [f64::MAX; 3], peak_mib: 0.0 }
    }
}

impl Outcome {
    fn parse(text: &str) -> Option<Self> {
        let mut outcome = Self::default();
        for line in text.lines() {
            let (what, numbers) = line.split_once(' ')?;
            let numbers: Vec<f64> = numbers.split(' ').map(|n| n.parse().ok()).collect::<Option<_>>()?;
            let mut said = Self::default();
            match (what, &numbers[..]) {
                ("round", [wall, cpu]) => (said.wall, said.cpu) = (*wall, *cpu),
                ("latency", [p50, p99, max]) => said.latencies = [*p50, *p99, *max],
                ("peak", [kib]) => said.peak_mib = kib / 1024.0,
                _ => return None,
            }
            outcome.take_best(said);
        }
        (outcome.peak_mib > 0.0).then_some(outcome)
    }

    fn summary(&self) -> String {
        match self.latencies[1] {
            f64::MAX => format!("{:.3} s, CPU {:.2} s, {:.1} MiB", self.wall, self.cpu, self.peak_mib),
            p99 => format!("p99 {p99:.0} us, {:.1} MiB", self.peak_mib),
        }
    }

    /// The best of each figure; of the memory the most.
    fn take_best(&mut self, other: Self) {
        self.wall = self.wall.min(other.wall);
        self.cpu = self.cpu.min(other.cpu);
        for (mine, others) in self.latencies.iter_mut().zip(other.latencies) {
            *mine = mine.min(others);
        }
        self.peak_mib = self.peak_mib.max(other.peak_mib);
    }
}

/// The foreign loads, built.
struct Programs {
    librdkafka: PathBuf,
    java_classes: PathBuf,
    jars: String,
}

impl Programs {
    /// librdkafka takes minutes the first time.
    fn build() -> Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let target = artifacts::target_dir().join("bench");
        let mut cargo = Command::new("cargo");
        cargo.current_dir(sources.join("librdkafka"));
        cargo.args(["build", "--release", "--locked", "--quiet", "--target-dir"]).arg(&target);
        built(cargo)?;
        let jars = artifacts::jars("broker")?;
        let java_classes = target.join("java");
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-cp", &jars, "-d"]).arg(&java_classes);
        javac.arg(sources.join("java/ClientLoad.java"));
        built(javac)?;
        Ok(Self { librdkafka: target.join("release/ottla-bench-librdkafka"), java_classes, jars })
    }

    fn run(
        &self,
        client: Client,
        cell: Cell,
        node: &Subject,
        topic: &str,
        records: usize,
        rounds: usize,
    ) -> Result<Outcome> {
        let mut command = match client {
            Client::Ottla => {
                let mut ottla = process::bound(&std::env::current_exe()?.display().to_string());
                ottla.arg(COMMAND);
                ottla
            }
            Client::Librdkafka => process::bound(&self.librdkafka.display().to_string()),
            Client::Java => {
                let mut java = process::bound("java");
                // The heap is what Apache's scripts give to the performance tools.
                java.args(["-Xmx512m", "-Xms512m", "-XX:+UseG1GC"]);
                java.arg(format!("-Dlog4j2.configurationFile={}", ottla_e2e::tools::log4j_file()?.display()));
                java.args(["-cp", &format!("{}:{}", self.java_classes.display(), self.jars), "ClientLoad"]);
                java
            }
        };
        command.args([cell.mode.name(), &node.address.to_string(), topic, &cell.partitions.to_string()]);
        command.args([records, cell.record_bytes, rounds].map(|number| number.to_string()));
        command.args(cell.settings(client));
        let output = process::output(command, Duration::from_secs(180))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{client:?} ended with {}: {text}{errors}", output.status);
        Outcome::parse(&text).with_context(|| format!("what {client:?} said: {text}{errors}"))
    }
}

fn built(mut compiler: Command) -> Result<()> {
    let status = compiler.status().with_context(|| format!("run {:?}", compiler.get_program()))?;
    ensure!(status.success(), "{compiler:?} ended with {status}");
    Ok(())
}
