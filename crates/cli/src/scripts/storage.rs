//! `kafka-storage`: directories are formatted and looked at, by the code of `ottla format` and `ottla info`.

use clap::{Parser, Subcommand};

use super::options::{Exit, Outcome};
use crate::exit;
use crate::format::{self, FormatArgs, InfoArgs};

/// The Kafka storage tool.
#[derive(Parser)]
#[command(name = "kafka-storage")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print what the directories of a node belong to
    Info(InfoArgs),
    /// Prepare the directories of a node
    Format(FormatArgs),
    /// Print a new random id
    RandomUuid,
}

pub fn run(words: &[String]) -> Outcome {
    let arguments: Arguments = parsed("kafka-storage", words)?;
    let names_config = |word: &String| word.starts_with("--config") || word.starts_with("-c");
    if !matches!(arguments.command, Command::RandomUuid) && !words.iter().any(names_config) {
        return Err(Exit::Failed("kafka-storage: error: argument --config/-c is required".into()));
    }
    let outcome = match arguments.command {
        Command::Info(args) => format::info(&args),
        Command::Format(args) => format::format(args),
        Command::RandomUuid => {
            format::random_uuid();
            Ok(())
        }
    };
    outcome.map_err(|error| Exit::Failed(exit::text(&error)))
}

/// Reads the words of a script with subcommands. Wrong use is 1 and not 2, as of Apache's tools.
pub fn parsed<A: Parser>(name: &str, words: &[String]) -> Outcome<A> {
    A::try_parse_from(std::iter::once(name).chain(words.iter().map(String::as_str))).map_err(|error| {
        let status = u8::from(error.use_stderr());
        let _ = error.print();
        Exit::Status(status)
    })
}
