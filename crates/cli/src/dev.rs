//! `ottla dev`: a node for developers and their tests, in any language.
//!
//! A test starts `ottla dev --ephemeral --port 0 --ready-file F --until-stdin-closes`, waits for F, finds
//! `bootstrap.servers` in it, and ends the process; nothing is left behind, also when it is the test that is killed.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::{fs, io, thread};

use anyhow::{Context, Result};
use ottla_server::node::RunningNode;
use tokio::sync::oneshot;

use crate::{server, terminal_log};

#[derive(clap::Args)]
pub struct Args {
    /// The port for clients, of the loopback address; 0 for any that is free
    #[arg(long, default_value_t = 9092)]
    port: u16,
    /// Keep nothing: the data lies in a temporary directory that goes when the node stops
    #[arg(long, conflicts_with = "data")]
    ephemeral: bool,
    /// Where the data is kept
    #[arg(long, value_name = "DIRECTORY", default_value = "ottla-dev")]
    data: PathBuf,
    /// Write what clients take for bootstrap.servers into this file when the node can be used
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Stop when nobody holds the other end of stdin any more, as when a test that started the node was killed
    #[arg(long)]
    until_stdin_closes: bool,
    #[command(flatten)]
    options: server::Options,
}

pub fn run(args: &Args) -> Result<()> {
    terminal_log::start(&args.options.log_level)?;
    let temporary = match args.ephemeral {
        true => Some(tempfile::Builder::new().prefix("ottla-dev-").tempdir().context("create a directory")?),
        false => None,
    };
    let data = temporary.as_ref().map_or(args.data.clone(), |dir| dir.path().join("data"));
    let mut overrides = vec![
        format!("listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:0", args.port),
        // The node finds itself without being told where.
        "controller.quorum.bootstrap.servers=127.0.0.1:9093".to_owned(),
        format!("log.dirs={}", data.display()),
        "offsets.topic.num.partitions=1".to_owned(),
    ];
    overrides.extend(args.options.overrides.iter().cloned());
    if let Some(file) = &args.ready_file {
        // One of an earlier run would be believed.
        let _ = fs::remove_file(file);
    }
    let closed = args.until_stdin_closes.then(stdin_closed);
    let outcome = server::start(None, &overrides, |node| {
        if let Some(file) = &args.ready_file {
            tell(node, file).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(async {
            match closed {
                Some(closed) => drop(closed.await),
                None => pending().await,
            }
            "stdin was closed"
        })
    });
    if let Some(file) = &args.ready_file {
        let _ = fs::remove_file(file);
    }
    outcome
}

/// Ends with stdin. What comes there is nothing to a node.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (open, closed) = oneshot::channel();
    thread::spawn(move || {
        // Unreadable is closed.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(open);
    });
    closed
}

/// Writes the file as a whole: who sees it can read it.
fn tell(node: &RunningNode, file: &Path) -> Result<()> {
    let clients = node.addresses.iter().filter(|(listener, _)| listener != "CONTROLLER");
    let addresses: Vec<_> = clients.map(|(_, address)| address.to_string()).collect();
    let unfinished = file.with_extension("unfinished");
    fs::write(&unfinished, addresses.join(",") + "\n")?;
    fs::rename(&unfinished, file)?;
    Ok(())
}
