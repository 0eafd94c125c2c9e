//! `cargo xtask ci`: everything that must stay true, with the time that each part took.

use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Name, program, arguments.
type Part = (&'static str, &'static str, &'static [&'static str]);

/// The parts, in an order that fails early; those of one line run side by side.
const PARTS: &[&[Part]] = &[
    &[("format", "cargo", &["fmt", "--all", "--check"])],
    &[("tidy", "cargo", &["xtask", "tidy"])],
    &[("clippy", "cargo", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])],
    &[("schemas", "cargo", &["xtask", "schemas"])],
    &[("unit and crate tests", "cargo", &["test", "--workspace", "--exclude", "ottla-e2e"])],
    // Simulated worlds have their own time: a busy machine does not disturb them, and a build leaves cores idle.
    &[
        ("release build", "cargo", &["build", "--release", "--package", "ottla-cli"]),
        (
            "simulated quorums",
            "cargo",
            &["run", "-p", "ottla-sim", "-q", "--", "--world=quorum", "--seeds=120"],
        ),
        (
            "simulated clusters",
            "cargo",
            &["run", "-p", "ottla-sim", "-q", "--", "--world=cluster", "--seeds=4", "--seconds=60"],
        ),
    ],
    &[("black-box tests", "cargo", &["test", "--package", "ottla-e2e"])],
];

pub fn run() -> Result<()> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for step in PARTS {
        let ended: Vec<_> = thread::scope(|scope| {
            let started: Vec<_> = step.iter().map(|part| scope.spawn(|| run_part(part))).collect();
            started.into_iter().map(|part| part.join()).collect()
        });
        let mut failed = None;
        for ((name, ..), ended) in step.iter().zip(ended) {
            let (status, time) = ended.map_err(|_| anyhow!("{name} panicked"))??;
            times.push((name, time));
            if !status.success() {
                failed = failed.or(Some((name, status)));
            }
        }
        if let Some((name, status)) = failed {
            report(&times);
            bail!("{name} failed ({status})");
        }
    }
    report(&times);
    Ok(())
}

fn run_part((name, program, arguments): &Part) -> Result<(ExitStatus, Duration)> {
    println!("==> {name}: {program} {}", arguments.join(" "));
    let begun = Instant::now();
    let status = Command::new(program).args(*arguments).status();
    Ok((status.with_context(|| format!("start {program} for {name}"))?, begun.elapsed()))
}

fn report(times: &[(&str, Duration)]) {
    println!("==> time taken");
    for (name, time) in times {
        println!("{:>8.1} s  {name}", time.as_secs_f64());
    }
}
