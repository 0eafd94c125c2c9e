//! `ottla server`: start a node and stop it when told to.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ottla_commit_log::RealDisk;
use ottla_server::config;
use ottla_server::node::RunningNode;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

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
    let (config, warnings) = config::load(args.file.as_deref(), &args.options.overrides)?;
    for warning in warnings {
        warn!("{warning}");
    }
    if args.file.is_none() {
        ottla_server::storage::format_if_new(&RealDisk::default(), &config)
            .context("format the data directory")?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("ottla")
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: config::ServerConfig) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let node = RunningNode::start(config).await?;
    let fault = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        fault = node.failed() => Some(fault),
    };
    if let Some(fault) = fault {
        bail!("{fault}");
    }
    info!("stopping");
    tokio::select! {
        () = node.stop() => info!("stopped"),
        _ = terminate.recv() => bail!("stopped by a second signal before the logs were closed"),
        _ = interrupt.recv() => bail!("stopped by a second signal before the logs were closed"),
    }
    Ok(())
}
