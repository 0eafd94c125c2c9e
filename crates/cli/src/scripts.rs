//! Apache Kafka's own script names: `kafka-topics` and the like, with their options, outputs and exit codes.
//!
//! A script is chosen by the name that the binary is called by (a link `kafka-topics` or `kafka-topics.sh`), or by its
//! first argument (`ottla kafka-topics …`). One file per script; what Apache's tools print is what they print.

mod configs;
mod console;
mod consumer_groups;
mod get_offsets;
mod java;
mod metadata_quorum;
mod options;
mod pattern;
mod reassign_partitions;
mod session;
mod storage;
mod table;
mod topics;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use options::{Exit, Options, Outcome, Table};

/// A script that reads its options by the table.
struct Script {
    name: &'static str,
    about: &'static str,
    /// What is said where there are no arguments.
    bare: &'static str,
    /// Its own options; those of [`COMMON`] are there too.
    options: &'static str,
    /// What is said before a complaint about an unknown option.
    complaint: &'static str,
    run: fn(&Options) -> Outcome,
}

const SCRIPTS: &[Script] = &[
    Script {
        name: "kafka-topics",
        about: "This tool helps to create, delete, describe, or change a topic.",
        bare: "Create, delete, describe, or change a topic.",
        options: topics::OPTIONS,
        complaint: "",
        run: topics::run,
    },
    Script {
        name: "kafka-consumer-groups",
        about: GROUPS,
        bare: GROUPS,
        options: consumer_groups::OPTIONS,
        complaint: "",
        run: consumer_groups::run,
    },
    Script {
        name: "kafka-console-producer",
        about: PRODUCER,
        bare: PRODUCER,
        options: console::producer::OPTIONS,
        complaint: "",
        run: console::producer::run,
    },
    Script {
        name: "kafka-console-consumer",
        about: CONSUMER,
        bare: CONSUMER,
        options: console::consumer::OPTIONS,
        complaint: "",
        run: console::consumer::run,
    },
    Script {
        name: "kafka-get-offsets",
        about: OFFSETS,
        bare: OFFSETS,
        options: get_offsets::OPTIONS,
        complaint: "Error occurred: ",
        run: get_offsets::run,
    },
    Script {
        name: "kafka-configs",
        about: CONFIGS,
        bare: CONFIGS,
        options: configs::OPTIONS,
        complaint: "",
        run: configs::run,
    },
    Script {
        name: "kafka-reassign-partitions",
        about: REASSIGN,
        bare: REASSIGN,
        options: reassign_partitions::OPTIONS,
        complaint: "",
        run: reassign_partitions::run,
    },
];

const GROUPS: &str = "This tool helps to list all consumer groups, describe a consumer group, delete consumer group \
                      info, or reset consumer group offsets.";

const PRODUCER: &str = "This tool helps to read data from standard input and publish it to Kafka.";
const CONSUMER: &str = "This tool helps to read data from Kafka topics and outputs it to standard output.";
const CONFIGS: &str = "This tool helps to manipulate and describe entity config for a topic, client, user, broker, \
                       ip, client-metrics or group";
const REASSIGN: &str = "This tool helps to move topic partitions between replicas.";
const OFFSETS: &str = "An interactive shell for getting topic-partition offsets.";

/// What every script takes.
const COMMON: &str = "
    --bootstrap-server <host:port>  Brokers to begin with; required
    --command-config <file>         Settings of the client
    --help                          Print this and exit
    --version                       Print the version and exit
";

/// Runs the script that the command line names; `None` if it names none.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().map(|word| word.to_string_lossy().into_owned());
    let own = arguments.next()?;
    let mut rest: Vec<String> = arguments.collect();
    let called = Path::new(&own).file_name()?.to_str()?.to_owned();
    if let Some(code) = script(&called, &rest) {
        return Some(code);
    }
    let name = (!rest.is_empty()).then(|| rest.remove(0))?;
    script(&name, &rest)
}

fn script(name: &str, arguments: &[String]) -> Option<ExitCode> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    match name {
        "kafka-storage" => return Some(ended(storage::run(arguments), "")),
        "kafka-metadata-quorum" => return Some(ended(metadata_quorum::run(arguments), "")),
        _ => {}
    }
    let script = SCRIPTS.iter().find(|script| script.name == name)?;
    Some(script.run(arguments))
}

/// Says what is still to be said; `help` is shown with wrong use.
fn ended(outcome: Outcome, help: &str) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit::Status(status)) => status.into(),
        Err(Exit::Failed(message)) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
        Err(Exit::Usage(message)) => {
            eprint!("{message}\n{help}");
            ExitCode::FAILURE
        }
    }
}

impl Script {
    fn run(&self, arguments: &[String]) -> ExitCode {
        let table = Table::new(&[self.options, COMMON]);
        let outcome = match Options::parse(&table, arguments) {
            Err(wrong) => Err(Exit::Failed(format!("{}{wrong}", self.complaint))),
            // Apache's tools call both wrong use: status 1.
            Ok(_) if arguments.is_empty() => Err(Exit::Usage(self.bare.to_owned())),
            Ok(options) if options.has("help") => Err(Exit::Usage(self.about.to_owned())),
            Ok(options) if options.has("version") => {
                println!("{}", env!("CARGO_PKG_VERSION"));
                Ok(())
            }
            Ok(options) => (self.run)(&options),
        };
        ended(outcome, &table.help())
    }
}
