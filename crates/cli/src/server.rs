//! `ottla server`: start a node, and stop it when told to.
//!
//! A first signal (SIGTERM, SIGINT, SIGHUP) stops cleanly, a second one at once. Nothing on disk needs a clean stop;
//! with one, the next start has nothing to look through.

use std::future::pending;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{process, thread};

use anyhow::{Context, Result, bail};
use ottla_commit_log::RealDisk;
use ottla_server::config::{self, ServerConfig};
use ottla_server::environment::Environment;
use ottla_server::node::RunningNode;
use ottla_server::storage;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::terminal_log;

#[derive(clap::Args)]
pub struct Args {
    /// A server.properties of Apache Kafka; without one, a single node with its data in ./ottla-data
    file: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
pub struct Options {
    /// Set or replace a property; may be repeated
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// error, warn, info, debug, trace, or a filter such as info,ottla_raft=debug
    #[arg(long, env = "OTTLA_LOG", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}

impl From<Options> for Args {
    fn from(options: Options) -> Self {
        Self { file: None, options }
    }
}

pub fn run(args: Args) -> Result<()> {
    terminal_log::start(&args.options.log_level)?;
    start(args.file.as_deref(), &args.options.overrides, |_| Ok(pending()))
}

/// Runs a node until it is told to stop, or the future of `ready`, which is called when it has started, says why.
pub fn start<Stop: Future<Output = &'static str>>(
    file: Option<&Path>,
    overrides: &[String],
    ready: impl FnOnce(&RunningNode) -> Result<Stop>,
) -> Result<()> {
    let (config, warnings) = config::load(file, overrides)?;
    for warning in warnings {
        warn!("{warning}");
    }
    if file.is_none() && storage::format_if_new(&RealDisk, &config)? {
        info!("new cluster of this node alone");
    }
    let runtime = start_runtime("ottla", network_threads(&config))?;
    let quorum_runtime = start_runtime("ottla-quorum", 1)?;
    let environment =
        Environment { quorum_runtime: Some(quorum_runtime.handle().clone()), ..Environment::default() };
    let outcome = runtime.block_on(serve(environment, config, ready));
    // A thread that still waits for the network or a disk must not hold the process.
    runtime.shutdown_background();
    quorum_runtime.shutdown_background();
    outcome
}

fn start_runtime(name: &str, threads: usize) -> Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name(name)
        .worker_threads(threads)
        .enable_all()
        .build()
        .context("start the runtime")
}

/// Threads for the connections of clients and brokers: half as many as processors, as the kernel has as much to do for
/// them. One that wakes another for each record costs more than it brings.
fn network_threads(config: &ServerConfig) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    (processors / 2).clamp(1, config.network.threads_max.unwrap_or(usize::MAX))
}

async fn serve<Stop: Future<Output = &'static str>>(
    environment: Environment,
    config: ServerConfig,
    ready: impl FnOnce(&RunningNode) -> Result<Stop>,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let node = tokio::select! {
        node = RunningNode::start_in(environment, config) => node?,
        name = signals.next() => bail!("{name} while starting"),
    };
    let stop = ready(&node)?;
    tokio::select! {
        reason = node.failed() => bail!("{reason}"),
        reason = stop => info!("{reason}: stopping"),
        name = signals.next() => info!("{name}: stopping; another one stops at once"),
    }
    let began = Instant::now();
    tokio::select! {
        () = node.stop() => info!("stopped in {} ms", began.elapsed().as_millis()),
        name = signals.next() => {
            eprintln!("error: {name}: stopped at once");
            process::exit(1);
        }
    }
    Ok(())
}

/// What asks the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen to signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }
}
