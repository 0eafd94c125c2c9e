//! The cross-check: Apache's own producer performance tool against the same node.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::{artifacts, process};

use crate::Options;
use crate::subject::Subject;

pub struct Foreign {
    pub mb_per_second: f64,
    pub average_ms: f64,
    /// The node's CPU time per record, in microseconds.
    pub cpu_us: f64,
}

/// Records of 100 bytes at full speed, default settings of the Java producer.
pub fn run(subject: &mut Subject, name: &str, options: &Options) -> Result<Foreign> {
    let records = options.amount(4_000_000);
    let topic = subject.connect()?.create_topic(name, 1, &[("file.delete.delay.ms", "1000")])?;
    let mut java = process::bound("java");
    java.args(["-Xmx512m", "-cp", &artifacts::jars("tools")?]);
    java.arg("org.apache.kafka.tools.ProducerPerformance");
    java.args(["--topic", name, "--record-size", "100", "--throughput", "-1"]);
    java.args(["--num-records", &records.to_string()]);
    java.args(["--bootstrap-server", &subject.address.to_string()]);
    let before = subject.cpu()?;
    let output = process::output(java, Duration::from_secs(180))?;
    let cpu = subject.cpu()?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    subject.connect()?.delete_topic(&topic)?;
    // 4000000 records sent, 812345.6 records/sec (77.47 MB/sec), 3.51 ms avg latency, …
    let last = text.lines().last().context("a result of the tool")?;
    let number_before =
        |mark: &str| -> Option<f64> { last.split(mark).next()?.rsplit([' ', '(']).next()?.parse().ok() };
    Ok(Foreign {
        mb_per_second: number_before(" MB/sec").with_context(|| format!("a rate in {last}"))?,
        average_ms: number_before(" ms avg").with_context(|| format!("a latency in {last}"))?,
        cpu_us: cpu.as_secs_f64() * 1e6 / records as f64,
    })
}
