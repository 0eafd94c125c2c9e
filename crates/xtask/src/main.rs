//! `cargo xtask <task>`: what developers and the continuous checks run. One file per task.

mod schemas;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Ottla")]
enum Task {
    /// Compare the message structs with the schemas inside Apache Kafka's published jars
    Schemas(schemas::Args),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Schemas(args) => schemas::run(args),
    }
}
