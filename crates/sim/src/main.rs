//! `ottla-sim`: plays seeds until one fails or the time is over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ottla_sim::{Failure, cluster, play};

#[derive(Parser)]
#[command(
    name = "cargo xtask sim",
    about = "Plays quorums and clusters with every fault that a seed can think of"
)]
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
    /// What to play
    #[arg(long, value_enum, default_value_t = Kind::Both)]
    world: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Controllers alone: many more elections and crashes in the same time
    Quorum,
    /// Whole nodes with their clients
    Cluster,
    /// Each seed in both
    Both,
}

/// What all seeds came to.
#[derive(Default)]
struct Sum {
    quorum: (u64, usize, usize),
    cluster: (usize, usize, usize, usize),
}

impl Sum {
    fn play(&mut self, seed: u64, args: &Args) -> Result<(), Failure> {
        if args.world != Kind::Cluster {
            let report = play(seed, args.seconds, None)?;
            let (steps, committed, acknowledged) = &mut self.quorum;
            *steps += report.steps as u64;
            *committed += report.committed as usize;
            *acknowledged += report.acknowledged;
        }
        if args.world != Kind::Quorum {
            let report = cluster::play(seed, args.seconds as u64, None)?;
            let (acknowledged, reads, crashes, stops) = &mut self.cluster;
            *acknowledged += report.acknowledged;
            *reads += report.reads;
            *crashes += report.crashes;
            *stops += report.stops;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let start = Instant::now();
    let limit = Duration::from_secs_f64(args.hours * 3600.0);
    let (mut played, mut sum) = (0, Sum::default());
    for seed in args.from..args.from + args.seeds {
        if start.elapsed() > limit {
            break;
        }
        match catch_unwind(AssertUnwindSafe(|| sum.play(seed, &args))) {
            Ok(Ok(())) => played += 1,
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
    let seconds = (args.seconds, start.elapsed().as_secs_f64());
    println!("{played} seeds of {} simulated seconds in {:.0} s, nothing lost", seconds.0, seconds.1);
    let (steps, committed, acknowledged) = sum.quorum;
    println!(
        "controllers: {steps} steps, {committed} records committed, {acknowledged} requests acknowledged"
    );
    let (acknowledged, reads, crashes, stops) = sum.cluster;
    println!(
        "whole nodes: {acknowledged} acknowledgements, {reads} reads, {crashes} crashes, {stops} clean stops"
    );
    ExitCode::SUCCESS
}
