//! The cells of the table, and the order in which they are measured.
//!
//! Every brand gets one node for the loads (so that its memory peak is that of the whole bench), ended by a
//! kill -9 and the restart; start-up is measured on a directory of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ottla_record::Codec;

use crate::connection::Topic;
use crate::latency::{self, Latencies};
use crate::load::{self, Script};
use crate::payload::{self, Size};
use crate::report::{Report, Target};
use crate::subject::{Brand, Subject};
use crate::throughput::{self, Load, Run};
use crate::{Options, cluster, foreign};

const OTHERS: [&str; 6] = ["latency", "sync", "foreign", "restart", "memory", "startup"];

/// A cell that stops getting better by this much has settled.
const SETTLED: f64 = 0.97;
const RUNS_MAX: usize = 8;

/// The cells of a single node.
pub fn names() -> Vec<String> {
    let loads = Load::all();
    let both = loads.iter().flat_map(|load| ["produce", "fetch"].map(|way| format!("{way}-{}", load.name())));
    both.chain(OTHERS.map(str::to_owned)).collect()
}

pub fn run(options: &Options, home: &Path, ottla: &Path) -> Report {
    let mut report = Report::default();
    for brand in Brand::ALL {
        let skipped = match brand {
            Brand::Kafka => options.no_kafka,
            Brand::Ottla => options.no_ottla,
            Brand::Limit => options.no_limit,
        };
        if skipped {
            continue;
        }
        eprintln!("{}", brand.name());
        let bench = Bench { brand, home, ottla, options };
        if brand != Brand::Limit && options.wants("startup") {
            let outcome = bench.startup(&mut report);
            report.note_failure(brand, outcome);
        }
        let outcome = bench.loads(&mut report);
        report.note_failure(brand, outcome);
        if brand != Brand::Limit {
            let outcome = cluster::run(brand, home, ottla, options, &mut report);
            report.note_failure(brand, outcome);
        }
    }
    report
}

struct Bench<'a> {
    brand: Brand,
    home: &'a Path,
    ottla: &'a Path,
    options: &'a Options,
}

impl Bench<'_> {
    fn subject(&self, name: &str) -> Result<Subject> {
        let home = self.home.join(format!("{}-{name}", self.brand.name()));
        Subject::formatted(self.brand, home, self.ottla)
    }

    /// Exec to the first acknowledged record, and memory before any load.
    fn startup(&self, report: &mut Report) -> Result<()> {
        let mut subject = self.subject("startup")?;
        subject.start_ready()?;
        let topic = subject.connect()?.create_topic("startup", 1, &[])?;
        subject.stop()?;
        let mut best = f64::MAX;
        for _ in 0..self.options.runs.max(2) {
            let begun = Instant::now();
            subject.start()?;
            first_acks(&mut subject, &topic)?;
            best = best.min(begun.elapsed().as_secs_f64() * 1e3);
            // tidy: thread::sleep, as another process tells nothing when it is up.
            std::thread::sleep(Duration::from_secs(3));
            let idle = subject.memory_mib("VmRSS")?;
            report.note(self.brand, "memory idle", "MiB", Target::Value(12.0), idle);
            subject.stop()?;
        }
        report.note(self.brand, "exec to first ack", "ms", Target::Value(30.0), best);
        Ok(())
    }

    fn loads(&self, report: &mut Report) -> Result<()> {
        if !names().iter().any(|name| name != "startup" && self.options.wants(name)) {
            return Ok(());
        }
        let mut subject = self.subject("loads")?;
        subject.start_ready()?;
        for load in Load::all() {
            self.throughput(&mut subject, load, report)?;
        }
        if self.brand == Brand::Limit {
            return Ok(());
        }
        if self.options.wants("latency") {
            self.latency(&mut subject, report)?;
        }
        if self.options.wants("sync") {
            self.sync(&mut subject, report)?;
        }
        if self.options.wants("foreign") {
            self.foreign(&mut subject, report)?;
        }
        if self.options.wants("memory") {
            let peak = subject.memory_mib("VmHWM")?;
            report.note(self.brand, "memory peak", "MiB", Target::Value(60.0), peak);
        }
        if self.options.wants("restart") {
            self.restart(&mut subject, report)?;
        }
        Ok(())
    }

    fn throughput(&self, subject: &mut Subject, load: Load, report: &mut Report) -> Result<()> {
        let (produce, fetch) = (format!("produce-{}", load.name()), format!("fetch-{}", load.name()));
        let options = self.options;
        if !options.wants(&produce) && !options.wants(&fetch) {
            return Ok(());
        }
        let mut last = None;
        let runs = settle(
            self.options,
            |n| {
                let name = format!("{}-{n}", load.name());
                let (run, produced) = throughput::produce(subject, load, &name, options)?;
                if let Some(previous) = last.replace(produced) {
                    delete(subject, &previous.topic)?;
                }
                Ok(run)
            },
            |run| run.cpu.as_secs_f64(),
        )?;
        if options.wants(&produce) {
            let target = match (load.size, load.codec) {
                (_, Codec::Lz4) => Target::OfKafka(0.4),
                (Size::Large, _) => Target::OfLimit(1.3),
                (Size::Usual, _) => Target::OfKafka(0.2),
                (Size::OneRecord, _) => Target::OfKafka(0.27),
            };
            self.note_runs(report, &produce, load, target, &runs);
        }
        let produced = last.context("a produce run")?;
        if options.wants(&fetch) {
            let runs = settle(
                self.options,
                |_| throughput::fetch(subject, load, &produced, options.quick),
                |run| run.cpu.as_secs_f64() / run.bytes as f64,
            )?;
            let large = Load { size: Size::Large, ..load };
            self.note_runs(report, &fetch, large, Target::OfKafka(0.85), &runs);
        }
        delete(subject, &produced.topic)
    }

    fn note_runs(&self, report: &mut Report, name: &str, load: Load, target: Target, runs: &[Run]) {
        let best = |figure: fn(&Run) -> f64| runs.iter().map(figure).fold(f64::MAX, f64::min);
        let most = |figure: fn(&Run) -> f64| runs.iter().map(figure).fold(0.0, f64::max);
        let brand = self.brand;
        if load.size == Size::OneRecord {
            report.note(brand, name, "us/req", target, best(Run::cpu_us_per_request));
            report.note(
                brand,
                &format!("{name} rate"),
                "req/s",
                Target::None,
                most(Run::requests_per_second),
            );
        } else {
            report.note(brand, name, "s/GiB", target, best(Run::cpu_per_gib));
            report.note(brand, &format!("{name} rate"), "MiB/s", Target::None, most(Run::mib_per_second));
        }
    }

    fn latency(&self, subject: &mut Subject, report: &mut Report) -> Result<()> {
        let options = self.options;
        let runs = settle(
            self.options,
            |n| {
                let name = format!("latency-{n}");
                let topic = subject.connect()?.create_topic(&name, 1, &[("file.delete.delay.ms", "1000")])?;
                let latencies = latency::run(subject.address, &topic, options, || subject.cpu())?;
                subject.connect()?.delete_topic(&topic)?;
                Ok(latencies)
            },
            |latencies| latencies.cpu_us,
        )?;
        let best = |figure: fn(&Latencies) -> f64| runs.iter().map(figure).fold(f64::MAX, f64::min);
        let mut note = |name, target, value| report.note(self.brand, name, "us", target, value);
        note("1000/s cpu per record", Target::OfKafka(0.3), best(|l| l.cpu_us));
        note("1000/s to ack p50", Target::None, best(|l| l.to_ack.p50));
        note("1000/s to ack p99", Target::OfKafka(0.4), best(|l| l.to_ack.p99));
        note("1000/s to ack p99.9", Target::OfKafka(0.4), best(|l| l.to_ack.p999));
        note("1000/s to ack max", Target::None, best(|l| l.to_ack.max));
        note("1000/s to consumer p50", Target::None, best(|l| l.to_consumer.p50));
        note("1000/s to consumer p99", Target::OfKafka(0.4), best(|l| l.to_consumer.p99));
        note("1000/s to consumer p99.9", Target::OfKafka(0.4), best(|l| l.to_consumer.p999));
        note("1000/s to consumer max", Target::None, best(|l| l.to_consumer.max));
        Ok(())
    }

    /// Appends with a sync before every acknowledgement: 16 connections, 8 requests in flight each.
    fn sync(&self, subject: &mut Subject, report: &mut Report) -> Result<()> {
        let config = match self.brand {
            Brand::Kafka => ("flush.messages", "1"),
            _ => ("acks.durability", "fsync"),
        };
        let runs = settle(
            self.options,
            |n| {
                let topic = subject.connect()?.create_topic(&format!("sync-{n}"), 1, &[config])?;
                let (batch, _) = payload::batch(Size::OneRecord, Codec::None);
                let until = Instant::now() + Duration::from_secs(if self.options.quick { 1 } else { 4 });
                let mut scripts = Vec::new();
                for connection in 0..16 {
                    scripts.push(Script {
                        address: subject.address,
                        frames: throughput::produce_frames(&topic, &batch, connection)?,
                        requests: usize::MAX,
                        in_flight: 8,
                        until: Some(until),
                        answers: throughput::answers_of(self.brand),
                    });
                }
                let (appended, wall) = load::run(scripts)?;
                subject.connect()?.delete_topic(&topic)?;
                Ok(appended as f64 / wall.as_secs_f64())
            },
            |rate| 1.0 / rate,
        )?;
        let most = runs.into_iter().fold(0.0, f64::max);
        report.note(self.brand, "appends with sync per ack", "1/s", Target::None, most);
        Ok(())
    }

    fn foreign(&self, subject: &mut Subject, report: &mut Report) -> Result<()> {
        let runs = settle(
            self.options,
            |n| foreign::run(subject, &format!("foreign-{n}"), self.options),
            |foreign| foreign.cpu_us,
        )?;
        let most = runs.iter().map(|run| run.mb_per_second).fold(0.0, f64::max);
        let least = |figure: fn(&foreign::Foreign) -> f64| runs.iter().map(figure).fold(f64::MAX, f64::min);
        report.note(self.brand, "producer-perf-test cpu per record", "us", Target::None, least(|f| f.cpu_us));
        report.note(self.brand, "producer-perf-test rate", "MB/s", Target::None, most);
        report.note(
            self.brand,
            "producer-perf-test latency",
            "ms avg",
            Target::None,
            least(|f| f.average_ms),
        );
        Ok(())
    }

    /// 2 GiB in 100 partitions, kill -9, and the time until each of them takes a record again.
    fn restart(&self, subject: &mut Subject, report: &mut Report) -> Result<()> {
        let topic = subject.connect()?.create_topic("restart", 100, &[])?;
        let (batch, _) = payload::batch(Size::Large, Codec::None);
        let requests = self.options.amount(2184) / 4;
        let script = |connection| -> Result<Script> {
            Ok(Script {
                address: subject.address,
                frames: throughput::produce_frames(&topic, &batch, connection)?,
                requests,
                in_flight: 2,
                until: None,
                answers: throughput::answers_of(self.brand),
            })
        };
        load::run((0..4).map(script).collect::<Result<_>>()?)?;
        subject.kill()?;
        let begun = Instant::now();
        subject.start()?;
        let first = first_acks(subject, &topic)?;
        report.note(
            self.brand,
            "kill -9 to first ack",
            "ms",
            Target::Value(1000.0),
            first.duration_since(begun).as_secs_f64() * 1e3,
        );
        let all = begun.elapsed().as_secs_f64() * 1e3;
        report.note(self.brand, "kill -9 to 100 partitions acked", "ms", Target::Value(1000.0), all);
        Ok(())
    }
}

/// Repeats until the cost has settled; lower is better.
pub fn settle<T>(
    options: &Options,
    mut run: impl FnMut(usize) -> Result<T>,
    cost: impl Fn(&T) -> f64,
) -> Result<Vec<T>> {
    let mut results: Vec<T> = Vec::new();
    let mut best = f64::MAX;
    let most = if options.quick { options.runs } else { RUNS_MAX.max(options.runs) };
    loop {
        let result = run(results.len())?;
        let falls = cost(&result) < best * SETTLED;
        best = best.min(cost(&result));
        results.push(result);
        if results.len() >= most || (results.len() >= options.runs && !falls) {
            return Ok(results);
        }
    }
}

fn delete(subject: &mut Subject, topic: &Topic) -> Result<()> {
    if subject.brand == Brand::Limit {
        return Ok(());
    }
    subject.connect()?.delete_topic(topic)?;
    await_removal();
    Ok(())
}

/// Deleted topics lose their files after a second (`file.delete.delay.ms`): that is not the next run's cost.
pub fn await_removal() {
    // tidy: thread::sleep, as a broker does not tell when it has removed files.
    std::thread::sleep(Duration::from_millis(1500));
}

/// Appends a record to each partition as soon as it is taken; returns when the first one was.
fn first_acks(subject: &mut Subject, topic: &Topic) -> Result<Instant> {
    let (batch, _) = payload::batch(Size::OneRecord, Codec::None);
    let mut connection = subject.connect()?;
    let begun = Instant::now();
    let mut first = None;
    for partition in 0..topic.partitions {
        loop {
            match connection.produce(topic, partition, &batch) {
                Ok(0) => break,
                Ok(_) => std::thread::sleep(Duration::from_micros(500)),
                // A node that starts may close what it cannot serve yet.
                Err(_) => connection = subject.connect()?,
            }
            ensure!(begun.elapsed() < Duration::from_secs(120), "{}-{partition} takes nothing", topic.name);
        }
        first.get_or_insert_with(Instant::now);
    }
    first.context("a topic with partitions")
}
