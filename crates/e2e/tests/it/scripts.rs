//! Ottla by the names of Apache's scripts: the same scenarios as of `tools`, and more, with our binary in place of the
//! Java tools. Outputs and exit codes must be what Apache's tools gave, against an Ottla node and an Apache node.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ottla_e2e::cluster::{Cluster, Shape, Voters};
use ottla_e2e::node::{Brand, Node};
use ottla_e2e::{mask, scenario, scripts, tools, world};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("topics", || compare("topics")),
    ("topics_use", || compare("scripts-topics")),
    ("groups", || compare("groups")),
    ("groups_use", || compare("scripts-groups")),
    ("console", || compare("console")),
    ("console_use", || compare("scripts-console")),
    ("offsets", || compare("scripts-offsets")),
    ("configs", || compare("configs")),
    ("quorum", || compare("scripts-quorum")),
    ("controllers", || compare("controllers")),
    ("reassign", reassign),
    ("directories", directories),
    ("configs_use", || compare("scripts-configs")),
    ("storage", storage),
];

/// Apache's tools on the judge; then ours on the candidate, and on another Apache node.
fn compare(name: &str) -> Result<()> {
    let [judge, candidate, second] = world::scripts()?;
    scenario::compare_scripts(name, &*judge, [&*candidate, &*second])
}

/// Moves and voters on three nodes of each side.
fn reassign() -> Result<()> {
    let start = |brand| Cluster::start(&Shape::slow_trio(brand, Voters::Dynamic));
    let (mut judge, mut candidate, mut second) =
        (start(Brand::Apache)?, start(Brand::candidate())?, start(Brand::Apache)?);
    let outcome = scenario::compare_scripts("scripts-reassign", &mut judge, [&mut candidate, &mut second]);
    candidate.explained(outcome)
}

/// Moves between the two directories of a node.
fn directories() -> Result<()> {
    let start = |brand| Node::start(brand, "log.dirs={home}/data,{home}/more");
    let (judge, candidate, second) =
        (start(Brand::Apache)?, start(Brand::candidate())?, start(Brand::Apache)?);
    scenario::compare_scripts("scripts-directories", &judge, [&candidate, &second])
}

/// kafka-storage of 4.4.0 and ours on directories of their own: what is printed and the exit code.
fn storage() -> Result<()> {
    let calls = [
        "",
        "nonsense",
        "info",
        "info -c {home}/server.properties",
        "format -c {home}/server.properties",
        "format -t 4L6g3nShT-eMCtK--X86sw",
        "format -t 4L6g3nShT-eMCtK--X86sw -c {home}/server.properties",
        "format --cluster-id=4L6g3nShT-eMCtK--X86sw -c {home}/server.properties --standalone --feature no.such=1",
        "format --cluster-id=4L6g3nShT-eMCtK--X86sw -c {home}/server.properties --standalone",
        "format -t 4L6g3nShT-eMCtK--X86sw -c {home}/server.properties --standalone",
        "format -t 4L6g3nShT-eMCtK--X86sw -c {home}/server.properties --standalone --ignore-formatted",
        "format -t AAAAAAAAAAAAAAAAAAAAAw -c {home}/server.properties --standalone --ignore-formatted",
        "info --config {home}/server.properties",
    ];
    let homes = [tempfile::tempdir(), tempfile::tempdir()];
    let [theirs, ours] = homes.map(|home| home.context("create a directory"));
    let (theirs, ours) = (theirs?, ours?);
    for home in [&theirs, &ours] {
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:9093\n\
             log.dirs={}/data\n",
            home.path().display()
        );
        fs::write(home.path().join("server.properties"), properties).context("write server.properties")?;
    }
    for call in calls {
        let filled = |home: &tempfile::TempDir| -> Vec<String> {
            let call = call.replace("{home}", &home.path().display().to_string());
            call.split_whitespace().map(str::to_owned).collect()
        };
        let masked = |outcome: tools::Outcome, home: &tempfile::TempDir| {
            let words = [(home.path().display().to_string(), "{home}".to_owned())];
            // Java's objects as text, which is for nobody.
            let objects = |line: &&str| line.starts_with("Bootstrap metadata: ");
            let lines: Vec<_> = outcome.stdout.lines().filter(|line| !objects(line)).collect();
            (outcome.status, mask::normalised(&lines.join("\n"), &words))
        };
        let arguments = filled(&theirs);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let expected = masked(tools::runner()?.storage_tool(&words)?, &theirs);
        let found = scripts::run("kafka-storage", &filled(&ours), b"", Duration::from_secs(30))?;
        let said = found.stderr.clone();
        let found = masked(found, &ours);
        ensure!(found == expected, "kafka-storage {call}: {found:?} ({said}), but Apache's {expected:?}");
    }
    Ok(())
}
