//! `ottla-sim`: plays seeds until one fails or the time is over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ottla_sim::{Failure, play};

#[derive(Parser)]
#[command(name = "cargo xtask sim", about = "Plays whole quorums with every fault that a seed can think of")]
struct Args {
    /// How many seeds to play
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop after so many hours though seeds are left
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Simulated seconds of trouble in each
    #[arg(long, default_value_t = 120)]
    seconds: i64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let start = Instant::now();
    let limit = Duration::from_secs_f64(args.hours * 3600.0);
    let (mut played, mut steps, mut committed, mut acknowledged) = (0, 0, 0, 0);
    for seed in args.from..args.from + args.seeds {
        if start.elapsed() > limit {
            break;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| play(seed, args.seconds, None)));
        match outcome {
            Ok(Ok(report)) => {
                played += 1;
                steps += report.steps;
                committed += report.committed;
                acknowledged += report.acknowledged;
            }
            Ok(Err(Failure { seed, what, story })) => {
                story.iter().for_each(|line| println!("{line}"));
                eprintln!("seed {seed}: {what}");
                return ExitCode::FAILURE;
            }
            Err(_) => {
                eprintln!("seed {seed}: a node panicked (above)");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{played} seeds of {} simulated seconds in {:.0} s: {steps} steps, {committed} records committed, \
         {acknowledged} requests acknowledged, nothing lost",
        args.seconds,
        start.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
