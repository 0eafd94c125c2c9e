//! Ottla by the names of Apache's scripts: the same scenarios as of `tools`, and more, with our binary in place of the
//! Java tools. Outputs and exit codes must be what Apache's tools gave, against an Ottla node and an Apache node.

use anyhow::Result;
use ottla_e2e::{scenario, world};

use crate::Named;

pub const TESTS: &[Named] = &[
    ("topics", || compare("topics")),
    ("topics_use", || compare("scripts-topics")),
    ("groups", || compare("groups")),
    ("groups_use", || compare("scripts-groups")),
    ("console", || compare("console")),
    ("console_use", || compare("scripts-console")),
    ("offsets", || compare("scripts-offsets")),
];

/// Apache's tools on the judge; then ours on the candidate, and on another Apache node.
fn compare(name: &str) -> Result<()> {
    let (judge, candidate, second) = (world::judge()?, world::candidate()?, world::second_judge()?);
    scenario::compare_scripts(name, &*judge, [&*candidate, &*second])
}
