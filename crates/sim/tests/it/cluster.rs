//! Whole nodes in the simulator: one story per seed, and deliberate faults that must be found.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_sim::Sabotage;
use ottla_sim::cluster::{Report, play};

/// A fault that needs more stories to show is not found.
const SEEDS_MAX: u64 = 20;

fn clean(seed: u64, seconds: u64) -> Report {
    play(seed, seconds, None).unwrap_or_else(|failure| {
        failure.story.iter().for_each(|line| println!("{line}"));
        panic!("seed {seed}: {}", failure.what)
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_of_whole_nodes() {
    let first = clean(1, 25);
    assert_eq!(clean(1, 25), first);
    assert!(
        first.acknowledged > 500 && first.reads > 500 && first.crashes > 0,
        "it does something: {first:?}"
    );
    assert_ne!(clean(2, 8).trace, first.trace);
}

#[test]
fn faults_of_whole_nodes_are_found() {
    for sabotage in Sabotage::OF_CLUSTERS {
        let found = (0..SEEDS_MAX).find_map(|seed| {
            match catch_unwind(AssertUnwindSafe(|| play(seed, 40, Some(sabotage)))) {
                Ok(Ok(_)) => None,
                Ok(Err(failure)) => Some((seed, failure.what)),
                Err(_) => Some((seed, "a node panicked".into())),
            }
        });
        println!("{sabotage:?}: {found:?}");
        assert!(found.is_some(), "{sabotage:?} goes unnoticed");
    }
}
