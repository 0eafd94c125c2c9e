//! `ottla`: one binary for the server and its tools. One file per command.
//!
//! Owns the process: allocator, arguments, the terminal log, exit codes. Whatever goes wrong ends as one line
//! `error: …` on stderr and a non-zero exit code; nobody is shown a backtrace for a full disk.

mod consume;
mod dev;
mod dump;
mod format;
mod groups;
mod produce;
mod server;
mod topics;

mod confirm;
mod connect;
mod exit;
mod outcomes;
mod progress;
mod select;
mod table;
mod terminal_log;
mod utc;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Apache Kafka, rebuilt in Rust: brokers, controllers and tools in one binary.
///
/// Without a command, `ottla` starts one node that is broker and controller, with its data in ./ottla-data.
#[derive(Parser)]
#[command(name = "ottla", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: server::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Start a node (the default command)
    Server(server::Args),
    /// Start a node to develop and test against, on its own port and data
    Dev(dev::Args),
    /// Prepare the directories of a node
    Format(format::FormatArgs),
    /// Print what the directories of a node belong to
    Info(format::InfoArgs),
    /// Print a new random id
    RandomUuid,
    /// Print files of a log directory: segments, indexes, snapshots, checkpoints
    Dump(dump::Args),
    /// Topics: list, describe, create, delete, grow, set
    Topics(topics::Args),
    /// Groups: list, describe, reset, delete
    Groups(groups::Args),
    /// Print records of topics
    Consume(consume::Args),
    /// Send records to a topic
    Produce(produce::Args),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command.unwrap_or_else(|| Command::Server(arguments.server.into())) {
        Command::Server(args) => server::run(args),
        Command::Dev(args) => dev::run(&args),
        Command::Format(args) => format::format(args),
        Command::Info(args) => format::info(&args),
        Command::RandomUuid => {
            format::random_uuid();
            Ok(())
        }
        Command::Dump(args) => dump::run(&args),
        Command::Topics(args) => topics::run(args),
        Command::Groups(args) => groups::run(args),
        Command::Consume(args) => consume::run(args),
        Command::Produce(args) => produce::run(args),
    };
    exit::end(outcome)
}
