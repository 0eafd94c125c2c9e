//! Apache Kafka's directory is taken over by the candidate and handed back, clients running all the while.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::load::Load;
use ottla_e2e::node::{Brand, Node};
use ottla_e2e::tools::Jars;
use ottla_e2e::{artifacts, process, tools};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("clean_stop", || takeover([Brand::Apache, Brand::candidate(), Brand::Apache], End::Stop)),
    ("kill", || takeover([Brand::Apache, Brand::candidate(), Brand::Apache], End::Kill)),
    ("begun_by_the_candidate", || {
        takeover([Brand::candidate(), Brand::Apache, Brand::candidate()], End::Stop)
    }),
    ("of_the_release_before", || takeover([Brand::Apache43, Brand::candidate(), Brand::Apache43], End::Stop)),
];

/// Two log directories, and intervals short enough that a killed broker is soon let in again.
const PROPERTIES: &str = "log.dirs={home}/data,{home}/more
offsets.topic.num.partitions=5
log.cleaner.backoff.ms=200
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500";

/// How a node is made to end.
#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    Stop,
    Kill,
}

fn takeover(brands: [Brand; 3], end: End) -> Result<()> {
    // The newest features that all of them know.
    let release: &[&str] =
        if brands.contains(&Brand::Apache43) { &["--release-version", "4.3"] } else { &[] };
    let mut node = Node::formatted(brands[0], PROPERTIES, release)?;
    node.launch()?;
    estate(&node, end, "write", 0)?;
    if brands[0] != Brand::Ottla {
        estate(&node, end, "transact", 0)?;
    }
    configure(&node)?;
    let before = description(&node)?;
    let mut load = Load::start(&node, "takeover")?;
    load.await_progress(200)?;
    for (round, brand) in [(1, brands[1]), (2, brands[2])] {
        match end {
            End::Stop => drop(node.stop()?),
            End::Kill => node.kill()?,
        }
        let committed = load.committed()?;
        node.launch_as(brand).with_context(|| format!("start {brand:?} for round {round}"))?;
        let step = || -> Result<()> {
            load.check_group(&committed)?;
            estate(&node, end, "check", round - 1)?;
            let now = description(&node)?;
            ensure!(now == before, "what the directory says changed:\n{}", differing(&before, &now));
            estate(&node, end, "write", round)?;
            estate(&node, end, "check", round)
        };
        step().with_context(|| format!("{brand:?} in round {round}; its log:\n{}", node.log_tail()))?;
        load.await_progress(200)
            .with_context(|| format!("{brand:?} in round {round}; its log:\n{}", node.log_tail()))?;
    }
    let audit = load.finish()?;
    eprintln!("e2e: handed over and back: {audit}");
    Ok(())
}

fn estate(node: &Node, end: End, command: &str, round: u32) -> Result<()> {
    let mut python = process::bound(&artifacts::python()?.display().to_string());
    python.arg(artifacts::crate_dir().join("clients/python/estate.py")).args([&node.bootstrap(), command]);
    python.arg(Path::new(node.home()).join("estate.json")).arg(round.to_string());
    if end == End::Kill {
        python.arg("killed");
    }
    let output = process::output(python, Duration::from_secs(90))?;
    ensure!(
        output.status.success(),
        "estate {command} {round}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Dynamic configs of every kind the node has to keep.
fn configure(node: &Node) -> Result<()> {
    for (target, value) in [
        (["topics", "--entity-name", "estate-none"].as_slice(), "retention.ms=123456789"),
        (&["brokers", "--entity-name", "1"], "message.max.bytes=2000000"),
        (&["brokers", "--entity-default"], "log.retention.ms=987654321"),
        (&["groups", "--entity-name", "estate-group"], "consumer.session.timeout.ms=50000"),
    ] {
        let arguments = [&["--alter", "--add-config", value, "--entity-type"], target].concat();
        tool(node, "kafka-configs", &arguments)?;
    }
    Ok(())
}

/// What tools say about the directory and no start may change.
fn description(node: &Node) -> Result<String> {
    let mut text = String::new();
    for (script, arguments) in [
        ("kafka-topics", ["--describe", "--topic", "estate-.*"].as_slice()),
        ("kafka-configs", &["--describe", "--entity-type", "topics"]),
        ("kafka-configs", &["--describe", "--entity-type", "brokers", "--entity-name", "1"]),
        ("kafka-configs", &["--describe", "--entity-type", "brokers", "--entity-default"]),
        ("kafka-configs", &["--describe", "--entity-type", "groups", "--entity-name", "estate-group"]),
        ("kafka-cluster", &["cluster-id"]),
    ] {
        text.push_str(&tool(node, script, arguments)?);
    }
    Ok(text)
}

fn tool(node: &Node, script: &str, arguments: &[&str]) -> Result<String> {
    let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    arguments.extend(["--bootstrap-server".into(), node.bootstrap()]);
    let outcome = tools::runner()?.tool(Jars::Tools, script, &arguments, b"", Duration::from_secs(40))?;
    ensure!(outcome.status == 0, "{script} {arguments:?} failed: {}{}", outcome.stdout, outcome.stderr);
    // Topic ids stay: they must not change. Leader epochs do, with every start.
    let mut lines: Vec<&str> = outcome.stdout.lines().filter(|line| !line.contains("takeover")).collect();
    lines.sort_unstable();
    Ok(lines.join("\n") + "\n")
}

fn differing(before: &str, now: &str) -> String {
    let lines = |a: &str, b: &str, mark| -> String {
        a.lines()
            .filter(|line| !b.lines().any(|other| other == *line))
            .map(|line| format!("{mark} {line}\n"))
            .collect()
    };
    lines(before, now, '-') + &lines(now, before, '+')
}
