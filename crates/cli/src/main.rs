//! `ottla`: one binary for the server and its tools. One file per command.
//!
//! Owns the process: allocator, arguments, the terminal log, exit codes. Whatever goes wrong ends as one line
//! `error: …` on stderr and a non-zero exit code; nobody is shown a backtrace for a full disk.

mod cluster;
mod configs;
mod consume;
mod dev;
mod dump;
mod elect;
mod features;
mod format;
mod groups;
mod log_dirs;
mod offsets;
mod perf;
mod produce;
mod quorum;
mod reassign;
mod records;
mod scripts;
mod server;
mod shell;
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

use clap::{CommandFactory, Parser, Subcommand};

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
    /// Configs of topics, brokers, groups: describe, set, delete
    Configs(configs::Args),
    /// Where partitions begin and end
    Offsets(offsets::Args),
    /// Delete the oldest records of partitions
    Records(records::Args),
    /// The log directories of brokers
    LogDirs(log_dirs::Args),
    /// Move partitions to other brokers: generate, execute, list, wait, cancel, throttle
    Reassign(reassign::Args),
    /// Elect leaders anew
    Elect(elect::Args),
    /// The metadata quorum: describe, add and remove voters
    Quorum(quorum::Args),
    /// The levels of features: describe, upgrade, downgrade
    Features(features::Args),
    /// The cluster: its id and brokers, unregister one
    Cluster(cluster::Args),
    /// Measure throughput and latency: produce, consume, end-to-end
    Perf(perf::Args),
    /// Print a script that completes commands in a shell
    Completion(shell::CompletionArgs),
    /// Write a manual page for each command
    Man(shell::ManArgs),
}

fn main() -> ExitCode {
    if let Some(code) = scripts::run(std::env::args_os()) {
        return code;
    }
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
        Command::Configs(args) => configs::run(args),
        Command::Offsets(args) => offsets::run(args),
        Command::Records(args) => records::run(args),
        Command::LogDirs(args) => log_dirs::run(args),
        Command::Reassign(args) => reassign::run(args),
        Command::Elect(args) => elect::run(args),
        Command::Quorum(args) => quorum::run(args),
        Command::Features(args) => features::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Perf(args) => perf::run(args),
        Command::Completion(args) => shell::completion(&args, Arguments::command()),
        Command::Man(args) => shell::man(&args, Arguments::command()),
    };
    exit::end(outcome)
}
