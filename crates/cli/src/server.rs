//! `ottla server`: start a node and stop it when told to.

use std::path::PathBuf;

use anyhow::{Result, bail};

#[derive(clap::Args)]
pub struct Args {
    /// A server.properties of Apache Kafka; without one, a single node with its data in ./ottla-data
    file: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub struct Options {
    /// Set or replace a property
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// error, warn, info, debug, trace, or a filter such as info,ottla_raft=debug
    #[arg(long, env = "OTTLA_LOG", default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

impl From<Options> for Args {
    fn from(options: Options) -> Self {
        Self { file: None, options }
    }
}

pub fn run(args: Args) -> Result<()> {
    crate::terminal_log::start(&args.options.log_level)?;
    let _ = (args.file, args.options.overrides);
    bail!("this build has no server")
}
