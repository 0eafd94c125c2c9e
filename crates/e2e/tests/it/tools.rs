//! Apache's command-line tools against both nodes: outputs and exit codes must be equal, errors included.
//!
//! The scenarios are the files of `testdata/tools`; transcripts of the last run lie in
//! `target/e2e/transcripts`.

use anyhow::Result;
use ottla_e2e::cluster::{Cluster, Shape, Voters};
use ottla_e2e::node::{Brand, Node};
use ottla_e2e::{scenario, world};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("cluster", || compare("cluster")),
    ("topics", || compare("topics")),
    ("console", || compare("console")),
    ("configs", || compare("configs")),
    ("controllers", || compare("controllers")),
    ("groups", || compare("groups")),
    ("offsets", || compare("offsets")),
    ("dump", dump),
    ("metadata_shell", metadata_shell),
    ("perf", || compare("perf")),
    ("three_nodes", || compare_clusters("three-nodes", Voters::Dynamic)),
    ("three_static_nodes", || compare_clusters("three-static-nodes", Voters::Static)),
];

fn compare(name: &str) -> Result<()> {
    let (judge, candidate) = (world::judge()?, world::candidate()?);
    scenario::compare(name, &*judge, &*candidate)
}

/// What other tests leave would be dumped too, and counted in producer ids: nodes of its own.
fn dump() -> Result<()> {
    let judge = Node::start(Brand::Apache, "")?;
    let candidate = Node::start(Brand::candidate(), "")?;
    scenario::compare("dump", &judge, &candidate)
}

/// Three nodes of the candidate beside three of the judge.
fn compare_clusters(name: &str, voters: Voters) -> Result<()> {
    let mut judge = Cluster::start(&Shape::slow_trio(Brand::Apache, voters))?;
    let mut candidate = Cluster::start(&Shape::slow_trio(Brand::candidate(), voters))?;
    let outcome = scenario::compare(name, &mut judge, &mut candidate);
    candidate.explained(outcome)
}

/// The shell exists up to 4.3.1 and knows no later metadata version, so it gets nodes of its own.
fn metadata_shell() -> Result<()> {
    let judge = Node::start_as_of("4.3", Brand::Apache)?;
    let candidate = Node::start_as_of("4.3", Brand::candidate())?;
    scenario::compare("shell", &judge, &candidate)
}
