//! `ottla-sim`: plays seeds until one fails or the time is over.

use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use ottla_sim::{Failure, Sabotage, cluster, play};

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
    /// A deliberate fault in every node, to see whether it is found
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
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
    cluster: [usize; 6],
}

impl Sum {
    fn play(&mut self, seed: u64, args: &Args) -> Result<(), Failure> {
        let shows = |all: &[Sabotage]| args.sabotage.is_none_or(|sabotage| all.contains(&sabotage));
        if args.world != Kind::Cluster && shows(&Sabotage::OF_QUORUMS) {
            let report = play(seed, args.seconds, args.sabotage)?;
            let (steps, committed, acknowledged) = &mut self.quorum;
            *steps += report.steps as u64;
            *committed += report.committed as usize;
            *acknowledged += report.acknowledged;
        }
        if args.world != Kind::Quorum && shows(&Sabotage::OF_CLUSTERS) {
            let report = cluster::play(seed, args.seconds as u64, args.sabotage)?;
            let cluster::Report { acknowledged, reads, generations, changes, crashes, stops, .. } = report;
            let played = [acknowledged, reads, generations, changes, crashes, stops];
            self.cluster.iter_mut().zip(played).for_each(|(sum, count)| *sum += count);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let start = Instant::now();
    let limit = Duration::from_secs_f64(args.hours * 3600.0);
    let (mut played, mut sum) = (0, Sum::default());
    let playing = tell_seed_of_panics();
    for seed in args.from..args.from + args.seeds {
        if start.elapsed() > limit {
            break;
        }
        playing.store(seed, Ordering::Relaxed);
        match sum.play(seed, &args) {
            Ok(()) => played += 1,
            Err(Failure { seed, what, story }) => {
                story.iter().for_each(|line| println!("{line}"));
                eprintln!("seed {seed}: {what}");
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
    let [acknowledged, reads, generations, changes, crashes, stops] = sum.cluster;
    println!(
        "whole nodes: {acknowledged} acknowledgements, {reads} reads, {generations} generations of groups, \
         {changes} upgrades and changes of voters, {crashes} crashes, {stops} clean stops"
    );
    ExitCode::SUCCESS
}

/// A panic of a node ends the process: of which seed it is has to be said before.
fn tell_seed_of_panics() -> Arc<AtomicU64> {
    let playing = Arc::new(AtomicU64::new(0));
    let (seed, usual) = (Arc::clone(&playing), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        eprintln!("seed {}: a node panicks", seed.load(Ordering::Relaxed));
        usual(info);
    }));
    playing
}
