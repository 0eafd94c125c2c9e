//! `cargo xtask <task>`: what developers and the continuous checks run. One file per task.

mod bench;
mod ci;
mod faults;
mod golden;
mod schemas;
mod sim;
mod tidy;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of Ottla")]
enum Task {
    /// Run everything that must stay true, and say how long each part took
    Ci,
    /// Check the rules of the house that a tool can hold
    Tidy,
    /// Measure Apache Kafka, Ottla and the limit of the machine under the same load (see its --help)
    Bench(bench::Args),
    /// Break three nodes under load, again and again, and check every acknowledged record (see its --help)
    Faults(faults::Args),
    /// Have Apache Kafka write golden files again, and compare
    Golden(golden::Args),
    /// Play whole quorums in one thread with every fault that a seed can think of (see its --help)
    Sim(sim::Args),
    /// Compare the message structs with the schemas inside Apache Kafka's published jars
    Schemas(schemas::Args),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Ci => ci::run(),
        Task::Tidy => tidy::run(),
        Task::Bench(args) => bench::run(args),
        Task::Faults(args) => faults::run(&args),
        Task::Golden(args) => golden::run(args),
        Task::Sim(args) => sim::run(&args),
        Task::Schemas(args) => schemas::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
