//! `cargo xtask bench`: builds the node and the bench with optimisation, then runs the bench (`crates/bench`).

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Passed on to the bench as they are; `--help` shows them.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(args: Args) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let bench = ["run", "--release", "--quiet", "--package", "ottla-bench", "--"];
    // Without Ottla in the run there is no need to build it.
    if !args.arguments.iter().any(|argument| argument == "--no-ottla" || argument == "--ottla") {
        let built = Command::new(&cargo)
            .args(["build", "--release", "--quiet", "--bin", "ottla"])
            .status()
            .context("run cargo")?;
        ensure!(built.success(), "the release build failed");
    }
    let status = Command::new(&cargo).args(bench).args(&args.arguments).status().context("run the bench")?;
    ensure!(status.success(), "the bench failed");
    Ok(())
}
