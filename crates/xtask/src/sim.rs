//! `cargo xtask sim`: builds the simulator for speed and plays seeds.

use std::process::Command;

use anyhow::{Context, Result, bail};

#[derive(clap::Args)]
pub struct Args {
    /// Handed to the simulator: --seeds N, --hours H, --from SEED, --seconds S
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    let status = Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package", "ottla-sim", "--"])
        .args(&args.arguments)
        .status()
        .context("start the simulator")?;
    if !status.success() {
        bail!("the simulator found something ({status})");
    }
    Ok(())
}
