//! `cargo xtask faults`: the nemesis of the e2e suites for longer than the continuous checks have time.

use std::process::Command;

use anyhow::{Context, Result, ensure};

#[derive(clap::Args)]
pub struct Args {
    /// How many faults
    #[arg(long, default_value_t = 100)]
    faults: u32,
    /// The seed of an earlier run, to deal its faults again
    #[arg(long)]
    seed: Option<u64>,
    /// Deal only faults whose names contain this, as Pause or LosePower(Leader)
    #[arg(long)]
    only: Option<String>,
    /// What the nodes are: ottla, apache (4.4.0) or apache43, one per node
    #[arg(long, default_value = "ottla,ottla,ottla")]
    nodes: String,
}

pub fn run(args: &Args) -> Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--package", "ottla-cli"])
        .status()
        .context("start cargo build")?;
    ensure!(status.success(), "the build failed ({status})");
    let mut test = Command::new("cargo");
    test.args(["test", "--package", "ottla-e2e", "--", "faults::nemesis"]);
    test.env("E2E_FAULTS", args.faults.to_string()).env("E2E_NODES", &args.nodes);
    if let Some(seed) = args.seed {
        test.env("E2E_SEED", seed.to_string());
    }
    if let Some(only) = &args.only {
        test.env("E2E_ONLY", only);
    }
    let status = test.status().context("start cargo test")?;
    ensure!(status.success(), "the nemesis won ({status})");
    Ok(())
}
