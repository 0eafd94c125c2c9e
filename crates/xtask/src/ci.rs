//! `cargo xtask ci`: everything that must stay true, with the time that each part took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The parts, in an order that fails early: name, program, arguments.
const PARTS: &[(&str, &str, &[&str])] = &[
    ("format", "cargo", &["fmt", "--all", "--check"]),
    ("tidy", "cargo", &["xtask", "tidy"]),
    ("clippy", "cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    ("schemas", "cargo", &["xtask", "schemas"]),
    ("unit and crate tests", "cargo", &["test", "--workspace", "--exclude", "ottla-e2e"]),
    ("simulated quorums", "cargo", &["run", "-p", "ottla-sim", "-q", "--", "--world=quorum", "--seeds=120"]),
    (
        "simulated clusters",
        "cargo",
        &["run", "-p", "ottla-sim", "-q", "--", "--world=cluster", "--seeds=4", "--seconds=60"],
    ),
    ("release build", "cargo", &["build", "--release", "--package", "ottla-cli"]),
    ("black-box tests", "cargo", &["test", "--package", "ottla-e2e"]),
];

pub fn run() -> Result<()> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (name, program, arguments) in PARTS {
        println!("==> {name}: {program} {}", arguments.join(" "));
        let start = Instant::now();
        let status = Command::new(program)
            .args(*arguments)
            .status()
            .with_context(|| format!("start {program} for {name}"))?;
        times.push((name, start.elapsed()));
        if !status.success() {
            report(&times);
            bail!("{name} failed ({status})");
        }
    }
    report(&times);
    Ok(())
}

fn report(times: &[(&str, Duration)]) {
    println!("==> time taken");
    for (name, time) in times {
        println!("{:>8.1} s  {name}", time.as_secs_f64());
    }
}
